"""Lists that a table holds as text, as pandas writes them to CSV: "[0.1, 0.9]", "tensor([0.1, 0.9])"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from dissensus.errors import ArgumentError

from .arrow_types import is_text
from .names import LOGITS, PROBABILITIES, TOP_CLASSES, TOP_SCORES
from .table_file import TableFile, Types

_LIST = re.compile(r"\s*(?:tensor\(|array\()?\[([^\[\]]*)\](?:,[^\[\]]*)?\)?\s*")
_KNOWN = (*LOGITS, *PROBABILITIES, *TOP_CLASSES[:2], *TOP_SCORES)  # not labels, which may be sets


def listed(table: TableFile, n_classes: int) -> TableFile:
    """Table in which columns of the texts of lists are columns of lists of numbers.

    These are columns of as many numbers as there are classes, and of more than one where their name is one
    of scores.

    Raises
    ------
    ArgumentError
        A column of scores was cut short when it was printed.
    """
    found = [name for name in _texts(table) if _is_list(table, name, n_classes)]
    if not found:
        return table
    kind = pa.list_(pa.float64())
    fields = [pa.field(f.name, kind) if f.name in found else f for f in table.schema]

    def scan(names: Sequence[str], types: Types) -> Iterator[pa.RecordBatch]:
        left = {name: type_ for name, type_ in types.items() if name not in found}
        as_text = dict.fromkeys((name for name in names if name in found), pa.string())
        for batch in table.scan(names, {**left, **as_text}):
            columns = [
                _parsed(column, f"column {name!r} of {table.path}") if name in found else column
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    return replace(table, schema=pa.schema(fields, table.schema.metadata), scan=scan)


def _texts(table: TableFile) -> list[str]:
    return [field.name for field in table.schema if is_text(field.type)]


def _is_list(table: TableFile, name: str, n_classes: int) -> bool:
    batch = next(iter(table.batches([name])), None)
    text = None if batch is None or not batch.num_rows else batch.column(0)[0].as_py()
    match = _LIST.fullmatch(text or "")
    if match is None:
        return False
    is_known = name.lower() in _KNOWN
    if is_known and "..." in match[1]:
        raise ArgumentError(
            f"column {name!r} of {table.path} holds lists that were cut short when they were printed, with "
            "'...' in them; save the numbers, with numpy.save or as Parquet"
        )
    numbers = _numbers(match[1])
    return numbers is not None and (len(numbers) == n_classes or (is_known and len(numbers) > 1))


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(one) for one in text.replace(",", " ").split()]
    except ValueError:
        return None


def _parsed(column: pa.Array, what: str) -> pa.Array:
    rows: list[list[float] | None] = []
    for text in column.cast(pa.string()).to_pylist():
        match = _LIST.fullmatch(text or "")
        numbers = _numbers(match[1]) if match else None
        if numbers is None and text is not None:
            raise ArgumentError(
                f"{what} must hold a list of numbers in every row, as in the first; got {text!r:.60}"
            )
        rows.append(numbers)
    return pa.array(rows, pa.list_(pa.float64()))
