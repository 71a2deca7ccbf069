"""The stores that faults happen to: what is written into them, and everything that can be read of them."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dissensus as ds
from dissensus.errors import UnknownName
from dissensus.store import format as fmt
from dissensus.store.writer import ModelWriter

CLASSES = ["a", "b", "c"]
ROWS = 9001  # three blocks of at most 4,096 rows
DIM = 200  # features of those models that have embeddings: two blocks of these to one of logits


def new_store(path: Path, n_rows: int = ROWS, codec: str = "raw") -> None:
    """Make an empty store."""
    labels = np.random.default_rng(0).integers(0, len(CLASSES), n_rows)
    ds.create(path, labels, classes=CLASSES, codec=codec)


def rows_of(what: str, kind: str, n_rows: int, n_classes: int = len(CLASSES)) -> NDArray[Any]:
    """Rows that are a function of a text: a model's id, or its weights."""
    rng = np.random.default_rng(zlib.crc32(what.encode()))
    if kind == "labels":
        return rng.integers(0, n_classes, n_rows)
    return rng.normal(size=(n_rows, n_classes)).astype("f4")


def features_of(what: str, n_rows: int, dim: int = DIM) -> NDArray[Any]:
    """Embeddings that are a function of a text, unlike its rows."""
    return np.random.default_rng(zlib.crc32(what.encode()) + 1).normal(size=(n_rows, dim)).astype("f2")


def write_model(
    path: Path, model_id: str, kind: str = "logits", *, weights: str = "1", **options: Any
) -> None:
    """Stream a model of given weights into a store, from where an earlier writer got to."""
    store = ds.open(path)
    with store.writer(model_id, fingerprint={"weights": weights}, kind=kind, **options) as writer:
        _append(writer, weights, store.n_examples, slice(writer.position, None))


def stage_model(
    path: Path, model_id: str, kind: str = "logits", *, weights: str = "1", **options: Any
) -> None:
    """Leave two of three blocks staged, as an interrupted writer does."""
    store = ds.open(path)
    writer = store.writer(model_id, fingerprint={"weights": weights}, kind=kind, **options)
    _append(writer, weights, store.n_examples, slice(2 * store.block_rows))
    writer.close()


def _append(writer: ModelWriter, weights: str, n_rows: int, rows: slice) -> None:
    """Append some of a model's rows, with their embeddings where the writer is for such."""
    features = None
    if writer.embedding_dim is not None:
        features = features_of(weights, n_rows, writer.embedding_dim)[rows]
    writer.append(rows_of(weights, writer.kind, n_rows)[rows], embeddings=features)


def content(store: ds.Store, model_id: str) -> dict[str, Any]:
    """Everything a model's folder holds, without what tells one run from another: its time and place."""
    folder = store.model(model_id).folder
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    record = json.loads(files.pop(fmt.COMMIT_JSON))
    return files | {name: record[name] for name in ("model_id", "kind", "fingerprint", "shape", "files")}


def model_content(path: Path, model_id: str) -> dict[str, Any] | None:
    """Content of a model, None where it is not visible."""
    try:
        return content(ds.open(path), model_id)
    except UnknownName:
        return None


def damage(path: Path) -> list[str]:
    """What a full check finds wrong with a store."""
    return [f"verify: {finding.problem}" for finding in ds.open(path).verify().findings]


def locks(path: Path) -> list[str]:
    """Lock files that are left."""
    return [f"{lock.name} is left" for lock in (path / fmt.STAGING).glob("*.lock")]


def tree_hash(path: Path) -> str:
    """Digest of names and bytes of everything in a folder, of empty folders too."""
    digest = hashlib.sha256()
    for entry in sorted(path.rglob("*")):
        digest.update(entry.relative_to(path).as_posix().encode() + b"\0")
        if entry.is_file():
            digest.update(hashlib.sha256(entry.read_bytes()).digest())
    return digest.hexdigest()
