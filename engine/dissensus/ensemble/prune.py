"""Backward removal: members that an ensemble is no worse without."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .members import Scores
from .search import Selection


def pruned(
    scores: Scores, chosen: Sequence[int], metric: str, kept: Collection[int] = ()
) -> tuple[list[int], list[int]]:
    """Drop members, all copies of one at a time, while the loss does not rise.

    Parameters
    ----------
    scores : Scores
        On the selection rows.
    chosen : sequence of int
        Members in the order chosen, with repetition.
    metric : str
    kept : collection of int
        Members never dropped.

    Returns
    -------
    chosen, dropped : list of int
        What is left, in its order, and members in the order dropped: each time the one without which the
        loss is least, the latest chosen on ties.
    """
    left, dropped = list(chosen), []
    loss = _loss(scores, left, metric)
    while len({*left}) > 1:
        removable = [m for m in dict.fromkeys(left) if m not in kept]
        tried = [(_loss(scores, _without(left, m), metric), -k, m) for k, m in enumerate(removable)]
        if not tried or min(tried)[0] > loss:
            break
        loss, _, worst = min(tried)
        left = _without(left, worst)
        dropped.append(worst)
    return left, dropped


def _without(chosen: Sequence[int], member: int) -> list[int]:
    return [m for m in chosen if m != member]


def _loss(scores: Scores, chosen: Sequence[int], metric: str) -> int:
    return Selection.of(scores, chosen).losses(metric)[-1]
