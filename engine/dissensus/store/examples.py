"""The labelled examples of a store: what its rows and columns are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, ExamplesMismatch, UnknownName

from . import format as fmt
from .columns import (
    LABEL_PREFIX,
    StoredColumn,
    checked_columns,
    checked_splits,
    column_name,
    stored_columns,
    write_column,
)
from .identity import id_strings
from .reading import read_checked
from .splits import HALVES, Rows, rows_of
from .tables import read_arrow
from .truth import Truth

SPLIT = "split"


def _by_name(columns: Mapping[str, Any] | pa.Table) -> dict[str, Any]:
    if isinstance(columns, pa.Table):
        return dict(zip(columns.column_names, columns.columns, strict=True))
    if not isinstance(columns, Mapping) or not columns:
        raise ArgumentError(f"columns must be a table, or a mapping of names to values; got {columns!r:.60}")
    return dict(columns)


class Examples:
    """Examples and classes, read and verified when first asked for.

    Parameters
    ----------
    root : Path
        Folder of the store.
    header : mapping
        The store's header.
    """

    def __init__(self, root: Path, header: Mapping[str, Any]) -> None:
        self._root, self._files = root, header["files"]
        self._hash: str = header["examples_hash"]
        self.label_set: str = header["label_set"]
        self._truths: dict[str, tuple[str, Truth]] = {}

    def _read(self, name: str) -> pa.Table:
        return read_arrow(read_checked(self._root / name, self._files[name], f"store {self._root}"))

    @cached_property
    def base(self) -> pa.Table:
        """What the store was made with: example_id, label, split, metadata columns, in row order."""
        return self._read(fmt.EXAMPLES)

    def added(self) -> dict[str, StoredColumn]:
        """Columns added since, by title."""
        return stored_columns(self._root, self._hash)

    def table(self) -> pa.Table:
        """`base` and the columns added since."""
        table = self.base
        for title, column in self.added().items():
            if title == SPLIT:
                table = table.set_column(table.column_names.index(SPLIT), SPLIT, column.read())
            else:
                table = table.append_column(title, column.read())
        return table

    def added_folder(self, name: str) -> Path:
        """Folder of a column or label set added since.

        Raises
        ------
        UnknownName
            Naming those there are.
        """
        added = {column.name: column.folder for column in self.added().values()}
        if name not in added:
            raise UnknownName.of("added column", str(name), added)
        return added[name]

    def add_labels(self, name: str, labels: Any, example_ids: Sequence[str] | None, n_classes: int) -> None:
        """Add a label set; see `Store.add_labels`."""
        truth = Truth.of(column_name(name), labels, n_classes)
        if name == self.label_set:
            raise ArgumentError(f"label set {name!r} is the store's own; choose another name")
        title = LABEL_PREFIX + name
        if name not in self.label_sets and title in self.table().column_names:
            raise ArgumentError(f"label set {name!r} would hide the column {title!r}; choose another name")
        column = truth.take(self.order(len(truth), example_ids)).to_column()
        write_column(self._root, name, "labels", self.ids, column, self._hash)

    def add_columns(self, columns: Mapping[str, Any] | pa.Table, example_ids: Sequence[str] | None) -> None:
        """Add metadata columns or splits; see `Store.add_columns`. All are checked before one is written."""
        given = _by_name(columns)
        n = self.base.num_rows
        order = pa.array(self.order(n if example_ids is None else len(example_ids), example_ids))
        splits = {SPLIT: checked_splits(given.pop(SPLIT), n)} if SPLIT in given else {}
        if splits and self.splits is not None:
            raise ArgumentError("the examples have splits already; results would no longer mean the same")
        arrays = splits | checked_columns(given, n, self.table().column_names, "metadata")
        for name, values in arrays.items():
            write_column(self._root, name, "column", self.ids, values.take(order), self._hash)

    @property
    def label_sets(self) -> list[str]:
        """Names of the label sets, the store's own first."""
        return [self.label_set, *(c.name for c in self.added().values() if c.role == "labels")]

    def truth(self, name: str | None = None) -> Truth:
        """Right answers of a label set, the store's own by default.

        Raises
        ------
        UnknownName
            Naming those there are.
        """
        if name in (None, self.label_set):
            return self._own_truth
        column = next((c for c in self.added().values() if (c.role, c.name) == ("labels", name)), None)
        if column is None:
            raise UnknownName.of("label set", str(name), self.label_sets)
        stamp = column.files[fmt.COLUMN]["crc32c"] + column.committed_at
        if self._truths.get(column.name, ("",))[0] != stamp:
            self._truths[column.name] = stamp, Truth.from_column(column.name, column.read())
        return self._truths[column.name][1]

    @cached_property
    def _own_truth(self) -> Truth:
        return Truth.from_column(self.label_set, self.base["label"])

    @cached_property
    def ids(self) -> list[str]:
        """Ids in row order."""
        return list(self.base["example_id"].to_pylist())

    @cached_property
    def class_table(self) -> pa.Table:
        """class_id, name, and any further columns (groups), in column order."""
        return self._read(fmt.CLASSES)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes in column order."""
        return list(self.class_table["name"].to_pylist())

    @property
    def splits(self) -> NDArray[np.object_] | None:
        """Split of each example, (N,) of str or None; None where there are none."""
        added = self.added().get(SPLIT)
        column = self.base[SPLIT] if added is None else added.read()
        return None if column.null_count == len(column) else column.to_numpy()

    def halves(self) -> pa.Array:
        """Split of each example where none was given: what `rows` takes for "fit" and "report"."""
        names = np.empty(self.base.num_rows, object)
        for name in HALVES:
            names[rows_of(self._own_truth.first, None, name)] = name
        return pa.array(names, pa.string())

    def rows(self, split: str | None, truth: Truth) -> Rows:
        """Sorted row numbers of a split that a truth counts; see `Store.rows`."""
        rows = np.arange(self.base.num_rows)
        if split is not None:  # halves are drawn by the store's own labels, whatever the truth asked for
            rows = rows_of(self._own_truth.first, self.splits, split)
        return rows if truth.is_single else rows[truth.counted[rows]]

    def order(self, n_rows: int, example_ids: Sequence[str] | None) -> NDArray[np.intp]:
        """Row of a given array for each example: (N,) intp.

        Raises
        ------
        ExamplesMismatch
            Another number of rows, or ids that are not the store's.
        """
        if n_rows != self.base.num_rows:
            raise ExamplesMismatch(f"{n_rows} rows given, the store has {self.base.num_rows} examples")
        if example_ids is None:
            return np.arange(n_rows)
        place = {name: row for row, name in enumerate(id_strings(example_ids, n_rows))}
        missing = [name for name in self.ids if name not in place]
        if missing:
            raise ExamplesMismatch(
                f"{len(missing)} of the store's {n_rows} examples have no row, first {missing[:3]}; "
                "pass predictions for exactly the store's example ids"
            )
        return np.fromiter((place[name] for name in self.ids), np.intp, n_rows)
