"""The temperature of least NLL (Guo et al. 2017), by Newton's method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import parallel_kernel, parallel_over
from .probabilities import Classes, Codes, Offsets, exp_of, exponentials, logit_of

COLDEST, HOTTEST = 1e-3, 1e3  # temperatures beyond are no optimum but a divergence
TOLERANCE = 1e-9
MAX_STEPS = 60


def best_temperature(
    codes: Codes, offsets: Offsets, classes: Classes, weights: NDArray[np.int64] | None = None
) -> float | None:
    """T of least NLL of softmax(z / T) in [0.001, 1000]; None where there is none.

    Parameters
    ----------
    codes : (n, C)
        From `probabilities.codes_of`.
    offsets, classes
        Right classes of each example, as in `probabilities`.
    weights : (n,) int64, optional
        What each example counts, at least 0; by default all the same.
    """

    def slopes(inverse: float) -> tuple[float, float]:
        first, second = nll_slopes(codes, 1 / inverse, offsets, classes)
        if weights is not None:
            first, second = first * weights, second * weights
        return float(first.sum()), float(second.sum())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slopes(low)[0] >= 0 or slopes(high)[0] <= 0:
        return None
    inverse = 1.0
    for _ in range(MAX_STEPS):  # Newton inside a bracket that shrinks onto a change of the slope's sign
        slope, curvature = slopes(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else low
        new = step if low < step < high else (low * high) ** 0.5
        if abs(new - inverse) <= TOLERANCE * inverse:
            break
        inverse = new
    return 1 / inverse


def nll_slopes(
    codes: Codes, temperature: float, offsets: Offsets, classes: Classes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and second derivative of each example's NLL by the inverse temperature: (n,) and (n,) float64.

    With softmax weights over all classes, and over the right ones S alone: E[z] - E_S[z], Var[z] - Var_S[z].
    The variance of one right class is 0 and the NLL convex; with several it need not be.
    """
    table = exponentials(codes.dtype, temperature)
    first, second = np.empty(len(codes)), np.empty(len(codes))
    with parallel_over(codes.size):
        _nll_slopes(codes, table, temperature, offsets, classes, first, second)
    return first, second


@parallel_kernel
def _nll_slopes(
    codes: Any,
    table: Any,
    temperature: float,
    offsets: Any,
    classes: Any,
    first: Any,
    second: Any,
) -> None:
    for n in prange(codes.shape[0]):
        total = mean = 0.0
        for c in range(codes.shape[1]):
            weight = exp_of(codes[n, c], table)
            total += weight
            mean += weight * np.float64(logit_of(codes[n, c]))
        mean /= total
        spread = 0.0
        for c in range(codes.shape[1]):  # a second pass: E[z^2] - E[z]^2 would cancel
            spread += exp_of(codes[n, c], table) * (np.float64(logit_of(codes[n, c])) - mean) ** 2
        top = -np.inf
        for k in range(offsets[n], offsets[n + 1]):
            top = max(top, np.float64(logit_of(codes[n, classes[k]])))
        some = shift = 0.0  # as distances from the best right class: all weights could underflow
        for k in range(offsets[n], offsets[n + 1]):
            below = np.float64(logit_of(codes[n, classes[k]])) - top
            some += math.exp(below / temperature)
            shift += math.exp(below / temperature) * below
        right = top + shift / some
        spread_right = 0.0
        for k in range(offsets[n], offsets[n + 1]):
            z = np.float64(logit_of(codes[n, classes[k]]))
            spread_right += math.exp((z - top) / temperature) * (z - right) ** 2
        first[n] = mean - right
        second[n] = spread / total - spread_right / some
