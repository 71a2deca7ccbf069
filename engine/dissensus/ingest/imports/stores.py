"""Stores made from files of labels, classes and columns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError, DissensusError, StoreExists, UnknownName
from dissensus.store.catalog import Store
from dissensus.store.create import create
from dissensus.store.identity import id_strings
from dissensus.store.tables import same_values

from .align import order_of
from .class_names import ClassFile, read_classes
from .keyed import read_keyed
from .labels import LabelFile, read_labels
from .whole import open_whole

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
    """Make a store for the examples of a label file, or open the one that is there and equal to it.

    Parameters
    ----------
    path
        Folder to make; must not exist, unless it is this very store.
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
        The new store, or the one that is there.
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
    make = partial(
        create,
        labels=found.labels,
        classes=facts.names or None,
        example_ids=ids,
        splits=splits,
        metadata=columns,
        dtype=dtype,
        label_set=label_set,
        class_metadata=facts.columns,
        codec=codec,
    )
    notes = [*found.notes, *facts.notes, *_unused_classes(found.labels, facts.names)]
    try:
        old = Store(path)
    except DissensusError:  # nothing there, or no store
        return make(path), notes
    with tempfile.TemporaryDirectory() as folder:
        other = _differences(old, make(Path(folder) / "new.zoo"))
    if other:
        raise StoreExists(
            f"{path} exists already and is not what these files make: {other}; add labels and columns with "
            "`dissensus annotate`, models with `dissensus import`, or choose another path"
        )
    return old, notes


def _differences(old: Store, new: Store) -> str:
    """What two stores do not have in common, beside their models; nothing where they are equal."""
    facts = {
        "dtype": (old.dtype, new.dtype),
        "codec": (old.codec, new.codec),
        "label set": (old.label_sets[0], new.label_sets[0]),
    }
    said = [f"{name} is {one}, not {other}" for name, (one, other) in facts.items() if one != other]
    tables = {
        "examples": (old.own_examples(), new.own_examples()),
        "classes": (old.class_table(), new.class_table()),
    }
    for what, (one, other) in tables.items():
        names = dict.fromkeys([*one.column_names, *other.column_names])
        differ = [name for name in names if not _same_column(one, other, name)]
        said += [f"other {what} (columns {', '.join(differ)})"] if differ else []
    return "; ".join(said)


def _same_column(one: pa.Table, other: pa.Table, name: str) -> bool:
    both = name in one.column_names and name in other.column_names
    return both and same_values(one[name], other[name])


def _unused_classes(labels: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Note on named classes that no example has."""
    there = {c for entry in labels for c in (entry if isinstance(entry, list) else [entry])} - {None}
    if not names or len(there) >= len(names):
        return []
    return [f"{len(there):,} of {len(names):,} classes occur in the labels"]


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
