"""Tables in files: Parquet, Arrow and CSV behind one interface that gives record batches."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .files import reading
from .source import BLOCK_ROWS

_CSV_BLOCK = 16 << 20  # a row must fit: 50,000 classes of 20 characters are 1 MB
UNNAMED = "column {}"  # what a column of a CSV file without a header row is called

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


def open_table(path: Path, format_name: str) -> TableFile:
    """Open a table; only names, types and the first rows are read.

    Raises
    ------
    ArgumentError
        It is broken, has no rows, or two columns of one name.
    """
    openers = {"parquet": _parquet, "arrow": _arrow, "csv": _csv, "tsv": _csv}
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
    def batches(names: Sequence[str], types: Types) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(path)) as source:
            if not _is_arrow_file(path):
                yield from pa.ipc.open_stream(source)
                return
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))

    with pa.memory_map(str(path)) as source:
        opener = pa.ipc.open_file if _is_arrow_file(path) else pa.ipc.open_stream
        return TableFile(path, "arrow", opener(source).schema, batches)


def _is_arrow_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"ARROW1"


def _csv(path: Path) -> TableFile:
    import pyarrow.csv as pc

    delimiter = "\t" if ".tsv" in path.suffixes else ","
    delimiter = _other_delimiter(path, delimiter) or delimiter
    header = _first_row(path, delimiter)
    bare = _is_data(header)
    names = [UNNAMED.format(i) for i in range(len(header))] if bare else header
    read = pc.ReadOptions(block_size=_CSV_BLOCK, column_names=names, skip_rows=0 if bare else 1)
    # an empty line is an empty cell there, not nothing; unless each line ends twice, as on Windows it may
    is_single = len(names) == 1 and not _ends_twice(path)
    parse = pc.ParseOptions(delimiter=delimiter, ignore_empty_lines=not is_single)

    def scan(names: Sequence[str], types: Types) -> Iterator[pa.RecordBatch]:
        convert = pc.ConvertOptions(include_columns=list(names), column_types=dict(types))
        with pc.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as reader:
            yield from _first_of(reader, _filled(path, delimiter) - (not bare)) if is_single else reader

    with pc.open_csv(path, read_options=read, parse_options=parse) as reader:
        schema = reader.schema
    notes = ["the file has no header row: columns are called 'column 0', 'column 1', …"] if bare else []
    if delimiter != ("\t" if ".tsv" in path.suffixes else ","):
        notes.append(f"columns are separated by {delimiter!r}")
    return TableFile(path, "tsv" if ".tsv" in path.suffixes else "csv", schema, scan, tuple(notes))


def _first_of(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    """First rows of some batches."""
    for batch in batches:
        yield batch.slice(0, max(0, n_rows))
        n_rows -= batch.num_rows


def _ends_twice(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\r\r\n" in file.read(1 << 16)


def _filled(path: Path, delimiter: str) -> int:
    """Number of rows up to the last line that is not empty; what follows it is no row."""
    with _opened(path) as file:
        rows = enumerate(csv.reader(file, delimiter=delimiter), 1)
        return max((number for number, row in rows if row), default=0)


def _other_delimiter(path: Path, usual: str) -> str | None:
    """What separates columns where the usual delimiter finds only one, and another as many in two lines."""
    if len(_first_row(path, usual)) == 1:
        for other in ("\t", ";", ","):
            first, *second = (len(row) for row in _rows(path, other, 2))
            if first > 1 and second == [first] and not _is_data(_first_row(path, other)):
                return other
    return None


def _first_row(path: Path, delimiter: str) -> list[str]:
    row = next(iter(_rows(path, delimiter, 1)), None)
    if not row:
        raise ValueError("its first line is empty; a table begins with the names of its columns")
    return row


def _rows(path: Path, delimiter: str, n: int) -> list[list[str]]:
    with _opened(path) as file:
        return list(islice(csv.reader(file, delimiter=delimiter), n))


def _opened(path: Path) -> Any:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _is_data(row: Sequence[str]) -> bool:
    """Whether a first line is numbers already; 0, 1, … are names of classes, though."""
    if len(row) > 1 and row == [str(i) for i in range(len(row))]:
        return False
    try:
        [float(text) for text in row]
    except ValueError:
        return False
    return True
