"""Which column of a table holds the ids of the examples, recognised by name and by value, and its texts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName

from .arrow_types import as_text, is_text
from .id_values import SAMPLE, KnownIds
from .names import IDS, MODEL, PREDICTIONS, STRONG_IDS, TRUTH
from .table_file import TableFile


def find_ids(
    table: TableFile,
    ids: Sequence[str],
    given: str | None,
    *,
    has_rows: bool = False,
    taken: Collection[str] = (),
) -> str | None:
    """Column of a table that holds the store's example ids: by name, else by its values.

    Parameters
    ----------
    table, ids
        The file, and the ids of the store.
    given
        Name the user gave.
    has_rows
        Whether the user says how rows of files without ids lie.
    taken
        Columns that the user says are predictions.

    Raises
    ------
    UnknownName
        The name given is not there.
    ArgumentError
        Two columns contradict each other, or one may be ids or ranks.
    """
    names: list[str] = table.schema.names
    if given is not None:
        if given not in names:
            raise UnknownName.of(f"column of {table.path.name}", given, names)
        return given
    named: list[str] = sorted((n for n in names if n.lower() in IDS), key=lambda n: IDS.index(n.lower()))
    known = KnownIds(ids)
    hits = [name for name in named if known.share(_first_texts(table, [name])[name]) > 0.5]
    strong: list[str] = [n for n in named if n.lower() in STRONG_IDS]
    _refuse_contradiction(table, [name for name in hits if name in strong])
    if hits or strong:
        return (hits or strong)[0]
    return _by_value(table, known, has_rows, taken)


def _refuse_contradiction(table: TableFile, names: Sequence[str]) -> None:
    """Refuse two columns of the store's ids that do not agree in every row."""
    for other in names[1:]:
        one, two = ids_of(table, names[0]), ids_of(table, other)
        differ = [row for row, pair in enumerate(zip(one, two, strict=True)) if pair[0] != pair[1]]
        if differ:
            raise ArgumentError(
                f"columns {names[0]!r} and {other!r} of {table.path} both hold the store's ids and differ in "
                f"{len(differ)} rows, in row {differ[0]} {one[differ[0]]!r} and {two[differ[0]]!r}: name the "
                "right one with id_column= (--id-column)"
            )


def _by_value(table: TableFile, known: KnownIds, has_rows: bool, taken: Collection[str]) -> str | None:
    """Column of no known name whose values nearly all are ids, each once a model."""
    names: list[str] = table.schema.names
    passed_over = {*PREDICTIONS, *TRUTH, *MODEL}
    others = [n for n in names if n.lower() not in passed_over and n not in taken and _holds_ids(table, n)]
    if len(names) == 1:  # these are the predictions
        return None
    model = next((n for n in names if n.lower() in MODEL), None)
    texts = _first_texts(table, others if model is None else [*others, model])
    groups = texts.pop(model, None) if model is not None else None
    if not has_rows:
        for name in others:
            if known.share(texts[name]) == 1:
                _refuse_other_numbers(table, known, name, model)
    hits = [name for name in others if known.are_like(texts[name], groups or None)]
    _refuse_contradiction(table, hits)
    return hits[0] if hits else None


def _refuse_other_numbers(table: TableFile, known: KnownIds, name: str, model: str | None) -> None:
    """Ask about numbers that are the ids in another order, of each model where there are several."""
    try:
        texts = ids_of(table, name)
        groups = [""] * len(texts) if model is None else ids_of(table, model)
    except ArgumentError:  # some are missing
        return
    by_model: dict[str, list[str]] = {}
    for text, group in zip(texts, groups, strict=True):
        by_model.setdefault(group, []).append(text)
    for of_one in by_model.values():
        known.refuse_other_numbers(of_one, f"column {name!r} of {table.path}")


def _holds_ids(table: TableFile, name: str) -> bool:
    kind = table.schema.field(name).type
    return _may_be_ids(kind) and not pa.types.is_null(kind)


def _first_texts(table: TableFile, names: Sequence[str]) -> dict[str, list[str]]:
    """First values of columns as text; none of a column that holds no ids."""
    try:
        batch = next(iter(table.batches(names, dict.fromkeys(names, pa.string()))), None) if names else None
    except ArgumentError:
        batch = None
    return {name: [] if batch is None else _texts_of(batch.column(i)) for i, name in enumerate(names)}


def _texts_of(column: pa.Array) -> list[str]:
    try:
        return as_ids(column.slice(0, SAMPLE), "")
    except ArgumentError:
        return []


def ids_of(table: TableFile, name: str) -> list[str]:
    """Ids in a column, as text: of a CSV file as they are written.

    Raises
    ------
    ArgumentError
        They are neither text nor whole numbers, or some are missing.
    """
    what = f"column {name!r} of {table.path}"
    batches = table.batches([name], {name: pa.string()})
    ids = [text for batch in batches for text in as_ids(batch.column(0), what)]
    missing = [row for row, text in enumerate(ids) if not text]
    if missing:
        raise ArgumentError(
            f"{what} has no id in {len(missing)} rows, first row {missing[0]}; each row needs one, or name "
            "another column with id_column= (--id-column)"
        )
    return ids


def as_ids(column: pa.Array, what: str) -> list[str]:
    """Ids as text, missing ones empty: text as it is, whole numbers in decimal, binary decoded.

    Raises
    ------
    ArgumentError
        They are anything else.
    """
    try:
        if pa.types.is_dictionary(column.type) and is_text(column.type):
            column = as_text(column)
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if pa.types.is_floating(column.type):
            column = column.cast(pa.int64())
        if not _may_be_ids(column.type):
            raise pa.ArrowInvalid(str(column.type))
        return [text or "" for text in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ArgumentError(
            f"{what} must hold ids, texts or whole numbers; it holds {column.type}: name another column with "
            "id_column= (--id-column)"
        ) from error


def _may_be_ids(kind: pa.DataType) -> bool:
    plain = is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
    return bool(plain or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
