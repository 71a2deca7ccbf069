"""What a job takes at any size: a sum of the work it does, each kind at a rate that was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.store.format import TOP_FROM

Work = Callable[[int, int, int], float]
LARGE = (1000, 100_000, 1000)  # where equally good fits are told apart: the one that grows fastest is taken
CAUTION = 1.04  # on growth: what is beyond the measurements may grow faster than it seems from within
NOISE = 1.06  # what a run may take above another of the same
CELLS, ROWS_OF_VIEWS = 1 << 19, 1024  # of a block of the store, and of what is viewed at a time
VIEWED, COLUMNS_MOST = 8, 32  # classes of a view, and those of an example that are filled in beside it
TOGETHER = 16  # models that are run at a time
READ_AHEAD, MOST_READ = 3, 1 << 26  # blocks of every model, and cells of all of them together
LEAST = 1e-9  # a fit to a measurement, as a share of it, whose kinds of work it does not do at all
LEAST_PART = 0.05  # of a forecast, of which it is asked how far it is beyond the measurements
EQUAL = 1e-6  # squared relative errors that differ by less are equal


@dataclass(frozen=True)
class Term:
    """One kind of work.

    Attributes
    ----------
    name : str
        Of what, such as "models^2 x examples".
    work : callable
        (models, examples, classes) to its amount.
    """

    name: str
    work: Work


ONCE = Term("once", lambda m, n, c: 1.0)
MODELS = Term("models", lambda m, n, c: m)
EXAMPLES = Term("examples", lambda m, n, c: n)
TOTALS = Term("examples x classes", lambda m, n, c: n * c)
ANSWERS = Term("models x examples", lambda m, n, c: m * n)
LOGITS = Term("models x examples x classes", lambda m, n, c: m * n * c)
PAIRS = Term("models^2", lambda m, n, c: m * m)
COUNTS = Term("models^2 x examples", lambda m, n, c: m * m * n)
RANKED_ROWS = Term("models x examples, ranked", lambda m, n, c: m * n * (c >= TOP_FROM))
RANKED = Term("models x examples x classes, ranked", lambda m, n, c: m * n * c * (c >= TOP_FROM))
ROUNDS = Term("rounds of models after the first", lambda m, n, c: (m - 1) // TOGETHER)
COLUMNS = Term("models x examples x columns", lambda m, n, c: m * n * min(max(c - VIEWED, 0), COLUMNS_MOST))
BLOCK = Term("examples x classes of a block", lambda m, n, c: min(n * c, 2 * CELLS))
VIEWS = Term("models x examples x classes of views", lambda m, n, c: m * n * min(c, VIEWED))
ROWS = Term(
    "models x views of a block",
    lambda m, n, c: m * min(n, ROWS_OF_VIEWS, max(CELLS // c, 1)) * min(c, VIEWED),
)
IN_BLOCK = Term("models x examples of a block", lambda m, n, c: m * min(n, max(CELLS // c, 1)))
RIGHT = Term(  # as they are read (uint16), kept beside the store, and compared with labels
    "bytes of predicted classes and right answers", lambda m, n, c: 4 * m * n
)
HALVES = Term(  # where every second row is asked for: what is read ahead is copied, whatever buffers hold
    "rows read ahead", lambda m, n, c: m * _halves(n, c)
)
KEPT = Term("rows that the allocator keeps", lambda m, n, c: _halves(n, c))  # of those, freed by readers
READ = Term("blocks read ahead", lambda m, n, c: min(m * min(n * c, READ_AHEAD * CELLS), MOST_READ))


def _halves(n: int, c: int) -> float:
    return min(n / 2, READ_AHEAD * ROWS_OF_VIEWS) * c


@dataclass(frozen=True)
class CostModel:
    """Amounts of work and what a unit of each costs.

    Attributes
    ----------
    terms : tuple of Term
        Kinds of work that were found to matter.
    rates : (len(terms),) float64
        Cost of a unit, never negative.
    worst : float
        Largest ratio of measured to fitted, at least 1.
    spread : float
        Farthest that a fit is from what was measured, as a share of it.
    reached : (len(terms),) float64
        Largest amount of each that was measured.
    base : float
        What is there before any work.
    held : Term, optional
        What is known to be held, in the unit of the whole: it is not fitted.
    """

    terms: tuple[Term, ...]
    rates: NDArray[np.float64]
    worst: float
    spread: float
    reached: NDArray[np.float64]
    base: float = 0.0
    held: Term | None = None

    @classmethod
    def fit(
        cls,
        rows: Sequence[Mapping[str, Any]],
        what: str,
        terms: Sequence[Term],
        base: str | None = None,
        held: Term | None = None,
    ) -> CostModel | None:
        """Fit rates to measurements by least squares of relative errors, over all subsets of the terms.

        Parameters
        ----------
        rows : sequence of mapping
            Measurements: "models", "examples", "classes" and `what`.
        what : str
            Column to explain.
        terms : sequence of Term
            Kinds of work that may matter.
        base : str, optional
            Column of what was there before: its median is not fitted but known.
        held : Term, optional
            What is known beside it, such as arrays that any size holds.

        Returns
        -------
        CostModel or None
            None without a measurement. Of fits that are equally good, as all are of few measurements, the one
            that grows fastest: rather too much than too little.
        """
        rows = [row for row in rows if row[what] and row[what] > 0]
        if not rows:
            return None
        sizes = [(row["models"], row["examples"], row["classes"]) for row in rows]
        there = float(np.median([row[base] for row in rows])) if base else 0.0
        known = [there + (held.work(*size) if held else 0.0) for size in sizes]
        shares = np.array([one / row[what] for one, row in zip(known, rows, strict=True)])
        found = []
        for count in range(0 if base else 1, min(len(terms), len(rows)) + 1):  # 0: nothing grows
            for some in combinations(terms, count):
                work = np.array([[t.work(*size) for t in some] for size in sizes], np.float64)
                scaled = work.reshape(len(rows), count) / np.array([[row[what]] for row in rows])
                rates, rank = _fitted(scaled, 1 - shares)
                if rank == count and (rates >= 0).all():
                    fitted = scaled @ rates + shares
                    error = round(float(((fitted - 1) ** 2).sum()) / EQUAL)
                    grown = float(np.dot(rates, [t.work(*LARGE) for t in some]))
                    worst = max(1.0, float((1 / np.maximum(fitted, LEAST)).max()))
                    spread = float(np.abs(fitted - 1).max(initial=0))
                    found.append((error, -grown, some, rates, worst, spread, work.max(axis=0)))
        if not found:
            return None
        return cls(*min(found, key=lambda one: one[:2])[2:], there, held)

    def at(self, models: int, examples: int, classes: int) -> float:
        """What a size takes."""
        return self.base + self._grown(models, examples, classes)

    def parts(self, models: int, examples: int, classes: int) -> dict[str, float]:
        """What each kind of work takes of it, the most first; what is there before any is none of them."""
        amounts = [term.work(models, examples, classes) for term in self.terms]
        parts = {t.name: float(rate * a) for t, rate, a in zip(self.terms, self.rates, amounts, strict=True)}
        return {name: parts[name] for name in sorted(parts, key=lambda name: -parts[name]) if parts[name]}

    def beyond(self, models: int, examples: int, classes: int) -> float:
        """How many times more of a kind of work than was measured, of kinds that matter at this size."""
        amounts = np.array([term.work(models, examples, classes) for term in self.terms])
        matter = self.rates * amounts > LEAST_PART * self.at(models, examples, classes)
        return float((amounts[matter] / self.reached[matter]).max(initial=0.0))

    def _grown(self, models: int, examples: int, classes: int) -> float:
        held = self.held.work(models, examples, classes) if self.held else 0.0
        return held + float(self.rates @ [term.work(models, examples, classes) for term in self.terms])

    def at_most(self, models: int, examples: int, classes: int) -> float:
        """More than it takes: as far above the fit as measurements were, growth with caution."""
        return max(self.worst, NOISE) * (self.base + CAUTION * self._grown(models, examples, classes))


def _fitted(work: NDArray[np.float64], amount: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Rates by least squares, and how many of them the measurements tell apart."""
    if not work.shape[1]:
        return np.empty(0), 0
    rates, _, rank, _ = np.linalg.lstsq(work, amount, rcond=None)
    return rates.astype(np.float64), int(rank)
