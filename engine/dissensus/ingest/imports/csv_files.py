"""CSV and TSV files: how their text is written told by their first lines, then read by Arrow."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pc

from .table_file import TableFile, Types

_CSV_BLOCK = 16 << 20  # a row must fit: 50,000 classes of 20 characters are 1 MB
UNNAMED = "column {}"  # what a column of a CSV file without a header row is called
_COMMA_DECIMAL = r"\s*-?\d+,\d+([eE][-+]?\d+)?\s*"
_POINT_DECIMAL = r"\s*-?\d+\.\d+([eE][-+]?\d+)?\s*"
_MAYBE_THOUSANDS = r"\s*-?[1-9]\d{0,2},\d{3}\s*"
_SEEN = 64  # first rows in which numbers are looked at


@dataclass(frozen=True)
class Dialect:
    """How a table is written as text.

    Attributes
    ----------
    encoding, delimiter, decimal_point
        Of the text; between columns; in numbers.
    names
        Of the columns.
    skip
        Lines before the first row.
    ends_twice
        Whether each line ends twice, as on Windows it may.
    has_long_cells
        Whether cells hold several lines.
    notes
        What the user should know about it.
    """

    encoding: str
    delimiter: str
    decimal_point: str
    names: list[str]
    skip: int
    ends_twice: bool
    has_long_cells: bool
    notes: tuple[str, ...]


def open_csv(path: Path) -> TableFile:
    """Open a CSV or TSV file; only its first lines are read."""
    dialect = _dialect(path)
    read = pc.ReadOptions(
        block_size=_CSV_BLOCK, column_names=dialect.names, skip_rows=dialect.skip, encoding=dialect.encoding
    )
    # an empty line is an empty cell there, not nothing; unless each line ends twice
    is_single = len(dialect.names) == 1 and not dialect.ends_twice
    parse = pc.ParseOptions(
        delimiter=dialect.delimiter,
        ignore_empty_lines=not is_single,
        newlines_in_values=dialect.has_long_cells,
    )

    def scan(names: Sequence[str], types: Types) -> Iterator[pa.RecordBatch]:
        convert = pc.ConvertOptions(
            include_columns=list(names), column_types=dict(types), decimal_point=dialect.decimal_point
        )
        with pc.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as reader:
            yield from _first_of(reader, _filled(path, dialect) - dialect.skip) if is_single else reader

    convert = pc.ConvertOptions(decimal_point=dialect.decimal_point)
    with pc.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as reader:
        schema = reader.schema
    return TableFile(path, "tsv" if _is_tsv(path) else "csv", schema, scan, dialect.notes)


def _dialect(path: Path) -> Dialect:
    usual = "\t" if _is_tsv(path) else ","
    with _bytes(path) as file:
        head = file.read(1 << 16)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    delimiter = _other_delimiter(path, encoding, usual) or usual
    rows = _rows(path, encoding, delimiter, 2)
    header = _header(rows)
    notes = [f"columns are separated by {delimiter!r}"] if delimiter != usual else []
    bare = _is_data(header)
    if bare:
        notes.insert(0, "the file has no header row: columns are called 'column 0', 'column 1', …")
    elif len(rows) > 1 and len(rows[1]) == len(header) + 1:
        header = ["", *header]  # as R's write.table has it
        notes.append("the first column has no name: it holds those of the rows")
    names = [UNNAMED.format(i) for i in range(len(header))] if bare else header
    has_commas = delimiter != "," and _has_commas(_rows(path, encoding, delimiter, _SEEN)[not bare :])
    notes += ["numbers have decimal commas"] if has_commas else []
    return Dialect(
        encoding,
        delimiter,
        "," if has_commas else ".",
        names,
        int(not bare),
        b"\r\r\n" in head,
        any("\n" in cell for cell in rows[-1]),
        tuple(notes),
    )


def _has_commas(rows: Sequence[list[str]]) -> bool:
    """Whether numbers have commas for decimal points; a table with points in any is none of these."""
    cells = [cell for row in rows for cell in row]
    commas = [cell for cell in cells if re.fullmatch(_COMMA_DECIMAL, cell)]
    if not commas or any(re.fullmatch(_POINT_DECIMAL, cell) for cell in cells):
        return False
    if all(re.fullmatch(_MAYBE_THOUSANDS, cell) for cell in commas):
        raise ValueError(
            f"commas in its numbers, such as {commas[0].strip()!r}, may be those of decimals or of "
            "thousands; write decimals with a point and thousands without a comma"
        )
    return True


def _header(rows: Sequence[list[str]]) -> list[str]:
    """First line, which must be one of a table."""
    if not rows or not rows[0]:
        raise ValueError("its first line is empty; a table begins with the names of its columns")
    first, *rest = rows[0]
    if re.fullmatch("sep=.?", first, re.IGNORECASE):
        raise ValueError(f"its first line, {first!r}, is for Excel only; delete it")
    if not rest and len(first.split()) > 1 and _is_data(first.split()):
        raise ValueError(
            "its numbers are separated by several blanks; write one, as numpy.savetxt with fmt='%.8g' does"
        )
    return [first, *rest]


def _is_tsv(path: Path) -> bool:
    return ".tsv" in path.suffixes or path.suffix == ".txt"


def _first_of(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    """First rows of some batches."""
    for batch in batches:
        yield batch.slice(0, max(0, n_rows))
        n_rows -= batch.num_rows


def _filled(path: Path, dialect: Dialect) -> int:
    """Number of rows up to the last line that is not empty; what follows it is no row."""
    with _text(path, dialect.encoding) as file:
        rows = enumerate(csv.reader(file, delimiter=dialect.delimiter), 1)
        return max((number for number, row in rows if row), default=0)


def _other_delimiter(path: Path, encoding: str, usual: str) -> str | None:
    """What separates columns where the usual delimiter finds only one, and another as many in two lines."""
    if len(next(iter(_rows(path, encoding, usual, 1)), [])) != 1:
        return None
    for other in ("\t", ";", ",", " "):
        rows = _rows(path, encoding, other, 2)
        first, *second = map(len, rows)
        if first > 1 and second == [first] and (other == " " or not _is_data(rows[0])):
            return other
    return None


def _rows(path: Path, encoding: str, delimiter: str, n: int) -> list[list[str]]:
    with _text(path, encoding) as file:
        first = file.readline().removeprefix("# ")  # which numpy.savetxt puts before a header
        return list(islice(csv.reader(chain([first], file), delimiter=delimiter), n))


def _bytes(path: Path) -> IO[bytes]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    file: IO[bytes] = opener(path, "rb")
    return file


def _text(path: Path, encoding: str) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    file: IO[str] = opener(path, "rt", encoding=encoding, newline="")
    return file


def _is_data(row: Sequence[str]) -> bool:
    """Whether a first line is numbers already; 0, 1, … are names of classes, though."""
    if len(row) > 1 and row == [str(i) for i in range(len(row))]:
        return False
    try:
        [float(text) for text in row]
    except ValueError:
        return False
    return True
