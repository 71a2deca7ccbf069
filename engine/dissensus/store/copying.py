"""A sub-zoo as a store of its own: copied through the commit protocol, every byte verified on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dissensus.errors import ArgumentError, ExamplesMismatch

from . import format as fmt
from .blocks import read_blocks
from .columns import FIXED, write_column
from .create import create
from .encoding import Encoded, narrowed
from .fingerprint import OWN_KEYS, require_same_fingerprint
from .reader import StoredModel

if TYPE_CHECKING:
    from .catalog import Store
    from .writer import ModelWriter


def copy_store(
    source: Store,
    path: Path,
    models: Sequence[StoredModel],
    codec: str | None,
    dtype: str | None,
    advance: Callable[[str], None] | None,
) -> Store:
    """Copy models and examples; see `Store.copy`."""
    from .catalog import Store

    dtype, codec = dtype or source.dtype, codec or source.codec
    if source.dtype == "float16" and dtype == "float32":
        raise ArgumentError(
            "dtype float32 was asked for, but the store holds float16: what was rounded is gone"
        )
    target = Store(path) if (path / fmt.STORE_JSON).exists() else _create(source, path, codec, dtype)
    _require_same_shape(source, target, codec, dtype)
    for title, column in source.added_columns().items():
        if title not in target.added_columns():
            write_column(
                path, column.name, column.role, source.example_ids, column.read(), source.examples_hash
            )
    there = set(target.model_ids)
    for model in models:
        _copy_model(model, target, model.model_id in there)
        if advance is not None:
            advance(model.model_id)
    return target


def _create(source: Store, path: Path, codec: str, dtype: str) -> Store:
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


def _require_same_shape(source: Store, target: Store, codec: str, dtype: str) -> None:
    """Refuse to add models to a store of other examples, classes or storage."""
    if source.own_examples() != target.own_examples() or source.classes != target.classes:
        raise ExamplesMismatch(
            f"{target.path} is a store of other examples, labels or classes; choose another path"
        )
    if (target.codec, target.dtype) != (codec, dtype):
        raise ArgumentError(
            f"{target.path} keeps {target.dtype} logits with codec {target.codec}, not {dtype} with {codec}; "
            "choose another path or leave these options out"
        )


def _copy_model(model: StoredModel, target: Store, is_there: bool) -> None:
    given = {key: value for key, value in model.fingerprint.items() if key not in OWN_KEYS}
    if is_there:
        there = target.model(model.model_id).fingerprint
        own = {key: there[key] for key in OWN_KEYS}
        require_same_fingerprint(model.model_id, there, given | own, "stored", "remove it there first")
        return
    with target.writer(
        model.model_id,
        fingerprint=given,
        metadata=model.metadata,
        kind=model.kind,
        copied={"committed_at": model.committed_at, **model.provenance},
    ) as writer:
        _append(model, writer, target.dtype)


def _append(model: StoredModel, writer: ModelWriter, dtype: str) -> None:
    first = writer.position
    rows = np.arange(first, model.geometry.n_examples)
    top1 = model.column("top1")
    if model.kind == "labels":
        writer.append(top1[rows])
        return
    rowmax, lse = model.column("rowmax"), model.column("lse")
    for block in read_blocks([model.logits()], rows):
        here = slice(first + block.start, first + block.stop)
        writer.append(Encoded(narrowed(block.centred[0], dtype), top1[here], rowmax[here], lse[here]))
