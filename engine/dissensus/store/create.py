"""Making a store: everything checked, written beside its place, then renamed into it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, StoreExists

from . import format as fmt
from .catalog import Store
from .files import seal, sync_folder, write_file, writing
from .identity import id_strings
from .splits import ALL
from .tables import arrow_bytes

MOST_UNNAMED = 100_000  # classes; a larger label is taken for a mistake


def create(
    path: str | os.PathLike[str],
    labels: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    example_ids: Sequence[str] | None = None,
    splits: Sequence[str | None] | None = None,
    metadata: Mapping[str, Sequence[Any]] | None = None,
    dtype: str = "float16",
    attributes: Mapping[str, Any] | None = None,
) -> Store:
    """Make an empty store for one labelled set of examples.

    Parameters
    ----------
    path : str or Path
        Folder to make; must not exist.
    labels : (N,) int
        True class of each example, 0 to C - 1.
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

    Returns
    -------
    Store

    Raises
    ------
    StoreExists, NotWritable, ArgumentError
    """
    path = Path(os.path.abspath(path))
    if path.exists() or path.is_symlink():
        raise StoreExists(f"{path} exists already; open it with dissensus.open, or choose another path")
    if dtype not in fmt.DTYPES:
        raise ArgumentError(f"dtype must be one of {', '.join(fmt.DTYPES)}; got {dtype!r}")
    names = _check_classes(labels, classes)
    table = _examples_table(_check_labels(labels, names), example_ids, splits, metadata or {})
    ids = table["example_id"].to_pylist()
    header = {
        "format": fmt.FORMAT_NAME,
        "format_version": fmt.FORMAT_VERSION,
        "n_examples": len(ids),
        "n_classes": len(names),
        "dtype": dtype,
        "encoding": "centred",
        "block_rows": fmt.Geometry.choose(len(ids), len(names), dtype).block_rows,
        "examples_hash": fmt.identity_hash(ids),
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "attributes": dict(attributes or {}),
    }
    _write(
        path, header, table, pa.table({"class_id": pa.array(range(len(names)), pa.int32()), "name": names})
    )
    return Store(path)


def _check_classes(labels: ArrayLike, classes: Sequence[str] | None) -> list[str]:
    array = np.asarray(labels)
    if classes is None and array.dtype.kind in "iu" and array.max(initial=0) > max(MOST_UNNAMED, array.size):
        raise ArgumentError(
            f"labels reach {array.max()}, more classes than there are {array.size} examples; "
            "pass classes= with all names"
        )
    if classes is None:
        classes = [str(i) for i in range(int(array.max(initial=0)) + 1)] if array.dtype.kind in "iu" else []
    if isinstance(classes, str):
        raise ArgumentError(f"classes must be a list of names, got the string {classes!r}")
    names = [str(c) for c in classes]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ArgumentError(f"classes must be distinct; {twice!r} comes {names.count(twice)} times")
    return names


def _check_labels(labels: ArrayLike, names: Sequence[str]) -> NDArray[np.int32]:
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        raise ArgumentError(
            f"labels must be a non-empty 1-D array of integer classes; got {array.dtype} {array.shape}"
        )
    if len(names) < 2:
        raise ArgumentError(
            f"a store needs at least 2 classes; got {len(names)}: pass classes= with all names"
        )
    bad = np.flatnonzero((array < 0) | (array >= len(names)))
    if len(bad):
        raise ArgumentError(
            f"labels must lie in 0..{len(names) - 1} (classes), row {bad[0]} holds {array[bad[0]]} "
            f"({len(bad)} rows are off)"
        )
    return array.astype(np.int32)


def _examples_table(
    labels: NDArray[np.int32],
    example_ids: Sequence[str] | None,
    splits: Sequence[str | None] | None,
    metadata: Mapping[str, Sequence[Any]],
) -> pa.Table:
    n = len(labels)
    ids = id_strings(range(n) if example_ids is None else example_ids, n)
    names = [None] * n if splits is None else list(splits)
    wrong = next((s for s in names if s is not None and (not isinstance(s, str) or s in ("", ALL))), None)
    if wrong is not None:
        raise ArgumentError(f"splits must be text or None, neither empty nor {ALL!r}; got {wrong!r}")
    columns: dict[str, Any] = {"example_id": ids, "label": labels, "split": pa.array(names, pa.string())}
    for name, values in ({"splits": names} | dict(metadata)).items():
        if name in columns:
            raise ArgumentError(f"metadata column {name!r} is one of the store's own; choose another name")
        if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n:
            size = len(values) if hasattr(values, "__len__") else values
            raise ArgumentError(f"{name} must have one entry for each of the {n} labels; got {size!r}")
    try:
        return pa.table(columns | dict(metadata))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ArgumentError(f"metadata must be plain columns of one kind each: {error}") from error


def _write(path: Path, header: Mapping[str, Any], examples: pa.Table, classes: pa.Table) -> None:
    """Write the whole store under a temporary name, then rename it into place."""
    temporary = path.with_name(f".{path.name}.creating-{secrets.token_hex(8)}")
    seal(header)
    with writing(path):
        temporary.mkdir(parents=True)
        try:
            for folder in (fmt.MODELS, fmt.STAGING):
                (temporary / folder).mkdir()
            write_file(temporary / fmt.MODELS / fmt.ZARR_JSON, fmt.group_json())
            files = {
                name: write_file(temporary / name, arrow_bytes(t))
                for name, t in ((fmt.EXAMPLES, examples), (fmt.CLASSES, classes))
            }
            write_file(temporary / fmt.STORE_JSON, seal({**header, "files": files}))
            sync_folder(temporary / fmt.MODELS)
            sync_folder(temporary)
            _take_place(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _take_place(temporary: Path, path: Path) -> None:
    """Rename into place; of two processes that make one store, one wins."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise StoreExists(f"{path} was made by another process just now; open it instead") from error
        raise
