"""A table in a file, read batch by batch, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from .files import reading

Types = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class TableFile:
    """A table in a file, read batch by batch.

    Attributes
    ----------
    path, format
        The file.
    schema
        Names and types of its columns; of a CSV file, as its first rows suggest.
    scan
        Given names and types (asked for, where the file leaves a choice), gives record batches.
    notes
        What the user should know about how it is read.
    """

    path: Path
    format: str
    schema: pa.Schema
    scan: Callable[[Sequence[str], Types], Iterator[pa.RecordBatch]]
    notes: tuple[str, ...] = ()

    def batches(self, names: Sequence[str], types: Types | None = None) -> Iterator[pa.RecordBatch]:
        """Record batches of some columns, in the order of `names`.

        Raises
        ------
        ArgumentError
            The file is broken.
        """
        with reading(self.path, self.format):
            for batch in self.scan(names, types or {}):
                yield batch.select(list(names))

    def column(self, name: str, kind: pa.DataType | None = None) -> pa.ChunkedArray:
        """One whole column, as a type if given."""
        wanted = self.schema.field(name).type if kind is None else kind
        parts = [batch.column(0) for batch in self.batches([name], {name: wanted})]
        with reading(self.path, self.format):
            return pa.chunked_array([part.cast(wanted) for part in parts], wanted)

    def read(self, names: Sequence[str], types: Types | None = None) -> pa.Table:
        """Some columns, whole."""
        batches = list(self.batches(names, types))
        if not batches:
            return pa.schema([self.schema.field(name) for name in names]).empty_table()
        with reading(self.path, self.format):
            return pa.Table.from_batches(batches)
