"""How often two models predict the same class: counts beyond the 2x2 table of right and wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.run.devices import LOCAL, Backend

from .counts import Counts

# what each is: examples that get the same class; those of them where it is wrong; those that two independent
# models with these shares of classes would give the same class, times n (an integer)
LABEL_STATISTICS = ("same_label", "same_wrong_label", "chance_label")


def label_counts(
    top1: NDArray[Any],
    correct: NDArray[np.bool_],
    n_classes: int,
    mask: NDArray[np.bool_] | None,
    wanted: Collection[str] = LABEL_STATISTICS,
    backend: Backend = LOCAL,
) -> Mapping[str, Counts]:
    """Count for all pairs what is wanted of `LABEL_STATISTICS`, exactly.

    Parameters
    ----------
    top1 : (M, N) int
        Predicted classes.
    correct : (M, N) bool
        Whether they are right: by one class or a set of them, whatever decides it.
    n_classes : int
        Number of classes.
    mask : (N,) bool or None
        Examples to count; all for None.
    wanted : collection of str
        Some of `LABEL_STATISTICS`; others are passed over.
    backend : Backend
        Counts the pairs.

    Returns
    -------
    mapping of str to (M, M) int64
        Symmetric. All but "chance_label" are additive over disjoint sets of examples.

    Examples
    --------
    >>> top1, labels = np.array([[0, 1, 2, 2], [0, 1, 1, 2]]), np.array([0, 0, 0, 0])
    >>> found = label_counts(top1, top1 == labels, 3, None)
    >>> {name: int(counts[0, 1]) for name, counts in found.items()}
    {'same_label': 3, 'same_wrong_label': 2, 'chance_label': 5}
    """
    found: dict[str, Counts] = {}
    if {"same_label", "same_wrong_label"} & {*wanted}:
        found |= _same(top1, correct, n_classes, mask, wanted, backend)
    if "chance_label" in wanted:
        shares = _histograms(top1, n_classes, mask)
        found["chance_label"] = shares @ shares.T
    return MappingProxyType(found)


def _same(
    top1: NDArray[Any],
    correct: NDArray[np.bool_],
    n_classes: int,
    mask: NDArray[np.bool_] | None,
    wanted: Collection[str],
    backend: Backend,
) -> dict[str, Counts]:
    from dissensus.kernels.bits import pack, pack_labels

    planes, found = pack_labels(top1, n_classes), {}
    kept = pack(np.ones((1, top1.shape[1]), np.bool_) if mask is None else mask[None, :])
    if "same_label" in wanted:
        found["same_label"] = backend.same(planes, np.repeat(kept, len(planes), axis=0))
    if "same_wrong_label" in wanted:
        found["same_wrong_label"] = backend.same(planes, pack(~correct) & kept)
    return found


def _histograms(top1: NDArray[Any], n_classes: int, mask: NDArray[np.bool_] | None) -> Counts:
    """How often each model predicts each class, (M, C)."""
    rows = (row if mask is None else row[mask] for row in top1)
    return np.array([np.bincount(row, minlength=n_classes) for row in rows], np.int64)
