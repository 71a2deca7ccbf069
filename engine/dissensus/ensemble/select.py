"""`greedy`: check, calibrate, select on one split, report on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dissensus.run.progress import Progress
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from . import calibration
from .checks import candidates_of, check_size, start_of, whole
from .combine import Combine, combine_of
from .evaluate import Values, means, steps
from .metrics import METRICS, best_candidate
from .result import Ensemble, gain_interval
from .search import forward
from .selection import Selection
from .splits import select_and_report


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
    select: str = "fit",
    report: str = "report",
    allow_same_split: bool = False,
    labels: str | None = None,
    progress: bool = False,
) -> Ensemble:
    """Choose an ensemble by greedy forward selection; select on one split, report on another.

    Parameters
    ----------
    store : Store
        Models and examples.
    size : int
        Members to choose, repetitions counted.
    metric : {"accuracy", "nll", "balanced_accuracy"}
        What each step improves on the selection split; votes have no NLL.
    combine : {"probabilities", "votes"}
        How members are combined: the mean of their calibrated probabilities, or the plurality of their top-1
        classes, for which hard labels are enough. Classes that tie go to the lowest, as in scikit-learn's
        VotingClassifier with ``voting="hard"``.
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
    select, report : str
        Splits of the store, or "all". A store without splits has a seeded, stratified "fit" and "report".
    allow_same_split : bool
        Permit the two to share examples; the result is marked.
    labels : str, optional
        Label set that decides what is right; by default the one that `store` goes by. Examples that it does
        not count take no part.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Ensemble

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly

    Notes
    -----
    Caruana et al., "Ensemble Selection from Libraries of Models" (ICML 2004), section 2. Ties: better metric,
    then a member already used, then lower NLL (not of votes), then the earlier candidate. The likelihood of
    an example with several right classes is the sum of their probabilities.
    """
    way, size, store = combine_of(combine, metric, calibrate), whole(size), store.under(labels)
    names, left_out = candidates_of(store, candidates, way)
    first = start_of(store, start, way)
    again = way.probabilities if replacement is None else replacement
    if replacement is None and not again:
        size = min(size, len({*names, *first}))
    check_size(size, names, first, again)
    fit, held = select_and_report(store, select, report, allow_same_split)
    pool = [*names, *dict.fromkeys(m for m in first if m not in names)]
    calibrated = way.probabilities if calibrate is None else calibrate
    temperatures = calibration.temperatures(store, pool, fit) if calibrated else dict.fromkeys(pool, 1.0)
    judged = way.judged_by(metric)
    state = Selection(way.scores(store, pool, fit, temperatures), recorded=judged)
    allowed = np.arange(len(names))
    single = best_candidate(state, metric, allowed)
    with Progress(size, "greedy selection", enabled=progress) as bar:
        forward(
            state,
            size=size,
            metric=metric,
            candidates=allowed,
            start=[pool.index(m) for m in first],
            replacement=again,
            advance=lambda: bar.advance(1),
        )
    chosen = [pool[i] for i in state.chosen]
    together, alone = _on_report(store, way, held, temperatures, chosen, pool[single], judged)
    curve, members = pa.table(_curve(chosen, state, together)), list(dict.fromkeys(chosen))
    return Ensemble(
        members=members,
        weights=[chosen.count(m) / len(chosen) for m in members],
        fit={name: curve[f"fit_{name}"][-1].as_py() for name in judged},
        report=means(together[-1]),
        single=pool[single],
        single_fit=means(steps(state.scores, [single], judged)[0]),
        single_report=means(alone),
        interval=gain_interval(metric, pool[single], together[-1][metric], alone[metric]),
        curve=curve,
        temperatures=temperatures,
        metric=metric,
        combine=combine,
        labels=store.truth.name,
        splits={
            "select": {"name": select, "n_examples": len(fit)},
            "report": {"name": report, "n_examples": len(held)},
            "same_examples": bool(np.isin(fit, held).any()),
        },
        left_out=left_out,
    )


def _on_report(
    store: Store,
    way: Combine,
    rows: Rows,
    temperatures: Mapping[str, float],
    chosen: Sequence[str],
    single: str,
    judged: Sequence[str],
) -> tuple[list[Values], Values]:
    """Values on other rows: of the ensemble after each step, and of the single model."""
    used = list(dict.fromkeys([*chosen, single]))
    scores = way.scores(store, used, rows, temperatures)
    together = steps(scores, [used.index(m) for m in chosen], judged)
    return together, steps(scores, [used.index(single)], judged)[0]


def _curve(chosen: Sequence[str], state: Selection, reported: Sequence[Values]) -> dict[str, Any]:
    report = [means(values) for values in reported]
    curve: dict[str, Any] = {"step": np.arange(1, len(chosen) + 1), "member": list(chosen)}
    for name, scores in state.history.items():
        curve[f"fit_{name}"] = [METRICS[name].value(state, score) for score in scores]
        curve[f"report_{name}"] = [values[name] for values in report]
    return curve
