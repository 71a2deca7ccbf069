"""Models that take part in a selection, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, LabelsOnly
from dissensus.store.catalog import Store

from .combine import Combine
from .costs import costs_of
from .limits import Limits
from .switches import Search, whole

BY_VOTE = "combine='votes' (--combine votes)"


@dataclass(frozen=True)
class Pool:
    """Models that take part; everywhere else they are indices into `names`.

    Attributes
    ----------
    names : list of str
        Candidates in tie-breaking order, then members given beforehand that are none.
    n_candidates : int
        How many of them are candidates.
    first : tuple of int
        Members given beforehand: must-haves, then those to start from.
    n_included : int
        How many of these are must-haves.
    costs : (P,) float64 or None
        Cost of each, where one was asked for.
    left_out : list of str
        Models that have hard labels only, which is not enough.
    """

    names: list[str]
    n_candidates: int
    first: tuple[int, ...]
    n_included: int
    costs: NDArray[np.float64] | None
    left_out: list[str]


def pool_of(
    store: Store, way: Combine, search: Search, candidates: Sequence[str] | None, start: Sequence[str] | None
) -> Pool:
    """Candidates and given members, none of them excluded.

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly
    """
    names, left_out = _candidates(store, candidates, way)
    out = [store.model(m).model_id for m in search.exclude]
    names = [m for m in names if m not in out]
    if not names:
        raise ArgumentError(f"exclude leaves no candidates of {len(out)}; exclude fewer")
    must = _given(store, "include", search.include, way)
    first = [*must, *_given(store, "start", start, way)]
    unwanted = [m for m in first if m in out]
    if unwanted:
        raise ArgumentError(f"start names {', '.join(unwanted)}, which exclude forbids; take it out of one")
    if start and search.sorted_start:
        raise ArgumentError("start and sorted_start are two beginnings: give one, or must-haves by include")
    every = [*names, *dict.fromkeys(m for m in first if m not in names)]
    costs = None if search.cost is None else costs_of(store, search.cost, every)
    given = tuple(every.index(m) for m in first)
    return Pool(every, len(names), given, len(must), costs, [m for m in left_out if m not in out])


def _candidates(store: Store, candidates: Sequence[str] | None, way: Combine) -> tuple[list[str], list[str]]:
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


def _given(store: Store, argument: str, names: Sequence[str] | None, way: Combine) -> list[str]:
    """Members given beforehand."""
    if isinstance(names, str):
        raise ArgumentError(f"{argument} must be a list of model ids, got {names!r}; pass [{names!r}]")
    first = [store.model(m).model_id for m in names or ()]
    hard = _hard(store, first) if way.probabilities else []
    if hard:
        raise _labels_only(argument, hard)
    return first


def checked_size(size: int, pool: Pool, sorted_start: int, replacement: bool | None, again: bool) -> int:
    """Steps there will be at most: a size that candidates and given members can make.

    Votes without a word about replacement end when every candidate has one, whatever the size.
    """
    size = whole("size", size, 1, " of members")
    n_first, n_models = len(pool.first), len(pool.names)
    if n_first > size:
        argument = "start" if n_first > pool.n_included else "include"
        raise ArgumentError(f"{argument} names {n_first} members, more than size={size}; raise size")
    if n_first + sorted_start > size or sorted_start > pool.n_candidates:
        raise ArgumentError(
            f"sorted_start={sorted_start} members do not go into size={size} with {n_first} given ones, of "
            f"{pool.n_candidates} candidates; lower it"
        )
    if again:
        return size
    if len(set(pool.first)) < n_first:
        raise ArgumentError("start names a member twice, which replacement=False forbids")
    if size > n_models and replacement is not None:
        raise ArgumentError(
            f"size={size} members without replacement need as many candidates; there are "
            f"{pool.n_candidates}: lower size or allow replacement"
        )
    return size


def check_limits(pool: Pool, search: Search, limits: Limits) -> None:
    """Refuse limits that the given members, or every single candidate, break."""
    if not limits.allows(pool.first):
        cost = f", {search.cost} {limits.cost(pool.first):g}" if search.cost else ""
        raise ArgumentError(
            f"the members given beforehand ({len({*pool.first})} distinct{cost}) break the limits "
            f"(max_members={search.max_members}, max_cost={search.max_cost}); give fewer or raise the limits"
        )
    if not pool.first and not len(limits.after([])) and pool.costs is not None:
        cheapest = int(pool.costs.argmin())
        raise ArgumentError(
            f"max_cost={search.max_cost:g} is less than {search.cost} of any candidate; the cheapest, "
            f"{pool.names[cheapest]}, has {pool.costs[cheapest]:g}: raise max_cost"
        )


def _hard(store: Store, names: Sequence[str]) -> list[str]:
    return [m for m in names if store.model(m).kind == "labels"]


def _labels_only(argument: str, hard: Sequence[str]) -> LabelsOnly:
    return LabelsOnly(
        f"{argument} {', '.join(hard[:5])} ({len(hard)}) have hard labels only; ensembles of "
        f"probabilities need logits or probabilities: leave them out, or pass {BY_VOTE}"
    )
