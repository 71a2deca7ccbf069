"""Labels from files: class numbers, class names, or sets of them, with ids and what else the table holds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName

from .columns import IDS, find_ids, is_list, is_text
from .tables import memory_table
from .whole import VALUE, read_table

LABELS = (
    "label", "labels", "target", "targets", "true_label", "y_true", "truth", "ground_truth", "class",
    "class_id", "class_name", "y", VALUE,
)  # fmt: skip


@dataclass(frozen=True)
class LabelFile:
    """Labels of a file.

    Attributes
    ----------
    labels
        Of each row in the file's order: a class number, or a list of them (an empty one is not counted).
    ids
        Example id of each row; None where the file has none.
    classes
        Class names in the order of the numbers, where labels are names; else None.
    columns
        The other columns, in the file's order of rows.
    notes
        How the file was read.
    """

    labels: list[Any]
    ids: list[str] | None
    classes: list[str] | None
    columns: pa.Table
    notes: list[str] = field(default_factory=list)


def read_labels(
    path: str | os.PathLike[str],
    *,
    id_column: str | None = None,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
    example_ids: Sequence[str] = (),
) -> LabelFile:
    """Read labels: class numbers, class names, or sets of them.

    A set is a list (JSON, Parquet, Arrow), or in text several classes with ``;`` or ``|`` between them, for
    numbers also spaces. An empty entry is an example that is not to be counted.

    Parameters
    ----------
    path
        .npy, CSV, TSV, Parquet, Arrow, JSON or JSON lines.
    id_column, label_column
        Names of columns, where they are not recognised.
    classes
        Class names in their order; without them names are numbered as they sort.
    example_ids
        Ids of the store, where there is one, by whose values the column of ids is recognised.

    Returns
    -------
    LabelFile

    Raises
    ------
    ArgumentError, UnknownName
        The file cannot be read, no column is known to hold labels, or a class is unknown.
    """
    path = Path(path)
    table = read_table(path)
    id_name = id_column_of(table, path, id_column, example_ids)
    name = _label_column(table, path, label_column, id_name)
    rest = table.select([n for n in table.column_names if n not in (id_name, name)])
    ids = None if id_name is None else [str(v) for v in table[id_name].to_pylist()]
    entries = table[name].combine_chunks()
    notes = [] if len(table.column_names) == 1 else [f"labels are column {name!r}, ids are {_said(id_name)}"]
    labels, names = _as_numbers(entries, f"column {name!r} of {path}", classes)
    return LabelFile(labels, ids, names, rest, notes)


def _said(id_name: str | None) -> str:
    return "the row numbers" if id_name is None else f"column {id_name!r}"


def id_column_of(
    table: pa.Table, path: Path, given: str | None, example_ids: Sequence[str] = ()
) -> str | None:
    """Name of the column of ids: as given, by the store's ids in it, or the first that is known by name.

    Raises
    ------
    UnknownName
        The one given is not there.
    """
    if given is not None or len(example_ids):
        return find_ids(memory_table(path, "table", table), example_ids, given)
    lower = {n.lower(): n for n in reversed(table.column_names)}
    return next((lower[known] for known in IDS if known in lower and _is_key(table[lower[known]])), None)


def _is_key(column: pa.ChunkedArray) -> bool:
    whole = pa.types.is_integer(column.type) or is_text(column.type)
    return bool(whole and len(column.unique()) == len(column) and not column.null_count)


def _label_column(table: pa.Table, path: Path, given: str | None, id_name: str | None) -> str:
    names = [name for name in table.column_names if name != id_name]
    if given is not None:
        if given not in names:
            raise UnknownName.of(f"column of {path.name}", given, names)
        return given
    lower = {name.lower(): name for name in reversed(names)}
    found = next((lower[known] for known in LABELS if known in lower), names[0] if len(names) == 1 else None)
    if found is None:
        raise ArgumentError(
            f"{path} has no column that is known to hold labels among {', '.join(names) or 'none'}; name it "
            "with label_column= (--label-column)"
        )
    return str(found)


def _as_numbers(
    entries: pa.Array, what: str, classes: Sequence[str] | None
) -> tuple[list[Any], list[str] | None]:
    """Class numbers of entries, and the class names if the entries are names."""
    kind = entries.type
    if pa.types.is_null(kind):
        raise ArgumentError(f"{what} is empty in every row; no example would be counted")
    if pa.types.is_floating(kind):
        return _whole_floats(entries, what), None
    if pa.types.is_integer(kind) or (is_list(kind) and pa.types.is_integer(kind.value_type)):
        return entries.to_pylist(), None
    if is_list(kind) and pa.types.is_null(kind.value_type):
        raise ArgumentError(f"{what} is empty in every row; no example would be counted")
    if is_text(kind):
        return _from_text(entries.to_pylist(), what, classes)
    if is_list(kind) and is_text(kind.value_type):
        return _from_names([row or [] for row in entries.to_pylist()], what, classes)
    raise ArgumentError(f"{what} must hold class numbers, class names or lists of them; it holds {kind}")


def _whole_floats(entries: pa.Array, what: str) -> list[int | None]:
    """Whole numbers that a missing one has turned into floats."""
    values = [None if v is None or v != v else v for v in entries.to_pylist()]
    odd = next((v for v in values if v is not None and v != int(v)), None)
    if odd is not None:
        raise ArgumentError(f"{what} must hold class numbers; got {odd!r}")
    return [None if v is None else int(v) for v in values]


def _from_text(
    texts: list[str | None], what: str, classes: Sequence[str] | None
) -> tuple[list[Any], list[str] | None]:
    known = set(classes or ())
    filled = [text.strip() if text else "" for text in texts]
    if not any(text in known for text in filled) and all(re.fullmatch(r"[\d\s;|]*", text) for text in filled):
        return [[int(number) for number in re.findall(r"\d+", text)] for text in filled], None
    return _from_names([[text] if text in known else _split(text) for text in filled], what, classes)


def _split(text: str) -> list[str]:
    return [name.strip() for name in re.split(r"[;|]", text) if name.strip()]


def _from_names(
    sets: list[list[str]], what: str, classes: Sequence[str] | None
) -> tuple[list[Any], list[str] | None]:
    names = sorted({name for one in sets for name in one}) if classes is None else list(classes)
    number = {name: i for i, name in enumerate(names)}
    unknown = next((name for one in sets for name in one if name not in number), None)
    if unknown is not None:
        raise UnknownName.of(f"class in {what}:", unknown, names)
    rows: list[Any] = [[number[name] for name in one] for one in sets]
    if all(len(row) == 1 for row in rows):
        rows = [row[0] for row in rows]
    return rows, names
