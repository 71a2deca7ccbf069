"""Metrics as declared objects: an integer score that selection compares, and what people read.

Scores are exact integers, larger is better: blocks, threads and machines change nothing, and a tie is a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels.candidates import NLL_ONE
from dissensus.kernels.probabilities import ONE, TINIEST

from .gram import BRIER_ONE
from .running import leading

if TYPE_CHECKING:
    from .selection import Selection
    from .weights import Weights

Indices = NDArray[np.intp]
Integers = NDArray[Any]  # int64, or Python integers


@dataclass(frozen=True)
class Metric:
    """What an ensemble is judged by.

    Attributes
    ----------
    name, summary : str
        What it is asked for by, and what it is.
    rises : bool
        Whether people read a larger value as better.
    looks_at_classes : bool
        Whether its score follows from the sums of all classes, not of the right ones or of weights alone.
    if_added : callable
        (state, candidates) to the score with each of them added, (len(candidates),) int64 or Python integers.
    leaders : callable
        (state, candidates) to those of them whose score is the largest, in the order given: the same as by
        `if_added`, often for much less work.
    now : callable
        State to the score as it stands.
    value : callable
        (state, score) to the value that people read, a mean over examples.
    values : callable
        State to each example's contribution, (n,) float64, larger is better: their mean is the value, or its
        negative where the metric does not rise.
    """

    name: str
    summary: str
    rises: bool
    looks_at_classes: bool
    if_added: Callable[[Selection, Indices], Integers]
    leaders: Callable[[Selection, Indices], Indices]
    now: Callable[[Selection], int]
    value: Callable[[Selection, int], float]
    values: Callable[[Selection], NDArray[np.float64]]


def _hits_if_added(state: Selection, candidates: Indices) -> Integers:
    return state.running.hits_if_added(candidates, state.weights.each)


def _balanced_if_added(state: Selection, candidates: Indices) -> Integers:
    return state.running.hits_if_added(candidates, state.balanced.each)


def _nll_if_added(state: Selection, candidates: Indices) -> Integers:
    return -state.nll_if_added(candidates)


def _brier_if_added(state: Selection, candidates: Indices) -> Integers:
    return state.scores.gram(state.weights).scores(state.counts, candidates)


def _brier_values(state: Selection) -> NDArray[np.float64]:
    out, labels, total = np.empty(len(state.scores.truth)), state.scores.truth.labels, state.total
    for start in range(0, len(out), 1024):
        part = total[start : start + 1024] / (state.size * ONE)
        part[np.arange(len(part)), labels[start : start + 1024]] -= 1
        out[start : start + 1024] = -(part**2).sum(axis=1)
    return out * (state.weights.each * (len(out) / state.weights.total))


def _share_right(
    name: str,
    summary: str,
    if_added: Callable[[Selection, Indices], Integers],
    weights: Callable[[Selection], Weights],
) -> Metric:
    """Share of the examples right, each counted by a whole-number weight."""
    return Metric(
        name=name,
        summary=summary,
        rises=True,
        looks_at_classes=True,
        if_added=if_added,
        leaders=lambda state, candidates: state.running.leaders(candidates, weights(state).each),
        now=lambda state: int(weights(state).each[state.right].sum()),
        value=lambda state, score: score / weights(state).total,
        values=lambda state: state.right * (weights(state).each * (len(state.right) / weights(state).total)),
    )


ACCURACY = _share_right("accuracy", "share of examples right", _hits_if_added, lambda state: state.weights)
BALANCED_ACCURACY = _share_right(
    "balanced_accuracy",
    "mean over classes of the share right",
    _balanced_if_added,
    lambda state: state.balanced,
)
NLL = Metric(
    name="nll",
    summary="mean negative log-likelihood, in nats",
    rises=False,
    looks_at_classes=False,
    if_added=_nll_if_added,
    leaders=lambda state, candidates: state.nll_leaders(candidates),
    now=lambda state: -state.nll_now(),
    value=lambda state, score: -score / NLL_ONE / len(state.scores.truth),
    values=lambda state: (
        (np.log(np.maximum(state.truth_sum, TINIEST)) - np.log(state.size))  # clamped as when selecting
        * (state.weights.each * (1 / state.weights.unit))
    ),
)
BRIER = Metric(
    name="brier",
    summary="mean over examples of the squared distance from the truth, 0 to 2",
    rises=False,
    looks_at_classes=False,
    if_added=_brier_if_added,
    leaders=lambda state, candidates: leading(candidates, _brier_if_added(state, candidates)),
    now=lambda state: int(state.scores.gram(state.weights).scores(state.counts, None)[0]),
    value=lambda state, score: -score / BRIER_ONE / state.weights.total,
    values=_brier_values,
)
METRICS = {metric.name: metric for metric in (ACCURACY, NLL, BALANCED_ACCURACY, BRIER)}


def best_candidate(state: Selection, metric: str, candidates: Indices) -> int:
    """Return the largest score; then a member already used; then lower NLL (if any); then the earlier one."""
    tied = METRICS[metric].leaders(state, candidates)
    used = tied[np.isin(tied, state.chosen)]
    tied = used if len(used) else tied
    if len(tied) == 1 or not state.has_nll:
        return int(tied[0])
    return int(tied[state.nll_if_added(tied).argmin()])
