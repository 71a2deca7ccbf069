"""Tables as predictions: the columns that hold them turned into rows, a long table split into its models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from .arrow_types import as_text, is_list, is_text
from .columns import Picked, find_predictions, some_names
from .files import reading, stem_of
from .id_columns import find_ids, ids_of
from .list_texts import listed
from .names import IDS, MODEL, STRONG_IDS
from .source import ArraySource, Entry, Facts, Source, StreamSource, Wanted, require_memory
from .stated_classes import classes_of_scores
from .table_file import TableFile
from .tables import flattened
from .top_classes import NOTE


def table_entries(table: TableFile, wanted: Wanted) -> list[Entry]:
    """Models of a table: one, or those that its column "model" names."""
    table = listed(flattened(table), len(wanted.classes))
    id_name = find_ids(table, wanted.ids, wanted.id_column, has_rows=wanted.has_rows, taken=wanted.taken)
    model = next((n for n in table.schema.names if n.lower() in MODEL and n != id_name), None)
    picked = find_predictions(table, wanted, [id_name, model])
    is_guessed = id_name is not None and wanted.id_column is None and id_name.lower() not in IDS
    has_rival = any(n.lower() in STRONG_IDS and n != id_name for n in table.schema.names)
    is_said = id_name is not None and (is_guessed or has_rival)
    notes = [*table.notes, *([f"ids are column {id_name!r}"] if is_said else [])]
    notes += _unused(table, [id_name, model, *picked.names])
    if picked.n_top > 1:
        notes.append(NOTE.format(picked.n_top))
    guessed = id_name if is_guessed else None
    facts = Facts(table.format, None, picked.hint, notes, picked.in_order, picked.is_weak, guessed)
    if not picked.in_order:
        stated = classes_of_scores(table.schema, picked.names[0], wanted.classes)
        facts.classes, facts.numbers = (stated.names, stated.numbers) if stated else (None, None)
    if model is not None:
        return _long_entries(table, model, id_name, picked, facts)

    def load() -> Source:
        return _source(table, id_name, picked, replace(facts, notes=list(notes)))

    return [Entry(stem_of(table.path), table.path, load)]


def _unused(table: TableFile, used: Sequence[str | None]) -> list[str]:
    rest = [name for name in table.schema.names if name not in used]
    return [f"columns not used: {some_names(rest)}"] if rest else []


def _source(table: TableFile, id_name: str | None, picked: Picked, facts: Facts) -> Source:
    facts.ids = None if id_name is None else ids_of(table, id_name)
    types = _types(table, picked.names)
    extract = _extractor(table, picked)

    def blocks() -> Iterator[NDArray[Any]]:
        row, width = 0, tuple[int, ...]()
        for batch in table.batches(picked.names, types):
            if batch.num_rows:
                rows = extract(batch, row)
                if row and rows.shape[1:] != width:
                    raise ArgumentError(
                        f"column {picked.names[0]!r} of {table.path} must hold lists of one length; row "
                        f"0 has {width[0]} values, row {row} has {rows.shape[1]}"
                    )
                width = rows.shape[1:]
                yield rows
                row += batch.num_rows

    first = next(blocks(), None)
    if first is None:
        raise ArgumentError(f"{table.path} has no rows")
    n_rows = _count(table, picked.names[:1], types) if facts.ids is None else len(facts.ids)
    return StreamSource((n_rows, *first.shape[1:]), first.dtype, blocks, facts)


def _count(table: TableFile, names: Sequence[str], types: Mapping[str, pa.DataType]) -> int:
    return sum(batch.num_rows for batch in table.batches(names, {n: types[n] for n in names if n in types}))


def _types(table: TableFile, names: Sequence[str]) -> dict[str, pa.DataType]:
    """Types to read score columns of a CSV file as: whole numbers in the first rows decide nothing."""
    if len(names) == 1:
        return {names[0]: table.schema.field(names[0]).type}
    return dict.fromkeys(names, pa.float64()) if table.format in ("csv", "tsv") else {}


def _extractor(table: TableFile, picked: Picked) -> Callable[[pa.RecordBatch, int], NDArray[Any]]:
    names = picked.names
    if len(names) > 1:
        return lambda batch, row: np.stack(
            [
                _numbers(batch.column(i), f"column {name!r} of {table.path}", row)
                for i, name in enumerate(names)
            ],
            axis=1,
        )
    what = f"column {names[0]!r} of {table.path}"
    kind = table.schema.field(names[0]).type
    if is_list(kind) and picked.n_top:
        read = _texts if is_text(kind.value_type) else _numbers
        return lambda batch, row: read(pc.list_element(batch.column(0), 0), what, row)
    if is_list(kind):
        return lambda batch, row: _lists(batch.column(0), what, row)
    if is_text(kind):
        return lambda batch, row: _texts(batch.column(0), what, row)
    return lambda batch, row: _numbers(batch.column(0), what, row)


def _refuse_nulls(column: pa.Array, what: str, row: int) -> None:
    if column.null_count:
        first = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise ArgumentError(f"{what} has no value in row {first} (empty or NaN); every example needs one")


def _numbers(column: pa.Array, what: str, row: int) -> NDArray[Any]:
    _refuse_nulls(column, what, row)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ArgumentError(f"{what} must hold numbers; it holds {column.type}")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _texts(column: pa.Array, what: str, row: int) -> NDArray[Any]:
    _refuse_nulls(column, what, row)
    return np.asarray(as_text(column).to_numpy(zero_copy_only=False), object)


def _lists(column: pa.Array, what: str, row: int) -> NDArray[Any]:
    _refuse_nulls(column, what, row)
    sizes = np.asarray(pc.list_value_length(column).to_numpy(zero_copy_only=False))
    odd = np.flatnonzero(sizes != sizes[0])
    if len(odd):
        raise ArgumentError(
            f"{what} must hold lists of one length; row {row} has {sizes[0]} values, row {row + odd[0]} has "
            f"{sizes[odd[0]]}"
        )
    flat = column.flatten()
    if flat.null_count:
        place = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0])
        _refuse_nulls(pa.nulls(1), what, row + place // int(sizes[0]))
    return _numbers(flat, what, row).reshape(len(column), int(sizes[0]))


def _long_entries(
    table: TableFile, model: str, id_name: str | None, picked: Picked, facts: Facts
) -> list[Entry]:
    """Models of a table with one row a model and example; the columns used are held in memory."""
    names = list(dict.fromkeys(table.column(model, pa.string()).to_pylist()))
    if None in names:
        raise ArgumentError(f"column {model!r} of {table.path} is empty in some rows; name the model in each")
    whole = _Whole(table, model, id_name, picked)

    def load(name: str) -> Source:
        ids, rows = whole.of(name)
        return ArraySource(rows, replace(facts, ids=ids, notes=list(facts.notes)))

    return [Entry(name, table.path, partial(load, name)) for name in names]


class _Whole:
    """A long table, read when its first model is asked for."""

    def __init__(self, table: TableFile, model: str, id_name: str | None, picked: Picked) -> None:
        self._table, self._model, self._id_name, self._picked = table, model, id_name, picked
        self._read: tuple[NDArray[Any], list[str] | None, NDArray[Any]] | None = None

    def of(self, name: str) -> tuple[list[str] | None, NDArray[Any]]:
        """Ids and predictions of one model."""
        if self._read is None:
            self._read = self._all()
        models, ids, values = self._read
        rows = np.flatnonzero(models == name)
        return None if ids is None else [ids[i] for i in rows], values[rows]

    def _all(self) -> tuple[NDArray[Any], list[str] | None, NDArray[Any]]:
        source = _source(self._table, self._id_name, self._picked, Facts(self._table.format))
        n_bytes = int(np.prod(source.shape)) * max(source.dtype.itemsize, 8)
        require_memory(n_bytes, f"{self._table.path.name}, which holds several models,", "split it by model")
        with reading(self._table.path, self._table.format):
            models = np.asarray(self._table.column(self._model, pa.string()).to_pylist(), object)
        return models, source.facts.ids, source.read(0, source.shape[0])
