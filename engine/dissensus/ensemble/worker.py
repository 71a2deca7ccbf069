"""One block of a search on a worker: all candidates on some examples, and the members chosen so far.

A question says everything: which store, models and examples, the members, and what is asked. The worker keeps
the block's views and sums for the next one; where they are lost, or another worker takes over, it makes them
anew from the store, and adds the members in their order. Answers are integers, which add up to the same
whatever the blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels.jit import use_threads
from dissensus.run.memory import available_bytes
from dissensus.run.site import Site, models_at, opened

from .calibration import fitted
from .combine import COMBINE
from .running import Indices, Integers
from .selection import Selection
from .weights import Weights

RUNS = 2  # searches whose blocks a worker keeps: those it was asked about last


@dataclass(frozen=True)
class Packed:
    """Whole numbers, of which few differ.

    Attributes
    ----------
    values : (k,) int64
    codes : (n,) unsigned integers
        Places in `values`.
    """

    values: Integers
    codes: NDArray[Any]

    @classmethod
    def of(cls, numbers: Integers) -> Packed:
        """Pack (n,) int64."""
        values, codes = np.unique(numbers, return_inverse=True)
        return cls(values, codes.astype(np.min_scalar_type(len(values))))

    @property
    def numbers(self) -> Integers:
        """The same again."""
        numbers: Integers = self.values[self.codes]
        return numbers

    def __getitem__(self, span: slice) -> Packed:
        return Packed(self.values, self.codes[span])


@dataclass(frozen=True)
class Crew:
    """Models of a store, of the versions that they have when a search begins."""

    site: Site
    ids: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Examples:
    """Some examples of a store: of those from `start` on, each whose bit is set in `mask`."""

    start: int
    mask: bytes

    @classmethod
    def of(cls, rows: NDArray[np.intp]) -> Examples:
        """Name sorted rows, at least one."""
        flags = np.zeros(rows[-1] - rows[0] + 1, np.bool_)
        flags[rows - rows[0]] = True
        return cls(int(rows[0]), np.packbits(flags).tobytes())

    @property
    def rows(self) -> NDArray[np.intp]:
        """The sorted rows again."""
        return self.start + np.flatnonzero(np.unpackbits(np.frombuffer(self.mask, np.uint8)))


@dataclass(frozen=True)
class Part:
    """One block of a search.

    Attributes
    ----------
    run, number
        Which search, and which of its blocks.
    crew, examples
        Candidates, and the block's examples.
    combine : str
        How members are combined.
    temperatures : tuple of float
        Of each candidate.
    share : int
        Workers on one machine that divide its memory.
    kept : int
        Ensembles to keep sums of.
    copies : bool
        Whether an ensemble stays as it is when a larger one grows out of it: in a beam.
    """

    run: str
    number: int
    crew: Crew
    examples: Examples
    combine: str
    temperatures: tuple[float, ...]
    share: int
    kept: int
    copies: bool


@dataclass(frozen=True)
class Question:
    """What is asked about a block.

    Attributes
    ----------
    part : Part
    what : {"hits", "nll", "standing", "gram", "forget"}
    chosen : tuple of int
        Members so far, in order.
    candidates : (k,) intp or None
        Whom to compare.
    weights : Packed or None
        What each example counts in the whole search; None for 1.
    unit : float
        What stands for a weight of 1 in these.
    counted : Packed or None
        What each example counts in "hits"; None for 1.
    """

    part: Part
    what: str
    chosen: tuple[int, ...] = ()
    candidates: Indices | None = None
    weights: Packed | None = None
    unit: float = 1
    counted: Packed | None = None


@dataclass(frozen=True)
class Fit:
    """Temperatures that are asked for: of the models start, start + 1, … of a search, on all its examples.

    These count by their weights; None: all the same.
    """

    start: int
    crew: Crew
    examples: Examples
    weights: Packed | None


class Held:
    """A block as a worker keeps it."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._states: list[Selection] = []
        self.lock = threading.Lock()

    @cached_property
    def scores(self) -> Any:
        """All candidates on the block's examples."""
        part, crew = self._part, self._part.crew
        store = opened(crew.site)
        models_at(store, crew.ids, crew.digest)
        temperatures = dict(zip(crew.ids, part.temperatures, strict=True))
        budget = available_bytes() // (2 * part.share)
        return COMBINE[part.combine].scores(store, crew.ids, part.examples.rows, temperatures, budget)

    def at(self, question: Question) -> Selection:
        """Return the ensemble of the members named, made from the nearest that is kept."""
        state = self._nearest(question)
        others = self._states = [one for one in self._states if one is not state]
        for candidate in question.chosen[len(state.chosen) :]:
            state.add(candidate)
        if question.what in ("hits", "standing"):
            _ = state.running  # where summing up fails, the state is no longer kept
        self._states = [*others, state][-self._part.kept :]
        return state

    def _nearest(self, question: Question) -> Selection:
        """The longest beginning of it that is kept, or no members."""
        chosen = list(question.chosen)
        able = [state for state in self._states if state.chosen == chosen[: len(state.chosen)]]
        if not able:
            packed = question.weights
            weights = None if packed is None else Weights(packed.numbers, question.unit)
            return Selection(self.scores, weights, recorded=())
        found = max(able, key=lambda state: len(state.chosen))
        return found.copy() if self._part.copies and len(found.chosen) < len(chosen) else found


