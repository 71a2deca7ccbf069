"""Names of classes from files: a line each, or a table with groups and further facts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .columns import is_text
from .files import FORMATS
from .names import CLASS_NAMES, CLASS_NUMBERS, VALUE
from .whole import read_lines, read_table

NAMES = (*CLASS_NAMES, VALUE)


@dataclass(frozen=True)
class ClassFile:
    """Classes of a file, in their order.

    Attributes
    ----------
    names
        One a class, distinct.
    columns
        What else the file says of each class.
    notes
        How the file was read.
    """

    names: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_classes(path: str | os.PathLike[str]) -> ClassFile:
    """Read class names: a text file with one a line, or a table with a column of names.

    The order is that of the rows, or of a column of class numbers. Where no column of text is distinct,
    classes are called by their number and the columns are kept beside them.

    Parameters
    ----------
    path
        Text, or a table (CSV, TSV, Parquet, Arrow, JSON).

    Returns
    -------
    ClassFile

    Raises
    ------
    ArgumentError
        It cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        return ClassFile(read_lines(path, "classes"))
    table = _in_order(read_table(path))
    if table.num_columns == 1 and path.suffix == ".csv" and table.column_names[0].lower() not in NAMES:
        return ClassFile(read_lines(path, "classes"))  # its first line is a class too
    distinct = [n for n in table.column_names if _is_distinct(table[n])]
    name = _first(NAMES, distinct) or (distinct[0] if distinct else None)
    notes = _notes(table, path, name)
    if name is None:
        columns = {("name_in_file" if n == "name" else n): table[n].to_pylist() for n in table.column_names}
        return ClassFile([str(i) for i in range(table.num_rows)], columns, notes)
    rest = {n: table[n].to_pylist() for n in table.column_names if n not in (name, "class_id")}
    columns = {("name_in_file" if n == "name" else n): values for n, values in rest.items()}
    return ClassFile([str(v) for v in table[name].to_pylist()], columns, notes)


def _in_order(table: pa.Table) -> pa.Table:
    """Rows by class number, where a column numbers them."""
    for name in table.column_names:
        values = table[name].to_pylist()
        numbers = name.lower() in CLASS_NUMBERS and pa.types.is_integer(table[name].type)
        if numbers and sorted(values, key=str) == sorted(range(len(values)), key=str):
            return table.sort_by(name)
    return table


def _is_distinct(column: pa.ChunkedArray) -> bool:
    return bool(is_text(column.type) and len(column.unique()) == len(column) and not column.null_count)


def _first(known: tuple[str, ...], names: list[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in known if name in lower), None)


def _notes(table: pa.Table, path: Path, chosen: str | None) -> list[str]:
    natural = _first(NAMES, [n for n in table.column_names if is_text(table[n].type)])
    if natural is None and chosen is None:
        raise ArgumentError(f"{path} has no column of class names among {', '.join(table.column_names)}")
    if natural in (None, chosen):
        return []
    values = table[natural].to_pylist()
    common = max(values, key=values.count)
    instead = "their numbers" if chosen is None else f"column {chosen!r}"
    return [
        f"column {natural!r} of {path.name} repeats names ({common!r} {values.count(common)} times): "
        f"classes are called by {instead}"
    ]
