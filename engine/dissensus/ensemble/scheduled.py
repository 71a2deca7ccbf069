"""A search over blocks of examples on workers: every step asks all blocks, and adds their answers up.

What goes to a worker are names, the members so far and a bit an example; what comes back are integers, one a
candidate, or a bit an example. The result is that of one machine to the last bit.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dissensus.run.site import Site, digest
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from . import calibration
from .combine import Combine
from .gram import Gram
from .running import Indices, Integers, leading
from .selection import Selection
from .weights import Weights
from .worker import Crew, Examples, Fit, Packed, Part, Question, answer, fit

if TYPE_CHECKING:
    from dissensus.run.scheduler import HomeRunner

ROWS = 1024  # examples of a block at least: fewer are not worth a task
EACH = 3  # tasks of temperatures for each thread
Asks = TypeVar("Asks", bound=Callable[..., Any])


class ScheduledScores:
    """Candidates on chosen rows that lie on workers: see `Scores`.

    Parameters
    ----------
    way : Combine
    store : Store
    model_ids : sequence of str
        Candidates, in tie-breaking order.
    rows : (n,) intp
        Sorted rows of the store.
    temperatures : mapping of str to float
        Temperature of each model.
    runner : HomeRunner
        Runs the tasks.
    beam : int
        Ensembles that grow side by side.
    block_rows : int, optional
        Examples of a block; by default there is a block for each worker.
    """

    def __init__(
        self,
        way: Combine,
        store: Store,
        model_ids: Sequence[str],
        rows: Rows,
        temperatures: Mapping[str, float],
        runner: HomeRunner,
        beam: int = 1,
        block_rows: int | None = None,
    ) -> None:
        self.metrics, self.truth, self.n_classes = way.metrics, store.truth.take(rows), store.n_classes
        self.p_truth = np.empty((len(model_ids), 0))  # theirs lie on the workers
        self._runner = runner
        self._gram: tuple[Weights, Gram] | None = None
        step = block_rows or max(ROWS, -(-len(rows) // runner.workers))
        self.spans = [slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step)]
        run, crew = uuid.uuid4().hex, crew_of(store, model_ids)
        ordered = tuple(temperatures[m] for m in model_ids)
        self._parts = [
            Part(
                run, number, crew, Examples.of(rows[span]), way.name, ordered, runner.neighbours,
                beam + 1, beam > 1,
            )
            for number, span in enumerate(self.spans)
        ]  # fmt: skip

    def running(self) -> ScheduledRunning:
        """Return the sum of no members yet."""
        return ScheduledRunning(self, Weights.equal(len(self.truth)))

    def gram(self, weights: Weights) -> Gram:
        """Weighted sums of products of probabilities, of all blocks; those asked for last are kept."""
        if self._gram is None or self._gram[0] is not weights:
            Gram.of(
                (), 0, self.truth, weights
            )  # refuses labels of several right classes here, not on a worker
            products, at_truth = zip(*self.ask("gram", (), weights=weights), strict=True)
            self._gram = weights, Gram(sum(products), sum(at_truth), weights.total)
        return self._gram[1]

    def ask(
        self,
        what: str,
        chosen: Sequence[int],
        candidates: Indices | None = None,
        weights: Weights | None = None,
        counted: Integers | None = None,
    ) -> list[Any]:
        """Ask every block; answers in the order of blocks. See `Question`."""
        unit = 1 if weights is None else weights.unit
        each = None if weights is None else _packed(weights.each)
        hits = None if counted is None else _packed(counted)
        tasks = {
            part.number: Question(
                part, what, tuple(chosen), candidates, each and each[span], unit, hits and hits[span]
            )
            for part, span in zip(self._parts, self.spans, strict=True)
        }
        found = dict(self._runner.at_home(answer, tasks))
        return [found[number] for number in range(len(self._parts))]


def _packed(numbers: Integers) -> Packed | None:
    """Pack what examples count; None for 1."""
    return None if (numbers == 1).all() else Packed.of(numbers)


class ScheduledRunning:
    """Sum of members that lies on workers, in blocks: see `Running`.

    Parameters
    ----------
    scores : ScheduledScores
    weights : Weights
        What each example counts in NLL.
    """

    def __init__(self, scores: ScheduledScores, weights: Weights) -> None:
        self._scores, self._weights = scores, weights
        self.chosen: list[int] = []
        self.work: list[dict[str, int]] = []
        self._stood: tuple[list[int], NDArray[np.bool_], int] | None = None

    @property
    def total(self) -> Integers:
        """No worker has all of it."""
        raise NotImplementedError

    @property
    def n_bytes(self) -> int:
        """Memory that a copy takes in this process."""
        return 0  # it lies on workers

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether its largest entry, the lowest class on ties, is a right one: (n,) bool."""
        return self._standing()[0]

    @property
    def nll(self) -> int:
        """Fixed-point NLL of the members; 0 where there is none."""
        return self._standing()[1]

    def _standing(self) -> tuple[NDArray[np.bool_], int]:
        if self._stood is None or self._stood[0] != self.chosen:
            answers = self._scores.ask("standing", self.chosen, weights=self._weights)
            right = [
                np.unpackbits(bits, count=span.stop - span.start).astype(np.bool_)
                for (bits, _), span in zip(answers, self._scores.spans, strict=True)
            ]
            self._stood = [*self.chosen], np.concatenate(right), sum(nll for _, nll in answers)
        return self._stood[1:]

    def hits_if_added(self, candidates: Indices, weights: Integers) -> Integers:
        """Weight of the examples right with each candidate added, the lowest class on ties: (k,) int64."""
        answers = self._scores.ask("hits", self.chosen, candidates, self._weights, weights)
        works = [work for _, work in answers if work is not None]
        if len(works) == len(answers):  # no block goes through all probabilities instead
            self.work.append({name: sum(work[name] for work in works) for name in works[0]})
        total: Integers = np.sum([hits for hits, _ in answers], axis=0, dtype=np.int64)
        return total

    def nll_if_added(self, candidates: Indices) -> Integers:
        """Fixed-point NLL with each candidate added: (k,) int64."""
        answers = self._scores.ask("nll", self.chosen, candidates, self._weights)
        total: Integers = np.sum(answers, axis=0, dtype=np.int64)
        return total

    def leaders(self, candidates: Indices, weights: Integers) -> Indices:
        """Those candidates for which `hits_if_added` is largest, in the order given."""
        return leading(candidates, self.hits_if_added(candidates, weights))

    def add(self, candidate: int) -> None:
        """Add a member: workers learn of it by the next question."""
        self.chosen.append(candidate)

    def remove(self, candidate: int) -> None:
        """Take a member out again, where it was added last."""
        del self.chosen[len(self.chosen) - 1 - self.chosen[::-1].index(candidate)]

    def copy(self) -> ScheduledRunning:
        """Return another sum, the same for now."""
        other = ScheduledRunning(self._scores, self._weights)
        other.chosen, other.work, other._stood = [*self.chosen], [*self.work], self._stood
        return other


