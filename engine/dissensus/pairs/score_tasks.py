"""Measures of probabilities by tasks: a run of examples each, all models.

Scores of a model are shifted by the mean of all models, so that a task is of all of them. Its sums are those
that this process makes of the same run, and runs are added up in their order: the result is the same to the
last bit, where the processors are of one kind (the width of their vectors decides which numbers are added
first; else it is the same within the rounding that `sums` states). Ensembles are counted, in integers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.run.site import Site, models_at, opened

from .ensembles import ENSEMBLES
from .parts import Rows
from .summed import SCORED, Sums, Wanted
from .sums import piece_rows, require_room, runs, summed_runs
from .tasks import Some, some_of

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel


@dataclass(frozen=True, eq=False)
class ScoreTask:
    """One run of examples.

    Attributes
    ----------
    site, models : Site, Some
        The store and all models.
    number : int
        Place of the run.
    start, mask : int, bytes
        First row, and which rows from there on are counted, a bit each.
    wanted : tuple of str
        Of `SCORED`.
    step : int
        Examples of a piece.
    temperatures : dict of str to float
        Of the members of ensembles, where these are wanted.
    """

    site: Site
    models: Some
    number: int
    start: int
    mask: bytes
    wanted: tuple[str, ...]
    step: int
    temperatures: Mapping[str, float]

    @property
    def rows(self) -> Rows:
        """Rows that are counted."""
        return self.start + np.flatnonzero(np.unpackbits(np.frombuffer(self.mask, np.uint8)))


Found = tuple[int, "Sums | None", dict[str, NDArray[np.int64]]]


def run_scores(task: ScoreTask) -> Found:
    """Sum and count over one run on a worker: its number, sums of scores, right answers of ensembles.

    Raises
    ------
    ClusterError, ModelReplaced
    """
    store = opened(task.site)
    models = models_at(store, task.models.ids, task.models.digest)
    sums, hits = None, {}
    if task.wanted:
        asked = Wanted.of(task.wanted)
        sums = next(summed_runs(store, models, [{0: task.rows}], asked, task.step, threads=1))[0]
    if task.temperatures:
        from .pair_hits import pair_hits

        correct = store.truth.correct(np.stack([model.column("top1") for model in models]))
        hits = pair_hits(store, models, task.rows, task.temperatures, correct)[0]
    return task.number, sums, hits


def scheduled_scores(
    store: Store,
    models: Sequence[StoredModel],
    rows: Rows,
    wanted: Collection[str],
    temperatures: Mapping[str, float],
    runner: Runner,
) -> dict[str, NDArray[Any]]:
    """Sum for all pairs what is wanted of `SCORED`, and count `ENSEMBLES` of members of these temperatures.

    Parameters
    ----------
    store, models, rows, wanted
        As in `sums.score_sums`.
    temperatures : mapping of str to float
        Of each model; empty where no ensembles are wanted.
    runner : Runner
        Runs the tasks.

    Raises
    ------
    ArgumentError, ClusterError, ModelReplaced
    """
    asked, size = Wanted.of(wanted), len(models)
    require_room(size, len(asked.products) * (2 + runner.threads), 0)
    total = Sums.none(asked, size)
    counted = {name: np.zeros((size, size), np.int64) for name in ENSEMBLES if temperatures}
    tasks = _tasks(store, models, rows, tuple(n for n in SCORED if n in wanted), asked, temperatures)
    for sums, hits in _by_number(runner.results(run_scores, tasks)):
        if sums is not None:
            total.add(sums)
        for name, counts in hits.items():
            counted[name] += counts
    return {**(total.named(asked, size, store.n_classes) if asked.kinds else {}), **counted}


def _tasks(
    store: Store,
    models: Sequence[StoredModel],
    rows: Rows,
    wanted: tuple[str, ...],
    asked: Wanted,
    temperatures: Mapping[str, float],
) -> Iterator[ScoreTask]:
    site, some = Site.of(store), some_of(models, 0, len(models))
    step = piece_rows(len(models), store.n_classes)
    for number, run in enumerate(runs(store, [rows])):
        start, stop = int(run[0][0]), int(run[0][-1]) + 1
        counted = np.zeros(stop - start, np.bool_)
        counted[run[0] - start] = True
        mask = np.packbits(counted).tobytes()
        yield ScoreTask(site, some, number, start, mask, wanted, step, temperatures)


def _by_number(found: Iterator[Found]) -> Iterator[tuple[Sums | None, dict[str, NDArray[np.int64]]]]:
    """Results in the order of their runs; those that come early wait."""
    early: dict[int, Any] = {}
    following = 0
    for number, *rest in found:
        early[number] = rest
        while following in early:
            sums, hits = early.pop(following)
            yield sums, hits
            following += 1
