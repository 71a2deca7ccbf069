"""The commit protocol: lock, fingerprint, blocks with checksums, fsync, rename.

A model is made under ``staging/<folder>`` and becomes visible by one rename into ``models/``. Whatever stops
the writer before that leaves blocks that the next writer of the same fingerprint takes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, IncompleteModel

from . import format as fmt
from .codecs import BY_NAME
from .encoding import Encoded
from .files import write_file, writing
from .fingerprint import complete
from .identity import checked_name
from .records import commit_record, derived_arrow, documents, finish_shard
from .rows import RowMaker, WriterContext
from .sealed import seal
from .staged import BlockFile, PackedFile
from .staging import DERIVED_PART, SIZES_PART, Staging
from .times import software


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
    replace : bool
        Whether a model of this id that is there stays until this one takes its place, or forbids it.
    copied : mapping, optional
        Provenance of the model that this is a copy of.

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
        replace: bool = False,
        copied: Mapping[str, Any] | None = None,
    ) -> None:
        checked_name(model_id, "model_id")
        for name, given in (("fingerprint", fingerprint), ("metadata", metadata or {})):
            if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
                raise ArgumentError(f"{name} must be a mapping with names as keys; got {given!r:.60}")
        if kind not in fmt.KINDS:
            raise ArgumentError(f"kind must be one of {', '.join(fmt.KINDS)}; got {kind!r}")
        self.model_id, self.kind = model_id, kind
        self._geometry = context.geometry
        self._resumable, self._broken, self._finished, self._committed = resumable, False, False, False
        self._pending = 0
        self._metadata: dict[str, Any] = {}
        self._copied = {} if copied is None else {"copied": dict(copied)}
        self.describe(**dict(metadata or {}))
        self.fingerprint = complete(fingerprint, self._geometry.dtype, context.examples_hash, kind)
        self._rows = RowMaker(context, model_id, kind)
        self._columns = self._rows.columns
        self._files: list[BlockFile] = []
        self._staging = Staging(context.root, model_id, self.fingerprint, replace)
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
        self._finished = not restart and self._staging.is_finished()
        if self._finished:
            return
        if restart or not self._staging.has_rows():
            self._staging.drop()
        self._staging.claim()
        self._files = [self._derived_file()]
        if self.kind != "labels":
            self._files.append(self._logits_file())
        self._resume()
        rows = self._geometry.block_rows
        self._pending_logits = np.full((rows, self._geometry.n_classes), np.nan, self._geometry.dtype)
        self._pending_columns = np.zeros(rows, self._columns)

    def _derived_file(self) -> BlockFile:
        return BlockFile(
            self._staging.folder / DERIVED_PART, self._geometry.block_rows * self._columns.itemsize
        )

    def _logits_file(self) -> BlockFile:
        shard, g = self._staging.folder / fmt.SHARD, self._geometry
        if g.codec == "raw":
            return BlockFile(shard, g.data_bytes)
        return PackedFile(shard, self._staging.folder / SIZES_PART, BY_NAME[g.codec], g.n_blocks)

    def _resume(self) -> None:
        crcs = [file.valid_crcs(self._geometry.n_blocks) for file in self._files]
        whole = min(len(found) for found in crcs)
        for file, found in zip(self._files, crcs, strict=True):
            file.keep(found[:whole])

    def describe(self, /, **metadata: Any) -> None:
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
        """Write whole blocks as they come; copy other rows into the open block until it is full."""
        done, size = 0, self._geometry.block_rows
        while done < len(columns):
            if not self._pending and len(columns) - done >= size:
                whole = slice(done, done + size)
                self._write(columns[whole], None if logits is None else logits[whole])
                done += size
                continue
            space = size - self._pending
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
        self._write(self._pending_columns, None if self.kind == "labels" else self._pending_logits)
        self._pending = 0

    def _write(self, columns: NDArray[Any], logits: NDArray[Any] | None) -> None:
        """Append one whole block to both files, the logits first."""
        self._broken = True  # until both files hold the block
        if logits is not None:
            self._files[1].append(logits)
        self._files[0].append(columns)
        self._broken = False

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
            record = commit_record(self.model_id, self.kind, self.fingerprint, self._geometry)
            files = self._finish_files()
            self._staging.finish({**record, "provenance": self._provenance(), "files": files})
            self._finished = True
        self._staging.publish()
        self._committed = True

    def _finish_files(self) -> dict[str, dict[str, Any]]:
        """Write everything that follows the last block; return size and checksum of each file."""
        folder, rows = self._staging.folder, self._files[0].read_all()
        files = {
            fmt.DERIVED: write_file(folder / fmt.DERIVED, derived_arrow(rows, self._columns, self._geometry))
        }
        if self.kind == "labels":
            with writing(folder):
                (folder / fmt.LOGITS).rmdir()
        else:
            files[fmt.SHARD] = finish_shard(self._files[1], self._geometry)
        for name, data in documents(self.model_id, self.kind, self._metadata, self._geometry).items():
            files[name] = write_file(folder / name, data)
        return files

    def _provenance(self) -> dict[str, Any]:
        return {"begun_at": self._staging.begun_at, "software": software(), **self._copied}

    def close(self) -> None:
        """Let go of files and lock; uncommitted rows stay staged."""
        for file in self._files:
            file.close()
        self._staging.release()

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
                if not (self._finished or (self._resumable and self._staging.keeps())):
                    self._staging.drop()
            finally:
                self.close()
