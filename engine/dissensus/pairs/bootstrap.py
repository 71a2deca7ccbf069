"""Intervals by resampling the four counts of a pair: the row bootstrap at a cost that ignores the rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .counts import PairCounts
from .measures import Floats

AT_ONCE = 2**16  # values of one cell in a chunk: four cells and what a formula makes of them stay in L2


def resampled_tables(
    counts: PairCounts, row: int, draws: int, seed: int, at_once: int = AT_ONCE
) -> Iterator[tuple[slice, Floats]]:
    """Draw tables of every pair row < j anew, as drawing n examples with replacement would.

    Parameters
    ----------
    counts : PairCounts
        Counts of M models.
    row : int
        First model of the pairs.
    draws : int
        Tables drawn for each pair.
    seed : int
        Each row of the matrix has a stream of its own, (seed, row), used pair by pair: neither threads,
        `at_once` nor models that come after change what a pair gets.
    at_once : int
        About how many tables to hold.

    Yields
    ------
    columns : slice
        Second models, P of them.
    tables : (4, P, draws) float64
        n11, n10, n01, n00.

    Notes
    -----
    A resampled example falls into one of four cells, so the counts of a resample are multinomial: the same
    distribution as resampling rows, at a cost per draw that does not grow with n. A cell that is empty
    stays so: for kappa = 1 this interval has no width, where the delta method's has.
    """
    size, width = len(counts.right), max(1, at_once // draws)
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,)))
    for start in range(row + 1, size, width):
        columns = slice(start, min(start + width, size))
        others = np.arange(columns.start, columns.stop)
        shares = counts.tables(np.full_like(others, row), others).T / counts.n
        drawn = stream.multinomial(counts.n, shares[:, None, :], size=(len(others), draws))
        yield columns, np.moveaxis(drawn, -1, 0).astype(np.float64)


def percentiles(values: Floats, level: float) -> tuple[Floats, Floats]:
    """Bounds that leave out (1 - level) / 2 of the last axis on either side, among its defined values.

    Between two values they are interpolated, as `numpy.quantile` does; NaN where no value is defined.
    """
    ordered = np.sort(values, axis=-1)  # NaN last
    defined = np.count_nonzero(~np.isnan(ordered), axis=-1)
    low, high = (_at(ordered, share * (defined - 1)) for share in ((1 - level) / 2, (1 + level) / 2))
    return low, high


def _at(ordered: Floats, place: NDArray[np.float64]) -> Floats:
    """Values at fractional places of the last axis; a place below 0 is that of a row of NaN only."""
    below = np.maximum(np.floor(place), 0).astype(np.intp)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    lower, upper = (np.take_along_axis(ordered, p[..., None], -1)[..., 0] for p in (below, above))
    part = np.maximum(place - below, 0)
    return np.where(part > 0, lower + part * (upper - lower), lower)
