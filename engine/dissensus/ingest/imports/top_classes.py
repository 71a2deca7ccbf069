"""Tables of the first classes of each example and their scores, as timm's inference.py writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrow_types import is_list, is_text
from .names import TOP_CLASSES, TOP_SCORES
from .table_file import TableFile

NOTE = "the file has the first {} classes of each example with their scores: only the first is kept, as label"


def find_top(table: TableFile, names: Sequence[str], classes: Sequence[str]) -> tuple[str, int] | None:
    """Column of the first class of each example, and how many the table has; None of another table.

    There are columns of classes, "index" or "label", and of their scores, "prob": one of each, of lists, or
    numbered from 0. Scores that do not fall in every row are no such scores.
    """
    scores = _first(table, names, TOP_SCORES)
    if scores is None:
        return None
    for base in TOP_CLASSES:
        found = _first(table, names, (base,))
        if found is not None and _are_alike(table, found, scores) and _are_classes(table, found[0], classes):
            width = _falling(table, scores)
            return None if width is None else (found[0], width)
    return None


def _first(table: TableFile, names: Sequence[str], bases: Sequence[str]) -> list[str] | None:
    """Column of one of these names, or those numbered from 0."""
    lower = {name.lower(): name for name in names}
    for base in bases:
        if base in lower:
            return [lower[base]]
        numbers = sorted(int(n[len(base) + 1 :]) for n in lower if re.fullmatch(rf"{base}_\d+", n))
        if len(numbers) > 1 and numbers == list(range(len(numbers))):
            return [lower[f"{base}_{i}"] for i in numbers]
    return None


def _are_alike(table: TableFile, found: Sequence[str], scores: Sequence[str]) -> bool:
    """Whether there are as many classes as scores: a class beside a list of scores is the right answer."""
    kinds = [table.schema.field(names[0]).type for names in (found, scores)]
    return len(found) == len(scores) and is_list(kinds[0]) == is_list(kinds[1])


def _are_classes(table: TableFile, name: str, classes: Sequence[str]) -> bool:
    """Whether a column holds class numbers, or names of which the first is a class."""
    kind = table.schema.field(name).type
    inner = kind.value_type if is_list(kind) else kind
    if not is_text(inner):
        return bool(pa.types.is_integer(inner) or (pa.types.is_floating(inner) and is_list(kind)))
    batch = next(iter(table.batches([name])), None)
    value = None if batch is None or not batch.num_rows else batch.column(0)[0].as_py()
    return (value[0] if isinstance(value, list) and value else value) in classes


def _falling(table: TableFile, names: Sequence[str]) -> int | None:
    """How many scores each of the first rows has, if they fall from the first to the last."""
    batch = next(iter(table.batches(names)), None)
    if batch is None or not batch.num_rows:
        return None
    columns = [column.to_pylist() for column in batch.columns]
    rows = (
        columns[0]
        if is_list(batch.schema.field(0).type)
        else [list(row) for row in zip(*columns, strict=True)]
    )
    try:
        scores: NDArray[np.float64] = np.array(rows, float)
    except (TypeError, ValueError):
        return None
    return scores.shape[1] if scores.ndim == 2 and bool((np.diff(scores, axis=1) <= 0).all()) else None
