"""Backward removal: members that an ensemble is no worse without."""

from __future__ import annotations

from collections.abc import Collection

from .metrics import METRICS
from .selection import Selection


def pruned(state: Selection, metric: str, kept: Collection[int] = ()) -> tuple[Selection, list[int]]:
    """Drop members, all copies of one at a time, while the score does not fall.

    Parameters
    ----------
    state : Selection
        The ensemble on the selection rows; it stays as it is.
    metric : str
    kept : collection of int
        Members never dropped.

    Returns
    -------
    Selection
        What is left, in its order.
    dropped : list of int
        Members in the order dropped: each time the one without which the score is best, the latest chosen on
        ties.
    """
    dropped: list[int] = []
    while len({*state.chosen}) > 1:
        removable = [m for m in dict.fromkeys(state.chosen) if m not in kept]
        scores = [METRICS[metric].now(without(state, m)) for m in removable]
        if not scores or max(scores) < METRICS[metric].now(state):
            break
        worst = removable[max(range(len(scores)), key=lambda place: (scores[place], place))]
        state = without(state, worst)
        dropped.append(worst)
    return state, dropped


def without(state: Selection, member: int) -> Selection:
    """Return the same ensemble without any copy of a member."""
    less = state.copy()
    for place in reversed([k for k, m in enumerate(state.chosen) if m == member]):
        less.drop(place)
    return less
