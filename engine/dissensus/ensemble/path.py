"""The steps of a search: greedy, or a beam of the best ensembles so far; given members first, limits kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.run.memory import available_bytes

from .limits import Limits
from .ranking import ranked
from .selection import Selection

SIZE, STALLED, EXHAUSTED = "size", "patience", "candidates"  # why a search ended


@dataclass(frozen=True)
class Steps:
    """What a search does at each step.

    Attributes
    ----------
    size : int
        Most members, with repetition.
    metric : str
        What is improved.
    first : tuple of int
        Members given beforehand, in order.
    sorted_start : int
        So many of the best singles follow.
    beam : int
        Ensembles kept.
    patience : int or None
        Steps without a new best after which to stop.
    """

    size: int
    metric: str
    first: tuple[int, ...] = ()
    sorted_start: int = 0
    beam: int = 1
    patience: int | None = None

    @property
    def forced(self) -> int:
        """Steps that are no choice."""
        return len(self.first) + self.sorted_start


def forward(
    empty: Selection, steps: Steps, limits: Limits, advance: Callable[[], None] = lambda: None
) -> tuple[Selection, str]:
    """Best ensemble that the steps lead to, with its whole trajectory, and why they ended.

    Parameters
    ----------
    empty : Selection
        No members yet, on the selection rows; it records the metric.
    steps, limits
        What to do, and what may be chosen.
    advance : callable
        Called after each step.

    Returns
    -------
    Selection
    str
        "size", "patience", or "candidates": no further one was allowed.
    """
    _refuse_too_large(empty, steps.beam)
    beam = [empty.copy()]
    singles = _singles(beam[0], steps, limits)
    while len(beam[0].chosen) < steps.size:
        children = _children(beam, steps, limits, singles)
        if not children:
            return beam[0], EXHAUSTED
        beam = _grown(beam, children)
        advance()
        if steps.patience and _stalled(beam[0].trajectory(steps.metric), steps):
            return beam[0], STALLED
    return beam[0], SIZE


def best_length(scores: Sequence[int], least: int = 1) -> int:
    """Length of the best prefix of a trajectory, the shortest on ties, at least `least`."""
    return max(range(max(1, least), len(scores) + 1), key=lambda k: (scores[k - 1], -k))


def _singles(empty: Selection, steps: Steps, limits: Limits) -> list[int]:
    """All candidates, the best single first; none where no step asks for it."""
    if not steps.sorted_start:
        return []
    return [one.candidate for one in ranked(empty, steps.metric, limits.candidates, len(limits.candidates))]


def _children(
    beam: Sequence[Selection], steps: Steps, limits: Limits, singles: Sequence[int]
) -> list[tuple[int, int]]:
    """(place of the parent in the beam, candidate) of the best ensembles one member larger, best first.

    Those of one parent differ, so that its best `beam` are enough although two parents can make the same.
    """
    found = []
    for place, state in enumerate(beam):
        allowed = _allowed(state.chosen, steps, limits, singles)
        for one in ranked(state, steps.metric, allowed, steps.beam):
            found.append(((*one.key, place, one.candidate), place, one.candidate))
    members: dict[tuple[int, ...], tuple[int, int]] = {}
    for _, place, candidate in sorted(found):
        members.setdefault(tuple(sorted([*beam[place].chosen, candidate])), (place, candidate))
    return list(members.values())[: steps.beam]


def _allowed(chosen: Sequence[int], steps: Steps, limits: Limits, singles: Sequence[int]) -> NDArray[np.intp]:
    step = len(chosen)
    if step < len(steps.first):
        return np.array([steps.first[step]], np.intp)
    allowed = limits.after(chosen)
    if step >= steps.forced:
        return allowed
    new = {*allowed.tolist()} - {*chosen}
    following = np.array([m for m in singles if m in new][:1], np.intp)
    return following if len(following) else allowed  # limits leave members to repeat, if any


def _grown(beam: Sequence[Selection], children: Sequence[tuple[int, int]]) -> list[Selection]:
    """Ensembles with their new members; the last child of a parent takes its place, the others copies."""
    last = {place: k for k, (place, _) in enumerate(children)}
    grown = []
    for k, (place, _) in enumerate(children):
        parent = beam[place]
        grown.append(parent if last[place] == k else parent.copy())
    for state, (_, candidate) in zip(grown, children, strict=True):
        state.add(candidate)
    return grown


def _stalled(scores: Sequence[int], steps: Steps) -> bool:
    latest = max(best_length(scores), steps.forced)
    return len(scores) - latest >= (steps.patience or 0)


def _refuse_too_large(empty: Selection, beam: int) -> None:
    """A beam keeps a sum of every ensemble, and copies: refuse what cannot fit."""
    needed, room = beam * empty.running.n_bytes, available_bytes()
    if beam > 1 and needed > room:
        raise ArgumentError(
            f"beam={beam} needs {needed / 2**30:.1f} GiB for its sums of probabilities, "
            f"{room / 2**30:.1f} GiB are available: lower beam"
        )
