"""Intervals in closed form: the delta method on the four counts of a pair."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measures import Floats, Formula

STEP = 1e-100  # squared it vanishes beside any count, so a complex step is exact to rounding
ADDED = 1.0  # to each cell before the variance is taken: cells that are empty by luck would have none


def delta_interval(formula: Formula, tables: Floats, level: float) -> tuple[Floats, Floats]:
    """Bounds of a measure for P pairs, from the multinomial variance of their tables.

    Parameters
    ----------
    formula : callable
        A measure of the four counts.
    tables : (4, P) float64
        n11, n10, n01, n00 of each pair.
    level : float
        Coverage aimed at, within (0, 1).

    Returns
    -------
    low, high : (P,) float64
        Not clipped to the measure's range.

    Notes
    -----
    The variance of f is sum(n_k d_k**2) - sum(n_k d_k)**2 / n, with d_k = df/dn_k at fixed n (Agresti 2013,
    Categorical data analysis, 16.1). One example is added to each cell first, as Agresti and Coull 1998 and
    Agresti and Min 2005 do for shares: without it kappa = 1 would get an interval of no width, and two
    models that are wrong on 2 % of 200 examples a coverage of half the level.

    The derivatives come from a complex step (Squire, Trapp 1998): f(n + ih) = f(n) + ih f'(n), without the
    cancellation of differences. It is exact to rounding, and a new measure needs no derivative of its own.
    Where a measure has a kink (`error_consistency_max` of equal accuracies) it is that of one side.
    """
    smoothed = tables + ADDED
    value, slopes = formula(*smoothed), gradient(formula, smoothed)
    weighted = smoothed * slopes
    variance = _sum(weighted * slopes) - _sum(weighted) ** 2 / _sum(smoothed)
    reach = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(np.maximum(variance, 0))
    return value - reach, value + reach


def _sum(cells: Floats) -> Floats:
    """Sum over the cells, the same to the last bit when the two models change places."""
    total: Floats = (cells[0] + cells[3]) + (cells[1] + cells[2])
    return total


def gradient(formula: Formula, tables: Floats) -> Floats:
    """Derivatives of a measure by each of the four counts, (4, P) float64."""
    slopes = np.empty_like(tables)
    for cell in range(4):
        stepped: list[NDArray[Any]] = list(tables)
        stepped[cell] = tables[cell] + 1j * STEP
        slopes[cell] = np.imag(formula(*stepped)) / STEP
    return slopes
