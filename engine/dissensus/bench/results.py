"""Rows of a sweep, as they lie in its Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dissensus.errors import ArgumentError
from dissensus.run.machine import machine_name, versions
from dissensus.store.files import write_file
from dissensus.store.times import now

from .cell import METHOD, Cell, Taken

RESULTS = "sweep.parquet"
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
SCHEMA = pa.schema(
    [
        ("job", pa.string()),
        ("models", pa.int64()),
        ("examples", pa.int64()),
        ("classes", pa.int64()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("seconds", pa.float64()),
        ("predicted_seconds", pa.float64()),
        ("peak_memory_bytes", pa.int64()),
        ("base_memory_bytes", pa.int64()),
        ("read_bytes", pa.int64()),
        ("write_bytes", pa.int64()),
        ("runs", pa.int64()),
        ("measured_at", pa.string()),
        ("machine", pa.string()),
        ("versions", pa.string()),
    ]
)
Row = dict[str, Any]


def row_of(
    cell: Cell, status: str, *, taken: Taken | None = None, reason: str = "", expected: float | None = None
) -> Row:
    """One row: what was asked, what came of it, on what."""
    row = dict.fromkeys(SCHEMA.names) | vars(cell) | {"status": status, "reason": reason or None}
    row |= {"predicted_seconds": expected, "measured_at": now()}
    return row | here() | (vars(taken) if taken else {})


@cache
def here() -> dict[str, str]:
    """Columns that say on what and how is measured now: other machines, versions or ways, other results."""
    return {"machine": machine_name(), "versions": json.dumps({**versions(), "method": METHOD})}


def of_here(rows: Sequence[Row]) -> list[Row]:
    """Rows that were measured on this machine with these versions."""
    return [row for row in rows if all(row[name] == value for name, value in here().items())]


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one measurement from another; a cell's is that of its row here."""
    row = {**here(), **row}
    return tuple(row[name] for name in ("job", "models", "examples", "classes", "seed", *here()))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows in one step."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), sink)
    write_file(path, bytes(sink.getvalue()))


def read_rows(path: Path) -> list[Row]:
    """Rows of an earlier sweep; none where there is no file.

    Raises
    ------
    ArgumentError
        The file is no result of a sweep.
    """
    if not path.exists():
        return []
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ArgumentError(f"{path} cannot be read as Parquet ({error}): move it away") from error
    if table.schema.names != SCHEMA.names:
        raise ArgumentError(f"{path} is no result of a sweep of this version: move it away")
    return [dict(row) for row in table.to_pylist()]
