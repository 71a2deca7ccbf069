"""The folder in which one model is made, and the rename by which it becomes visible.

Order decides everything here: a fingerprint is durable before any row, rows never outlive it, a finished
folder lacks only the rename, and a model that is replaced leaves in the moment its successor appears.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dissensus.errors import DissensusError, ModelExists, NotWritable

from . import format as fmt
from .files import is_temporary, sync_folder, write_file, writing
from .fingerprint import require_same_fingerprint
from .folders import bury, restore_replaced, take_over
from .locks import FileLock
from .sealed import seal, sha256_of, unseal
from .times import now

FINGERPRINT = "fingerprint.json"
DERIVED_PART = "derived.part"
SIZES_PARTS = {fmt.SHARD: "sizes.part", fmt.EMBEDDINGS_SHARD: "embeddings.sizes.part"}
PARTS = (DERIVED_PART, *SIZES_PARTS.values())  # no part of a finished model


def model_lock(root: Path, model_id: str) -> FileLock:
    """Lock that whoever changes a model holds.

    Raises
    ------
    WriterBusy
        Another process holds it.
    """
    return folder_lock(root, fmt.folder_name(model_id), f"model {model_id!r}")


def folder_lock(root: Path, name: str, what: str) -> FileLock:
    """Lock of a model by the name of its folder, for where its id cannot be read.

    Raises
    ------
    WriterBusy
    """
    busy = f"another process is writing {what} into {root}; wait for it, then run again"
    return FileLock(root / fmt.STAGING / f"{name}.lock", busy)


class Staging:
    """Staged folder of one model, locked.

    Parameters
    ----------
    root : Path
        Folder of the store.
    model_id : str
        The model.
    fingerprint : mapping
        Complete fingerprint of what is going to be written.
    replace : bool
        Whether a model of this id may be there already.
    lock : FileLock, optional
        The model's, where the caller holds it already; released with the staging.

    Attributes
    ----------
    folder, final : Path
        Where the model is made, and where it will be.
    begun_at : str
        When its first row was written, UTC.

    Raises
    ------
    WriterBusy, ModelExists, NotWritable
    """

    def __init__(
        self,
        root: Path,
        model_id: str,
        fingerprint: Mapping[str, str],
        replace: bool,
        lock: FileLock | None = None,
    ) -> None:
        name = fmt.folder_name(model_id)
        self.folder, self.final = root / fmt.STAGING / name, root / fmt.MODELS / name
        self.begun_at = now()
        self._model_id, self._fingerprint, self._replace = model_id, fingerprint, replace
        with writing(self.folder.parent):
            self.folder.parent.mkdir(exist_ok=True)
        self._lock = model_lock(root, model_id) if lock is None else lock
        try:
            self._sweep()
            self._require_room(root)
        except BaseException:
            self.release()
            raise

    def _require_room(self, root: Path) -> None:
        """Refuse before any work what would fail at the last rename."""
        if self.final.exists() and not self._replace:
            raise ModelExists(
                f"model {self._model_id!r} is in {root} already; remove it first, replace it "
                "(replace=True, --replace), or use another id"
            )
        models = self.final.parent
        if not os.access(models, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise NotWritable(
                f"cannot write {models}: no permission; choose a store you may write to "
                "or change its permissions"
            )

    def _sweep(self) -> None:
        """Finish or undo a killed replacement: one of the two models is in place, the other is cleared."""
        with writing(self.final):
            restore_replaced(self.final, self.folder.parent)
        if is_replaced(self.folder, self.final):
            self.drop()

    def is_finished(self) -> bool:
        """Whether what is staged is this model, whole, and lacks only the rename.

        Raises
        ------
        FingerprintMismatch
            It is whole, but of another origin.
        """
        record = finished_record(self.folder)
        if record is not None:
            self._require_same(record["fingerprint"])
        return record is not None

    def has_rows(self) -> bool:
        """Whether there is anything to resume: rows without a fingerprint belong to nobody."""
        part = self.folder / DERIVED_PART
        return (self.folder / FINGERPRINT).exists() and part.exists() and part.stat().st_size > 0

    def drop(self) -> None:
        """Remove what is staged; out of its place first, so that no rows outlive their fingerprint."""
        if self.folder.exists():
            bury(self.folder, self.folder.parent)

    def claim(self, arrays: Iterable[str]) -> None:
        """Make the fingerprint durable before any row; on a resume it must be the same.

        Parameters
        ----------
        arrays : iterable of str
            Folders to make for the model's arrays.

        Raises
        ------
        FingerprintMismatch, CorruptionError
        """
        path = self.folder / FINGERPRINT
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
        if not path.exists():
            write_file(path, seal({"fingerprint": self._fingerprint, "begun_at": self.begun_at}))
            with writing(path):
                sync_folder(self.folder)
        else:
            staged = unseal(path, f"staging of model {self._model_id!r} (restart it)")
            self._require_same(staged["fingerprint"])
            self.begun_at = staged.get("begun_at", self.begun_at)
        with writing(self.folder):
            for name in arrays:
                (self.folder / name).mkdir(exist_ok=True)

    def _require_same(self, staged: Mapping[str, str]) -> None:
        remedy = "restart it to drop what was staged"
        require_same_fingerprint(self._model_id, staged, self._fingerprint, "staged", remedy)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the commit record, then let the fingerprint go: only the rename is missing then."""
        replaces = {"replaces": sha256_of(self.final / fmt.COMMIT_JSON)} if self.final.exists() else {}
        write_file(self.folder / fmt.COMMIT_JSON, seal({**record, **replaces}))
        with writing(self.folder):
            for name in (fmt.LOGITS, fmt.EMBEDDINGS):
                if (self.folder / name).is_dir():
                    sync_folder(self.folder / name)
            sync_folder(self.folder)
            (self.folder / FINGERPRINT).unlink()  # from here on the record alone says whose rows these are

    def keeps(self) -> bool:
        """Whether what is staged is of use to a later writer."""
        return self.has_rows() or finished_record(self.folder) is not None

    def publish(self) -> None:
        """Make the finished model visible; one that it replaces disappears in the same moment."""
        publish(self.folder, self.final)

    def release(self) -> None:
        """Let another writer go on."""
        self._lock.release()


