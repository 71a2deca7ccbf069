"""The running sum with certificates: equal to brute force, for a small part of its work.

Most candidates change nothing on most examples, which their views prove; where they might, the views nearly
always tell what happens; what is still open is read from the logits, of those candidates alone that could
lead. An example's row of the sum is brought up to date only when something could change its first class.
"""

from __future__ import annotations

import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import bounds, verdicts
from dissensus.kernels import certified as kernel
from dissensus.kernels.known import Known, Log, known_bytes
from dissensus.store.truth import Truth

from .running import Indices, Integers, leading
from .views import Views

CHUNK_BYTES = 8 << 20  # values of rows that are read at a time


class Viewed(Protocol):
    """Views of candidates, and the rows that they are views of."""

    @property
    def views(self) -> Views:
        """Views of M candidates on n examples."""

    @property
    def floor(self) -> int:
        """Least value that a class can have: 0 for probabilities."""

    def rows(self, candidate: int, places: Indices) -> NDArray[Any]:
        """Values of a candidate on some examples, ascending: (r, C)."""


def running_bytes(truth: Truth, n_classes: int) -> int:
    """Memory that a `CertifiedRunning` takes, all rows of its sum counted."""
    n, n_right = len(truth), len(truth.classes)
    return 8 * (n * (n_classes + 2) + n_right) + known_bytes(n, n_right, n_classes)


