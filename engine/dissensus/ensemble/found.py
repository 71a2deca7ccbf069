"""One search on some rows: calibrate, select, take back, prune, weigh. Everything but the reporting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from .bags import Drawn, subsets
from .checks import Pool
from .combine import Combine
from .limits import Limits
from .members import MemberScores, Scores
from .mixture import Certificate, counted, optimal
from .path import SIZE, Steps, best_length, forward
from .places import Candidates, Here, Place
from .prune import pruned
from .ranking import ranked
from .selection import Selection
from .switches import Search
from .weighted import check_members, weights_of
from .weights import Weights


@dataclass(frozen=True)
class Task:
    """What is searched for, all of it checked.

    Attributes
    ----------
    store : Store
        Models and examples, under the labels asked for.
    way : Combine
    pool : Pool
    steps : Steps
    limits : Limits
    search : Search
    calibrate : bool
    temperatures : dict of str to float or None
        Of every model of the pool, where they were fitted before.
    best_prefix : bool
        Whether steps after the best are taken back.
    where : str or None
        Expression that chooses examples.
    example_weights : (N,) float64 or None
        What each example of the store counts; None: all the same.
    weighed_by : str
        Column that they are, or "given".
    place : Place
        Where candidates are compared.
    """

    store: Store
    way: Combine
    pool: Pool
    steps: Steps
    limits: Limits
    search: Search
    calibrate: bool
    temperatures: dict[str, float] | None
    best_prefix: bool
    where: str | None = None
    example_weights: NDArray[np.float64] | None = None
    weighed_by: str = "given"
    place: Place = field(default_factory=Here)

    def weights_on(self, rows: Rows) -> Weights | None:
        """What each of these rows counts."""
        return weights_of(self.example_weights, rows)

    @property
    def judged(self) -> list[str]:
        """Metrics that are reported."""
        return self.way.judged_by(self.steps.metric)

    def scores(self, members: list[int], rows: Rows, temperatures: Mapping[str, float]) -> Scores:
        """Some models of the pool on some rows."""
        return self.way.scores(self.store, [self.pool.names[m] for m in members], rows, temperatures)

    def selection(self, rows: Rows, temperatures: Mapping[str, float]) -> AbstractContextManager[Selection]:
        """No members yet, of the whole pool on some rows, where candidates are compared."""
        return self.place.selection(
            Candidates(
                self.way,
                self.store,
                self.pool.names,
                rows,
                temperatures,
                self.weights_on(rows),
                self.steps.beam,
                self.judged,
            )
        )


@dataclass(frozen=True)
class Found:
    """What a search chose; models are indices into the pool.

    Attributes
    ----------
    temperatures : dict of str to float
    singles : list of int
        Candidates, the best single first; only the best where nothing has a cost.
    state : Selection
        After every step; of bags, those kept of each bag, one bag after another.
    bag : list of int or None
        Bag of each step.
    length : int
        Steps that make the ensemble; later ones were taken back.
    weights : dict of int to int
        Weight of each member in the end.
    dropped : list of int
        Members dropped by pruning, in order.
    certificate : Certificate or None
    stopped : str
        Why the search ended.
    draws : list of Drawn
        One for each bag, or one.
    """

    temperatures: dict[str, float]
    singles: list[int]
    state: Selection
    bag: list[int] | None
    length: int
    weights: dict[int, int]
    dropped: list[int]
    certificate: Certificate | None
    stopped: str
    draws: list[Drawn]

    @property
    def is_plain(self) -> bool:
        """Whether the ensemble is what its kept steps add up to."""
        return not self.dropped and self.certificate is None


def find(task: Task, rows: Rows, advance: Callable[[], None]) -> Found:
    """Calibrate and select on these rows."""
    pool = task.pool
    temperatures = task.temperatures or dict.fromkeys(pool.names, 1.0)
    if task.calibrate and task.temperatures is None:
        temperatures = task.place.temperatures(task.store, pool.names, rows, task.weights_on(rows))
    check_members(task, temperatures)
    with task.selection(rows, temperatures) as empty:
        return _searched(task, rows, temperatures, empty, advance)


def _searched(
    task: Task, rows: Rows, temperatures: dict[str, float], empty: Selection, advance: Callable[[], None]
) -> Found:
    pool = task.pool
    most = 1 if pool.costs is None else pool.n_candidates
    singles = ranked(empty.copy(), task.steps.metric, np.arange(pool.n_candidates), most)
    state, bag, length, stopped, draws = _walked(task, empty, advance)
    chosen, certificate = state.chosen[:length], None
    dropped: list[int] = []
    if task.search.prune:
        chosen, dropped = _pruned(task, rows, temperatures, chosen)
    weights = counted(chosen)
    if task.search.weights == "optimal":
        weights, certificate = _weighed(task, rows, temperatures, list(weights))
    order = [one.candidate for one in singles]
    return Found(temperatures, order, state, bag, length, weights, dropped, certificate, stopped, draws)


def _walked(
    task: Task, empty: Selection, advance: Callable[[], None]
) -> tuple[Selection, list[int] | None, int, str, list[Drawn]]:
    """Trajectory, bag of each step, steps kept, why it ended, and what was drawn."""
    search, limits = task.search, task.limits
    if search.bags is None:
        state, stopped = forward(empty, task.steps, limits, advance)
        length = _length(task, state)
        draws = [Drawn(frozenset(limits.candidates.tolist()), frozenset(state.chosen[:length]))]
        return state, None, length, stopped, draws
    total, bag, draws, ends = empty.copy(), [], [], []
    for k, subset in enumerate(subsets(limits.candidates, search.bags, search.bag_fraction, search.seed)):
        state, stopped = forward(empty, task.steps, Limits(subset, limits.replacement), advance)
        kept = state.chosen[: _length(task, state)]
        draws.append(Drawn(frozenset(subset.tolist()), frozenset(kept)))
        bag += [k] * len(kept)
        ends.append(stopped)
        for member in kept:
            total.add(member)
    return total, bag, len(bag), next((end for end in ends if end != SIZE), SIZE), draws


def _length(task: Task, state: Selection) -> int:
    if not task.best_prefix:
        return len(state.chosen)
    return best_length(state.trajectory(task.steps.metric), task.pool.n_included)


def _pruned(
    task: Task, rows: Rows, temperatures: Mapping[str, float], chosen: list[int]
) -> tuple[list[int], list[int]]:
    """Members left and dropped; on scores of theirs alone, which take less memory."""
    used = list(dict.fromkeys(chosen))
    places = [used.index(m) for m in chosen]
    kept = {used.index(m) for m in task.pool.first[: task.pool.n_included]}
    state = Selection(task.scores(used, rows, temperatures), task.weights_on(rows), recorded=())
    for place in places:
        state.add(place)
    left, dropped = pruned(state, task.steps.metric, kept)
    return [used[m] for m in left.chosen], [used[m] for m in dropped]


def _weighed(
    task: Task, rows: Rows, temperatures: Mapping[str, float], members: list[int]
) -> tuple[dict[int, int], Certificate]:
    weights, certificate = optimal(
        cast(MemberScores, task.scores(members, rows, temperatures)), task.steps.metric, task.weights_on(rows)
    )
    return {members[m]: w for m, w in weights.items()}, certificate
