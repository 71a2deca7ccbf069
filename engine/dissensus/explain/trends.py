"""How one number of the models goes with another: ranks, slopes, lines, and intervals over the models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.kernels.tails import t_quantile

Floats = NDArray[np.float64]
LEVEL = 0.95
DRAWS = 1_000  # of a band
LEAST = 5  # models below which nothing is said of a trend
LEAST_BESIDE = 7  # and of a slope beside accuracy
NEARLY = 1 - 1e-12  # of a correlation: Fisher's z of 1 is infinite


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95 % interval; NaN where it is undefined.

    Attributes
    ----------
    value, low, high : float
        The number and the ends.
    n : int
        What it is estimated from: models, or examples.
    """

    value: float
    low: float
    high: float
    n: int


def rank_trend(x: Floats, y: Floats) -> Estimate:
    """Spearman's rank correlation over the models, with its interval; undefined for fewer than five of them.

    Bonett and Wright 2000 (Psychometrika 65): Fisher's z with a variance of (1 + r**2 / 2) / (n - 3). Not a
    bootstrap: that of a category of one model would never see another one in its place.
    """
    n, value = len(x), rank_correlation(x, y) if len(x) >= LEAST else math.nan
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan, n)
    z = math.atanh(max(-NEARLY, min(value, NEARLY)))
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt((1 + value**2 / 2) / (n - 3))
    low, high = min(math.tanh(z - reach), value), max(math.tanh(z + reach), value)
    return Estimate(value, low, high, n)


def slope_trend(x: Floats, y: Floats, beside: Floats) -> Estimate:
    """`slope_beside` with its interval over the models; undefined for fewer than seven of them.

    Its variance is HC3 (MacKinnon and White 1985), so that models may scatter unequally, with Student's
    quantile of n - 3; without ends where a model alone decides on a coefficient.
    """
    n, value = len(x), slope_beside(x, y, beside) if len(x) >= LEAST_BESIDE else math.nan
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan, n)
    others = np.linalg.qr(np.column_stack([np.ones(n), beside - beside.mean()]))[0]
    left_x, left_y = (v - others @ (others.T @ v) for v in (x, y))
    square = float(left_x @ left_x)
    free = 1 - (others**2).sum(axis=1) - left_x**2 / square  # 1 - leverage
    if free.min() < 1e-9:
        return Estimate(value, math.nan, math.nan, n)
    error = math.sqrt(float(((left_x * (left_y - value * left_x) / free) ** 2).sum())) / square
    return _students(value, error, n, n - 3)


def ratio_trend(sums: Floats, counts: Floats) -> Estimate:
    """Mean of values that come in groups, with its interval over the groups; undefined for fewer than five.

    A ratio of sums, linearised (Cochran 1977, Sampling techniques, 6.4), with Student's quantile.
    """
    n = len(sums)
    if n < LEAST:
        return Estimate(math.nan, math.nan, math.nan, n)
    value = float(sums.sum() / counts.sum())
    left = sums - value * counts
    return _students(value, math.sqrt(n / (n - 1) * float(left @ left)) / float(counts.sum()), n, n - 1)


def mean_interval(values: Floats) -> Estimate:
    """Mean over models with Student's interval; without ends for fewer than three."""
    n = len(values)
    value = float(values.mean()) if n else math.nan
    if n < 3:
        return Estimate(value, math.nan, math.nan, n)
    return _students(value, float(values.std(ddof=1)) / math.sqrt(n), n, n - 1)


def _students(value: float, error: float, n: int, freedom: int) -> Estimate:
    """Number with Student's interval from its standard error."""
    reach = t_quantile((1 - LEVEL) / 2, freedom) * error
    return Estimate(value, value - reach, value + reach, n)


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, equal values sharing their mean rank, (n,)."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Floats = (ends - (counts - 1) / 2)[place]
    return shared


def rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else math.nan


def slope_beside(x: Floats, y: Floats, beside: Floats) -> float:
    """Slope of y on x with another number of the models held fixed (least squares); NaN where x has none."""
    design = np.column_stack([np.ones(len(x)), x, beside])
    solution, _, rank, _ = np.linalg.lstsq(design - [0, x.mean(), beside.mean()], y, rcond=1e-10)
    return float(solution[1]) if rank == 3 else math.nan


def line(x: Floats, y: Floats, at: Floats) -> Floats:
    """Least-squares line through points, at other places; NaN for a constant x."""
    centre = x.mean()
    spread = float(((x - centre) ** 2).sum())
    if spread <= 1e-12 * max(1.0, centre**2):
        return np.full(len(at), np.nan)
    fitted: Floats = y.mean() + ((x - centre) @ y / spread) * (at - centre)
    return fitted


def line_band(x: Floats, y: Floats, at: Floats, draws: int = DRAWS, seed: int = 0) -> tuple[Floats, Floats]:
    """Pointwise 95 % band of `line` from resampling the models; NaN for fewer than three of them."""
    if len(x) < 3:
        return np.full(len(at), np.nan), np.full(len(at), np.nan)
    chosen = np.random.default_rng(seed).integers(0, len(x), (draws, len(x)))
    drawn = np.array([line(x[some], y[some], at) for some in chosen])
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    if 2 * len(drawn) < draws:
        return np.full(len(at), np.nan), np.full(len(at), np.nan)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
