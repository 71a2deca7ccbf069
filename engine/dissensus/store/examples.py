"""The labelled examples of a store: what its rows and columns are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ExamplesMismatch

from . import format as fmt
from .files import read_checked
from .identity import id_strings
from .splits import Rows, rows_of
from .tables import read_arrow


class Examples:
    """Examples and classes, read and verified when first asked for.

    Parameters
    ----------
    root : Path
        Folder of the store.
    files : mapping
        Size and checksum of its tables.
    """

    def __init__(self, root: Path, files: Mapping[str, Any]) -> None:
        self._root, self._files = root, files

    def _read(self, name: str) -> pa.Table:
        return read_arrow(read_checked(self._root / name, self._files[name], f"store {self._root}"))

    @cached_property
    def table(self) -> pa.Table:
        """example_id, label, split, and any metadata columns, in row order."""
        return self._read(fmt.EXAMPLES)

    @cached_property
    def ids(self) -> list[str]:
        """Ids in row order."""
        return list(self.table["example_id"].to_pylist())

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """True classes, (N,) int32."""
        return np.asarray(self.table["label"].combine_chunks().to_numpy())

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes in column order."""
        return list(self._read(fmt.CLASSES)["name"].to_pylist())

    @cached_property
    def splits(self) -> NDArray[np.object_] | None:
        """Split of each example, (N,) of str or None; None where there are none."""
        column = self.table["split"]
        return None if column.null_count == len(column) else column.to_numpy()

    def rows(self, split: str | None) -> Rows:
        """Sorted row numbers of a split; see `Store.rows`."""
        if split is None:
            return np.arange(self.table.num_rows)
        return rows_of(self.labels, self.splits, split)

    def order(self, n_rows: int, example_ids: Sequence[str] | None) -> NDArray[np.intp]:
        """Row of a given array for each example: (N,) intp.

        Raises
        ------
        ExamplesMismatch
            Another number of rows, or ids that are not the store's.
        """
        if n_rows != self.table.num_rows:
            raise ExamplesMismatch(f"{n_rows} rows given, the store has {self.table.num_rows} examples")
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
