"""Which examples select and which report, so that nobody reports on what was selected on by accident."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

MOST_EXAMPLES = 3_000_000  # fixed-point NLL of more could overflow int64 if all were at the floor


class SplitWarning(UserWarning):
    """Selection lacks examples of some class."""


def select_and_report(
    store: Store, select: str, report: str, allow_same_split: bool, where: str | None = None
) -> tuple[Rows, Rows]:
    """Rows to select on and rows to report on.

    Raises
    ------
    ArgumentError
        They share examples and this was not allowed explicitly.
    UnknownName
    """
    fit, held = _rows(store, "select", select, where), _rows(store, "report", report, where)
    shared = len(np.intersect1d(fit, held))
    if shared and not allow_same_split:
        raise ArgumentError(
            f"select={select!r} and report={report!r} share {shared} examples: numbers reported on what "
            "chose the members are too good; choose two splits, or allow_same_split=True (--allow-same-split)"
        )
    _tell_unseen(store, select, fit, held)
    return fit, held


def folds(
    store: Store, select: str, n_folds: int, seed: int, where: str | None = None
) -> tuple[Rows, list[tuple[Rows, Rows]]]:
    """Rows of a split, and for each stratified fold of them (all others, its own).

    Raises
    ------
    ArgumentError
        Fewer examples than folds.
    UnknownName
    """
    rows = _rows(store, "select", select, where)
    if len(rows) < n_folds:
        raise ArgumentError(f"folds={n_folds} need as many examples; select={select!r} has {len(rows)}")
    classes, rng = _first_classes(store, rows), np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(classes == c)) for c in np.unique(classes)])
    fold = np.empty(len(rows), np.intp)
    fold[order] = np.arange(len(rows)) % n_folds
    parts = [(rows[fold != k], rows[fold == k]) for k in range(n_folds)]
    for k, (others, own) in enumerate(parts, 1):
        _tell_unseen(store, f"{select} without fold {k}", others, own)
    return rows, parts


def _rows(store: Store, argument: str, split: str, where: str | None) -> Rows:
    rows = store.rows(split, where)
    if not 0 < len(rows) <= MOST_EXAMPLES:
        chosen = "" if where is None else f" where {where}"
        raise ArgumentError(
            f"{argument}={split!r} has {len(rows)} examples{chosen} counted under labels "
            f"{store.truth.name!r}; "
            f"it needs at least 1, at most {MOST_EXAMPLES:,}"
        )
    return rows


def _first_classes(store: Store, rows: Rows) -> NDArray[np.int32]:
    """Lowest right class of each example, none of them without."""
    truth = store.truth.take(rows)
    return np.asarray(truth.classes[truth.offsets[:-1]])


def _tell_unseen(store: Store, select: str, fit: Rows, held: Rows) -> None:
    """Warn where classes that are reported on have no example to select on."""
    unseen = np.setdiff1d(store.truth.take(held).classes, store.truth.take(fit).classes)
    if len(unseen):
        names = ", ".join(str(store.classes[c]) for c in unseen[:5])
        warnings.warn(
            f"{len(unseen)} classes of the examples reported on have none in select={select!r} "
            f"({names}{' …' if len(unseen) > 5 else ''}): members were not chosen for them",
            SplitWarning,
            stacklevel=4,
        )