class CertifiedRunning:
    """Sum of members' values, of which only what can matter is kept up to date.

    Parameters
    ----------
    viewed : Viewed
        Candidates.

    Attributes
    ----------
    work : list of dict of str to int
        Of each time that candidates were compared: "pairs" (candidate, example) in all; of these "pruned"
        (cannot change whether the sum is right), "certified" (decided from views) and "open", of which
        "resolved" were read from the logits, the others being of candidates that could not lead.
    """

    def __init__(self, viewed: Viewed) -> None:
        views = viewed.views
        n, truth = len(views.truth), views.truth
        self._viewed, self._views, self._seen = viewed, views, views.seen
        self._total = _untouched(n, views.n_classes)
        self._known = Known.of_nobody(n, len(truth.classes), views.n_classes)
        nobody = np.zeros(0, np.int64)
        self._log = Log(nobody, nobody, np.zeros(1, np.int64))
        self._applied = np.zeros(n, np.intp)  # how much of the log an example's row has in it
        self._most = views.q[:, 0].max(axis=1).astype(np.int64)
        self._most_right = views.right.max(axis=1).astype(np.int64)
        self.work: list[dict[str, int]] = []

    @property
    def total(self) -> Integers:
        """The sum, (n, C) int64; not to be changed."""
        self._bring_up_to_date(np.arange(len(self._total)))
        return self._total

    @property
    def n_bytes(self) -> int:
        """Memory that a copy takes."""
        return running_bytes(self._views.truth, self._views.n_classes)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether its largest entry, the lowest class on ties, is a right one: (n,) bool."""
        return self._views.truth.correct(self._known.first)

    def hits_if_added(self, candidates: Indices, weights: Integers) -> Integers:
        """Weight of the examples right with each candidate added, the lowest class on ties: (k,) int64."""
        step = _Step(self, candidates, weights)
        for candidate in np.unique(candidates):
            step.resolve(int(candidate))
        self.work.append(step.work)
        hits: Integers = step.hits[candidates]
        return hits

    def leaders(self, candidates: Indices, weights: Integers) -> Indices:
        """Those candidates for which `hits_if_added` is largest, in the order given."""
        step = _Step(self, candidates, weights)
        while True:  # whoever could have most comes first: the others may then be out of reach
            could = candidates[step.open_weight[candidates] > 0]
            could = could[(step.hits + step.open_weight)[could] >= step.hits[candidates].max()]
            if not len(could):
                break
            step.resolve(int(could[(step.hits + step.open_weight)[could].argmax()]))
        self.work.append(step.work)
        return leading(candidates, step.hits[candidates])

    def add(self, candidate: int) -> None:
        """Add a member."""
        self._change(candidate, 1)

    def remove(self, candidate: int) -> None:
        """Take a member out again."""
        self._change(candidate, -1)

    def _change(self, candidate: int, sign: int) -> None:
        models, signs, lowest = self._log
        self._log = Log(
            np.append(models, candidate),
            np.append(signs, sign),
            np.append(lowest, lowest[-1] + sign * self._viewed.floor),
        )
        lost = bounds.carry(self._seen, self._known, candidate, sign, self._viewed.floor)
        self._settle(np.flatnonzero(lost))

    def _settle(self, rows: Indices) -> None:
        """Make sure of the first class on some rows, from views where they are enough."""
        unsure = bounds.settle(
            self._seen, self._known, self._log, rows, self._viewed.floor, self._views.n_classes
        )
        self._bring_up_to_date(rows[unsure])

    def copy(self) -> CertifiedRunning:
        """Return another sum, the same for now."""
        other = object.__new__(CertifiedRunning)
        for name, value in vars(self).items():
            shared = name in ("_viewed", "_views", "_seen", "_log", "_most", "_most_right")
            setattr(other, name, value if shared else None)
        other._known = Known(*(array.copy() for array in self._known))
        other._applied, other.work = self._applied.copy(), [*self.work]
        other._total, used = _untouched(*self._total.shape), np.flatnonzero(self._applied)
        other._total[used] = self._total[used]
        return other

    def _bring_up_to_date(self, rows: Indices) -> None:
        """Add to some rows of the sum what they lack, and put their first classes in order."""
        models, signs, _ = self._log
        rows = rows[self._applied[rows] < len(models)]
        if not len(rows):
            return
        since = int(self._applied[rows].min())
        for candidate in dict.fromkeys(models[since:].tolist()):
            summed = np.concatenate([[0], np.cumsum(np.where(models == candidate, signs, 0))])
            times = summed[-1] - summed[self._applied[rows]]
            lacking = times != 0
            self._add(candidate, rows[lacking], times[lacking])
        self._applied[rows] = len(models)
        kernel.order_rows(self._total, rows, self._known, len(models))

    def _add(self, candidate: int, rows: Indices, times: Integers) -> None:
        for part in _chunks(len(rows), self._views.n_classes):
            kernel.add_rows(self._total, rows[part], times[part], self._viewed.rows(candidate, rows[part]))


class _Step:
    """All candidates compared once: what is known of their hits, and how to know more.

    Attributes
    ----------
    hits : (M,) int64
        Weight of the examples right with each model added; those that are open count as wrong.
    open_weight : (M,) int64
        Weight of those that are open.
    work : dict
        See `CertifiedRunning`.
    """

    def __init__(self, running: CertifiedRunning, candidates: Indices, weights: Integers) -> None:
        seen, known, floor = running._seen, running._known, running._viewed.floor
        self._running, self._weights = running, weights
        allowed = np.zeros(seen.classes.shape[2], np.bool_)
        allowed[candidates] = True
        n_classes, most = running._views.n_classes, (running._most, running._most_right)
        by_bounds, unsure, decided = verdicts.decide(
            seen, known, running._log, most, allowed, weights, floor, n_classes
        )
        self._rows = np.flatnonzero(unsure)
        running._bring_up_to_date(self._rows)
        hits, self.open_weight, self._is_open, (by_sums, n_open) = kernel.decide(
            self._rows, running._total, seen, known, allowed, weights, floor
        )
        self.hits = by_bounds + hits
        pairs, decided, n_open = int(allowed.sum()) * len(weights), decided + int(by_sums), int(n_open)
        self.work = {
            "pairs": pairs,
            "pruned": pairs - decided - n_open,
            "certified": decided,
            "open": n_open,
            "resolved": 0,
        }

    def resolve(self, candidate: int) -> None:
        """Read a candidate's open examples, in order: its hits are then exact."""
        running, views = self._running, self._running._views
        bits = self._is_open[:, candidate >> 3] >> np.uint8(candidate & 7) & 1
        rows = self._rows[bits.astype(np.bool_)]
        for part in _chunks(len(rows), views.n_classes):
            values = running._viewed.rows(candidate, rows[part])
            right = kernel.right_if_added(
                running._total, rows[part], values, views.truth.offsets, views.truth.classes
            )
            self.hits[candidate] += self._weights[rows[part]][right].sum()
        self.work["resolved"] += len(rows)
        self.open_weight[candidate] = 0
        self._is_open[:, candidate >> 3] &= ~np.uint8(1 << (candidate & 7))


def _untouched(n: int, n_classes: int) -> Integers:
    """Zeros (n, C) of which memory is taken row by row: few are ever used.

    NumPy asks for pages of 2 MiB, which a row of 8 kB would have to clear, and keep, for itself.
    """
    size = 8 * n * n_classes
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros((n, n_classes), np.int64)
    pages = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.int64, n * n_classes).reshape(n, n_classes)


def _chunks(n_rows: int, n_classes: int) -> list[slice]:
    size = max(1, CHUNK_BYTES // (4 * n_classes))
    return [slice(start, start + size) for start in range(0, n_rows, size)]
