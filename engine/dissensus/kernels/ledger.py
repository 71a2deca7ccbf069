"""Each example under an ensemble, under every member alone, and under the ensemble without that member.

Members are fixed-point probabilities (`probabilities`), weights whole numbers: sums are exact integers, and
which class is first is decided as greedy selection decides it, the lowest on ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, kernel, parallel_kernel
from .probabilities import ONE, Classes, Offsets

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def judge(
    q: NDArray[np.uint32],
    weights: NDArray[np.int64],
    offsets: Offsets,
    classes: Classes,
    right: Flags,
    without: Flags,
    brier: Floats,
    brier_without: Floats,
    spread: Floats,
) -> None:
    """Fill what every example says of M members and of their weighted mean.

    Parameters
    ----------
    q : (M, n, C) uint32
        Fixed-point probabilities; `ONE` at one class for a vote.
    weights : (M,) int64
        Weight of each member, 0 for models that are only compared; their sum times 2**31 fits int64.
    offsets, classes
        Right classes of each example.
    right : (M + 1, n) bool, output
        Whether the first class is a right one, of each member and last of the ensemble.
    without : (M, n) bool, output
        The same of the ensemble without each member; False where nothing is left.
    brier : (M + 1, n) float64, output
        Squared distance to the (lowest) right class, of each member and last of the ensemble.
    brier_without : (M, n) float64, output
        The same of the ensemble without each member; NaN where nothing is left.
    spread : (n,) float64, output
        Weighted mean of the members' squared distances to the ensemble: what diversity takes off the Brier.
    """
    total = np.empty(q.shape[1:], np.int64)
    with PARALLEL:
        _judge(q, weights, offsets, classes, total, right, without, brier, brier_without, spread)


@parallel_kernel
def _judge(
    q: Any,
    weights: Any,
    offsets: Any,
    classes: Any,
    total: Any,
    right: Any,
    without: Any,
    brier: Any,
    brier_without: Any,
    spread: Any,
) -> None:
    size, whole = q.shape[0], weights.sum()
    for n in prange(q.shape[1]):
        true = classes[offsets[n] : offsets[n + 1]]
        total[n] = 0
        for m in range(size):
            for c in range(q.shape[2]):
                total[n, c] += weights[m] * np.int64(q[m, n, c])
        right[size, n], brier[size, n] = _seen(total[n], q[0, n], 1, 0, whole, true)
        spread[n] = 0.0
        for m in range(size):
            right[m, n], brier[m, n] = _seen(total[n], q[m, n], 0, 1, 1, true)
            spread[n] += weights[m] * _apart(total[n], q[m, n], whole) / whole
            without[m, n], brier_without[m, n] = False, np.nan
            if weights[m] < whole:
                left = whole - weights[m]
                without[m, n], brier_without[m, n] = _seen(total[n], q[m, n], 1, -weights[m], left, true)


@kernel
def _seen(total: Any, q: Any, base: Any, times: Any, size: Any, true: Any) -> Any:
    """Whether the first class of base * total + times * q is right, and the Brier score of it over `size`."""
    first, most, squares = 0, np.int64(-1), 0.0
    for c in range(len(q)):
        value = base * total[c] + times * np.int64(q[c])
        if value > most:
            first, most = c, value
        distance = value / (size * ONE) - (1.0 if c == true[0] else 0.0)
        squares += distance * distance
    hit = False
    for k in range(len(true)):
        hit |= true[k] == first
    return hit, squares


@kernel
def _apart(total: Any, q: Any, whole: Any) -> float:
    """Squared distance of one member to the ensemble."""
    squares = 0.0
    for c in range(len(q)):
        distance = q[c] / ONE - total[c] / (whole * ONE)
        squares += distance * distance
    return squares
