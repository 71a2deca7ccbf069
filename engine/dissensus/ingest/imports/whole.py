"""Small files read whole: tables of labels, classes and metadata, whatever their format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .arrays import npy_entries
from .files import TABLES, format_of, reading
from .json_files import read_json
from .source import Wanted
from .tables import open_table

VALUE = "value"  # the column of a file that has just one


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """Read a whole table: .npy, CSV, TSV, Parquet, Arrow, JSON or JSON lines.

    An array, or a list of plain values or of lists, is a table of one column "value".

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
    path = Path(path)
    table = _read(path, format_of(path))
    if not table.num_rows:
        raise ArgumentError(f"{path} has no rows")
    return table


def _read(path: Path, format_name: str) -> pa.Table:
    if format_name in TABLES:
        file = open_table(path, format_name)
        return file.read(file.schema.names)
    if format_name == "npy":
        source = npy_entries(path, Wanted((), ()))[0].load()
        if len(source.shape) != 1:
            raise ArgumentError(f"{path} must hold one value a row; its shape is {source.shape}")
        return pa.table({VALUE: pa.array(source.read(0, source.shape[0]))})
    if format_name == "json":
        return _from_json(path, read_json(path))
    raise ArgumentError(
        f"{path} must be a table (CSV, TSV, Parquet, Arrow, JSON) or .npy; it is {format_name}"
    )


def _from_json(path: Path, content: Any) -> pa.Table:
    if isinstance(content, dict):
        if content and all(isinstance(value, list) for value in content.values()):
            with reading(path, "json"):
                return pa.table(content)
        content = [{"id": key, VALUE: value} for key, value in content.items()]
    if not isinstance(content, list):
        raise ArgumentError(f"{path} must hold a list or an object; it holds {content!r:.40}")
    with reading(path, "json"):
        if content and all(isinstance(row, dict) for row in content):
            return pa.Table.from_pylist(content)
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