_HELD: dict[tuple[str, int], Held] = {}  # by search and block, the search asked about last at the end
_LOCK = threading.Lock()


def answer(question: Question) -> tuple[int, Any]:
    """Answer a question about a block, by its number."""
    part = question.part
    if question.what == "forget":
        _forget(part.run)
        return part.number, None
    _share_threads()
    held = _held(part)
    with held.lock:
        return part.number, ANSWERS[question.what](held, question)


def fit(task: Fit) -> tuple[int, list[float | None]]:
    """Fit temperatures."""
    _share_threads()
    store = opened(task.crew.site)
    models_at(store, task.crew.ids, task.crew.digest)
    each = None if task.weights is None else task.weights.numbers
    return task.start, fitted(store, task.crew.ids, task.examples.rows, each)


def _held(part: Part) -> Held:
    key = part.run, part.number
    with _LOCK:
        held = _HELD.pop(key, None) or Held(part)
        _HELD[key] = held
        late = list(dict.fromkeys(run for run, _ in reversed(_HELD)))[RUNS:]
        for other in [other for other in _HELD if other[0] in late]:
            del _HELD[other]
    return held


def _forget(run: str) -> None:
    with _LOCK:
        for key in [key for key in _HELD if key[0] == run]:
            del _HELD[key]


def _share_threads() -> None:
    """Let kernels use the threads of this worker, not all of the machine."""
    from dissensus.run.scheduler import threads_here

    threads = threads_here()
    if threads is not None:
        use_threads(threads)


def _hits(held: Held, question: Question) -> tuple[Integers, dict[str, int] | None]:
    """Weight of the examples right with each candidate, and what it took, where that is counted."""
    state, counted = held.at(question), question.counted
    weights = np.ones(len(state.scores.truth), np.int64) if counted is None else counted.numbers
    hits = state.running.hits_if_added(_asked(question), weights)
    return hits, state.work[-1] if state.work else None


def _nll(held: Held, question: Question) -> Integers:
    return held.at(question).nll_if_added(_asked(question))


def _standing(held: Held, question: Question) -> tuple[NDArray[np.uint8], int]:
    """Which examples are right, a bit each, and the fixed-point NLL."""
    state = held.at(question)
    return np.packbits(state.right), state.nll_now() if state.has_nll else 0


def _gram(held: Held, question: Question) -> tuple[Integers, NDArray[np.object_]]:
    each = question.weights
    weights = Weights.equal(len(held.scores.truth)) if each is None else Weights(each.numbers, question.unit)
    gram = held.scores.gram(weights)
    return gram.products, gram.at_truth


def _asked(question: Question) -> Indices:
    assert question.candidates is not None, "candidates are compared"
    return question.candidates


ANSWERS: dict[str, Callable[[Held, Question], Any]] = {
    "hits": _hits,
    "nll": _nll,
    "standing": _standing,
    "gram": _gram,
}
