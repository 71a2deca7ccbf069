"""Label sets and columns from files added to a store: all of them read and checked before one is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dissensus.errors import ArgumentError, IncompatibleFormat, UnknownName
from dissensus.store import format as fmt
from dissensus.store.columns import FIXED, LABEL_PREFIX, checked_splits, column_name
from dissensus.store.tables import same_values
from dissensus.store.truth import Truth

from ..streaming.checks import check_writable
from .align import Order, ids_of_rows, order_of
from .keyed import read_keyed
from .labels import read_labels
from .stores import SPLIT, AnyPath, if_there, splits_of
from .whole import open_whole

if TYPE_CHECKING:
    from dissensus.store.catalog import Store


def annotate_from_files(
    store: Store,
    labels: Iterable[tuple[str, AnyPath]] = (),
    columns: Iterable[AnyPath] = (),
    *,
    remove: Iterable[str] = (),
    id_column: str | None = None,
    label_column: str | None = None,
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
    id_column, label_column
        Columns of the example ids and of the labels, in the files that have them; recognised in the others.
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
    labels, columns, remove = list(labels), list(columns), list(remove)
    _refuse_old(store)
    files = [path for _, path in labels]
    _require_in_one(id_column, [*files, *columns])
    _require_in_one(label_column, files)
    said = _Said(store, id_column, label_column, rows, ids_of_rows(rows, store.example_ids))
    names = _Names(store)
    for name in remove:
        names.remove(name)
    acts = [said.labels(name, path, names) for name, path in labels]
    acts += [said.columns(path, names) for path in columns]
    check_writable(store)
    for name in remove:
        store.remove_column(name)
    return [*(f"removed {name}" for name in remove), *(act() for act in acts)]


def _refuse_old(store: Store) -> None:
    if store.format_version < fmt.FORMAT_VERSION:
        raise IncompatibleFormat(
            f"{store.path} has format version {store.format_version}; it can be written after `dissensus "
            f"migrate` has brought it to version {fmt.FORMAT_VERSION}"
        )


def _require_in_one(column: str | None, files: Sequence[AnyPath]) -> None:
    """Refuse a name that no file has."""
    schemas = [] if column is None else [open_whole(path).schema.names for path in files]
    if column is not None and not any(column in names for names in schemas):
        what = f"column of {', '.join(Path(path).name for path in files)}"
        raise UnknownName.of(what, column, dict.fromkeys(name for names in schemas for name in names))


class _Names:
    """What columns of the examples will be called.

    Parameters
    ----------
    store : Store
        As it is.
    """

    def __init__(self, store: Store) -> None:
        self._added = {column.name: title for title, column in store.added_columns().items()}
        self._titles = {*store.own_examples().column_names, *self._added.values(), *FIXED}
        self._own_labels = store.label_sets[0]
        self._new: set[str] = set()
        self._has_own_splits = store.splits is not None and SPLIT not in self._added

    def remove(self, name: str) -> None:
        """Take a column away."""
        if name not in self._added:
            raise UnknownName.of("added column", name, self._added)
        self._titles.discard(self._added.pop(name))

    def holds(self, name: str) -> bool:
        """Whether a column of this name was added before."""
        return name in self._added and name not in self._new

    def add(self, name: str, title: str) -> None:
        """Add a column; refuse a name that is taken."""
        column_name(name)
        is_split = title == SPLIT and SPLIT not in self._added and not self._has_own_splits
        is_own = title == LABEL_PREFIX + self._own_labels
        if name in self._added or is_own or (title in self._titles and not is_split):
            raise ArgumentError(
                f"column {title!r} is there already; rename it, or take the old one away with remove= "
                "(--remove) if it was added"
            )
        self._added[name] = title
        self._titles.add(title)
        self._new.add(name)


@dataclass(frozen=True)
class _Said:
    """What the user said about the files, and the store they are read for."""

    store: Store
    id_column: str | None
    label_column: str | None
    rows: AnyPath | None
    row_ids: Sequence[str] | None

    def labels(self, name: str, path: AnyPath, names: _Names) -> Callable[[], str]:
        """Read a label set; what is returned writes it."""
        column_name(name)
        found = read_labels(
            path,
            id_column=if_there(path, self.id_column),
            label_column=if_there(path, self.label_column),
            classes=self.store.classes,
            example_ids=self.store.example_ids,
        )
        ids = self._ids(found.ids, path, len(found.labels))
        truth = Truth.of(name, found.labels, self.store.n_classes)
        if names.holds(name) and self._is_there(truth, ids):
            return lambda: f"labels {name} are there already and equal"
        names.add(name, LABEL_PREFIX + name)
        return partial(self._add_labels, name, found.labels, ids)

    def _is_there(self, truth: Truth, ids: list[str] | None) -> bool:
        """Whether a label set of the store is that of a file."""
        if truth.name not in self.store.label_sets:
            return False
        rows = self._rows(ids)
        there, given = self.store.under(truth.name).truth, truth if rows is None else truth.take(rows)
        return bool(np.array_equal(there.offsets, given.offsets)) and bool(
            np.array_equal(there.classes, given.classes)
        )

    def _rows(self, ids: list[str] | None) -> Order:
        return None if ids is None else order_of(ids, self.store.example_ids, "the file")

    def _add_labels(self, name: str, labels: list[Any], ids: list[str] | None) -> str:
        self.store.add_labels(name, labels, example_ids=ids)
        counted = int(self.store.under(name).truth.counted.sum())
        return f"added labels {name}: {counted:,} of {self.store.n_examples:,} examples are counted"

    def columns(self, path: AnyPath, names: _Names) -> Callable[[], str]:
        """Read a table of columns; what is returned writes them."""
        keyed = read_keyed(path, if_there(path, self.id_column), self.store.example_ids)
        table = keyed.table
        if not table.column_names:
            raise ArgumentError(f"{path} has no columns beside the ids; there is nothing to add")
        ids = self._ids(keyed.ids, path, keyed.n_rows)
        if SPLIT in table.column_names:
            splits = checked_splits(splits_of(table[SPLIT]), table.num_rows)
            table = table.set_column(table.column_names.index(SPLIT), SPLIT, splits)
        there = [
            name for name in table.column_names if names.holds(name) and self._is_equal(table, name, ids)
        ]
        table = table.drop_columns(there)
        for name in table.column_names:
            names.add(name, name)
        return partial(self._add_columns, table, ids, there)

    def _is_equal(self, table: pa.Table, name: str, ids: list[str] | None) -> bool:
        """Whether an added column of the store is that of a file."""
        rows = self._rows(ids)
        given = table[name] if rows is None else table[name].take(pa.array(rows))
        added = self.store.added_columns().get(name)
        return added is not None and same_values(added.read(), given)

    def _add_columns(self, table: pa.Table, ids: list[str] | None, there: list[str]) -> str:
        said = [f"columns {', '.join(there)} are there already and equal"] if there else []
        if table.column_names:
            self.store.add_columns(table, example_ids=ids)
            said.insert(0, f"added columns {', '.join(table.column_names)}")
        return "; ".join(said)

    def _ids(self, found: list[str] | None, path: AnyPath, n_rows: int) -> list[str] | None:
        """Ids of a file's rows: its own, or those the user says; None where they are in the store's order."""
        name = Path(path).name
        if found is not None and self.rows is not None:
            raise ArgumentError(f"rows must not be given for {name}: it has ids of its own")
        if found is None and self.rows is None:
            raise ArgumentError(
                f"{name} has no ids; say how its rows lie with rows= (--rows): 'store', 'sorted', or a file "
                "of ids"
            )
        ids = self.row_ids if found is None else found
        if ids is not None:
            order_of(ids, self.store.example_ids, name if found is not None else "rows=")
        if n_rows != self.store.n_examples:
            raise ArgumentError(f"{name} has {n_rows} rows, the store {self.store.n_examples} examples")
        return None if ids is None else list(ids)
