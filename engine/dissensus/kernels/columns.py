"""Sums over models for every example, from packed correctness: one pass over the bits, models outermost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .bits import WORD, Packed
from .jit import PARALLEL, parallel_kernel

NOBODY = -1


def columns(
    packed: Packed, weights: NDArray[np.int64], groups: NDArray[np.int64], n_examples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sum over the models that are right, for every example.

    Parameters
    ----------
    packed : (M, W) uint64
        From `counts.pack`.
    weights : (M,) int64
        What each model adds where it is right.
    groups : (M,) int64
        Group of each model, 0 or more.
    n_examples : int
        Number of examples N, at most 64 W.

    Returns
    -------
    count, weighted : (N,) int64
        Models that are right, and the sum of their weights.
    first : (N,) int64
        The first model that is right, -1 where none is.
    group : (N,) int64
        The group that all right models belong to, -1 where none is right or there are several.
    """
    count, weighted = np.zeros(n_examples, np.int64), np.zeros(n_examples, np.int64)
    first, group = np.full(n_examples, NOBODY, np.int64), np.full(n_examples, NOBODY, np.int64)
    with PARALLEL:
        _columns(packed, weights, groups, count, weighted, first, group)
    return count, weighted, first, group


@parallel_kernel
def _columns(
    packed: Packed, weights: Any, groups: Any, count: Any, weighted: Any, first: Any, group: Any
) -> None:
    for w in prange((len(count) + WORD - 1) // WORD):
        start = w * WORD
        for m in range(packed.shape[0]):
            word = packed[m, w]
            for bit in range(min(WORD, len(count) - start)):
                if (word >> np.uint64(bit)) & np.uint64(1):
                    n = start + bit
                    if count[n] == 0:
                        first[n], group[n] = m, groups[m]
                    elif group[n] != groups[m]:
                        group[n] = NOBODY
                    count[n] += 1
                    weighted[n] += weights[m]