def clear_parts(folder: Path) -> None:
    """Delete what a writer needed and a finished model does not; whoever calls holds the model's lock."""
    for name in PARTS:
        (folder / name).unlink(missing_ok=True)
    clear_unnamed(folder)


def clear_unnamed(folder: Path) -> None:
    """Delete the files in the making that killed writers left in a model's folder, under its lock."""
    for left in [path for path in folder.rglob(".*") if is_temporary(path.name)]:
        left.unlink(missing_ok=True)


def publish(folder: Path, final: Path) -> None:
    """Rename a finished folder into its place, durably, and delete what was there."""
    with writing(final):
        clear_parts(folder)
        sync_folder(folder)
        old = take_over(folder, final) if final.exists() else None
        if old is None:
            os.rename(folder, final)
        sync_folder(final.parent)
        sync_folder(folder.parent)
    if old is not None:
        bury(old, folder.parent)


def finished_record(folder: Path) -> dict[str, Any] | None:
    """Commit record of a staged folder that lacks only the rename; None for any other."""
    if (folder / FINGERPRINT).exists():
        return None
    try:
        record = unseal(folder / fmt.COMMIT_JSON, "staged model")
        sizes = {name: (folder / name).stat().st_size for name in record["files"]}
    except (DissensusError, OSError):
        return None
    whole = all(record["files"][name]["bytes"] == size for name, size in sizes.items())
    return record if whole else None


def staged_rows(root: Path, model_id: str, geometry: fmt.Geometry, kind: str = "logits") -> tuple[int, int]:
    """Rows of a model that are staged, and the bytes of its arrays; told by sizes of files, nothing is read.

    A writer of the same fingerprint keeps so many of them as are whole.
    """
    folder = root / fmt.STAGING / fmt.folder_name(model_id)
    n_bytes = sum(_size(folder / name) for name in (fmt.SHARD, fmt.EMBEDDINGS_SHARD))
    if finished_record(folder) is not None:
        return geometry.n_examples, n_bytes
    if not (folder / FINGERPRINT).exists():
        return 0, 0
    block = geometry.block_rows * fmt.record_dtype(kind, geometry.n_classes).itemsize + fmt.CRC_BYTES
    return min(_size(folder / DERIVED_PART) // block * geometry.block_rows, geometry.n_examples), n_bytes


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def clear_killed_replacement(final: Path, staging: Path) -> None:
    """Delete both models that a killed replacement may have left: they belong to the one that is in place.

    Whoever removes that one calls this first, under its lock: neither must come back in its place.
    """
    restore_replaced(final, staging)
    if finished_record(staging / final.name) is not None:
        bury(staging / final.name, staging)


def is_replaced(folder: Path, final: Path) -> bool:
    """Whether a staged folder holds the model that the one in place has replaced."""
    old = sha256_of(folder / fmt.COMMIT_JSON)
    try:
        return old != "" and unseal(final / fmt.COMMIT_JSON, "model").get("replaces") == old
    except DissensusError:
        return False
