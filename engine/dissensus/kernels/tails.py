"""Tails of the normal, the binomial and Student's distribution, which NumPy does not have."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


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


def mcnemar(gained: Counts, lost: Counts) -> Floats:
    """Two-sided exact p-value of McNemar's test for each pair of counts, (P,), (P,) int64 -> (P,) float64.

    Twice the binomial tail of the smaller count among gained + lost fair coins, at most 1; NaN where both are
    0: nothing changed, so there is nothing to test.
    """
    out = np.empty(gained.size)
    _mcnemar(np.ascontiguousarray(gained, np.int64), np.ascontiguousarray(lost, np.int64), out)
    return out


@kernel
def _mcnemar(gained: Counts, lost: Counts, out: Floats) -> None:
    """(P,), (P,) -> (P,): terms from the largest down, each from the one before: no power underflows."""
    for i in range(len(out)):
        n, k = gained[i] + lost[i], min(gained[i], lost[i])
        if n == 0:
            out[i] = math.nan
            continue
        term = math.exp(
            math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0) - n * math.log(2.0)
        )
        tail = 0.0
        while k >= 0 and term > tail * 1e-18:
            tail += term
            term *= k / (n - k + 1.0)
            k -= 1
        out[i] = min(2.0 * tail, 1.0)


def t_tail(t: float, n: int) -> float:
    """Probability that a number of Student's distribution with n degrees of freedom is above t > 0.

    Abramowitz, Stegun 26.7.3 and 26.7.4: sums of powers of cos(theta), tan(theta) = t / sqrt(n).
    """
    theta = math.atan2(t, math.sqrt(n))
    squared, term, total = math.cos(theta) ** 2, 1.0, 0.0
    for k in range(n % 2 + 1, n, 2):
        total += term
        term *= squared * k / (k + 1)
    if n % 2 == 0:
        return (1 - math.sin(theta) * total) / 2
    return 0.5 - (theta + math.sin(theta) * math.cos(theta) * total) / math.pi


def t_quantile(tail: float, n: int) -> float:
    """Return the t of n degrees of freedom with a probability below 1/2 above it; see `t_tail`."""
    low, high = 0.0, 1.0
    while t_tail(high, n) > tail:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, n) > tail else (low, middle)
    return high
