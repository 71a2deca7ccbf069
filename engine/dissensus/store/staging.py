"""The folder in which one model is made, and the rename by which it becomes visible.

Order decides everything here: a fingerprint is durable before any row, rows never outlive it, a finished
folder lacks only the rename, and a model that is replaced leaves in the moment its successor appears.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissensus.errors import CorruptionError, ModelExists, NotWritable

from . import format as fmt
from .files import FileLock, bury, exchange, sync_folder, write_file, writing
from .fingerprint import require_same_fingerprint
from .sealed import seal, sha256_of, unseal
from .times import now

FINGERPRINT = "fingerprint.json"
DERIVED_PART = "derived.part"
SIZES_PART = "sizes.part"
PARTS = (DERIVED_PART, SIZES_PART, FINGERPRINT)  # gone when the model is finished, the fingerprint last


def model_lock(root: Path, model_id: str) -> FileLock:
    """Lock that whoever changes a model holds.

    Raises
    ------
    WriterBusy
        Another process holds it.
    """
    return FileLock(
        root / fmt.STAGING / f"{fmt.folder_name(model_id)}.lock",
        f"another process is writing model {model_id!r} into {root}; wait for it, then run again",
    )


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

    def __init__(self, root: Path, model_id: str, fingerprint: Mapping[str, str], replace: bool) -> None:
        name = fmt.folder_name(model_id)
        self.folder, self.final = root / fmt.STAGING / name, root / fmt.MODELS / name
        self.begun_at = now()
        self._model_id, self._fingerprint, self._replace = model_id, fingerprint, replace
        with writing(self.folder.parent):
            self.folder.parent.mkdir(exist_ok=True)
        self._lock = model_lock(root, model_id)
        try:
            self._require_room(root)
            self._sweep()
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
        """Drop a predecessor that a killed replacement left here: the model in place says it replaced it."""
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

    def claim(self) -> None:
        """Make the fingerprint durable before any row; on a resume it must be the same.

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
            (self.folder / fmt.LOGITS).mkdir(exist_ok=True)

    def _require_same(self, staged: Mapping[str, str]) -> None:
        remedy = "restart it to drop what was staged"
        require_same_fingerprint(self._model_id, staged, self._fingerprint, "staged", remedy)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the commit record and clear what is no part of the model: only the rename is missing then."""
        replaces = {"replaces": sha256_of(self.final / fmt.COMMIT_JSON)} if self.final.exists() else {}
        write_file(self.folder / fmt.COMMIT_JSON, seal({**record, **replaces}))
        with writing(self.folder):
            for name in PARTS:
                (self.folder / name).unlink(missing_ok=True)
            if (self.folder / fmt.LOGITS).is_dir():
                sync_folder(self.folder / fmt.LOGITS)
            sync_folder(self.folder)

    def publish(self) -> None:
        """Make the finished model visible; one that it replaces disappears in the same moment."""
        publish(self.folder, self.final)

    def release(self) -> None:
        """Let another writer go on."""
        self._lock.release()


def publish(folder: Path, final: Path) -> None:
    """Rename a finished folder into its place, durably, and delete what was there."""
    with writing(final):
        if final.exists():
            exchange(folder, final)
        else:
            os.rename(folder, final)
        sync_folder(final.parent)
        sync_folder(folder.parent)
    if folder.exists():
        bury(folder, folder.parent)


def finished_record(folder: Path) -> dict[str, Any] | None:
    """Commit record of a staged folder that lacks only the rename; None for any other."""
    if (folder / FINGERPRINT).exists():
        return None
    try:
        record = unseal(folder / fmt.COMMIT_JSON, "staged model")
        sizes = {name: (folder / name).stat().st_size for name in record["files"]}
    except (CorruptionError, OSError):
        return None
    whole = all(record["files"][name]["bytes"] == size for name, size in sizes.items())
    return record if whole else None


def is_replaced(folder: Path, final: Path) -> bool:
    """Whether a staged folder holds the model that the one in place has replaced."""
    old = sha256_of(folder / fmt.COMMIT_JSON)
    try:
        return old != "" and unseal(final / fmt.COMMIT_JSON, "model").get("replaces") == old
    except CorruptionError:
        return False
