"""The Arrow tables of a finished model, made of packed records without holding more than a part of them.

A file is one batch, uncompressed, column after column, so that it can be memory-mapped; a writer's records
lie row after row. Arrow is asked for everything around the columns, for which it need not see a single value;
the columns come block by block, in as many passes over the records as there are columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from . import format as fmt
from .files import new_file
from .staged import BlockFile
from .topk import VIEW_FIELDS

Fields = Mapping[str, pa.Field]  # of a table, by the name that its values have in packed records
Records = Callable[[], Iterator[NDArray[Any]]]  # all records in order, some of them at a time
Piece = bytes | str  # of a file: bytes as they are, or the values of the column of that name

STEP_BYTES = fmt.BLOCK_BYTES  # of records in memory at once


class _Around:
    """A file to Arrow: keeps what is written around the columns, and where they belong."""

    closed = False

    def __init__(self, columns: Mapping[int, str]) -> None:
        self._columns = dict(columns)  # names by address of their buffers
        self.pieces: list[Piece] = []
        self._at = 0

    def write(self, data: Any) -> int:
        buffer = pa.py_buffer(data)
        name = self._columns.pop(buffer.address, None)
        self.pieces.append(bytes(buffer) if name is None else name)
        self._at += buffer.size
        return int(buffer.size)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Checked by who asked."""

    def require_all(self) -> None:
        if self._columns:
            raise RuntimeError(f"this pyarrow ({pa.__version__}) copies columns before it writes them")


def tables_of(columns: np.dtype[Any]) -> dict[str, Fields]:
    """Fields of each table that is made of packed records, by its file."""
    names = columns.names or ()
    derived = {
        c.name: pa.field(c.name, pa.from_numpy_dtype(columns[c.name]), False, {"meaning": c.meaning})
        for c in fmt.DERIVED_COLUMNS
        if c.name in names
    }
    view = {
        packed: pa.field(name, pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), size), False, {"meaning": text})
        for name, ((packed, dtype, size), text) in VIEW_FIELDS.items()
        if packed in names
    }
    return {fmt.DERIVED: derived} | ({fmt.TOPK: view} if view else {})


def write_row_tables(
    folder: Path, file: BlockFile, columns: np.dtype[Any], n_rows: int
) -> dict[str, dict[str, Any]]:
    """Write the tables of a model's staged records; return size and checksum of each file.

    Raises
    ------
    CorruptionError
        A staged block is not what was appended.
    """

    def records() -> Iterator[NDArray[Any]]:
        return _records(file, columns, n_rows)

    return {
        name: _write(folder / name, fields, n_rows, records) for name, fields in tables_of(columns).items()
    }


@lru_cache(maxsize=8)
def row_table_bytes(kind: str, n_rows: int, n_classes: int) -> int:
    """Bytes of a model's derived columns and top-K view as a finished model keeps them."""
    columns = fmt.record_dtype(kind, n_classes)
    return sum(
        n_rows * columns[piece].itemsize if isinstance(piece, str) else len(piece)
        for fields in tables_of(columns).values()
        for piece in _pieces(fields, n_rows)
    )


def _records(file: BlockFile, columns: np.dtype[Any], n_rows: int) -> Iterator[NDArray[Any]]:
    """Packed records of all rows, without those that only fill the last block."""
    step = max(1, STEP_BYTES // file.data_bytes)
    for first in range(0, len(file.crcs), step):
        rows = np.ascontiguousarray(file.read(first, first + step)).reshape(-1).view(columns)
        yield rows[:n_rows]
        n_rows -= len(rows)


def _write(path: Path, fields: Fields, n_rows: int, records: Records) -> dict[str, Any]:
    with new_file(path) as file:
        for data in _merged(_pieces(fields, n_rows), records):
            file.append(data)
    return file.record()


def _merged(pieces: list[Piece], records: Records) -> Iterator[bytes | memoryview]:
    """What to write: the pieces, with values in the place of names."""
    for piece in pieces:
        if isinstance(piece, str):
            yield from (np.ascontiguousarray(rows[piece]).data for rows in records())
        else:
            yield piece


def _pieces(fields: Fields, n_rows: int) -> list[Piece]:
    """Lay a table of one batch out as Arrow does; the arrays it is shown are never read."""
    values = {name: _unread(field.type, n_rows) for name, field in fields.items()}
    around = _Around({array.ctypes.data: name for name, array in values.items()})
    schema = pa.schema(list(fields.values()))
    columns = [_column(field.type, values[name], n_rows) for name, field in fields.items()]
    with pa.ipc.new_file(around, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    around.require_all()
    return _joined(around.pieces)


def _unread(kind: pa.DataType, n_rows: int) -> NDArray[Any]:
    fixed = pa.types.is_fixed_size_list(kind)
    dtype = (kind.value_type if fixed else kind).to_pandas_dtype()
    return np.empty(n_rows * (kind.list_size if fixed else 1), dtype)


def _column(kind: pa.DataType, values: NDArray[Any], n_rows: int) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.Array.from_buffers(kind, n_rows, [None, pa.py_buffer(values)])
    flat = pa.Array.from_buffers(kind.value_type, len(values), [None, pa.py_buffer(values)])
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The same with neighbouring bytes in one."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
