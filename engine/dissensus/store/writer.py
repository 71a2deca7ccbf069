"""The commit protocol: lock, fingerprint, blocks with checksums, fsync, rename.

A model is staged under ``staging/<folder>`` and becomes visible by one rename into ``models/``. Whatever
stops the writer before that leaves blocks that the next writer of the same fingerprint takes over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, CorruptionError, IncompleteModel, ModelExists, NotWritable

from . import format as fmt
from .encoding import Encoded
from .files import FileLock, bury, crc32c, crc_bytes, seal, sync_folder, unseal, write_file, writing
from .fingerprint import complete, require_same_fingerprint
from .rows import RowMaker, WriterContext
from .staged import BlockFile
from .tables import arrow_bytes

_FINGERPRINT = "fingerprint.json"
_DERIVED_PART = "derived.part"


class ModelWriter:
    """Streams one model into the store; use it as a context manager.

    A clean exit after the last row commits. An exception, Ctrl-C or a kill leaves a staging area that a later
    writer with the same fingerprint resumes: see `position`.

    Parameters
    ----------
    context : WriterContext
        The store's facts.
    model_id : str
        Any non-empty string.
    fingerprint : mapping of str to str
        What decides the numbers: weights, preprocessing, precision. The store adds its example set and dtype.
    metadata : mapping, optional
        Plain JSON kept with the model.
    kind : {"logits", "probabilities", "labels"}
        What `append` is given.
    restart : bool
        Drop what was staged instead of resuming.
    resumable : bool
        Whether an error leaves the staged rows for a later writer, or drops them.

    Raises
    ------
    ModelExists, WriterBusy, FingerprintMismatch, NotWritable, StoreFull, ArgumentError
    """

    def __init__(
        self,
        context: WriterContext,
        model_id: str,
        *,
        fingerprint: Mapping[str, str],
        metadata: Mapping[str, Any] | None = None,
        kind: str = "logits",
        restart: bool = False,
        resumable: bool = True,
    ) -> None:
        if not isinstance(model_id, str) or not model_id.strip():
            raise ArgumentError(f"model_id must be a non-empty string, got {model_id!r}")
        if kind not in fmt.KINDS:
            raise ArgumentError(f"kind must be one of {', '.join(fmt.KINDS)}; got {kind!r}")
        self.model_id, self.kind = model_id, kind
        self._context, self._geometry = context, context.geometry
        self._resumable, self._broken, self._finished, self._committed = resumable, False, False, False
        self._pending = 0
        self._metadata: dict[str, Any] = {}
        self.describe(**dict(metadata or {}))
        self.fingerprint = complete(fingerprint, self._geometry.dtype, context.examples_hash, kind)
        folder = fmt.folder_name(model_id)
        self._final = context.root / fmt.MODELS / folder
        self._staging = context.root / fmt.STAGING / folder
        self._rows = RowMaker(context, model_id, kind)
        self._columns = self._rows.columns
        with writing(self._staging.parent):
            self._staging.parent.mkdir(exist_ok=True)
        self._lock = FileLock(
            context.root / fmt.STAGING / f"{folder}.lock",
            f"another process is writing model {model_id!r} into {context.root}; wait for it, then run again",
        )
        self._files: list[BlockFile] = []
        try:
            self._open(restart)
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Examples whose rows are safe in whole blocks; resume there."""
        if self._finished:
            return self._geometry.n_examples
        return min(len(self._files[0].crcs) * self._geometry.block_rows, self._geometry.n_examples)

    def _open(self, restart: bool) -> None:
        if self._final.exists():
            raise ModelExists(
                f"model {self.model_id!r} is in {self._context.root} already; remove it first "
                "or use another id"
            )
        self._require_writable()
        self._finished = not restart and self._is_finished()
        if self._finished:
            return
        if restart or not self._rows_are_staged():
            self._drop()
        with writing(self._staging):
            self._staging.mkdir(exist_ok=True)
        self._claim()
        with writing(self._staging):
            (self._staging / fmt.LOGITS).mkdir(exist_ok=True)
        column_bytes = self._geometry.block_rows * self._columns.itemsize
        self._files = [BlockFile(self._staging / _DERIVED_PART, column_bytes)]
        if self.kind != "labels":
            self._files.append(BlockFile(self._staging / fmt.SHARD, self._geometry.data_bytes))
        self._resume()
        rows = self._geometry.block_rows
        self._pending_logits = np.full((rows, self._geometry.n_classes), np.nan, self._geometry.dtype)
        self._pending_columns = np.zeros(rows, self._columns)

    def _require_writable(self) -> None:
        """Refuse before any work what would fail at the last rename."""
        models = self._final.parent
        if not os.access(models, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise NotWritable(
                f"cannot write {models}: no permission; choose a store you may write to "
                "or change its permissions"
            )

    def _is_finished(self) -> bool:
        """Whether what is staged is this model, whole, and lacks only the rename."""
        if (self._staging / _FINGERPRINT).exists():
            return False
        try:
            record = unseal(self._staging / fmt.COMMIT_JSON, "staged model")
            sizes = {name: (self._staging / name).stat().st_size for name in record["files"]}
        except (CorruptionError, OSError):
            return False
        if any(record["files"][name]["bytes"] != size for name, size in sizes.items()):
            return False
        self._require_same(record["fingerprint"])
        return True

    def _rows_are_staged(self) -> bool:
        """Whether there is anything to resume: rows without a fingerprint belong to nobody."""
        part = self._staging / _DERIVED_PART
        return (self._staging / _FINGERPRINT).exists() and part.exists() and part.stat().st_size > 0

    def _drop(self) -> None:
        """Remove what is staged; out of its place first, so that no rows outlive their fingerprint."""
        if self._staging.exists():
            bury(self._staging, self._staging.parent)

    def _claim(self) -> None:
        """Make the fingerprint durable before any row; on a resume it must be the same."""
        path = self._staging / _FINGERPRINT
        if not path.exists():
            write_file(path, seal({"fingerprint": self.fingerprint}))
            with writing(path):
                sync_folder(self._staging)
            return
        staged = unseal(path, f"staging of model {self.model_id!r} (restart it)")["fingerprint"]
        self._require_same(staged)

    def _require_same(self, staged: Mapping[str, str]) -> None:
        remedy = "restart it to drop what was staged"
        require_same_fingerprint(self.model_id, staged, self.fingerprint, "staged", remedy)

    def _resume(self) -> None:
        crcs = [file.valid_crcs(self._geometry.n_blocks) for file in self._files]
        whole = min(len(found) for found in crcs)
        for file, found in zip(self._files, crcs, strict=True):
            file.keep(found[:whole])

    def describe(self, **metadata: Any) -> None:
        """Add metadata known only after the run (throughput, device); kept at commit.

        Raises
        ------
        ArgumentError
            It is not plain JSON, or names a column of `Store.models` that is computed.
        """
        clash = sorted(fmt.COMPUTED & metadata.keys())
        if clash:
            raise ArgumentError(
                f"metadata of model {self.model_id!r} must not name {', '.join(clash)}: the store computes "
                "these; choose other names"
            )
        seal(metadata)  # refuses what is not JSON before any work
        self._metadata.update(metadata)

    def append(self, block: NDArray[Any] | Encoded) -> None:
        """Add the next rows.

        Parameters
        ----------
        block : (n, C) float logits or probabilities, (n,) int labels for kind "labels", or Encoded
            Rows in the store's order, going on where the last block ended (at first: `position`).

        Raises
        ------
        WrongClassCount, NonFiniteLogits, ArgumentError, StoreFull
        """
        if self._broken:
            raise IncompleteModel(
                f"model {self.model_id!r}: an earlier write failed; "
                "open a new writer, which resumes at the last whole block"
            )
        self._buffer(*self._rows.make(block, self.position + self._pending))

    def _buffer(self, columns: NDArray[Any], logits: NDArray[Any] | None) -> None:
        """Copy rows into the open block; write it whenever it is full or the last."""
        done = 0
        while done < len(columns):
            space = len(self._pending_columns) - self._pending
            take = min(space, len(columns) - done)
            here = slice(self._pending, self._pending + take)
            self._pending_columns[here] = columns[done : done + take]
            if logits is not None:
                self._pending_logits[here] = logits[done : done + take]
            self._pending, done = self._pending + take, done + take
            last = self.position + self._pending == self._geometry.n_examples
            if last or self._pending == len(self._pending_columns):
                self._flush()

    def _flush(self) -> None:
        self._pending_columns[self._pending :] = np.zeros((), self._columns)
        self._pending_logits[self._pending :] = np.nan
        blocks = (self._pending_columns, self._pending_logits)
        self._broken = True  # until both files hold the block
        for file, block in reversed(list(zip(self._files, blocks, strict=False))):
            file.append(block)
        self._broken, self._pending = False, 0

    def commit(self) -> None:
        """Make the model visible; called by a clean exit of the ``with`` block.

        Raises
        ------
        IncompleteModel
            Rows are missing; what is there stays staged.
        """
        if self._committed:
            return
        if self._broken or self.position != self._geometry.n_examples:
            raise IncompleteModel(
                f"model {self.model_id!r} has {self.position + self._pending} of {self._geometry.n_examples} "
                f"rows; nothing was committed, {self.position} rows are staged and can be resumed"
            )
        if not self._finished:
            self._finish()
        with writing(self._final):
            os.rename(self._staging, self._final)
            sync_folder(self._final.parent)
            sync_folder(self._staging.parent)
        self._committed = True

    def _finish(self) -> None:
        """Complete the staged folder: from here on only the rename is missing."""
        files = self._finish_files()
        write_file(self._staging / fmt.COMMIT_JSON, seal(self._commit_record(files)))
        self._finished = True
        with writing(self._staging):
            for name in (_DERIVED_PART, _FINGERPRINT):  # rows never outlive the fingerprint they belong to
                (self._staging / name).unlink(missing_ok=True)
            if self.kind != "labels":
                sync_folder(self._staging / fmt.LOGITS)
            sync_folder(self._staging)

    def _finish_files(self) -> dict[str, dict[str, Any]]:
        """Write everything that follows the last block; return size and checksum of each file."""
        files = {fmt.DERIVED: write_file(self._staging / fmt.DERIVED, self._derived_arrow())}
        documents = {
            fmt.MODEL_JSON: fmt.canonical_json(self._metadata),
            fmt.ZARR_JSON: fmt.group_json(model_id=self.model_id),
        }
        if self.kind != "labels":
            index = self._geometry.index()
            self._files[1].finish(index + crc_bytes(crc32c(index)))
            files[fmt.SHARD] = {
                "bytes": self._geometry.shard_bytes,
                "blocks_crc32c": "".join(f"{crc:08x}" for crc in self._files[1].crcs),
            }
            documents[f"{fmt.LOGITS}/{fmt.ZARR_JSON}"] = fmt.array_json(self._geometry)
        else:
            (self._staging / fmt.LOGITS).rmdir()
        for name, data in documents.items():
            files[name] = write_file(self._staging / name, data)
        return files

    def _derived_arrow(self) -> bytes:
        rows = self._files[0].read_all().reshape(-1).view(self._columns)[: self._geometry.n_examples]
        meaning = {c.name: {"meaning": c.meaning} for c in fmt.DERIVED_COLUMNS}
        fields = [
            pa.field(name, pa.from_numpy_dtype(self._columns[name]), nullable=False, metadata=meaning[name])
            for name in self._columns.names or ()
        ]
        arrays = [pa.array(np.ascontiguousarray(rows[field.name])) for field in fields]
        return arrow_bytes(pa.table(arrays, schema=pa.schema(fields)))

    def _commit_record(self, files: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "format_version": fmt.FORMAT_VERSION,
            "model_id": self.model_id,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "shape": [self._geometry.n_examples, self._geometry.n_classes],
            "committed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": files,
        }

    def close(self) -> None:
        """Let go of files and lock; uncommitted rows stay staged."""
        for file in self._files:
            file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            try:
                if not (self._finished or (self._resumable and self._rows_are_staged())):
                    self._drop()
            finally:
                self.close()
