"""What a selection is asked for, checked before any work."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from dissensus.errors import ArgumentError, LabelsOnly
from dissensus.store.catalog import Store

from .combine import Combine

BY_VOTE = "combine='votes' (--combine votes)"


def whole(size: int) -> int:
    """Size as a number of members, at least 1."""
    try:
        members = 0 if isinstance(size, bool) else operator.index(size)
    except TypeError:
        members = 0
    if members < 1:
        raise ArgumentError(f"size must be a whole number of members, at least 1; got {size!r}")
    return members


def candidates_of(
    store: Store, candidates: Sequence[str] | None, way: Combine
) -> tuple[list[str], list[str]]:
    """Models to choose from, and those left out because they have hard labels only."""
    names = store.resolve(candidates)
    if not names and candidates is not None:
        raise ArgumentError("candidates is empty: name at least one model, or None for all")
    if not names:
        raise ArgumentError(
            f"{store.path} holds no models: an ensemble needs logits or probabilities, or hard labels to vote"
        )
    hard = _hard(store, names) if way.probabilities else []
    if hard and candidates is not None:
        raise _labels_only("candidates", hard)
    if len(hard) == len(names):
        raise LabelsOnly(
            f"{store.path} holds only models with hard labels: pair statistics work, "
            f"and so do ensembles by vote: pass {BY_VOTE}"
        )
    return [m for m in names if m not in hard], hard


def start_of(store: Store, start: Sequence[str] | None, way: Combine) -> list[str]:
    """Members given beforehand."""
    if isinstance(start, str):
        raise ArgumentError(f"start must be a list of model ids, got {start!r}; pass [{start!r}]")
    first = [store.model(m).model_id for m in start or ()]
    hard = _hard(store, first) if way.probabilities else []
    if hard:
        raise _labels_only("start", hard)
    return first


def check_size(size: int, names: Sequence[str], first: Sequence[str], replacement: bool) -> None:
    """Refuse a size that the candidates and first members cannot make."""
    if len(first) > size:
        raise ArgumentError(f"start names {len(first)} members, more than size={size}; raise size")
    if replacement:
        return
    if len(set(first)) < len(first):
        raise ArgumentError("start names a member twice, which replacement=False forbids")
    if size > len({*names, *first}):
        raise ArgumentError(
            f"size={size} members without replacement need as many candidates; there are {len(names)}: "
            "lower size or allow replacement"
        )


def _hard(store: Store, names: Sequence[str]) -> list[str]:
    return [m for m in names if store.model(m).kind == "labels"]


def _labels_only(argument: str, hard: Sequence[str]) -> LabelsOnly:
    return LabelsOnly(
        f"{argument} {', '.join(hard[:5])} ({len(hard)}) have hard labels only; ensembles of "
        f"probabilities need logits or probabilities: leave them out, or pass {BY_VOTE}"
    )
