"""A sub-zoo as a store of its own: copied through the commit protocol, every byte verified on the way."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import (
    ArgumentError,
    CorruptionError,
    DissensusError,
    ExamplesMismatch,
    IncompatibleFormat,
    ModelExists,
    ModelReplaced,
    NotReadable,
    UnknownName,
)

from . import format as fmt
from .blocks import read_blocks
from .columns import FIXED, write_column
from .create import create
from .encoding import Encoded, narrowed
from .fingerprint import complete, given_part, require_same_fingerprint
from .reader import StoredModel
from .tables import arrow_bytes, same_values
from .topk import with_view

if TYPE_CHECKING:
    from .catalog import Store
    from .inventory import Inventory
    from .writer import ModelWriter

CANNOT_BE_READ = (CorruptionError, NotReadable, IncompatibleFormat, ModelReplaced)
NAMED = 8  # models whose damage is told in full


def copy_store(
    source: Inventory,
    path: Path,
    models: Sequence[tuple[str, StoredModel | DissensusError]],
    codec: str | None,
    dtype: str | None,
    advance: Callable[[str], None] | None,
) -> Store:
    """Copy models and examples; see `Store.copy`."""
    from .catalog import Store

    if path.is_relative_to(source.path):
        raise ArgumentError(f"{path} lies within the store that is to be copied; choose another place")
    there = Store(path) if (path / fmt.STORE_JSON).exists() else None
    dtype, codec = dtype or (there or source).dtype, codec or (there or source).codec
    if source.dtype == "float16" and dtype == "float32":
        raise ArgumentError(
            f"{path} is to hold float32, but {source.path} holds float16: what was rounded is gone"
        )
    target = there or _create(source, path, codec, dtype)
    target.require_current()
    _require_same_shape(source, target, codec, dtype)
    for title, column in source.added_columns().items():
        known = target.added_columns().get(title)
        if known is None:
            write_column(
                path, column.name, column.role, source.example_ids, column.read(), source.examples_hash
            )
        elif not same_values(column.read(), known.read()):
            raise ExamplesMismatch(
                f"{title!r} holds other values in {target.path}; remove it there or in {source.path} first"
            )
    failed: dict[str, DissensusError] = {}
    for model_id, model in models:
        try:
            _copy_newest(source, model_id, model, target)
        except CANNOT_BE_READ as error:
            failed[model_id] = error
        if advance is not None:
            advance(model_id)
    if failed:
        raise _left_behind(source.path, target.path, len(models), failed)
    return target


def _left_behind(
    source: Path, target: Path, n_models: int, failed: Mapping[str, DissensusError]
) -> DissensusError:
    """What to say of models that could not be copied, once all others are."""
    reasons = [str(error) for error in failed.values()]
    reasons[NAMED:] = [f"… ({len(reasons)} in all)"] if len(reasons) > NAMED else []
    text = (
        f"{target} has {n_models - len(failed)} of the {n_models} models; not copied: {'; '.join(reasons)}. "
        f"Run `dissensus verify {source}`; once they are stored again the same command copies the rest"
    )
    if all(isinstance(error, NotReadable) for error in failed.values()):
        return NotReadable(errno.EIO, text)
    return CorruptionError(text)


def _create(source: Inventory, path: Path, codec: str, dtype: str) -> Store:
    base, classes = source.own_examples(), source.class_table()
    return create(
        path,
        base["label"],
        classes=source.classes,
        example_ids=source.example_ids,
        splits=base["split"].to_pylist(),
        metadata={name: base[name] for name in base.column_names if name not in FIXED},
        dtype=dtype,
        attributes=source.attributes,
        label_set=source.label_sets[0],
        class_metadata={n: classes[n] for n in classes.column_names if n not in ("class_id", "name")},
        codec=codec,
    )


def _require_same_shape(source: Inventory, target: Store, codec: str, dtype: str) -> None:
    """Refuse to add models to a store of other examples, classes or storage."""
    tables = [arrow_bytes(store.own_examples()) for store in (source, target)]
    names = [(store.classes, store.label_sets[0]) for store in (source, target)]
    if tables[0] != tables[1] or names[0] != names[1]:
        raise ExamplesMismatch(
            f"{target.path} is a store of other examples, labels or classes; choose another path"
        )
    if (target.codec, target.dtype) != (codec, dtype):
        raise ArgumentError(
            f"{target.path} keeps {target.dtype} logits with codec {target.codec}, not {dtype} with {codec}; "
            "choose another path or leave these options out"
        )


def _copy_newest(
    source: Inventory, model_id: str, model: StoredModel | DissensusError, target: Store
) -> None:
    """Copy a model; where it is replaced meanwhile, once more the one that has its place now."""
    if isinstance(model, DissensusError):
        raise model
    try:
        _copy_model(model, target)
    except ModelReplaced as error:
        try:
            newest = source.model(model_id)
        except UnknownName:  # removed
            raise error from None
        _copy_model(newest, target, restart=True)


def _copy_model(model: StoredModel, target: Store, *, restart: bool = False) -> None:
    given, dim = given_part(model.fingerprint, model.embedding_dim), model.embedding_dim
    origin = {"committed_at": model.committed_at, **model.provenance}
    try:
        writer = target.writer(
            model.model_id,
            fingerprint=given,
            metadata=model.metadata,
            kind=model.kind,
            copied=origin,
            embedding_dim=dim,
            restart=restart,
        )
    except ModelExists:
        own = complete(given, target.dtype, target.examples_hash, model.kind, dim)
        there = target.model(model.model_id).fingerprint
        require_same_fingerprint(model.model_id, there, own, "stored", "remove it there first")
        return
    with writer:
        _append(model, writer, target.dtype)


def _append(model: StoredModel, writer: ModelWriter, dtype: str) -> None:
    embeddings = None if model.embedding_dim is None else model.embeddings()
    for start, rows in _rows_of(model, writer.position, dtype):
        there = None if embeddings is None else embeddings.stored(start, start + len(rows))
        writer.append(rows, embeddings=there)


def _rows_of(model: StoredModel, first: int, dtype: str) -> Iterator[tuple[int, NDArray[Any] | Encoded]]:
    """Rows of a model from `first` on, block by block, each with the number of its first."""
    rows, top1 = np.arange(first, model.geometry.n_examples), model.column("top1")
    if model.kind == "labels":
        for start in range(first, len(top1), model.geometry.block_rows):
            yield start, top1[start : start + model.geometry.block_rows]
        return
    rowmax, lse, view = model.column("rowmax"), model.column("lse"), model.view() or ()
    for block in read_blocks([model.logits()], rows):
        here = slice(first + block.start, first + block.stop)
        parts = (part[here] for part in (top1, rowmax, lse, *view))
        stored = block.centred[0]
        yield here.start, with_view(Encoded(narrowed(stored, dtype), *parts), stored)
