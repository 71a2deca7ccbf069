"""What each example counts in a selection, and how many members its sums hold: checked before any work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, UnknownName
from dissensus.kernels import probabilities as kernel
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from .weights import Weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .found import Task


def checked_examples(store: Store, given: str | ArrayLike | None) -> NDArray[np.float64] | None:
    """Weight of every example of the store, (N,) float64.

    Raises
    ------
    ArgumentError
        They are no numbers of at least 0.
    UnknownName
        No column of that name.
    """
    if given is None:
        return None
    values = _column(store, given) if isinstance(given, str) else np.asarray(given)
    Weights.of(values, store.n_examples)
    return values.astype(np.float64)


def _column(store: Store, name: str) -> NDArray[np.float64]:
    table = store.examples()
    if name not in table.column_names:
        raise UnknownName.of("column", name, table.column_names)
    column = table[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) or column.null_count:
        missing = f"{column.null_count} of them missing" if column.null_count else f"it holds {column.type}"
        raise ArgumentError(
            f"example_weights={name!r} must be a column with a number for every example; {missing}"
        )
    return np.asarray(column.to_numpy(), np.float64)


def check_weights(
    given: NDArray[np.float64] | None,
    split: str,
    rows: Rows,
    instead: str = "another split (select=, report=)",
) -> None:
    """Refuse weights that are all 0 on a split, before any work.

    Raises
    ------
    ArgumentError
    """
    if given is not None and not given[rows].any():
        raise ArgumentError(
            f"example_weights are all 0 on the {len(rows):,} examples of split {split!r} that take part: "
            f"give others, or choose {instead}"
        )


def check_folds(given: NDArray[np.float64] | None, select: str, parts: Sequence[tuple[Rows, Rows]]) -> None:
    """Refuse weights that are all 0 on a fold, or on all but one, before any work.

    Raises
    ------
    ArgumentError
    """
    for k, (others, own) in enumerate(parts, 1):
        check_weights(given, f"{select} without fold {k}", others, "fewer folds")
        check_weights(given, f"fold {k} of {select}", own, "fewer folds")


def weights_of(given: NDArray[np.float64] | None, rows: Rows) -> Weights | None:
    """What each of these rows counts; None: all the same."""
    return None if given is None else Weights.of(given[rows], len(rows))


def fold_means(given: NDArray[np.float64] | None, folds: Sequence[Rows]) -> list[float]:
    """Mean weight of each fold, of all folds' mean: what a fold's own weights, of mean 1, lack."""
    if given is None:
        return [1.0] * len(folds)
    most = given[np.concatenate(folds)].max()  # no sum overflows
    means = [float((given[fold] / most).mean()) for fold in folds]
    overall = np.average(means, weights=[len(fold) for fold in folds])
    return [float(mean / overall) for mean in means]


def check_members(task: Task, temperatures: Mapping[str, float]) -> None:
    """Refuse more members than an int64 sum of logits holds, at the coldest of their temperatures.

    Raises
    ------
    ArgumentError
    """
    if task.way.name != "logits":
        return
    coldest = min(temperatures.values())
    most = math.floor(2**62 / (-kernel.LOWEST / coldest * kernel.LOGIT_ONE))
    size = task.steps.size * (task.search.bags or 1)
    if size > most:
        raise ArgumentError(
            f"combine='logits' sums at most {most:,} members exactly at temperature {coldest:g}; "
            f"{size:,} are asked for: lower size, or combine='probabilities'"
        )
