"""How members are combined: what each way needs of a model, and what it can be judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dissensus.errors import ArgumentError, UnknownName
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from .members import LogitScores, MemberScores, Scores, VoteScores
from .metrics import METRICS


@dataclass(frozen=True)
class Combine:
    """One way of combining members.

    Attributes
    ----------
    name : str
        What it is asked for by.
    summary : str
        What it is, in a few words.
    probabilities : bool
        Whether members need probabilities, which then can be calibrated; hard labels are enough otherwise.
    metrics : tuple of str
        What it can be judged by.
    scores : callable
        (store, models, rows, temperatures, budget_bytes=None) to the candidates' `Scores`.
    """

    name: str
    summary: str
    probabilities: bool
    metrics: tuple[str, ...]
    scores: Callable[..., Scores]

    def judged_by(self, metric: str) -> list[str]:
        """Metrics to report: accuracy, NLL where there is one, and the one asked for."""
        usual = [name for name in ("accuracy", "nll") if name in self.metrics]
        return list(dict.fromkeys([*usual, metric]))


def _votes(
    store: Store,
    models: Sequence[str],
    rows: Rows,
    temperatures: Mapping[str, float],
    budget_bytes: int | None = None,
) -> Scores:
    """No temperature changes which class is first, and votes take little memory."""
    return VoteScores(store, models, rows)


COMBINE = {
    way.name: way
    for way in (
        Combine(
            "probabilities", "the mean of calibrated probabilities", True, MemberScores.metrics, MemberScores
        ),
        Combine("logits", "the mean of calibrated logits", True, LogitScores.metrics, LogitScores),
        Combine("votes", "the plurality of top-1 classes", False, VoteScores.metrics, _votes),
    )
}


def combine_of(combine: str, metric: str, calibrate: bool | None) -> Combine:
    """Way of that name, which has the metric and can be calibrated if this is wanted.

    Raises
    ------
    ArgumentError, UnknownName
    """
    if not isinstance(combine, str) or combine not in COMBINE:
        ways = " or ".join(f"{way.name!r} ({way.summary})" for way in COMBINE.values())
        raise ArgumentError(f"combine must be {ways}; got {combine!r}")
    way = COMBINE[combine]
    if not isinstance(metric, str) or metric not in METRICS:
        raise UnknownName.of("metric", str(metric), METRICS)
    if metric not in way.metrics:
        raise ArgumentError(
            f"metric={metric!r} needs probabilities, and combine={combine!r} has none; "
            "choose metric='accuracy' or combine='probabilities'"
        )
    if calibrate and not way.probabilities:
        raise ArgumentError(
            f"calibrate={calibrate!r} changes no vote, since a temperature never changes the first class; "
            "leave it out, or choose combine='probabilities'"
        )
    return way
