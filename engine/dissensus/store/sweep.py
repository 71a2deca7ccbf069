"""What killed writers left in ``staging/``: finished models get their rename, remains go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissensus.errors import NotWritable, WriterBusy

from . import format as fmt
from .files import writing
from .folders import (
    GRAVE,
    MAKING,
    REPLACED,
    bury,
    clear_abandoned,
    clear_temporaries,
    restore_replaced,
)
from .locks import FileLock
from .sealed import sha256_of
from .staging import FINGERPRINT, clear_parts, finished_record, folder_lock, is_replaced, publish
from .verify import verify_model

RESUMED = "the same command resumes it, `dissensus repair --clear-staging` drops it"


@dataclass(frozen=True)
class Action:
    """One thing that a repair found.

    Attributes
    ----------
    model : str
        Model id, or folder where the id cannot be read; empty for the store's own files.
    action : str
        "mended", "quarantined", "finished", "cleared", "left", or "beyond repair".
    detail : str
        What was wrong and what became of it, in a sentence.
    """

    model: str
    action: str
    detail: str


def sweep_staging(path: Path, geometry: fmt.Geometry, examples_hash: str, clear: bool) -> list[Action]:
    """Go through the staging area; only what no running writer holds is touched.

    Parameters
    ----------
    path : Path
        Folder of the store.
    geometry, examples_hash
        The store's.
    clear : bool
        Drop unfinished models too, which a writer could otherwise resume.
    """
    staging = path / fmt.STAGING
    actions = []
    for name in sorted({_model_of(entry.name) for entry in staging.iterdir()} - {""}):
        actions += _settle(path, staging / name, geometry, examples_hash, clear)
    for entry in sorted(staging.iterdir()):
        if entry.name.startswith((GRAVE, MAKING)):
            actions += _clear_remains(entry)
        elif entry.suffix == ".lock" and entry.is_file():
            actions += _clear_lock(entry)
    return actions + _clear_unnamed(path)


def _clear_unnamed(path: Path) -> list[Action]:
    """Delete files that killed writers left in the making, where no model's lock guards them."""
    places = [path / name for name in ("", fmt.MODELS, fmt.CACHE) if (path / name).is_dir()]
    actions = []
    for place in places:
        try:
            with writing(place):
                left = clear_temporaries(place)
        except NotWritable as error:
            actions.append(Action("", "left", str(error)))
            continue
        actions += [Action("", "cleared", f"{name}: remains of an interrupted command") for name in left]
    return actions


def _model_of(name: str) -> str:
    """Folder of the model that a staged entry belongs to; nothing for locks and remains."""
    if name.startswith(REPLACED):
        return name.removeprefix(REPLACED).rpartition("~")[0]
    return "" if name.startswith(".") or name.endswith(".lock") else name


def _clear_remains(entry: Path) -> list[Action]:
    """Delete a removed or half-made folder, unless its maker is alive and holds it."""
    cleared = clear_abandoned(entry)
    return [Action("", "cleared", f"{entry.name}: remains of an interrupted command")] if cleared else []


def _clear_lock(entry: Path) -> list[Action]:
    """Remove a lock file that nobody holds, by taking and releasing it as a writer does."""
    if entry.name.startswith("."):  # this repair's own
        return []
    try:
        FileLock(entry, "").release()
    except WriterBusy:
        return []
    return [Action("", "cleared", f"{entry.name}: the lock of a process that is gone")]


def _settle(
    path: Path, folder: Path, geometry: fmt.Geometry, examples_hash: str, clear: bool
) -> list[Action]:
    """Finish, drop or leave one staged model."""
    try:
        lock = folder_lock(path, folder.name, f"model {folder.name!r}")
    except WriterBusy:
        return [Action(folder.name, "left", "a process is writing it")]
    try:
        with writing(folder):
            restore_replaced(path / fmt.MODELS / folder.name, folder.parent)
        return [_settled(path, folder, geometry, examples_hash, clear)] if folder.is_dir() else []
    except NotWritable as error:
        return [Action(folder.name, "left", str(error))]
    finally:
        lock.release()


def _settled(path: Path, folder: Path, geometry: fmt.Geometry, examples_hash: str, clear: bool) -> Action:
    final, record = path / fmt.MODELS / folder.name, finished_record(folder)
    if is_replaced(folder, final):
        bury(folder, folder.parent)
        return Action(record["model_id"] if record else folder.name, "cleared", "it had been replaced")
    if record is not None and _may_take_place(record, final):
        clear_parts(folder)  # they are no part of what was committed
        if not verify_model(folder, geometry, examples_hash, quick=False)[0]:
            publish(folder, final)
            return Action(record["model_id"], "finished", "it was whole and lacked only its last rename")
    if clear or not (record or (folder / FINGERPRINT).exists()):
        bury(folder, folder.parent)
        return Action(folder.name, "cleared", "an unfinished model was dropped")
    if record is not None and "replaces" in record:
        return Action(record["model_id"], "left", f"what it was to replace is gone; {RESUMED}")
    state = "unfinished" if record is None else "whole, but another model is in its place"
    return Action(folder.name, "left", f"{state}; {RESUMED}")


def _may_take_place(record: dict[str, Any], final: Path) -> bool:
    """Whether a finished model was made to stand where nothing is, or in the place of what stands there.

    What was to replace a model that was removed since stays away with it.
    """
    there = sha256_of(final / fmt.COMMIT_JSON) if final.exists() else None
    return bool(record.get("replaces") == there)
