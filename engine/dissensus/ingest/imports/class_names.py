"""Names of classes from files: a line each, or a table with groups and further facts."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .arrow_types import is_text
from .files import FORMATS, format_of
from .json_files import read_json
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
        Text; a table (CSV, TSV, Parquet, Arrow, JSON); a JSON object of the number of each name, or of the
        name, or [wnid, name], of each number.

    Returns
    -------
    ClassFile

    Raises
    ------
    ArgumentError
        It cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt" or path.suffix.lower() not in FORMATS:
        return ClassFile(_lines(path))
    table = _in_order(_table(path))
    heads = [name.lower() for name in table.column_names]
    is_text_table = path.suffix.lower() in (".csv", ".tsv")
    is_known = bool({*NAMES, *CLASS_NUMBERS} & {*heads})
    if is_text_table and not is_known and (len(heads) == 1 or _is_one_column(path)):
        return ClassFile(_lines(path))  # its first line is a class too
    first_line = ", ".join(table.column_names)
    if is_text_table and any(name.isdecimal() for name in heads):
        raise ArgumentError(
            f"{path} has no line of column names, its first is {first_line!r:.80}; add one, such "
            "as class_id,name"
        )
    distinct = [n for n in table.column_names if _is_distinct(table[n])]
    name = _first(NAMES, distinct) or (distinct[0] if distinct else None)
    notes = _notes(table, path, name)
    if is_text_table and not is_known:
        notes.append(f"first line of {path.name} taken as names of columns: {first_line}")
    if name is None:
        columns = {("name_in_file" if n == "name" else n): table[n].to_pylist() for n in table.column_names}
        return ClassFile([str(i) for i in range(table.num_rows)], columns, notes)
    rest = {n: table[n].to_pylist() for n in table.column_names if n not in (name, "class_id")}
    columns = {("name_in_file" if n == "name" else n): values for n, values in rest.items()}
    return ClassFile([str(v) for v in table[name].to_pylist()], columns, notes)


def read_class_order(path: str | os.PathLike[str]) -> list[str]:
    """Read the names of a file's classes in its order, for `import_predictions`.

    Parameters
    ----------
    path
        As of `read_classes`.

    Raises
    ------
    ArgumentError
        It cannot be read, or its names repeat: what then names classes, their numbers, is no order.
    """
    found = read_classes(path)
    if found.names == [str(i) for i in range(len(found.names))] and found.notes:
        raise ArgumentError(f"classes must name each class once: {found.notes[0]}")
    return found.names


def _lines(path: Path) -> list[str]:
    """Lines of a text file; those in quotation marks without them."""
    parsed = [(line, next(csv.reader([line]))) for line in read_lines(path, "classes")]
    return [cells[0] if len(cells) == 1 else line for line, cells in parsed]


def _is_one_column(path: Path) -> bool:
    """Whether no line has a comma or tab between cells: names may hold semicolons."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    return all(len(row) == 1 for row in csv.reader(read_lines(path, "classes"), delimiter=delimiter))


def _table(path: Path) -> pa.Table:
    """Table of classes; of a JSON object that numbers them, by these numbers."""
    content = read_json(path) if format_of(path) == "json" else None
    content = content.get("id2label", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        return read_table(path)
    keys, values = list(content), list(content.values())
    if all(isinstance(v, int) for v in values):  # the number of each name
        return _numbered(path, values, [keys])
    if not all(key.isdecimal() for key in keys):
        return read_table(path)
    if all(isinstance(v, str) for v in values):
        return _numbered(path, [int(key) for key in keys], [values])
    if all(isinstance(v, list) and [type(x) for x in v] == [str, str] for v in values):
        return _numbered(path, [int(key) for key in keys], list(zip(*values, strict=True)))
    raise ArgumentError(
        f"{path} must give each class number a name, or a wnid and a name; {keys[0]!r} has {values[0]!r:.60}"
    )


def _numbered(path: Path, numbers: list[int], columns: Sequence[Sequence[str]]) -> pa.Table:
    if sorted(numbers) != list(range(len(numbers))):
        raise ArgumentError(
            f"{path} must number its {len(numbers)} classes from 0 to {len(numbers) - 1}; they run from "
            f"{min(numbers)} to {max(numbers)}"
        )
    names = ["name"] if len(columns) == 1 else ["wnid", "name"]
    return pa.table({"class_id": numbers, **dict(zip(names, map(list, columns), strict=True))})


def _in_order(table: pa.Table) -> pa.Table:
    """Rows by class number, where a column numbers them from 0 or 1."""
    for name in table.column_names:
        if name.lower() in CLASS_NUMBERS and pa.types.is_integer(table[name].type):
            values = sorted(table[name].to_pylist(), key=lambda v: -1 if v is None else v)
            if values in (list(range(len(values))), list(range(1, len(values) + 1))):
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
