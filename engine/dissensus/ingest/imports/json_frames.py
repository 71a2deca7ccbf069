"""Frames in JSON, as `DataFrame.to_json` writes them in its orients and experiment trackers their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .files import reading
from .names import IDS, LOGITS, PREDICTIONS, PROBABILITIES, TOP_CLASSES, TOP_SCORES, TRUTH
from .nested_json import scores_by_class, table_of_records

INDEX = "__index_level_0__"  # as Parquet files of pandas have it
_KNOWN = frozenset((*IDS, *LOGITS, *PROBABILITIES, *PREDICTIONS, *TRUTH, *TOP_CLASSES, *TOP_SCORES))


def table_of_frame(path: Path, content: Mapping[str, Any]) -> pa.Table | None:
    """Table of an object that is a frame; None of another object.

    Parameters
    ----------
    path
        The file, for messages.
    content
        "columns" and "data" (a list a row), perhaps with "index"; or "schema" and "data" (an object a row).

    Raises
    ------
    ArgumentError
        A row has another number of values than there are columns.
    """
    data, names = content.get("data"), content.get("columns")
    if not isinstance(data, list) or not data:
        return None
    if isinstance(content.get("schema"), dict) and all(isinstance(row, dict) for row in data):
        return table_of_records(path, data)
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        return None
    if not all(isinstance(row, list) for row in data):
        return None
    odd = next((i for i, row in enumerate(data) if len(row) != len(names)), None)
    if odd is not None:
        raise ArgumentError(
            f"{path} must have as many values in each row of its data as columns, {len(names)}; row "
            f"{odd} has {len(data[odd])}"
        )
    columns = dict(zip(map(str, names), map(list, zip(*data, strict=True)), strict=True))
    return _table(path, columns, content.get("index"))


def table_of_columns(path: Path, content: Mapping[str, Any]) -> pa.Table | None:
    """Table of an object that has of each column an object of its values by row; None of another one."""
    parts = list(content.values())
    if not parts or not isinstance(parts[0], dict) or len(parts[0]) < 2:
        return None
    if not all(isinstance(part, dict) and part.keys() == parts[0].keys() for part in parts):
        return None
    if not any(name.lower() in _KNOWN for name in content):
        return None
    return _table(path, {name: list(part.values()) for name, part in content.items()}, list(parts[0]))


def _table(path: Path, columns: Mapping[str, list[Any]], index: Any) -> pa.Table:
    """Columns, and what rows are called, unless they are merely counted."""
    n_rows = len(next(iter(columns.values())))
    with reading(path, "json"):
        found = {name: [scores_by_class(value) for value in values] for name, values in columns.items()}
        if _are_names(index, n_rows):
            found = {INDEX: [str(name) for name in index], **found}
        return pa.table(found)


def _are_names(index: Any, n_rows: int) -> bool:
    if not isinstance(index, Sequence) or len(index) != n_rows:
        return False
    return [str(name) for name in index] != [str(i) for i in range(n_rows)]
