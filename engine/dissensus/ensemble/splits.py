"""Which examples select and which report, so that nobody reports on what was selected on by accident."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, UnknownName
from ..store.catalog import Store

Rows = NDArray[np.intp]
ALL = "all"
SEED = 0


def halves(labels: NDArray[Any], seed: int = SEED) -> tuple[Rows, Rows]:
    """Split rows into two class-stratified halves: the default `fit` and `report` of a store without splits.

    Parameters
    ----------
    labels : (N,) int
        True classes.
    seed : int
        Seed of the shuffle within each class.

    Returns
    -------
    fit, report : (n,) intp
        Sorted rows; every class is halved, the odd example of a class going to either in turn.
    """
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    order = np.concatenate(shuffled)
    return np.sort(order[::2]), np.sort(order[1::2])


def rows_of(store: Store, split: str) -> Rows:
    """Rows of a split of the store; "all" is every example.

    A store without splits has "fit" and "report" too: its stratified halves.

    Raises
    ------
    UnknownName
        Naming the splits there are.
    """
    splits = store.splits
    if splits is not None and (splits == split).any():
        return np.flatnonzero(splits == split)
    if split == ALL:
        return np.arange(store.n_examples)
    if splits is None and split in ("fit", "report"):
        return halves(store.labels)[split == "report"]
    known = ["fit", "report"] if splits is None else sorted({s for s in splits if s is not None})
    raise UnknownName.of("split", split, [*known, ALL])


def select_and_report(store: Store, select: str, report: str, allow_same_split: bool) -> tuple[Rows, Rows]:
    """Rows to select on and rows to report on.

    Raises
    ------
    ArgumentError
        They share examples and this was not allowed explicitly.
    UnknownName
    """
    fit, held = rows_of(store, select), rows_of(store, report)
    shared = len(np.intersect1d(fit, held))
    if shared and not allow_same_split:
        raise ArgumentError(
            f"select={select!r} and report={report!r} share {shared} examples: numbers reported on what "
            "chose the members are too good; choose two splits, or allow_same_split=True (--allow-same-split)"
        )
    return fit, held
