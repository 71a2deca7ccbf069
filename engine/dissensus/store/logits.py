"""Logits of one committed model: checksums verified on first touch, then zero-copy maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CorruptionError, IncompatibleFormat

from . import format as fmt
from .codecs import BY_NAME
from .files import crc32c, crc_bytes, open_map, read_ahead, read_checked
from .tables import numbers, read_arrow

if TYPE_CHECKING:
    import dask.array


class Logits:
    """Logits of one model as an array-like of shape (N, C); slices are float32 rows.

    The row maximum that was subtracted on storing is added back. `centred` gives the stored rows themselves,
    memory-mapped without a copy when they lie in one block. A block's checksum is verified on first touch.
    """

    def __init__(
        self, folder: Path, model_id: str, files: Mapping[str, Mapping[str, Any]], geometry: fmt.Geometry
    ) -> None:
        self._folder, self._model_id, self._files, self._geometry = folder, model_id, files, geometry
        self.shape = (geometry.n_examples, geometry.n_classes)
        self.dtype, self.ndim = np.dtype(np.float32), 2
        self._shard = files[fmt.SHARD]
        self._places = geometry.places(self._shard.get("blocks_bytes"))
        self._map = self._open()
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._codec = BY_NAME[geometry.codec]
        self._verified = np.zeros(geometry.n_blocks, bool)
        self._decoded: tuple[int, NDArray[Any]] | None = None
        self._rowmax: NDArray[np.float32] | None = None
        self._check_description()
        self._check_index()

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker opens the file itself
        return Logits, (self._folder, self._model_id, self._files, self._geometry)

    def _open(self) -> Any:
        expected = int(self._shard["bytes"])
        try:
            opened = open_map(self._folder / fmt.SHARD)
        except (FileNotFoundError, ValueError) as error:  # ValueError: an empty file
            raise CorruptionError(
                f"model {self._model_id!r}: {fmt.SHARD} cannot be read ({error})"
            ) from error
        if len(opened) != expected:
            raise CorruptionError(
                f"model {self._model_id!r}: {fmt.SHARD} has {len(opened)} bytes, not {expected}"
            )
        return opened

    def _check_description(self) -> None:
        """Refuse logits that were committed in another layout than the store's, before any is read."""
        own = fmt.array_json(self._geometry)
        if self._files[fmt.ARRAY_JSON]["crc32c"] != f"{crc32c(own):08x}":
            raise IncompatibleFormat(
                f"model {self._model_id!r}: its {fmt.ARRAY_JSON} was committed with another layout or codec "
                f"than this store's ({self._geometry}); store it again"
            )

    def _check_index(self) -> None:
        index = self._places.tobytes()
        if self._map[len(self._map) - len(index) - fmt.CRC_BYTES :] != index + crc_bytes(crc32c(index)):
            raise CorruptionError(f"model {self._model_id!r}: the block index of {fmt.SHARD} is damaged")

    def _record(self, block: int) -> NDArray[np.uint8]:
        """Bytes of a block and its checksum."""
        offset, length = (int(n) for n in self._places[block])
        return self._bytes[offset : offset + length]

    def check_block(self, block: int) -> None:
        """Verify one block against the commit record.

        Raises
        ------
        CorruptionError
            Naming model, block and its examples.
        """
        record = self._record(block)
        crc = crc32c(record[: -fmt.CRC_BYTES])
        stored = record[-fmt.CRC_BYTES :].tobytes()
        committed = self._shard["blocks_crc32c"][8 * block : 8 * block + 8]
        if stored != crc_bytes(crc) or f"{crc:08x}" != committed:
            start, stop = self._geometry.rows(block)
            raise CorruptionError(
                f"model {self._model_id!r}: block {block} of {fmt.SHARD} (rows {start} to {stop - 1}) "
                "fails its checksum; run `dissensus verify` and store the model again"
            )
        self._verified[block] = True

    def block_bytes(self, block: int) -> int:
        """Bytes of a block on disk, checksum included."""
        return int(self._places[block, 1])

    def block(self, block: int) -> NDArray[Any]:
        """Stored rows of one block, without its padding, read-only: a map, or what the codec unpacks."""
        if not self._verified[block]:
            self.check_block(block)
        if self._decoded is None or self._decoded[0] != block or self._geometry.codec == "raw":
            self._decoded = block, self._codec.decode(self._record(block)[: -fmt.CRC_BYTES], self._geometry)
        start, stop = self._geometry.rows(block)
        return self._decoded[1][: stop - start]

    def _blocks_of(self, start: int, stop: int) -> range:
        return range(start // self.block_rows, -(-stop // self.block_rows))

    def is_verified(self, start: int, stop: int) -> bool:
        """Whether the checksums of all blocks with rows start:stop have been computed."""
        blocks = self._blocks_of(start, stop)
        return bool(self._verified[blocks.start : blocks.stop].all())

    def verify(self, start: int, stop: int) -> None:
        """Read the blocks with rows start:stop and compute their checksums, unless that was done before.

        Raises
        ------
        CorruptionError
        """
        self.read_ahead(start, stop)
        for block in self._blocks_of(start, stop):
            if not self._verified[block]:
                self.check_block(block)

    def read_ahead(self, start: int, stop: int) -> None:
        """Let the system begin to read the blocks with rows start:stop from the disk."""
        blocks = self._blocks_of(start, stop)
        here = self._places[blocks.start : blocks.stop]
        if len(here):
            read_ahead(self._bytes[int(here[0, 0]) : int(here[-1].sum())])

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

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return self._geometry.block_rows

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Stored rows of given sorted numbers, (n, C) in the store's dtype: logit - row maximum."""
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self.centred(int(rows[0]), int(rows[-1]) + 1)  # side by side: no copy within a block
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
            what = f"model {self._model_id!r}"
            table = read_arrow(read_checked(self._folder / fmt.DERIVED, self._files[fmt.DERIVED], what))
            self._rowmax = numbers(table["rowmax"])
        restored: NDArray[np.float32] = self.centred(start, stop).astype(np.float32)
        restored += self._rowmax[start:stop, None]
        return restored

    def to_dask(self) -> dask.array.Array:
        """Lazy dask array (N, C) float32, one chunk a block."""
        import dask.array

        return dask.array.from_array(self, chunks=(self._geometry.block_rows, self.shape[1]))
