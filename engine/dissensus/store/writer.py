"""The commit protocol: lock, fingerprint, blocks with checksums, fsync, rename.

A model is made under ``staging/<folder>`` and becomes visible by one rename into ``models/``. Whatever stops
the writer before that leaves blocks that the next writer of the same fingerprint takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from dissensus.errors import ArgumentError, IncompleteModel

from . import format as fmt
from .embedding_rows import EmbeddingMaker, checked_dim
from .encoding import Encoded
from .files import write_file
from .fingerprint import complete
from .identity import checked_name
from .locks import FileLock
from .parts import Part, array_part, derived_part
from .records import commit_record, documents, finish_embeddings, finish_shard
from .row_tables import write_row_tables
from .rows import RowMaker, WriterContext
from .sealed import seal
from .staging import Staging
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
    embedding_dim : int, optional
        Number of features of the embeddings that `append` is given with every block; none by default.
    lock : FileLock, optional
        The model's (see `staging.model_lock`), where the caller holds it already; the writer releases it.

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
        embedding_dim: int | None = None,
        lock: FileLock | None = None,
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
        self.embedding_dim = dim = checked_dim(embedding_dim)
        self._copied = {} if copied is None else {"copied": dict(copied)}
        self.describe(**dict(metadata or {}))
        self.fingerprint = complete(fingerprint, self._geometry.dtype, context.examples_hash, kind, dim)
        self._rows = RowMaker(context, model_id, kind)
        self._embeddings = EmbeddingMaker(context, model_id, dim)
        self._shards = {} if kind == "labels" else {fmt.SHARD: self._geometry}
        if dim is not None:
            self._shards[fmt.EMBEDDINGS_SHARD] = self._geometry.of_embeddings(dim)
        self._parts: dict[str, Part] = {}  # by what is made of them; the derived columns first
        self._staging = Staging(context.root, model_id, self.fingerprint, replace, lock)
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
        n_steps = len(self._parts[fmt.DERIVED].file.crcs)
        return min(n_steps * self._geometry.block_rows, self._geometry.n_examples)

    def _open(self, restart: bool) -> None:
        self._finished = not restart and self._staging.is_finished()
        if self._finished:
            return
        if restart or not self._staging.has_rows():
            self._staging.drop()
        self._staging.claim(name.partition("/")[0] for name in self._shards)
        folder, rows = self._staging.folder, self._geometry.block_rows
        self._parts[fmt.DERIVED] = derived_part(folder, self._geometry, self._rows.columns)
        for name, geometry in self._shards.items():
            self._parts[name] = array_part(folder, name, geometry, rows)
        self._resume()

    def _resume(self) -> None:
        """Keep the leading steps that are whole in every file."""
        found = [(part, part.valid_crcs()) for part in self._parts.values()]
        steps = min(part.steps(len(crcs)) for part, crcs in found)
        for part, crcs in found:
            part.keep(crcs, steps)

    def describe(self, /, **metadata: Any) -> None:
        """Add metadata known only after the run (throughput, device); kept at commit.

        Raises
        ------
        ArgumentError
            It is not plain JSON, or names a column of `Store.models` that is computed.
        """
        computed = fmt.COMPUTED if self.embedding_dim is None else fmt.COMPUTED | {fmt.EMBEDDING_DIM}
        clash = sorted(computed & metadata.keys())
        if clash:
            raise ArgumentError(
                f"metadata of model {self.model_id!r} must not name {', '.join(clash)}: the store computes "
                "these; choose other names"
            )
        seal(metadata)  # refuses what is not JSON before any work
        self._metadata.update(metadata)

    def append(self, block: NDArray[Any] | Encoded, *, embeddings: NDArray[Any] | None = None) -> None:
        """Add the next rows.

        Parameters
        ----------
        block : (n, C) float logits or probabilities, (n,) int labels for kind "labels", or Encoded
            Rows in the store's order, going on where the last block ended (at first: `position`). A table
            whose index names other examples is refused.
        embeddings : (n, embedding_dim) float
            Features of the same rows, for a writer opened with `embedding_dim` and for no other. Stored as
            they are in the store's dtype; in float16 what lies beyond 65504 is clamped, with a warning.

        Raises
        ------
        WrongClassCount, NonFiniteLogits, NonFiniteEmbeddings, ArgumentError, StoreFull
        """
        if self._broken:
            raise IncompleteModel(
                f"model {self.model_id!r}: an earlier write failed; "
                "open a new writer, which resumes at the last whole block"
            )
        first = self.position + self._pending
        columns, logits = self._rows.make(block, first)
        arrays = [columns, *([] if logits is None else [logits])]
        self._buffer([*arrays, *self._embeddings.make(embeddings, len(columns), first)])

    def _buffer(self, arrays: list[NDArray[Any]]) -> None:
        """Write whole steps as they come; copy other rows into the open step until it is full."""
        done, size, parts = 0, self._geometry.block_rows, list(self._parts.values())
        while done < len(arrays[0]):
            if not self._pending and len(arrays[0]) - done >= size:
                step = slice(done, done + size)
                self._write([partial(p.write, a[step], size) for p, a in zip(parts, arrays, strict=True)])
                done += size
                continue
            take = min(size - self._pending, len(arrays[0]) - done)
            for part, array in zip(parts, arrays, strict=True):
                part.hold(self._pending, array[done : done + take])
            self._pending, done = self._pending + take, done + take
            last = self.position + self._pending == self._geometry.n_examples
            if last or self._pending == size:
                self._write([partial(part.flush, self._pending) for part in parts])
                self._pending = 0

    def _write(self, writes: list[Callable[[], None]]) -> None:
        """Append one step to every file, the derived columns last: they tell how far the model is."""
        self._broken = True  # until all files hold the step
        for write in reversed(writes):
            write()
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
            record = commit_record(
                self.model_id,
                self.kind,
                self.fingerprint,
                self._geometry,
                self._shards.get(fmt.EMBEDDINGS_SHARD),
            )
            files = self._finish_files()
            self._staging.finish({**record, "provenance": self._provenance(), "files": files})
            self._finished = True
        self._staging.publish()
        self._committed = True

    def _finish_files(self) -> dict[str, dict[str, Any]]:
        """Write everything that follows the last block; return size and checksum of each file."""
        folder, rows = self._staging.folder, self._parts[fmt.DERIVED].file
        files = write_row_tables(folder, rows, self._rows.columns, self._geometry.n_examples)
        for name, geometry in self._shards.items():
            finish = finish_embeddings if name == fmt.EMBEDDINGS_SHARD else finish_shard
            files[name] = finish(self._parts[name].file, geometry)
        for name, data in documents(self.model_id, self._metadata, self._shards).items():
            files[name] = write_file(folder / name, data)
        return files

    def _provenance(self) -> dict[str, Any]:
        return {"begun_at": self._staging.begun_at, "software": software(), **self._copied}

    def close(self) -> None:
        """Let go of files and lock; uncommitted rows stay staged."""
        for part in self._parts.values():
            part.file.close()
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
