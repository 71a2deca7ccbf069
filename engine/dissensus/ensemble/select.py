"""`greedy`: check, calibrate, select on one split, report on another."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dissensus.errors import ArgumentError, LabelsOnly, UnknownName
from dissensus.kernels.probabilities import NLL_ONE
from dissensus.run.progress import Progress
from dissensus.store.catalog import Store

from . import calibration
from .evaluate import Evaluation, Values, means
from .members import MemberScores
from .result import Ensemble, gain_interval
from .search import METRICS, RULES, Selection, forward
from .splits import select_and_report


def greedy(
    store: Store,
    size: int = 10,
    metric: str = "accuracy",
    *,
    combine: str = "probabilities",
    candidates: Sequence[str] | None = None,
    start: Sequence[str] | None = None,
    replacement: bool = True,
    calibrate: bool = True,
    select: str = "fit",
    report: str = "report",
    allow_same_split: bool = False,
    progress: bool = False,
) -> Ensemble:
    """Choose an ensemble by greedy forward selection; select on one split, report on another.

    Parameters
    ----------
    store : Store
        Models and examples.
    size : int
        Members to choose, repetitions counted.
    metric : {"accuracy", "nll"}
        What each step improves on the selection split.
    combine : {"probabilities"}
        How members are combined: the mean of their calibrated probabilities.
    candidates : sequence of str, optional
        Models to choose from; all models with logits or probabilities by default. Their order breaks ties.
    start : sequence of str, optional
        Members given beforehand; selection goes on from them.
    replacement : bool
        Whether a member may be chosen again, which raises its weight.
    calibrate : bool
        Fit one temperature a model on the selection split first.
    select, report : str
        Splits of the store, or "all". A store without splits has a seeded, stratified "fit" and "report".
    allow_same_split : bool
        Permit the two to share examples; the result is marked.
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
    then a member already used, then lower NLL, then the earlier candidate.
    """
    size = _whole(size)
    names, left_out = _candidates(store, candidates)
    first = _check(store, names, size, metric, combine, start, replacement)
    fit, held = select_and_report(store, select, report, allow_same_split)
    pool = [*names, *dict.fromkeys(m for m in first if m not in names)]
    temperatures = calibration.temperatures(store, pool, fit) if calibrate else dict.fromkeys(pool, 1.0)
    state = Selection(MemberScores(store, pool, fit, temperatures))
    allowed = np.arange(len(names))
    single = pool[RULES[metric](state, allowed)]
    with Progress(size, "greedy selection", enabled=progress) as bar:
        forward(
            state,
            size=size,
            metric=metric,
            candidates=allowed,
            start=[pool.index(m) for m in first],
            replacement=replacement,
            advance=lambda: bar.advance(1),
        )
    chosen = [pool[i] for i in state.chosen]
    members = list(dict.fromkeys(chosen))
    used = list(dict.fromkeys([*members, single]))
    on_report = Evaluation(store, used, held, temperatures)
    reported, alone = on_report.steps(chosen), on_report.steps([single])[0]
    curve, together = pa.table(_curve(chosen, state, reported)), reported[-1]
    return Ensemble(
        members=members,
        weights=[chosen.count(m) / len(chosen) for m in members],
        fit={name: curve[f"fit_{name}"][-1].as_py() for name in METRICS},
        report=means(together),
        single=single,
        single_fit=means(Evaluation(store, [single], fit, temperatures).steps([single])[0]),
        single_report=means(alone),
        interval=gain_interval(metric, single, together[metric], alone[metric]),
        curve=curve,
        temperatures=temperatures,
        metric=metric,
        splits={
            "select": {"name": select, "n_examples": len(fit)},
            "report": {"name": report, "n_examples": len(held)},
            "same_examples": bool(np.isin(fit, held).any()),
        },
        left_out=left_out,
    )


def _whole(size: int) -> int:
    try:
        members = 0 if isinstance(size, bool) else operator.index(size)
    except TypeError:
        members = 0
    if members < 1:
        raise ArgumentError(f"size must be a whole number of members, at least 1; got {size!r}")
    return members


def _candidates(store: Store, candidates: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Models to choose from, and those left out because they have hard labels only."""
    names = store.resolve(candidates)
    hard = [m for m in names if store.model(m).kind == "labels"]
    if hard and candidates is not None:
        raise LabelsOnly(
            f"candidates {', '.join(hard[:5])} ({len(hard)}) have hard labels only; ensembles of "
            "probabilities need logits or probabilities: leave them out"
        )
    names = [m for m in names if m not in hard]
    if not names and candidates is not None:
        raise ArgumentError("candidates is empty: name at least one model, or None for all")
    if not names:
        kinds = "only models with hard labels" if hard else "no models"
        raise ArgumentError(f"{store.path} holds {kinds}: an ensemble needs logits or probabilities")
    return names, hard


def _check(
    store: Store,
    names: Sequence[str],
    size: int,
    metric: str,
    combine: str,
    start: Sequence[str] | None,
    replacement: bool,
) -> list[str]:
    if metric not in METRICS:
        raise UnknownName.of("metric", str(metric), METRICS)
    if combine != "probabilities":
        raise ArgumentError(f"combine must be 'probabilities', the mean of calibrated ones; got {combine!r}")
    if isinstance(start, str):
        raise ArgumentError(f"start must be a list of model ids, got {start!r}; pass [{start!r}]")
    first = [store.model(m).model_id for m in start or ()]
    if len(first) > size:
        raise ArgumentError(f"start names {len(first)} members, more than size={size}; raise size")
    if not replacement:
        if len(set(first)) < len(first):
            raise ArgumentError("start names a member twice, which replacement=False forbids")
        if size > len({*names, *first}):
            raise ArgumentError(
                f"size={size} members without replacement need as many candidates; there are {len(names)}: "
                "lower size or allow replacement"
            )
    return first


def _curve(chosen: Sequence[str], state: Selection, reported: Sequence[Values]) -> dict[str, Any]:
    n = len(state.scores.labels)
    return {
        "step": np.arange(1, len(chosen) + 1),
        "member": list(chosen),
        "fit_accuracy": np.array(state.hits) / n,
        "report_accuracy": [means(values)["accuracy"] for values in reported],
        "fit_nll": np.array(state.nll) / NLL_ONE / n,
        "report_nll": [means(values)["nll"] for values in reported],
    }
