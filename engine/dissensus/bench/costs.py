"""What a job takes at any size: a sum of the work it does, each kind at a rate that was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Work = Callable[[int, int, int], float]
LARGE = (1000, 100_000, 1000)  # where equally good fits are told apart: the one that grows fastest is taken
CAUTION = 1.1  # on growth: what is beyond the measurements may grow faster than it seems from within
RIVAL, RIVAL_SHARE = 2.0, 0.02  # errors of rivals: times those of the best fit, or as shares at most
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
BLOCK = Term("examples x classes of a block", lambda m, n, c: min(n * c, 1 << 21))
ROWS = Term("models x examples of a block", lambda m, n, c: m * min(n, 1024))
FULL = Term("models x examples x classes of a block", lambda m, n, c: min(m * min(n, 1024) * c, 1 << 24))
READ = Term("models x block", lambda m, n, c: m * min(n * c, 1 << 19))


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
    largest : tuple of int
        Largest models, examples and classes that were measured.
    base : float
        What is there before any work.
    rivals : tuple of CostModel
        Fits of other kinds of work that the measurements hardly tell from this one.
    """

    terms: tuple[Term, ...]
    rates: NDArray[np.float64]
    worst: float
    largest: tuple[int, int, int]
    base: float = 0.0
    rivals: tuple[CostModel, ...] = ()

    @classmethod
    def fit(
        cls, rows: Sequence[Mapping[str, Any]], what: str, terms: Sequence[Term], base: str | None = None
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
        shares = np.array([there / row[what] for row in rows])
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
                    found.append((error, -grown, some, rates, float(max(1.0, (1 / fitted).max()))))
        if not found:
            return None
        m, n, c = (max(column) for column in zip(*sizes, strict=True))
        found.sort(key=lambda one: one[:2])
        most = max(RIVAL**2 * found[0][0], RIVAL_SHARE**2 * len(rows) / EQUAL)
        first, *rivals = (cls(*one[2:], (m, n, c), there) for one in found if one[0] <= most)
        return replace(first, rivals=tuple(rivals))

    def at(self, models: int, examples: int, classes: int) -> float:
        """What a size takes."""
        return self.base + self._grown(models, examples, classes)

    def _grown(self, models: int, examples: int, classes: int) -> float:
        return float(self.rates @ [term.work(models, examples, classes) for term in self.terms])

    def at_most(self, models: int, examples: int, classes: int) -> float:
        """More than it takes: the most of all rivals, as far above as they were below, with caution."""
        size = (models, examples, classes)
        most = self.worst * (self.base + CAUTION * self._grown(*size))
        return max([most, *(rival.at_most(*size) for rival in self.rivals)])


def _fitted(work: NDArray[np.float64], amount: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Rates by least squares, and how many of them the measurements tell apart."""
    if not work.shape[1]:
        return np.empty(0), 0
    rates, _, rank, _ = np.linalg.lstsq(work, amount, rcond=None)
    return rates.astype(np.float64), int(rank)
