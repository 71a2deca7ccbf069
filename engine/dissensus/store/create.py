"""Making a store: everything checked, written beside its place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError, StoreExists

from . import format as fmt
from .catalog import Store
from .columns import checked_columns, checked_splits, column_name
from .files import write_file
from .folders import new_folder
from .identity import checked_path, id_strings
from .sealed import seal
from .tables import arrow_bytes
from .times import now, software
from .truth import Truth, n_classes_of


def create(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    classes: Sequence[str] | None = None,
    example_ids: Sequence[str] | None = None,
    splits: Sequence[str | None] | None = None,
    metadata: Mapping[str, Sequence[Any]] | None = None,
    dtype: str = "float16",
    attributes: Mapping[str, Any] | None = None,
    label_set: str = "original",
    class_metadata: Mapping[str, Sequence[Any]] | None = None,
    codec: str = "raw",
) -> Store:
    """Make an empty store for one labelled set of examples.

    Parameters
    ----------
    path : str or Path
        Folder to make; must not exist.
    labels : (N,) int, or N collections of int
        True class of each example, 0 to C - 1; or the set of classes that count as right, of which an empty
        one (or None) leaves the example uncounted.
    classes : sequence of str, optional
        Names of the C classes; "0", "1", … up to the largest label by default.
    example_ids : sequence of str, optional
        Distinct ids of the examples; their numbers by default. Rows are matched by these.
    splits : sequence of str or None, optional
        Split of each example, such as "fit" and "report".
    metadata : mapping of str to sequence of length N, optional
        Further columns of the examples (groups, slices).
    dtype : {"float16", "float32"}
        Precision of the stored logits, row maximum subtracted first.
    attributes : mapping, optional
        Plain JSON facts about the store.
    label_set : str
        What these labels are called; further sets are added by `Store.add_labels`.
    class_metadata : mapping of str to sequence of length C, optional
        Further columns of the classes (groups).
    codec : {"raw", "archive"}
        How logits are kept: as they are, to be mapped and read at once, or compressed without loss.

    Returns
    -------
    Store

    Raises
    ------
    StoreExists, NotWritable, ArgumentError
    """
    path = checked_path(path)
    if path.exists() or path.is_symlink():
        is_store = (path / fmt.STORE_JSON).exists()
        other = "open it (dissensus.open; `dissensus info` shows it), or " if is_store else ""
        raise StoreExists(f"{path} exists already; {other}choose another path")
    if dtype not in fmt.DTYPES:
        raise ArgumentError(f"dtype must be one of {', '.join(fmt.DTYPES)}; got {dtype!r}")
    if codec not in fmt.CODECS:
        raise ArgumentError(f"codec must be one of {', '.join(fmt.CODECS)}; got {codec!r}")
    names = _check_classes(labels, classes)
    truth = Truth.of(column_name(label_set), labels, len(names))
    table = _examples_table(truth, example_ids, splits, metadata or {})
    ids = table["example_id"].to_pylist()
    header = {
        "format": fmt.FORMAT_NAME,
        "format_version": fmt.FORMAT_VERSION,
        "n_examples": len(ids),
        "n_classes": len(names),
        "dtype": dtype,
        "encoding": "centred",
        "codec": codec,
        "label_set": label_set,
        "block_rows": fmt.Geometry.choose(len(ids), len(names), dtype).block_rows,
        "examples_hash": fmt.identity_hash(ids),
        "created_at": now(),
        "software": software(),
        "attributes": dict(attributes or {}),
    }
    _write(path, header, table, _classes_table(names, class_metadata or {}))
    return Store(path)


def _check_classes(labels: Any, classes: Sequence[str] | None) -> list[str]:
    if classes is None:
        classes = [str(i) for i in range(n_classes_of(labels))]
    if isinstance(classes, str):
        raise ArgumentError(f"classes must be a list of names, got the string {classes!r}")
    names = [str(c) for c in classes]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ArgumentError(f"classes must be distinct; {twice!r} comes {names.count(twice)} times")
    if len(names) < 2:
        raise ArgumentError(
            f"a store needs at least 2 classes; got {len(names)}: pass classes= with all names"
        )
    return names


def _classes_table(names: Sequence[str], metadata: Mapping[str, Sequence[Any]]) -> pa.Table:
    own = {"class_id": pa.array(range(len(names)), pa.int32()), "name": list(names)}
    return pa.table(own | checked_columns(metadata, len(names), own, "class_metadata"))


def _examples_table(
    truth: Truth,
    example_ids: Sequence[str] | None,
    splits: Sequence[str | None] | None,
    metadata: Mapping[str, Sequence[Any]],
) -> pa.Table:
    n = len(truth)
    own = {
        "example_id": id_strings(range(n) if example_ids is None else example_ids, n),
        "label": truth.to_column(),
        "split": checked_splits([None] * n if splits is None else splits, n),
    }
    return pa.table(own | checked_columns(metadata, n, own, "metadata"))


def _write(path: Path, header: Mapping[str, Any], examples: pa.Table, classes: pa.Table) -> None:
    """Write the whole store under a temporary name, then rename it into place."""
    seal(header)
    try:
        with new_folder(path, path.parent) as folder:
            for name in (fmt.MODELS, fmt.COLUMNS, fmt.STAGING):
                (folder / name).mkdir()
            write_file(folder / fmt.MODELS / fmt.ZARR_JSON, fmt.group_json())
            files = {
                name: write_file(folder / name, arrow_bytes(table))
                for name, table in ((fmt.EXAMPLES, examples), (fmt.CLASSES, classes))
            }
            write_file(folder / fmt.STORE_JSON, seal({**header, "files": files}))
    except FileExistsError as error:
        raise StoreExists(f"{path} was made by another process just now; open it instead") from error