class ScheduledSelection(Selection):
    """An ensemble whose examples lie on workers: see `Selection`."""

    def __init__(
        self,
        scores: ScheduledScores,
        weights: Weights | None = None,
        recorded: Sequence[str] | None = None,
    ) -> None:
        super().__init__(scores, weights, recorded)
        self._running: ScheduledRunning = ScheduledRunning(scores, self.weights)

    @property
    def running(self) -> ScheduledRunning:
        """The sum of the members, which workers make."""
        _ = super().running
        return self._running

    def nll_if_added(self, candidates: NDArray[np.intp]) -> NDArray[np.int64]:
        """Fixed-point NLL with each of these candidates added: (len(candidates),) int64."""
        return self.running.nll_if_added(candidates)

    def nll_leaders(self, candidates: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of least NLL."""
        return leading(candidates, -self.nll_if_added(candidates))

    def nll_now(self) -> int:
        """Fixed-point NLL as it stands."""
        return self.running.nll

    def add(self, candidate: int) -> None:
        """Take a candidate in and record where the ensemble stands, while workers know of the search."""
        super().add(candidate)
        _ = self.running

    def drop(self, place: int) -> None:
        """Take out the member chosen at a place, as if never chosen; the history stays as it is."""
        del self.chosen[place]
        self.running.chosen = [*self.chosen]


@contextmanager
def scheduled_selection(
    scores: ScheduledScores, weights: Weights | None, recorded: Sequence[str]
) -> Iterator[ScheduledSelection]:
    """No members yet; in the end workers forget the search."""
    try:
        yield ScheduledSelection(scores, weights, recorded)
    finally:
        scores.ask("forget", ())


def scheduled_temperatures(
    store: Store, model_ids: Sequence[str], rows: Rows, weights: Weights | None, runner: HomeRunner
) -> dict[str, float]:
    """Do as `calibration.temperatures`, some models a task."""
    step, examples = max(1, -(-len(model_ids) // (EACH * runner.threads))), Examples.of(rows)
    each = None if weights is None else _packed(weights.each)
    tasks = (
        Fit(start, crew_of(store, model_ids[start : start + step]), examples, each)
        for start in range(0, len(model_ids), step)
    )
    parts = dict(runner.results(fit, tasks))
    found = [temperature for start in sorted(parts) for temperature in parts[start]]
    return calibration.told(dict(zip(model_ids, found, strict=True)), len(rows))


def crew_of(store: Store, model_ids: Sequence[str]) -> Crew:
    """Name models and their versions."""
    return Crew(Site.of(store), tuple(model_ids), digest([store.model(m).digest for m in model_ids]))
