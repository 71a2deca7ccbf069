"""Reading one committed model: sizes checked at open, checksums on first touch, then zero-copy maps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import CorruptionError, LabelsOnly

from . import format as fmt
from .files import crc32c, crc_bytes, open_map, read_checked, unseal
from .header import require_known_version
from .tables import read_arrow

if TYPE_CHECKING:
    import dask.array


class StoredModel:
    """One committed model.

    Attributes
    ----------
    model_id : str
        Name in the store.
    kind : {"logits", "probabilities", "labels"}
        What was given when it was stored.
    fingerprint : dict of str
        Weights, preprocessing, example set and dtype it came from.
    folder : Path
        Where its files lie.

    Raises
    ------
    CorruptionError
        A file is missing, has another size than committed, or the commit record is damaged.
    """

    def __init__(self, folder: Path, geometry: fmt.Geometry, examples_hash: str) -> None:
        self.folder = folder
        record = unseal(folder / fmt.COMMIT_JSON, f"model in folder {folder.name!r}")
        require_known_version(record, f"model {record['model_id']!r}")
        self.model_id: str = record["model_id"]
        self.kind: str = record["kind"]
        self.fingerprint: dict[str, str] = record["fingerprint"]
        self.committed_at: str = record["committed_at"]
        self.files: dict[str, dict[str, Any]] = record["files"]
        self.geometry = geometry
        self._check_identity(record, examples_hash)
        self.check_sizes()

    def _check_identity(self, record: Mapping[str, Any], examples_hash: str) -> None:
        expected = [self.geometry.n_examples, self.geometry.n_classes]
        same = record["shape"] == expected and self.fingerprint.get("examples") == examples_hash
        if not same or fmt.folder_name(self.model_id) != self.folder.name:
            raise CorruptionError(
                f"model {self.model_id!r} in folder {self.folder.name!r} belongs to another store or folder "
                f"(shape {record['shape']}, this store holds {expected})"
            )

    def check_sizes(self) -> None:
        """Compare every file's size with the commit record."""
        for name, expected in self.files.items():
            try:
                size = os.stat(self.folder / name).st_size
            except OSError as error:
                raise CorruptionError(
                    f"model {self.model_id!r}: {name} is missing ({error.strerror})"
                ) from error
            if size != expected["bytes"]:
                raise CorruptionError(
                    f"model {self.model_id!r}: {name} has {size} bytes, {expected['bytes']} were committed"
                )

    def read_file(self, name: str) -> bytes:
        """One of its small files, size and checksum verified."""
        return read_checked(self.folder / name, self.files[name], f"model {self.model_id!r}")

    def check_small_files(self) -> None:
        """Verify every file but the blocks of logits.

        Raises
        ------
        CorruptionError
        """
        for name in self.files:
            if name != fmt.SHARD:
                self.read_file(name)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata given when it was stored."""
        return dict(json.loads(self.read_file(fmt.MODEL_JSON)))

    def derived(self) -> pa.Table:
        """Derived columns, one row an example: top1, and for scored models rowmax and lse."""
        return read_arrow(self.read_file(fmt.DERIVED))

    def column(self, name: str) -> NDArray[Any]:
        """One derived column as a read-only array of length N."""
        if name not in self.derived().column_names:
            raise LabelsOnly(self._labels_only(f"the column {name!r}"))
        return np.asarray(self.derived()[name].combine_chunks().to_numpy(zero_copy_only=True))

    def logits(self) -> Logits:
        """Open its logits.

        Raises
        ------
        LabelsOnly
            The model was stored with hard labels only.
        """
        if self.kind == "labels":
            raise LabelsOnly(self._labels_only("logits"))
        return Logits(self)

    def _labels_only(self, wanted: str) -> str:
        return (
            f"model {self.model_id!r} was stored with hard labels only and has no {wanted}; "
            "pair statistics work, calibration and probability ensembles need its logits or probabilities"
        )


class Logits:
    """Logits of one model as an array-like of shape (N, C); slices are float32 rows.

    The row maximum that was subtracted on storing is added back. `centred` gives the stored rows themselves,
    memory-mapped without a copy when they lie in one block. A block's checksum is verified on first touch.
    """

    def __init__(self, model: StoredModel) -> None:
        self._model, self._geometry = model, model.geometry
        g = model.geometry
        self.shape = (g.n_examples, g.n_classes)
        self.dtype = np.dtype(np.float32)
        self.ndim = 2
        try:
            self._map = open_map(model.folder / fmt.SHARD)
        except (FileNotFoundError, ValueError) as error:  # ValueError: an empty file
            raise CorruptionError(
                f"model {model.model_id!r}: {fmt.SHARD} cannot be read ({error})"
            ) from error
        if len(self._map) != g.shard_bytes:
            raise CorruptionError(
                f"model {model.model_id!r}: {fmt.SHARD} has {len(self._map)} bytes, not {g.shard_bytes}"
            )
        raw = np.frombuffer(self._map, np.uint8, count=g.n_blocks * g.stride_bytes).reshape(
            g.n_blocks, g.stride_bytes
        )
        self._raw = raw
        stored = raw[:, : g.data_bytes].view(np.dtype(g.dtype).newbyteorder("<"))
        self._blocks = stored.reshape(g.n_blocks, g.block_rows, g.n_classes)
        self._verified = np.zeros(g.n_blocks, bool)
        self._rowmax: NDArray[np.float32] | None = None
        self._check_index()

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Logits, (self._model,)  # a worker opens the file itself

    def _check_index(self) -> None:
        g = self._geometry
        index = g.index()
        if self._map[g.n_blocks * g.stride_bytes :] != index + crc_bytes(crc32c(index)):
            raise CorruptionError(
                f"model {self._model.model_id!r}: the block index of {fmt.SHARD} is damaged"
            )

    def check_block(self, block: int) -> None:
        """Verify one block against the commit record.

        Raises
        ------
        CorruptionError
            Naming model, block and its examples.
        """
        g = self._geometry
        crc = crc32c(self._raw[block, : g.data_bytes])
        stored = self._raw[block, g.data_bytes :].tobytes()
        committed = self._model.files[fmt.SHARD]["blocks_crc32c"][8 * block : 8 * block + 8]
        if stored != crc_bytes(crc) or f"{crc:08x}" != committed:
            start, stop = g.rows(block)
            raise CorruptionError(
                f"model {self._model.model_id!r}: block {block} of {fmt.SHARD} (rows {start} to {stop - 1}) "
                "fails its checksum; run `dissensus verify` and store the model again"
            )
        self._verified[block] = True

    def block(self, block: int) -> NDArray[Any]:
        """Stored rows of one block, without its padding: a read-only map."""
        if not self._verified[block]:
            self.check_block(block)
        start, stop = self._geometry.rows(block)
        rows: NDArray[Any] = self._blocks[block, : stop - start]
        return rows

    def centred(self, start: int, stop: int) -> NDArray[Any]:
        """Stored rows start:stop, (stop - start, C), in the store's dtype: logit - row maximum, at most 0."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start}:{stop} are not within 0:{len(self)}")
        size = self._geometry.block_rows
        parts = []
        for number in range(start // size, -(-stop // size) if stop > start else start // size):
            first = number * size
            parts.append(self.block(number)[max(start - first, 0) : stop - first])
        if not parts:
            return np.empty((0, self.shape[1]), self._geometry.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Stored rows of given sorted numbers, (n, C) in the store's dtype: logit - row maximum."""
        out = np.empty((len(rows), self.shape[1]), self._geometry.dtype)
        edges = np.searchsorted(rows, np.arange(self._geometry.n_blocks + 1) * self._geometry.block_rows)
        for number in np.flatnonzero(np.diff(edges)):
            here = slice(edges[number], edges[number + 1])
            first = number * self._geometry.block_rows
            np.take(self.block(int(number)), rows[here] - first, axis=0, out=out[here])
        return out

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        picked = self._rows(rows)
        selected: NDArray[np.float32] = picked[(..., *rest)] if rest else picked
        return selected

    def _rows(self, rows: Any) -> NDArray[np.float32]:
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            return self._restore(start, max(start, stop))
        index = np.arange(len(self))[rows]
        if index.ndim == 0:
            row: NDArray[np.float32] = self._restore(int(index), int(index) + 1)[0]
            return row
        parts = [np.empty((0, self.shape[1]), np.float32)]
        return np.concatenate(parts + [self._restore(int(i), int(i) + 1) for i in index])

    def _restore(self, start: int, stop: int) -> NDArray[np.float32]:
        if self._rowmax is None:
            self._rowmax = self._model.column("rowmax")
        restored: NDArray[np.float32] = self.centred(start, stop).astype(np.float32)
        restored += self._rowmax[start:stop, None]
        return restored

    def to_dask(self) -> dask.array.Array:
        """Lazy dask array (N, C) float32, one chunk a block."""
        import dask.array

        return dask.array.from_array(self, chunks=(self._geometry.block_rows, self.shape[1]))
