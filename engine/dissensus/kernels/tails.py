"""Tails of the normal distribution, which NumPy does not have."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

Floats = NDArray[np.float64]


def two_sided(z: Floats) -> Floats:
    """Probability that a standard normal number is at least as far from 0 as each z; NaN for NaN."""
    out = np.empty(z.size)
    _two_sided(np.ascontiguousarray(z).ravel(), out)
    return out.reshape(z.shape)


@kernel
def _two_sided(z: Floats, out: Floats) -> None:
    """(P,) -> (P,): erfc, since 1 - erf loses what is below 1e-16."""
    for i in range(len(z)):
        out[i] = math.erfc(abs(z[i]) / math.sqrt(2.0))
