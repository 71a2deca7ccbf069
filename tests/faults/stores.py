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

CLASSES = ["a", "b", "c"]
ROWS = 9001  # three blocks of at most 4,096 rows


def new_store(path: Path, n_rows: int = ROWS, codec: str = "raw") -> None:
    """Make an empty store."""
    labels = np.random.default_rng(0).integers(0, len(CLASSES), n_rows)
    ds.create(path, labels, classes=CLASSES, codec=codec)


def rows_of(what: str, kind: str, n_rows: int) -> NDArray[Any]:
    """Rows that are a function of a text: a model's id, or its weights."""
    rng = np.random.default_rng(zlib.crc32(what.encode()))
    if kind == "labels":
        return rng.integers(0, len(CLASSES), n_rows)
    return rng.normal(size=(n_rows, len(CLASSES))).astype("f4")


def write_model(
    path: Path, model_id: str, kind: str = "logits", *, weights: str = "1", **options: Any
) -> None:
    """Stream a model of given weights into a store, from where an earlier writer got to."""
    store = ds.open(path)
    rows = rows_of(weights, kind, store.n_examples)
    with store.writer(model_id, fingerprint={"weights": weights}, kind=kind, **options) as writer:
        writer.append(rows[writer.position :])


def stage_model(path: Path, model_id: str, kind: str = "logits", *, weights: str = "1") -> None:
    """Leave two of three blocks staged, as an interrupted writer does."""
    store = ds.open(path)
    rows = rows_of(weights, kind, store.n_examples)
    writer = store.writer(model_id, fingerprint={"weights": weights}, kind=kind)
    writer.append(rows[: 2 * store.block_rows])
    writer.close()


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
