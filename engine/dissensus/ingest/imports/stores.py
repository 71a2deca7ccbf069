"""Stores made from files of labels, classes and columns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName
from dissensus.store.create import create
from dissensus.store.identity import id_strings

from .align import order_of
from .class_names import ClassFile, read_classes
from .keyed import read_keyed
from .labels import LabelFile, read_labels
from .whole import open_whole

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
    return columns, None if splits is None else splits_of(splits)


def splits_of(column: pa.ChunkedArray) -> list[str | None]:
    """Splits as text; in a CSV file an empty cell means none."""
    return [None if value in (None, "") else str(value) for value in column.to_pylist()]


def _columns_of(file: AnyPath, ids: Sequence[str], has_ids: bool, id_column: str | None) -> Mapping[str, Any]:
    """Columns of a table in the order of some ids."""
    keyed = read_keyed(file, if_there(file, id_column), ids)
    table = keyed.table
    if keyed.ids is None and (has_ids or table.num_rows != len(ids)):
        raise ArgumentError(
            f"{file} has no column of example ids among {', '.join(table.column_names)}; rows are "
            "matched by id: name it with id_column= (--id-column)"
        )
    order = None if keyed.ids is None else order_of(keyed.ids, list(ids), Path(file).name)
    rest = table if order is None else table.take(pa.array(order))
    return {name: rest[name] for name in table.column_names}


def if_there(file: AnyPath, column: str | None) -> str | None:
    """Name of a column that the user gave, for the files that have it."""
    return column if column is not None and column in open_whole(file).schema.names else None


def _merge(columns: dict[str, Any], more: Mapping[str, Any], file: AnyPath) -> None:
    clash = sorted(columns.keys() & more.keys())
    if clash:
        raise ArgumentError(f"column {clash[0]!r} of {file} is there already; rename or leave one out")
    columns.update(more)
