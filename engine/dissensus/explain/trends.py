"""How one number of the models goes with another: ranks, lines, and intervals from resampling the models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95
DRAWS = 1_000
LEAST = 5  # models below which nothing is said of a trend


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


def bootstrap(
    statistic: Callable[..., float], *columns: Floats, draws: int = DRAWS, seed: int = 0, least: int = LEAST
) -> Estimate:
    """Percentile bootstrap over the models (the entries of the columns) of a statistic of these columns.

    Undefined for fewer than `least` models, and where more than half of the draws give nothing.
    """
    n = len(columns[0])
    if n < least:
        return Estimate(math.nan, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    value = statistic(*columns)
    drawn = np.array([statistic(*(c[some] for c in columns)) for some in rng.integers(0, n, (draws, n))])
    drawn = drawn[~np.isnan(drawn)]
    if math.isnan(value) or 2 * len(drawn) < draws:
        return Estimate(math.nan, math.nan, math.nan, n)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), n)


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


def mean_interval(values: Floats) -> Estimate:
    """Mean over models with its bootstrap interval; without ends for fewer than three."""
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    if len(values) < 3:
        return Estimate(float(values.mean()), math.nan, math.nan, len(values))
    return bootstrap(lambda v: float(v.mean()), values, least=3)
