"""Columns that examples get after the store was made: further label sets, splits, groups.

Each is a folder of its own, made whole and renamed into place, so that adding one touches nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from dissensus.errors import ArgumentError, CorruptionError

from . import format as fmt
from .files import write_file, writing
from .folders import new_folder
from .header import require_fields, require_known_version
from .identity import checked_name
from .reading import read_checked
from .sealed import seal, unseal
from .splits import ALL
from .tables import arrow_bytes, read_arrow
from .times import now

Role = Literal["labels", "column"]
FIXED = ("example_id", "label", "split")  # the store's own columns
LABEL_PREFIX = "label_"  # the label set "real" is the column label_real of the examples


class StoredColumn:
    """One committed column of the examples.

    Attributes
    ----------
    name : str
        Name it was given.
    role : {"labels", "column"}
        A label set, or anything else that is known of examples.
    folder : Path
        Where it lies.

    Raises
    ------
    CorruptionError, IncompatibleFormat
    """

    def __init__(self, folder: Path, examples_hash: str) -> None:
        self.folder = folder
        self._what = f"column in folder {folder.name!r}"
        record = unseal(folder / fmt.COMMIT_JSON, self._what)
        require_known_version(record, self._what)
        require_fields(record, ("name", "role", "committed_at", "files", "examples"), self._what)
        self.name: str = record["name"]
        self.role: Role = record["role"]
        self.committed_at: str = record["committed_at"]
        self.files: dict[str, dict[str, Any]] = record["files"]
        self._what = f"column {self.name!r}"
        if record["examples"] != examples_hash or fmt.folder_name(self.name) != folder.name:
            raise CorruptionError(
                f"{self._what} in folder {folder.name!r} belongs to another store or folder"
            )

    @property
    def title(self) -> str:
        """Name among the columns of `Store.examples`."""
        return LABEL_PREFIX + self.name if self.role == "labels" else self.name

    def read(self) -> pa.ChunkedArray:
        """Values in row order, checksum verified."""
        raw = read_checked(self.folder / fmt.COLUMN, self.files[fmt.COLUMN], self._what)
        return read_arrow(raw)[self.title]


def stored_columns(root: Path, examples_hash: str) -> dict[str, StoredColumn]:
    """Columns of a store by title, sorted, from the directory listing of this moment."""
    try:
        names = sorted(e.name for e in os.scandir(root / fmt.COLUMNS) if e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return {}
    columns = [StoredColumn(root / fmt.COLUMNS / name, examples_hash) for name in names]
    return {column.title: column for column in columns}


def write_column(
    root: Path, name: str, role: Role, ids: list[str], values: pa.Array, examples_hash: str
) -> None:
    """Commit a column.

    Parameters
    ----------
    root : Path
        Folder of the store.
    name, role : str
        What it is called and what it is.
    ids : list of str
        Ids of the examples, written beside the values so that the file explains itself.
    values : pyarrow.Array
        One value an example, in row order.
    examples_hash : str
        Identity of the example set.

    Raises
    ------
    ArgumentError
        A column of this name is there already.
    """
    title = LABEL_PREFIX + name if role == "labels" else name
    table = pa.table({"example_id": ids, title: values})
    record = {
        "format_version": fmt.FORMAT_VERSION,
        "name": name,
        "role": role,
        "examples": examples_hash,
        "committed_at": now(),
    }
    place = root / fmt.COLUMNS / fmt.folder_name(name)
    with writing(place):
        place.parent.mkdir(exist_ok=True)
        (root / fmt.STAGING).mkdir(exist_ok=True)
    try:
        with new_folder(place, root / fmt.STAGING) as folder:
            files = {fmt.COLUMN: write_file(folder / fmt.COLUMN, arrow_bytes(table))}
            write_file(folder / fmt.COMMIT_JSON, seal({**record, "files": files}))
    except FileExistsError as error:
        raise ArgumentError(
            f"column {name!r} is in {root} already; remove it first or choose another name"
        ) from error


def column_name(name: Any) -> str:
    """Check what a column or label set is to be called: text, not empty.

    Raises
    ------
    ArgumentError
    """
    return checked_name(name, "the name of a column or label set")


def checked_splits(splits: Any, n: int) -> pa.Array:
    """Split of each example as text or null.

    Raises
    ------
    ArgumentError
        Another number of them, an empty one, or "all", which means every example.
    """
    column = _column("splits", splits, n)
    names = column.to_pylist()
    wrong = next((s for s in names if s is not None and (not isinstance(s, str) or s in ("", ALL))), None)
    if wrong is not None:
        raise ArgumentError(f"splits must be text or None, neither empty nor {ALL!r}; got {wrong!r}")
    return pa.array(names, pa.string())


def checked_columns(given: Mapping[str, Any], n: int, taken: Iterable[str], what: str) -> dict[str, pa.Array]:
    """Given columns as Arrow arrays of n values.

    Raises
    ------
    ArgumentError
        A name that is taken or is no text, another number of values, values of mixed kinds.
    """
    clash = sorted({*map(column_name, given)} & {*taken, *FIXED})
    if clash:
        raise ArgumentError(f"{what} column {clash[0]!r} is one of the store's own; choose another name")
    return {name: _column(name, values, n) for name, values in given.items()}


def _column(name: str, values: Any, n: int) -> pa.Array:
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n:
        size = len(values) if hasattr(values, "__len__") else values
        raise ArgumentError(f"{name} must have one entry for each of the {n} rows; got {size!r}")
    try:
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise ArgumentError(
            f"metadata must be plain columns of one kind each; {name!r} is not: {error}"
        ) from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
