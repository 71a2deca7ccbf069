"""Stores made and annotated from files of labels, classes and columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName
from dissensus.store.create import create
from dissensus.store.identity import id_strings
from dissensus.store.truth import Truth

from .align import ids_of_rows, order_of
from .class_names import ClassFile, read_classes
from .labels import LabelFile, id_column_of, read_labels
from .whole import read_table

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

SPLIT = "split"
AnyPath = str | os.PathLike[str]


def create_from_files(
    path: AnyPath,
    labels: AnyPath,
    *,
    label_set: str = "original",
    id_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    metadata: Sequence[AnyPath] = (),
    classes: AnyPath | None = None,
    dtype: str = "float16",
    codec: str = "raw",
) -> tuple[Store, list[str]]:
    """Make a store for the examples of a label file.

    Parameters
    ----------
    path
        Folder to make; must not exist.
    labels
        Label file, see `read_labels`; its other columns become columns of the examples.
    label_set
        What these labels are called.
    id_column, label_column, split_column
        Names of columns, where they are not recognised.
    metadata
        Tables of further columns, matched by id.
    classes
        File of class names, see `read_classes`; without it, as many classes as the labels say.
    dtype, codec
        As of `dissensus.create`.

    Returns
    -------
    store : Store
        The new store.
    notes : list of str
        How the files were read.

    Raises
    ------
    ArgumentError, ExamplesMismatch, StoreExists, NotWritable
    """
    named = None if classes is None else read_classes(classes)
    found = read_labels(
        labels,
        id_column=id_column,
        label_column=label_column,
        classes=None if named is None else named.names,
    )
    ids = id_strings(range(len(found.labels)) if found.ids is None else found.ids, len(found.labels))
    columns, splits = _columns_and_splits(found, split_column)
    for file in metadata:
        _merge(columns, _columns_of(file, ids, found.ids is not None, id_column), file)
    facts = named or ClassFile(found.classes or [])
    store = create(
        path,
        found.labels,
        classes=facts.names or None,
        example_ids=ids,
        splits=splits,
        metadata=columns,
        dtype=dtype,
        label_set=label_set,
        class_metadata=facts.columns,
        codec=codec,
    )
    return store, [*found.notes, *facts.notes]


def _columns_and_splits(
    found: LabelFile, split_column: str | None
) -> tuple[dict[str, Any], list[str | None] | None]:
    columns = {name: found.columns[name] for name in found.columns.column_names}
    if split_column is not None and split_column not in columns:
        raise UnknownName.of("split column", split_column, columns)
    splits = columns.pop(split_column or SPLIT, None)
    return columns, None if splits is None else _splits(splits)


def _splits(column: pa.ChunkedArray) -> list[str | None]:
    """Splits as text; in a CSV file an empty cell means none."""
    return [None if value in (None, "") else str(value) for value in column.to_pylist()]


def _columns_of(file: AnyPath, ids: Sequence[str], has_ids: bool, id_column: str | None) -> Mapping[str, Any]:
    """Columns of a table in the order of some ids."""
    path = Path(file)
    table = read_table(path)
    given = id_column if id_column in table.column_names else None
    id_name = id_column_of(table, path, given, ids)
    if id_name is None:
        if has_ids or table.num_rows != len(ids):
            raise ArgumentError(
                f"{path} has no column of example ids among {', '.join(table.column_names)}; rows are "
                "matched by id: name it with id_column= (--id-column)"
            )
        return {name: table[name] for name in table.column_names}
    order = order_of([str(v) for v in table[id_name].to_pylist()], list(ids), path.name)
    rest = table if order is None else table.take(pa.array(order))
    return {name: rest[name] for name in table.column_names if name != id_name}


def _merge(columns: dict[str, Any], more: Mapping[str, Any], file: AnyPath) -> None:
    clash = sorted(columns.keys() & more.keys())
    if clash:
        raise ArgumentError(f"column {clash[0]!r} of {file} is there already; rename or leave one out")
    columns.update(more)


def annotate_from_files(
    store: Store,
    labels: Iterable[tuple[str, AnyPath]] = (),
    columns: Iterable[AnyPath] = (),
    *,
    remove: Iterable[str] = (),
    id_column: str | None = None,
    rows: AnyPath | None = None,
) -> list[str]:
    """Add label sets and columns from files to a store's examples, or take added ones away.

    Everything is read and checked before anything is written.

    Parameters
    ----------
    store
        Opened by `dissensus.open`.
    labels
        Name of a label set and its file, see `read_labels`.
    columns
        Tables of further columns.
    remove
        Names of added label sets and columns to take away first.
    id_column
        Column of the example ids, where it is not recognised.
    rows
        For files without ids: "store", "sorted", or a text file with one id a line.

    Returns
    -------
    list of str
        What was done, one line each.

    Raises
    ------
    ArgumentError, ExamplesMismatch, UnknownName, NotWritable
    """
    row_ids = ids_of_rows(rows, store.example_ids)
    sets = [(name, *_label_set(store, name, path, id_column, rows, row_ids)) for name, path in labels]
    tables = [_table(store, path, id_column, rows, row_ids) for path in columns]
    done = []
    for name in remove:
        store.remove_column(name)
        done.append(f"removed {name}")
    for name, found, ids in sets:
        store.add_labels(name, found.labels, example_ids=ids)
        counted = int(store.under(name).truth.counted.sum())
        done.append(f"added labels {name}: {counted:,} of {store.n_examples:,} examples are counted")
    for names, table, ids in tables:
        store.add_columns(table, example_ids=ids)
        done.append(f"added columns {', '.join(names)}")
    return done


def _label_set(
    store: Store,
    name: str,
    path: AnyPath,
    id_column: str | None,
    rows: AnyPath | None,
    row_ids: Sequence[str] | None,
) -> tuple[LabelFile, list[str] | None]:
    found = read_labels(path, id_column=id_column, classes=store.classes, example_ids=store.example_ids)
    ids = _ids(store, found.ids, path, rows, row_ids, len(found.labels))
    Truth.of(name, found.labels, store.n_classes)  # refused before anything is written
    return found, ids


def _table(
    store: Store, path: AnyPath, id_column: str | None, rows: AnyPath | None, row_ids: Sequence[str] | None
) -> tuple[list[str], pa.Table, list[str] | None]:
    table = read_table(path)
    id_name = id_column_of(table, Path(path), id_column, store.example_ids)
    ids = None if id_name is None else [str(v) for v in table[id_name].to_pylist()]
    ids = _ids(store, ids, path, rows, row_ids, table.num_rows)
    rest = table.select([name for name in table.column_names if name != id_name])
    if SPLIT in rest.column_names:
        place = rest.column_names.index(SPLIT)
        rest = rest.set_column(place, SPLIT, pa.array(_splits(rest[SPLIT]), pa.string()))
    if not rest.column_names:
        raise ArgumentError(f"{path} has no columns beside the ids; there is nothing to add")
    return rest.column_names, rest, ids


def _ids(
    store: Store,
    found: list[str] | None,
    path: AnyPath,
    rows: AnyPath | None,
    row_ids: Sequence[str] | None,
    n_rows: int,
) -> list[str] | None:
    """Ids of a file's rows: its own, or those the user says; None where they are in the store's order."""
    name = Path(path).name
    if found is not None:
        if rows is not None:
            raise ArgumentError(f"rows must not be given for {name}: it has ids of its own")
        order_of(found, store.example_ids, name)
        return found
    if rows is None:
        raise ArgumentError(
            f"{name} has no ids; say how its rows lie with rows= (--rows): 'store', 'sorted', or a file of "
            "ids"
        )
    return None if row_ids is None else _checked(row_ids, store, n_rows, name)


def _checked(row_ids: Sequence[str], store: Store, n_rows: int, name: str) -> list[str]:
    order_of(row_ids, store.example_ids, "rows=")
    if n_rows != len(row_ids):
        raise ArgumentError(f"{name} has {n_rows} rows, the store {len(row_ids)} examples")
    return list(row_ids)
