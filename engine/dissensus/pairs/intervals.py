"""Intervals of the measures of all pairs at once, whichever way they are computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dissensus.errors import ArgumentError, UnknownName
from dissensus.run.threads import in_order

from .bootstrap import percentiles, resampled_tables
from .counts import PairCounts
from .delta import delta_interval
from .measures import MEASURES, Floats, Formula

PAIRS = 2**13  # pairs of a chunk: what a formula makes of them stays in L2
CELLS = ("n11", "n10", "n01", "n00")
LEVEL, DRAWS, SEED = 0.95, 1000, 0
Bounds = dict[str, tuple[Floats, Floats]]


@dataclass(frozen=True)
class Interval:
    """How intervals are computed.

    Attributes
    ----------
    method : {"delta", "bootstrap"}
        Closed form, or percentiles of resampled counts.
    level : float
        Coverage aimed at.
    draws, seed : int
        Resamples, and where their random numbers start; the delta method uses neither.
    """

    method: str
    level: float = LEVEL
    draws: int = DRAWS
    seed: int = SEED

    @classmethod
    def checked(
        cls,
        names: Sequence[str],
        ci: str | None,
        level: float | None,
        draws: int | None,
        seed: int | None,
    ) -> Interval | None:
        """Check the arguments of `pairwise`; None where no interval is asked for.

        Raises
        ------
        ArgumentError, UnknownName
            An argument out of its range, or one that the method does not use; a measure that has no interval.
        """
        if ci is not None and ci not in METHODS:
            raise UnknownName.of("ci", ci, METHODS, "(or None for no intervals)")
        used = {"level": level} if ci else {}
        used |= {"draws": draws, "seed": seed} if ci == "bootstrap" else {}
        for name, value in (("level", level), ("draws", draws), ("seed", seed)):
            if value is not None and name not in used:
                need = 'ci="bootstrap"' if name != "level" else 'ci="delta" or ci="bootstrap"'
                raise ArgumentError(f"{name}={value!r} needs {need}; got ci={ci!r}")
        if ci is None:
            return None
        check_counted(names, "leave out ci, or ask for some of")
        return cls(ci, check_level(level), check_draws(draws), check_seed(seed))

    def bounds(self, names: Sequence[str], counts: PairCounts) -> Bounds:
        """Low and high of each measure, two (M, M) float64.

        They lie in the measure's range and enclose its value; NaN where it is undefined, and on the diagonal.
        """
        bounds = METHODS[self.method](self, names, counts)
        for name, (low, high) in bounds.items():
            measure, value = MEASURES[name], MEASURES[name].finish(counts)
            np.fill_diagonal(value, np.nan)
            np.clip(np.minimum(low, value), measure.low, measure.high, out=low)
            np.clip(np.maximum(high, value), measure.low, measure.high, out=high)
        return bounds


def counted_measures() -> list[str]:
    """Names of the measures that are a formula of the four counts of a pair."""
    return [m for m, one in MEASURES.items() if tuple(inspect.signature(one.formula).parameters) == CELLS]


def check_counted(names: Sequence[str], instead: str) -> None:
    """Refuse measures that are no formula of the four counts: what else they need is not resampled."""
    counted = counted_measures()
    for name in names:
        if name not in counted:
            raise ArgumentError(f"measure {name!r} has no interval yet; {instead}: {', '.join(counted)}")


def _delta(interval: Interval, names: Sequence[str], counts: PairCounts) -> Bounds:
    bounds = _empty(names, counts)
    rows, columns = np.triu_indices(len(counts.right), 1)
    for start in range(0, len(rows), PAIRS):
        i, j = rows[start : start + PAIRS], columns[start : start + PAIRS]
        _fill(bounds, i, j, counts.tables(i, j), lambda f, tables: delta_interval(f, tables, interval.level))
    return _mirrored(bounds)


def _bootstrap(interval: Interval, names: Sequence[str], counts: PairCounts) -> Bounds:
    bounds = _empty(names, counts)

    def fill_row(row: int) -> None:
        for columns, drawn in resampled_tables(counts, row, interval.draws, interval.seed):
            _fill(bounds, row, columns, drawn, lambda f, tables: percentiles(f(*tables), interval.level))

    for _ in in_order(fill_row, range(len(counts.right) - 1)):
        pass
    return _mirrored(bounds)


METHODS = {"delta": _delta, "bootstrap": _bootstrap}


def _empty(names: Sequence[str], counts: PairCounts) -> Bounds:
    shape = counts.both_right.shape
    return {name: (np.full(shape, np.nan), np.full(shape, np.nan)) for name in names}


def _fill(
    bounds: Bounds,
    i: Any,
    j: Any,
    tables: Floats,
    interval_of: Callable[[Formula, Floats], tuple[Floats, Floats]],
) -> None:
    """Write the intervals of some pairs, whose tables these are, for all measures."""
    for a, b, turned, chosen in _both_ways(i, j, tables, list(bounds)):
        for name in chosen:
            found = interval_of(MEASURES[name].formula, turned)
            for matrix, values in zip(bounds[name], found, strict=True):
                matrix[a, b] = values


def _both_ways(
    i: Any, j: Any, tables: Floats, names: Sequence[str]
) -> list[tuple[Any, Any, Floats, list[str]]]:
    """Pairs as listed, with all measures, and turned round, with those whose order matters."""
    ordered = [name for name in names if not MEASURES[name].symmetric]
    ways = [(i, j, tables, list(names)), (j, i, tables[[0, 2, 1, 3]], ordered)]
    return ways if ordered else ways[:1]


def _mirrored(bounds: Bounds) -> Bounds:
    """Copy the upper triangles of symmetric measures to the lower ones."""
    for name, matrices in bounds.items():
        if MEASURES[name].symmetric:
            for matrix in matrices:
                below = np.tril_indices(len(matrix), -1)
                matrix[below] = matrix.T[below]
    return bounds


def check_level(level: float | None) -> float:
    """Coverage within (0, 1); 0.95 for None."""
    if level is not None and not 0 < level < 1:
        raise ArgumentError(f"level must lie between 0 and 1, as 0.95 for 95 %; got {level!r}")
    return LEVEL if level is None else float(level)


def check_draws(draws: int | None, least: int = 1) -> int:
    """How many draws, at least so many; 1,000 for None."""
    if draws is not None and (not isinstance(draws, int | np.integer) or draws < least):
        raise ArgumentError(f"draws must be an integer of at least {least}; got {draws!r}")
    return DRAWS if draws is None else int(draws)


def check_seed(seed: int | None) -> int:
    """Where random numbers start, 0 or more; 0 for None."""
    if seed is not None and (not isinstance(seed, int | np.integer) or seed < 0):
        raise ArgumentError(f"seed must be an integer of at least 0; got {seed!r}")
    return SEED if seed is None else int(seed)
