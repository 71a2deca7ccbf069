"""Named subsets of examples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import UnknownName

Rows = NDArray[np.intp]
ALL = "all"
HALVES = ("fit", "report")
SEED = 0


def halves(labels: NDArray[Any], seed: int = SEED) -> tuple[Rows, Rows]:
    """Split rows into two class-stratified halves: the "fit" and "report" of a store without splits.

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
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)])
    return np.sort(order[::2]), np.sort(order[1::2])


def rows_of(labels: NDArray[Any], splits: NDArray[np.object_] | None, split: str) -> Rows:
    """Sorted rows of a split; "all" is every example, and without splits "fit" and "report" are its halves.

    Raises
    ------
    UnknownName
        Naming the splits there are.
    """
    if split == ALL:
        return np.arange(len(labels))
    if splits is not None and isinstance(split, str) and (splits == split).any():
        return np.flatnonzero(splits == split)
    if splits is None and split in HALVES:
        return halves(labels)[HALVES.index(split)]
    known = HALVES if splits is None else sorted({s for s in splits if s is not None})
    raise UnknownName.of("split", str(split), [*known, ALL])
