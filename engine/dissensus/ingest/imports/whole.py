"""Small files read whole: tables of labels, classes and metadata, whatever their format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .arrays import MEMBERS, npy_entries
from .files import TABLES, format_of, reading
from .json_files import read_json
from .json_frames import table_of_columns, table_of_frame
from .names import VALUE
from .nested_json import table_of_records
from .source import Facts, Source, Wanted
from .table_file import TableFile
from .tables import memory_table, open_table


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """Read a whole table, whatever its format.

    An array, or a list of plain values or of lists, is a table of one column "value"; named arrays are its
    columns.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    pyarrow.Table
        Its rows, as they are in the file.

    Raises
    ------
    ArgumentError
        It cannot be read, is of another format, or has no rows.
    """
    file = open_whole(path)
    return read_columns(file, file.schema.names)


def read_columns(file: TableFile, names: Sequence[str]) -> pa.Table:
    """Some columns of a table, whole.

    Raises
    ------
    ArgumentError
        It cannot be read, or has no rows.
    """
    if not names:
        return pa.table({})
    table = file.read(names)
    if not table.num_rows:
        raise ArgumentError(f"{file.path} has no rows")
    return table


def open_whole(path: str | os.PathLike[str]) -> TableFile:
    """Open a small file of any format as a table.

    Raises
    ------
    ArgumentError
        It cannot be read, or is of another format.
    """
    path = Path(path)
    name = format_of(path)
    if name in TABLES:
        return open_table(path, name)
    table = _from_json(path, read_json(path)) if name == "json" else _from_arrays(path, name)
    return memory_table(path, name, table)


def _from_arrays(path: Path, format_name: str) -> pa.Table:
    if format_name == "npy":
        return pa.table({VALUE: _values(path, "it", npy_entries(path, Wanted((), ()))[0].load())})
    members = {name: m for name, m in MEMBERS[format_name](path).items() if m.shape}
    if not members:
        raise ArgumentError(f"{path} holds no arrays")
    columns = {n: _values(path, f"array {n!r}", m.load(Facts(format_name))) for n, m in members.items()}
    if len({len(column) for column in columns.values()}) > 1:
        sizes = ", ".join(f"{name!r} {len(column)}" for name, column in columns.items())
        raise ArgumentError(f"{path} must hold arrays of one length; they have {sizes}: save one alone")
    return pa.table(columns)


def _values(path: Path, what: str, source: Source) -> pa.Array:
    if len(source.shape) != 1 and source.shape[1:] != (1,):
        raise ArgumentError(f"{path} must hold one value a row; {what} has the shape {source.shape}")
    array = source.read(0, source.shape[0]).reshape(-1)
    with reading(path, source.facts.format):
        return pa.array(array.astype(str) if array.dtype.kind == "S" else array)


def _from_json(path: Path, content: Any) -> pa.Table:
    if isinstance(content, dict):
        frame = table_of_frame(path, content) or table_of_columns(path, content)
        if frame is not None:
            return frame
        if content and all(isinstance(value, list) for value in content.values()):
            with reading(path, "json"):
                return pa.table(content)
        content = [{"id": key, VALUE: value} for key, value in content.items()]
    if not isinstance(content, list):
        raise ArgumentError(f"{path} must hold a list or an object; it holds {content!r:.40}")
    if content and all(isinstance(row, dict) for row in content):
        return table_of_records(path, content)
    with reading(path, "json"):
        return pa.table({VALUE: pa.array(content)})


def read_lines(path: str | os.PathLike[str], argument: str) -> list[str]:
    """Lines of a text file that are not blank.

    Raises
    ------
    ArgumentError
        It cannot be read as text, or has none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(f"{argument} must be a text file, one entry a line; {path}: {reason}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ArgumentError(f"{argument} must be a text file, one entry a line; {path} has none")
    return lines
