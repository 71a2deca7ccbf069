"""Tables in files: Parquet, Arrow, CSV and folders of `datasets`, each as a table read batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .csv_files import open_csv
from .files import SAVED, SAVED_STATE, reading
from .source import BLOCK_ROWS
from .table_file import TableFile, Types


def open_table(path: Path, format_name: str) -> TableFile:
    """Open a table; only names, types and the first rows are read.

    Raises
    ------
    ArgumentError
        It is broken, has no rows, or two columns of one name.
    """
    openers = {
        "parquet": _parquet,
        "arrow": _arrow,
        "csv": open_csv,
        "tsv": open_csv,
        SAVED: _saved,
    }
    with reading(path, format_name):
        table = openers[format_name](path)
    return _checked(table)


def memory_table(path: Path, format_name: str, table: pa.Table) -> TableFile:
    """Wrap a table in memory like one in a file."""
    return _checked(
        TableFile(
            path, format_name, table.schema, lambda names, types: iter(table.select(list(names)).to_batches())
        )
    )


def flattened(table: TableFile) -> TableFile:
    """Table in which each part of a column of structures is a column, called "whole.part"."""
    if not any(pa.types.is_struct(field.type) for field in table.schema):
        return table
    empty = table.schema.empty_table()
    parts = {name: empty.select([name]).flatten().column_names for name in table.schema.names}

    def scan(names: Sequence[str], types: Types) -> Iterator[pa.RecordBatch]:
        for batch in table.scan([whole for whole, found in parts.items() if {*found} & {*names}], types):
            yield from pa.Table.from_batches([batch]).flatten().to_batches()

    return _checked(replace(table, schema=empty.flatten().schema, scan=scan))


def _checked(table: TableFile) -> TableFile:
    names = table.schema.names
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ArgumentError(f"{table.path} has more than one column named {twice[0]!r}; rename one")
    if not names:
        raise ArgumentError(f"{table.path} has no columns")
    return table


def _parquet(path: Path) -> TableFile:
    import pyarrow.parquet as pq

    def scan(names: Sequence[str], types: Types) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=BLOCK_ROWS, columns=list(names))

    return TableFile(path, "parquet", pq.read_schema(path), scan)


def _arrow(path: Path) -> TableFile:
    return TableFile(path, "arrow", _arrow_schema(path), lambda names, types: _arrow_batches(path))


def _arrow_schema(path: Path) -> pa.Schema:
    with pa.memory_map(str(path)) as source:
        opener = pa.ipc.open_file if _is_arrow_file(path) else pa.ipc.open_stream
        return opener(source).schema


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        if not _is_arrow_file(path):
            yield from pa.ipc.open_stream(source)
            return
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


def _saved(path: Path) -> TableFile:
    """Folder of `Dataset.save_to_disk`: its parts in the order in which it lists them."""
    content: Any = json.loads((path / SAVED_STATE).read_text())
    parts = [path / part["filename"] for part in content["_data_files"]]
    return TableFile(
        path,
        SAVED,
        _arrow_schema(parts[0]),
        lambda names, types: (batch for part in parts for batch in _arrow_batches(part)),
    )


def _is_arrow_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"ARROW1"
