"""The temperature of least NLL (Guo et al. 2017), by Newton's method on the slopes of `probabilities`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .probabilities import Classes, Codes, Offsets, nll_slopes

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
