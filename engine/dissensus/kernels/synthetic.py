"""Logits of models that never were: numbers of a key and an index, so that any block can be made by itself.

A logit is a weighted sum of three noises, one that all models share, one of the model's family and one of its
own; the right class gets the model's signal less the example's hardness. Weighted equally in all models, they
decide how alike two models' mistakes are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, kernel, parallel_kernel

Keys = NDArray[np.uint64]  # (3,): shared, family, own
Weights = NDArray[np.float32]  # (3,): of the same

STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31, S16, S32, S48 = (np.uint64(s) for s in (30, 27, 31, 16, 32, 48))
LOW = np.uint64(0xFFFF)
TAIL = np.float32(0.08)  # x + TAIL * x**3: heavier than normal


def logit_rows(
    keys: Keys,
    weights: Weights,
    labels: NDArray[np.int32],
    hardness: NDArray[np.float32],
    signal: float,
    scale: float,
    start: int,
    out: NDArray[np.float32],
) -> None:
    """Write the logits of one model on consecutive examples.

    Parameters
    ----------
    keys : (3,) uint64
        Where the noises begin: of all models, of the family, of the model.
    weights : (3,) float32
        What each is multiplied by.
    labels : (n,) int32
        Right classes.
    hardness : (n,) float32
        Taken from the logit of the right class.
    signal, scale : float
        Added to the logit of the right class; what all logits are multiplied by at the end.
    start : int
        Number of the first example.
    out : (n, C) float32, output
        Logits.
    """
    with PARALLEL:
        _logit_rows(keys, weights, labels, hardness, np.float32(signal), np.float32(scale), start, out)


@parallel_kernel
def _logit_rows(
    keys: Any, weights: Any, labels: Any, hardness: Any, signal: Any, scale: Any, start: int, out: Any
) -> None:
    for n in prange(out.shape[0]):
        first = np.uint64((start + n) * out.shape[1])
        for c in range(out.shape[1]):
            index = first + np.uint64(c)
            out[n, c] = scale * (
                weights[0] * noise(keys[0], index)
                + weights[1] * noise(keys[1], index)
                + weights[2] * noise(keys[2], index)
            )
        out[n, labels[n]] += scale * (signal - hardness[n])


@kernel
def noise(key: Any, index: Any) -> Any:
    """Number about 0 of a key and an index: splitmix64, four of its parts added, the tails stretched."""
    z = key + (index + np.uint64(1)) * STEP
    z = (z ^ (z >> S30)) * FIRST
    z = (z ^ (z >> S27)) * SECOND
    z = z ^ (z >> S31)
    total = (z & LOW) + ((z >> S16) & LOW) + ((z >> S32) & LOW) + (z >> S48)
    x = (np.float32(np.int64(total)) * np.float32(1 / 65536) - np.float32(2)) * np.float32(3**0.5)
    return x + TAIL * x * x * x
