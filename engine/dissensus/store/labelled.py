"""The labelled examples of a store: what its rows and columns are, and what is right."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, IncompatibleFormat

from . import format as fmt
from .columns import StoredColumn
from .examples import Examples
from .facts import Facts
from .files import writing
from .folders import bury
from .header import read_header
from .identity import checked_path
from .splits import Rows
from .truth import Truth


class Labelled:
    """Examples, classes, label sets and metadata columns of a store; `Store` adds the models.

    Parameters
    ----------
    path : str or Path
        Folder of the store.
    labels : str, optional
        Label set that every query goes by; the store's own by default.
    """

    def __init__(self, path: str | os.PathLike[str], labels: str | None) -> None:
        self.path = checked_path(path)
        header, self.format_version = read_header(self.path)
        self._examples = Examples(self.path, header)
        self.attributes: dict[str, Any] = header["attributes"]
        self.examples_hash: str = header["examples_hash"]
        self.geometry = fmt.Geometry.of_header(header)
        self._label_set = None if labels is None else self._examples.truth(labels).name

    @property
    def n_examples(self) -> int:
        """Number of examples N."""
        return self.geometry.n_examples

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return self.geometry.n_classes

    @property
    def dtype(self) -> str:
        """Dtype of the stored logits: "float16" or "float32"."""
        return self.geometry.dtype

    @property
    def codec(self) -> str:
        """How logits are kept: "raw" or "archive"."""
        return self.geometry.codec

    @property
    def block_rows(self) -> int:
        """Rows of a block: what a writer makes safe at a time."""
        return self.geometry.block_rows

    def examples(self) -> pa.Table:
        """Examples in row order: example_id, label, split (null where none), metadata and added columns.

        A label set "real" added by `add_labels` is the column ``label_real``.
        """
        return self._examples.table()

    def class_table(self) -> pa.Table:
        """Classes in column order: class_id, name, and any further columns (groups)."""
        return self._examples.class_table

    def own_examples(self) -> pa.Table:
        """Examples as the store was made with them: without what was added since."""
        return self._examples.base

    def added_columns(self) -> dict[str, StoredColumn]:
        """Columns and label sets added since the store was made, by their title in `examples`."""
        return self._examples.added()

    @property
    def example_ids(self) -> list[str]:
        """Ids of the examples in row order."""
        return self._examples.ids

    @property
    def label_sets(self) -> list[str]:
        """Names of the label sets there are, the store's own first."""
        return self._examples.label_sets

    @property
    def truth(self) -> Truth:
        """Right answers that queries go by: sets of classes, see `under`."""
        return self._examples.truth(self._label_set)

    def under(self, labels: str | None) -> Self:
        """View the same store with another label set as the truth; None gives this one back.

        Examples whose set is empty are not counted by any query.

        Raises
        ------
        UnknownName
            Naming the label sets there are.
        """
        if labels is None:
            return self
        view = copy.copy(self)
        view._label_set = self._examples.truth(labels).name
        return view

    @property
    def labels(self) -> NDArray[np.int32]:
        """True classes, (N,) int32.

        Raises
        ------
        ArgumentError
            The truth is not one class for each example: use `truth`.
        """
        return self.truth.labels

    @property
    def classes(self) -> list[str]:
        """Names of the classes in column order."""
        return self._examples.classes

    @property
    def splits(self) -> NDArray[np.object_] | None:
        """Split of each example, (N,) of str or None; None where the store has no splits."""
        return self._examples.splits

    def rows(self, split: str | None, where: str | None = None) -> Rows:
        """Sorted row numbers of a split that the truth counts and an expression chooses, (n,) intp.

        "all" (or None) is every example. A store without splits has "fit" and "report" too: seeded,
        class-stratified halves, the same under every label set.

        Raises
        ------
        UnknownName
            Naming the splits there are; see also `where`.
        ArgumentError
            No expression, or one that leaves no example.
        """
        rows = self._examples.rows(split, self.truth)
        if where is None:
            return rows
        left = rows[self.where(where)[rows]]
        if not len(left):
            within = "" if split is None else f" within split {split!r}"
            counted = "" if self.truth.is_single else f" that labels {self.truth.name!r} count"
            raise ArgumentError(f"where {where!r} chooses no example{within}{counted}")
        return left

    def facts(self) -> Facts:
        """Columns that `where` and groups go by: those of `examples`, and what is known of their classes.

        A store without splits has its two halves as `split`; see `rows`.
        """
        examples = self.examples()
        if self.splits is None:
            place = examples.column_names.index("split")
            examples = examples.set_column(place, "split", self._examples.halves())
        return Facts(examples, self.class_table())

    def where(self, expression: str) -> NDArray[np.bool_]:
        """Examples for which an expression over their columns holds, (N,) bool.

        Columns are those of `examples` (ids, splits, labels, whatever was added), `label_name`, the name of
        the class that `label` gives, and the further columns of `class_table`.

        Parameters
        ----------
        expression : str
            Comparisons (``== != < <= > >= in``, ``not in``) of columns with texts in quotes, numbers, True
            and False or with each other, joined by ``and``, ``or``, ``not`` and parentheses; a column's name
            in backquotes where it is no plain word; ``3 in label_real`` for a column of sets. What is
            compared with a missing value is not chosen, nor is its opposite.

        Raises
        ------
        ArgumentError
            Not of this grammar, values of another kind than the column's, or no example is chosen.
        UnknownName
            No such column, or no example has a value that a column is said to equal: the nearest are named.

        Examples
        --------
        >>> store.where("split == 'report' and label_name in ('cat', 'dog')")  # doctest: +SKIP
        """
        from .where import where

        return where(expression, self.facts())

    def add_labels(self, name: str, labels: Any, *, example_ids: Sequence[str] | None = None) -> None:
        """Add a label set, which queries can then go by (`under`, ``labels=``).

        Parameters
        ----------
        name : str
            What it is called.
        labels : (N,) int, or N collections of int
            Right classes of each example; an empty collection or None leaves it uncounted.
        example_ids : sequence of str, optional
            Ids of the entries given, which are put into the store's order; without them they must be in it.

        Raises
        ------
        ArgumentError, ExamplesMismatch, NotWritable, StoreFull
        """
        self.require_current()
        self._examples.add_labels(name, labels, example_ids, self.n_classes)

    def add_columns(
        self, columns: Mapping[str, Any] | pa.Table, *, example_ids: Sequence[str] | None = None
    ) -> None:
        """Add metadata columns to the examples: groups, slices, or the split of a store that has none.

        Parameters
        ----------
        columns : mapping of str to sequence of length N, or pyarrow.Table
            The columns; one called "split" holds text or None.
        example_ids : sequence of str, optional
            Ids of the entries given, which are put into the store's order; without them they must be in it.

        Raises
        ------
        ArgumentError, ExamplesMismatch, NotWritable, StoreFull
        """
        self.require_current()
        self._examples.add_columns(columns, example_ids)

    def remove_column(self, name: str) -> None:
        """Take an added column or label set away again.

        Raises
        ------
        UnknownName
            Naming those that were added.
        """
        bury(self._examples.added_folder(name), self._staging())

    def _staging(self) -> Path:
        staging = self.path / fmt.STAGING
        with writing(staging):
            staging.mkdir(exist_ok=True)
        return staging

    def require_current(self) -> None:
        """Refuse to write today's records into a store that an older program may still read."""
        if self.format_version < fmt.FORMAT_VERSION:
            raise IncompatibleFormat(
                f"{self.path} has format version {self.format_version}; it can be read, and written after "
                f"`dissensus migrate` has brought it to version {fmt.FORMAT_VERSION}"
            )
