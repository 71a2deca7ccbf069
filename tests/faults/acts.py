"""Everything that changes a store: what is done, what is seen of it, and how a user goes on after a kill.

To let a further act be killed at each of its steps (and be out of room at each), add a line to `ACTS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import dissensus as ds
from dissensus.errors import FingerprintMismatch, StoreFull
from dissensus.store import folders
from dissensus.store import format as fmt
from dissensus.store.cache import FEWEST
from dissensus.store.sealed import seal

from .stores import DIM, damage, model_content, new_store, rows_of, stage_model, write_model

SETS = [[row % 3, (row + 1) % 3] if row % 5 else [] for row in range(9001)]


@dataclass(frozen=True)
class Act:
    """Something that changes a store.

    Attributes
    ----------
    fault : str
        Its line in the table.
    do : callable
        What is killed at each of its steps; given the store's path.
    seen : callable
        What of its effect is visible: None where nothing is, equal to that of an unbroken run where all is.
    before : callable
        What was done to the store earlier.
    again : callable
        How a user goes on after the kill; by default with the same act.
    codec : str
        Of the store.
    sound : bool
        Whether the store verifies before the act, and therefore at each of its steps.
    """

    fault: str
    do: Callable[[Path], Any]
    seen: Callable[[Path], Any]
    before: Callable[[Path], Any] = bool
    again: Callable[[Path], Any] | None = None
    codec: str = "raw"
    sound: bool = True


# what is done: one function each, given the path of the store, called in a child


def commit_logits(path: Path) -> None:
    write_model(path, "m")


def commit_labels(path: Path) -> None:
    write_model(path, "m", "labels")


def stage_logits(path: Path) -> None:
    stage_model(path, "m")


def stage_labels(path: Path) -> None:
    stage_model(path, "m", "labels")


def commit_embeddings(path: Path) -> None:
    write_model(path, "m", embedding_dim=DIM)


def stage_embeddings(path: Path) -> None:
    stage_model(path, "m", embedding_dim=DIM)


def replace_by_one_with_embeddings(path: Path) -> None:
    write_model(path, "m", weights="2", replace=True, embedding_dim=DIM)


def restart_with_other_weights(path: Path) -> None:
    write_model(path, "m", weights="2", restart=True)


def replace_model(path: Path) -> None:
    write_model(path, "m", weights="2", replace=True)


def replace_by_two_renames(path: Path) -> None:
    """As on a system that cannot let two folders change places."""
    folders._rename_exchange = lambda one, other: False
    replace_model(path)


def other_weights(path: Path) -> None:
    """What a user with weights 2 does: go on, and restart where the store says that weights 1 are staged."""
    try:
        write_model(path, "m", weights="2")
    except FingerprintMismatch:
        restart_with_other_weights(path)


def add_in_memory(path: Path) -> None:
    store = ds.open(path)
    store.add("m", logits=rows_of("1", "logits", store.n_examples))


def store_of_format_1(path: Path) -> None:
    """Take from the record what version 2 added to it."""
    header = json.loads((path / fmt.STORE_JSON).read_text()) | {"format_version": 1}
    old = {name: value for name, value in header.items() if name not in ("codec", "label_set")}
    (path / fmt.STORE_JSON).write_bytes(seal(old))


def bring_up_to_date(path: Path) -> None:
    ds.migrate(path)


def damage_what_can_be_mended(path: Path) -> None:
    """Damage the metadata, the block index and a checksum between blocks of model m."""
    commit_logits(path)
    folder = path / fmt.MODELS / "m"
    shard = bytearray((folder / fmt.SHARD).read_bytes())
    end = ds.open(path).geometry.data_bytes
    for at in (end, len(shard) - 3):
        shard[at] ^= 1
    (folder / fmt.SHARD).write_bytes(shard)
    (folder / fmt.ARRAY_JSON).write_bytes(b"{}")


def damage_beyond_repair(path: Path) -> None:
    commit_logits(path)
    (path / fmt.MODELS / "m" / fmt.DERIVED).write_bytes(b"")


def lack_the_last_rename(path: Path) -> None:
    full = OSError(28, os.strerror(28))
    with mock.patch("os.rename", side_effect=full):
        try:
            commit_logits(path)
        except StoreFull:
            return
    raise AssertionError("the writer ends with a rename")


def lack_the_exchange(path: Path) -> None:
    """Leave a replacement that is whole and has not taken its place."""
    commit_logits(path)
    with mock.patch.object(folders, "_rename_exchange", side_effect=OSError(28, os.strerror(28))):
        try:
            replace_model(path)
        except StoreFull:
            return
    raise AssertionError("a replacement ends with an exchange")


def remove_for_good(path: Path) -> None:
    """Remove a model unless it is gone, then look after the store."""
    if the_model(path):
        remove(path)
    repair(path)


def repair(path: Path) -> None:
    ds.open(path, damaged="skip").repair()


def copy(path: Path) -> None:
    ds.open(path).copy(_beside(path))


def many_models(path: Path) -> None:
    """Write as many models as a cache is made for."""
    for number in range(FEWEST):
        write_model(path, f"m{number}", "labels", weights=f"weights {number}")


def query(path: Path) -> None:
    ds.open(path).top1()


def remove(path: Path) -> None:
    ds.open(path).remove("m")


def create(path: Path) -> None:
    new_store(path / "inner.zoo")


def add_labels(path: Path) -> None:
    ds.open(path).add_labels("real", SETS)


def add_columns(path: Path) -> None:
    ds.open(path).add_columns({"group": [str(row % 7) for row in range(9001)]})


def remove_column(path: Path) -> None:
    ds.open(path).remove_column("real")


# what is seen of it


def the_model(path: Path) -> Any:
    return model_content(path, "m")


def the_new_model(path: Path) -> Any:
    """Content of weights 2; where weights 1 are still there, nothing is seen of the replacement."""
    found = model_content(path, "m")
    if found is None:
        return "neither the old nor the new model"
    return found if found["fingerprint"]["weights"] == "2" else None


def the_new_model_only(path: Path) -> Any:
    """By two renames there is a moment in which neither is there; the new one is staged, whole."""
    found = model_content(path, "m")
    return found if found and found["fingerprint"]["weights"] == "2" else None


def no_model(path: Path) -> Any:
    return None if model_content(path, "m") else "gone"


def inner_store(path: Path) -> Any:
    inner = path / "inner.zoo"
    return (ds.open(inner).examples(), damage(inner)) if inner.exists() else None


def the_labels(path: Path) -> Any:
    store = ds.open(path)
    return store.under("real").truth.to_column() if "real" in store.label_sets else None


def no_labels(path: Path) -> Any:
    return None if the_labels(path) else "gone"


def the_predictions(path: Path) -> Any:
    return ds.open(path).top1().tobytes()


def the_mended_model(path: Path) -> Any:
    return None if damage(path) else model_content(path, "m")


def the_model_set_aside(path: Path) -> Any:
    return None if damage(path) else [model_content(path, "m"), model_content(path, "there") is not None]


def _beside(path: Path) -> Path:
    """Place of a copy: a store within a store is refused."""
    return path.with_name(f"{path.stem}-copy.zoo")


def the_copy(path: Path) -> Any:
    """Content of both models of the copy; nothing where it lacks one."""
    inner = _beside(path)
    if not inner.exists():
        return None
    there = [model_content(inner, m) for m in ("m", "there")]
    return damage(inner) or (None if None in there else [c and c["files"] for c in there])


def newest_version(path: Path) -> Any:
    return ds.open(path).format_version if ds.open(path).format_version > 1 else None


def the_group(path: Path) -> Any:
    examples = ds.open(path).examples()
    return examples["group"] if "group" in examples.column_names else None


ACTS = [
    Act("kill -9 in a commit of logits", commit_logits, the_model),
    Act("kill -9 in a commit of hard labels", commit_labels, the_model),
    Act("kill -9 in a resume of logits", commit_logits, the_model, stage_logits),
    Act("kill -9 in a resume of hard labels", commit_labels, the_model, stage_labels),
    Act(
        "kill -9 in a restart with other weights",
        restart_with_other_weights,
        the_model,
        stage_logits,
        other_weights,
    ),
    Act("kill -9 in add() from memory", add_in_memory, the_model),
    Act("kill -9 in a commit to an archive", commit_logits, the_model, codec="archive"),
    Act(
        "kill -9 in a resume in an archive",
        commit_logits,
        the_model,
        stage_logits,
        codec="archive",
    ),
    Act("kill -9 in a commit with embeddings", commit_embeddings, the_model),
    Act("kill -9 in a resume with embeddings", commit_embeddings, the_model, stage_embeddings),
    Act(
        "kill -9 in a resume with embeddings in an archive",
        commit_embeddings,
        the_model,
        stage_embeddings,
        codec="archive",
    ),
    Act(
        "kill -9 in a replacement by one with embeddings",
        replace_by_one_with_embeddings,
        the_new_model,
        commit_embeddings,
    ),
    Act("kill -9 in copying embeddings", copy, the_copy, commit_embeddings),
    Act("kill -9 in a replacement", replace_model, the_new_model, commit_logits),
    Act(
        "kill -9 in a replacement by two renames",
        replace_by_two_renames,
        the_new_model_only,
        commit_logits,
    ),
    Act("kill -9 in a remove", remove, no_model, commit_logits),
    Act(
        "kill -9 in a remove beside a killed replacement, then repair",
        remove_for_good,
        no_model,
        lack_the_exchange,
    ),
    Act("kill -9 in making a store", create, inner_store),
    Act("kill -9 in adding a label set", add_labels, the_labels),
    Act("kill -9 in adding a column", add_columns, the_group),
    Act("kill -9 in removing a column", remove_column, no_labels, add_labels),
    Act(
        "kill -9 in mending a model",
        repair,
        the_mended_model,
        damage_what_can_be_mended,
        sound=False,
    ),
    Act(
        "kill -9 in setting a model aside",
        repair,
        the_model_set_aside,
        damage_beyond_repair,
        sound=False,
    ),
    Act("kill -9 in finishing a model by repair", repair, the_model, lack_the_last_rename),
    Act("kill -9 in copying a store", copy, the_copy, commit_logits),
    Act("kill -9 in a query that writes the cache", query, the_predictions, many_models),
    Act("kill -9 in a migration from format 1", bring_up_to_date, newest_version, store_of_format_1),
]
