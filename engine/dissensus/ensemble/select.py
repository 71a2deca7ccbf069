"""`greedy`: check, calibrate, select on one split, report on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from dissensus.errors import ArgumentError
from dissensus.run.progress import Progress
from dissensus.store.catalog import Store
from dissensus.store.splits import ALL, Rows

from . import evaluate, splits
from .bags import Drawn, stability
from .checks import Pool, check_limits, checked_size, pool_of
from .combine import Combine, combine_of
from .evaluate import Values, means
from .fitted import Fitted, checked_temperatures, refuse_reported
from .found import Found, Task, find
from .judge import Judged, equal_cost, judge, together
from .limits import Limits
from .metrics import METRICS
from .mixture import check_convex, mixed, shares
from .path import Steps
from .places import place_of
from .result import Costs, Ensemble, Interval, gain_interval
from .switches import Search, Switches, flag
from .weighted import check_folds, check_weights, checked_examples


def greedy(
    store: Store,
    size: int = 10,
    metric: str = "accuracy",
    *,
    combine: str = "probabilities",
    candidates: Sequence[str] | None = None,
    start: Sequence[str] | None = None,
    replacement: bool | None = None,
    calibrate: bool | None = None,
    temperatures: Fitted | None = None,
    where: str | None = None,
    example_weights: str | ArrayLike | None = None,
    select: str | None = None,
    report: str | None = None,
    allow_same_split: bool = False,
    labels: str | None = None,
    scheduler: Any = None,
    device: str | None = None,
    progress: bool = False,
    **switches: Unpack[Switches],
) -> Ensemble:
    """Choose an ensemble by greedy forward selection; select on one split, report on another.

    Parameters
    ----------
    store : Store
        Models and examples.
    size : int
        Members to choose, repetitions counted; fewer where nothing more is allowed, which `stopped` tells.
    metric : {"accuracy", "nll", "brier", "balanced_accuracy"}
        What each step improves on the selection split; nll and brier need the mean of probabilities.
    combine : {"probabilities", "logits", "votes"}
        How members are combined: the mean of their calibrated probabilities or logits, or the plurality of
        their top-1 classes, for which hard labels are enough. Classes that tie go to the lowest, as in
        scikit-learn's VotingClassifier with ``voting="hard"``.
    candidates : sequence of str, optional
        Models to choose from; by default all that can be combined so. Their order breaks ties.
    start : sequence of str, optional
        Members given beforehand; selection goes on from them.
    replacement : bool, optional
        Whether a member may be chosen again, which raises its weight. By default so for probabilities; not
        for votes, where a member with half of the weight decides alone, and then at most as many members are
        chosen as there are candidates.
    calibrate : bool, optional
        Fit one temperature a model on the selection split first: done by default, and refused with votes,
        which no temperature changes.
    temperatures : mapping of str to float, or Calibration, optional
        Temperature of each model, fitted before: by hand, or what `dissensus.calibrate` returned. Nothing is
        fitted then; that none of the examples reported on took part is checked of a `Calibration` alone.
    where : str, optional
        Calibrate, select and report only on examples for which this expression over their columns holds; see
        `Store.where`.
    example_weights : str or (N,) array-like, optional
        What each example of the store counts when temperatures are fitted and members are chosen, weighed
        and reported on, at least 0: an array, or the name of a column of numbers. Only their ratios matter;
        whole numbers count as if examples were repeated: exactly so in accuracy, ties included.
    select, report : str, optional
        Splits of the store, or "all"; "fit" and "report" by default. A store without splits has a seeded,
        stratified "fit" and "report". With `folds`, `select` is what is cut into folds, "all" by default.
    allow_same_split : bool
        Permit the two to share examples; the result is marked.
    labels : str, optional
        Label set that decides what is right; by default the one that `store` goes by. Examples that it does
        not count take no part.
    scheduler : distributed.Client or str, optional
        Dask cluster, or its address as "tcp://host:8786", whose workers calibrate and compare candidates,
        each on some of the examples; they open the store under the same path. By default the threads of this
        process do. Results are the same to the last bit.
    device : str, optional
        Compare candidates by torch on this device ("cpu", "cuda", "cuda:1"), by brute force over all classes:
        the same result. Not for votes.
    progress : bool
        Show progress on stderr.
    **switches
        Options of the search, described at `dissensus.ensemble.Search`: include, exclude, max_members, cost,
        max_cost, sorted_start, beam, patience, best_prefix, prune, bags, bag_fraction, folds, weights, seed.

    Returns
    -------
    Ensemble

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly
    TypeError
        An option that there is not.
    ClusterError, MissingDependency
        The cluster does not answer or is not fit; `scheduler` without the extra `cluster`, `device` without
        torch.

    Notes
    -----
    Caruana et al., "Ensemble Selection from Libraries of Models" (ICML 2004), section 2. Ties: better metric,
    then a member already used, then lower NLL (not of votes), then the earlier candidate. The likelihood of
    an example with several right classes is the sum of their probabilities.

    Examples
    --------
    >>> best = ds.greedy(store, 10, "nll", bags=20, max_members=5)       # doctest: +SKIP
    >>> best = ds.greedy(store, cost="gmacs", max_cost=20, prune=True)   # doctest: +SKIP
    """
    search = Search.of(switches)
    replacement, calibrate = flag("replacement", replacement), flag("calibrate", calibrate)
    way, store = combine_of(combine, metric, calibrate), store.under(labels)
    check_convex(search.weights, metric, combine)
    pool = pool_of(store, way, search, candidates, start)
    again = way.probabilities if replacement is None else replacement
    steps = checked_size(size, pool, search.sorted_start, replacement, again)
    allowed = np.arange(pool.n_candidates)
    task = Task(
        store,
        way,
        pool,
        Steps(steps, metric, pool.first, search.sorted_start, search.beam, search.patience),
        Limits(allowed, again, search.max_members, pool.costs, search.max_cost),
        search,
        way.probabilities if calibrate is None else calibrate,
        _given(temperatures, way, pool, calibrate, search),
        _ends_with_the_best(search, way.probabilities),
        where,
        checked_examples(store, example_weights),
        example_weights if isinstance(example_weights, str) else "given",
    )
    check_limits(pool, search, task.limits)
    with (
        place_of(scheduler, device, way) as place,
        Progress(_n_steps(task), "greedy selection", enabled=progress) as bar,
    ):
        task = replace(task, place=place)

        def advance() -> None:
            bar.advance(1)

        if search.folds is None:
            parts = splits.select_and_report(
                store, select or "fit", report or "report", allow_same_split, where
            )
            refuse_reported(store, temperatures, parts[1], allow_same_split)
            return _split(task, select or "fit", report or "report", parts, advance)
        if report is not None:
            raise ArgumentError(
                f"folds={search.folds} report on every fold in turn: leave out report={report!r}"
            )
        return _crossfitted(task, select or ALL, search.folds, advance)


def _given(
    temperatures: Fitted | None, way: Combine, pool: Pool, calibrate: bool | None, search: Search
) -> dict[str, float] | None:
    if temperatures is None:
        return None
    if not way.probabilities:
        raise ArgumentError("temperatures= change no vote: leave them out, or choose combine='probabilities'")
    return checked_temperatures(temperatures, pool.names, calibrate, search)


def _ends_with_the_best(search: Search, probabilities: bool) -> bool:
    """Whether steps after the best are taken back: where asked for, and with votes, where most steps lose."""
    if search.best_prefix is None:
        return search.patience is not None or not probabilities
    return search.best_prefix


def _n_steps(task: Task) -> int:
    return task.steps.size * (task.search.bags or 1) * ((task.search.folds or 0) + 1)


def _split(
    task: Task, select: str, report: str, parts: tuple[Rows, Rows], advance: Callable[[], None]
) -> Ensemble:
    """Select on one split, report on another."""
    fit, held = parts
    check_weights(task.example_weights, select, fit)
    check_weights(task.example_weights, report, held)
    found = find(task, fit, advance)
    used = {
        "select": {"name": select, "n_examples": len(fit)},
        "report": {"name": report, "n_examples": len(held)},
        "same_examples": bool(np.isin(fit, held).any()),
    }
    return _ensemble(task, found, fit, judge(task, found, held), found.draws, used)


def _crossfitted(task: Task, select: str, n_folds: int, advance: Callable[[], None]) -> Ensemble:
    """Select on all examples; report on each fold what was selected on the others."""
    rows, parts = splits.folds(task.store, select, n_folds, task.search.seed, task.where)
    check_folds(task.example_weights, select, parts)
    searches = [(find(task, others, advance), fold) for others, fold in parts]
    judged = together(task, [judge(task, found, fold) for found, fold in searches], [own for _, own in parts])
    used = {
        "select": {"name": select, "n_examples": len(rows)},
        "report": {"name": f"{n_folds} folds of {select}", "n_examples": len(rows)},
        "same_examples": False,
        "folds": n_folds,
    }
    draws = [draw for found, _ in searches for draw in found.draws]
    return _ensemble(task, find(task, rows, advance), rows, judged, draws, used)


def _ensemble(
    task: Task, found: Found, fit: Rows, judged: Judged, draws: list[Drawn], used: dict[str, Any]
) -> Ensemble:
    names, metric = task.pool.names, task.steps.metric
    curve, equal = pa.table(_curve(task, found, judged.curve)), equal_cost(task, found)
    return Ensemble(
        members=[names[m] for m in found.weights],
        weights=shares(found.weights),
        fit=_on_fit(task, found, fit, curve),
        report=means(judged.ensemble),
        single=names[found.singles[0]],
        single_fit=_single_fit(task, found, fit),
        single_report=means(judged.single),
        interval=_interval(metric, names[found.singles[0]], judged.ensemble, judged.single),
        curve=curve,
        temperatures=found.temperatures,
        metric=metric,
        combine=task.way.name,
        labels=task.store.truth.name,
        splits=used,
        left_out=task.pool.left_out,
        length=found.length,
        stopped=found.stopped,
        dropped=[names[m] for m in found.dropped],
        costs=_costs(task, found),
        equal_cost=None
        if equal is None or judged.equal_cost is None
        else _interval(metric, names[equal], judged.ensemble, judged.equal_cost),
        certificate=found.certificate,
        stability=stability(draws, names) if len(draws) > 1 else None,
        search=task.search.asked | _also_asked(task),
        work=_work(task, found),
    )


def _also_asked(task: Task) -> dict[str, Any]:
    asked = {
        "temperatures": None if task.temperatures is None else "given",
        "example_weights": None if task.example_weights is None else task.weighed_by,
        "where": task.where,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _interval(metric: str, versus: str, ensemble: Values, single: Values) -> Interval:
    return gain_interval(metric, versus, ensemble[metric], single[metric])


def _on_fit(task: Task, found: Found, fit: Rows, curve: pa.Table) -> dict[str, float]:
    """Numbers on the selection rows: of the last step kept, unless members were dropped or weighed after."""
    if found.is_plain:
        return {name: curve[f"fit_{name}"][found.length - 1].as_py() for name in task.judged}
    members = list(found.weights)
    scores = task.scores(members, fit, found.temperatures)
    return means(
        evaluate.standing(
            mixed(scores, dict(enumerate(found.weights.values())), found.state.weights), task.judged
        )
    )


def _single_fit(task: Task, found: Found, fit: Rows) -> dict[str, float]:
    """Numbers of the best single model on the selection rows: of its scores alone, wherever others are."""
    scores = task.scores(found.singles[:1], fit, found.temperatures)
    return means(evaluate.single(scores, 0, task.judged, found.state.weights))


def _costs(task: Task, found: Found) -> Costs | None:
    if task.search.cost is None or task.pool.costs is None:
        return None
    members = {task.pool.names[m]: float(task.pool.costs[m]) for m in found.weights}
    return Costs(task.search.cost, task.limits.cost(found.weights), members, task.search.max_cost)


def _work(task: Task, found: Found) -> pa.Table:
    counts = ("step", "pairs", "pruned", "certified", "open", "resolved")
    given = len(task.steps.first)  # members that were compared with nothing
    works = found.state.work[-len(found.state.chosen) :]  # one a step, after that of a sorted start
    rows = [{"step": given + k, **row} for k, row in enumerate(works[given:], 1)]
    return pa.Table.from_pylist(rows, pa.schema({name: pa.int64() for name in counts}))


def _curve(task: Task, found: Found, reported: Sequence[Values]) -> dict[str, Any]:
    state = found.state
    report = [means(values) for values in reported]
    report = [report[min(step, len(report) - 1)] for step in range(len(state.chosen))]
    curve: dict[str, Any] = {
        "step": np.arange(1, len(state.chosen) + 1),
        "member": [task.pool.names[m] for m in state.chosen],
    }
    for name, scores in state.history.items():
        curve[f"fit_{name}"] = [METRICS[name].value(state, score) for score in scores]
        curve[f"report_{name}"] = [values[name] for values in report]
    if found.bag is not None:
        curve["bag"] = np.array(found.bag) + 1
    if task.search.cost is not None:
        curve["cost"] = [task.limits.cost(state.chosen[: k + 1]) for k in range(len(state.chosen))]
    return curve
