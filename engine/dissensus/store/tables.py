"""Arrow tables: written so that they can be memory-mapped, and made from records with differing keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def arrow_bytes(table: pa.Table) -> bytes:
    """One Arrow IPC file of one record batch, uncompressed, so that it can be memory-mapped."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def read_arrow(data: bytes | NDArray[np.uint8]) -> pa.Table:
    """Table of the bytes of an Arrow IPC file, without copying them."""
    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def same_values(one: pa.Table | pa.ChunkedArray, other: pa.Table | pa.ChunkedArray) -> bool:
    """Whether two tables or columns hold the same values, of whatever width; NaN equals itself here."""
    if one.equals(other):
        return True
    values, others = one.to_pylist(), other.to_pylist()
    return values == others or repr(values) == repr(others)


def numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Values of a column of numbers without nulls, read-only and not copied where it is in one piece.

    Arrow's own `to_numpy` imports pandas first, if that is installed: a third of a second.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(array)


def floats(values: NDArray[np.float64]) -> pa.Array:
    """Arrow array of float64 numbers, not copied; null where they are NaN.

    Arrow's own `array` imports pandas first, as `to_numpy` does.
    """
    undefined = np.isnan(values)
    valid = pa.py_buffer(np.packbits(~undefined, bitorder="little")) if undefined.any() else None
    held = pa.py_buffer(np.ascontiguousarray(values, np.float64))
    return pa.Array.from_buffers(pa.float64(), len(values), [valid, held])


def texts(values: Sequence[str]) -> pa.Array:
    """Arrow array of strings, made without pandas."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)])
    if ends[-1] > np.iinfo(np.int32).max:
        return pa.array(values, pa.string())  # in chunks, as Arrow cuts them
    held = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), held)


def table_of_rows(rows: Sequence[Mapping[str, Any]], first: Sequence[str]) -> pa.Table:
    """Arrow table of records with differing keys; columns of mixed kinds become text."""
    names = list(dict.fromkeys([*first, *(key for row in rows for key in row)]))
    columns = {}
    for name in names:
        values = [_flat(row.get(name)) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns[name] = pa.array([None if v is None else str(v) for v in values])
    return pa.table(columns)


def _flat(value: Any) -> Any:
    """Mappings as JSON text: Parquet has no column for one without entries."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
