"""Models that are nearly the same: copies, other precisions, neighbouring checkpoints of one training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError

from .query import pairwise

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

    from .result import Pairs

DISTANCE = "label_disagreement"
THRESHOLD = 0.01
SCHEMA = pa.schema(
    [
        ("group", pa.int64()),
        ("models", pa.list_(pa.string())),
        ("accuracies", pa.list_(pa.float64())),
        ("largest_distance", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Group:
    """Models that are nearly the same.

    Attributes
    ----------
    models : tuple of str
        Their ids, in the order of the store.
    accuracies : tuple of float
        Of each.
    largest_distance : float
        Share of examples on which the two most different of them give different classes; above the threshold
        where a chain links them.
    """

    models: tuple[str, ...]
    accuracies: tuple[float, ...]
    largest_distance: float


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-duplicates, the largest first.

    Attributes
    ----------
    groups : tuple of Group
        The groups, of two models or more.
    threshold : float
        Distance up to which two models are linked.
    n_models, n_examples : int
        How many models were compared, on how many examples.
    closest : (str, str, float)
        The two models of the smallest distance, whether linked or not.
    """

    groups: tuple[Group, ...]
    threshold: float
    n_models: int
    n_examples: int
    closest: tuple[str, str, float]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Group:
        """One group, from 0."""
        return self.groups[index]

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def to_arrow(self) -> pa.Table:
        """One row a group: group (from 1), models, accuracies, largest_distance."""
        rows = [
            {"group": number, **{name: getattr(one, name) for name in SCHEMA.names[1:]}}
            for number, one in enumerate(self.groups, 1)
        ]
        return pa.Table.from_pylist(rows, SCHEMA)


def near_duplicates(
    store: Store,
    threshold: float = THRESHOLD,
    *,
    models: Sequence[str] | None = None,
    split: str | None = None,
    mask: ArrayLike | None = None,
    where: str | None = None,
    labels: str | None = None,
    scheduler: Any = None,
) -> Duplicates:
    """Group models that give nearly the same classes.

    Parameters
    ----------
    store : Store
        The predictions; hard labels are enough.
    threshold : float
        Two models are linked where they give different classes on at most this share of the examples;
        0.01 by default, 0 finds exact copies only.
    models, split, mask, where, labels, scheduler : optional
        As in `pairwise`; `labels` decides the accuracies and which examples are counted.

    Returns
    -------
    Duplicates

    Raises
    ------
    ArgumentError, UnknownName, ClusterError
        A threshold outside 0..1; else as `pairwise`.

    Notes
    -----
    Single linkage: a group is whatever links connect, so that the result does not depend on any order, and
    checkpoints of one training make one group though the first and the last may be further apart than the
    threshold (`largest_distance` tells). The same network trained anew from another seed gives other classes
    on several percent of CIFAR-10 and on a sixth of ImageNet; half precision, another batch size or format
    of the same weights on a few in a thousand. Where models are wrong on less than the threshold, they agree
    so far by being right: lower it.

    Examples
    --------
    >>> ds.near_duplicates(store, 0.005).to_arrow()  # doctest: +SKIP
    """
    if not 0 <= threshold <= 1:
        raise ArgumentError(f"threshold must lie in 0..1, as 0.01 for one in a hundred; got {threshold}")
    chosen: dict[str, Any] = {"models": models, "split": split, "mask": mask, "where": where}
    pairs = pairwise(store, DISTANCE, **chosen, labels=labels, scheduler=scheduler)
    distance = pairs[DISTANCE]
    linked = distance <= threshold + 1e-12  # a count over n, rounded once
    groups = [_group(pairs, members) for members in _components(linked) if len(members) > 1]
    groups.sort(key=lambda one: (-len(one.models), one.models))
    rows, columns = np.triu_indices(len(distance), 1)
    first = int(distance[rows, columns].argmin())
    a, b = rows[first], columns[first]
    closest = (pairs.model_ids[a], pairs.model_ids[b], float(distance[a, b]))
    return Duplicates(tuple(groups), threshold, len(distance), pairs.counts.n, closest)


def _components(linked: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Indices of each connected part of a graph."""
    left = np.ones(len(linked), bool)
    for start in range(len(linked)):
        if not left[start]:
            continue
        part, fresh = np.zeros(len(linked), bool), np.zeros(len(linked), bool)
        fresh[start] = True
        while fresh.any():
            part |= fresh
            fresh = linked[fresh].any(axis=0) & ~part
        left &= ~part
        yield np.flatnonzero(part)


def _group(pairs: Pairs, members: NDArray[np.intp]) -> Group:
    names = tuple(pairs.model_ids[i] for i in members)
    largest = float(pairs[DISTANCE][np.ix_(members, members)].max())
    return Group(names, tuple(float(pairs.accuracy[i]) for i in members), largest)
