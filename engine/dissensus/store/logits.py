"""Logits of one committed model: checksums verified on first touch, then zero-copy maps."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CorruptionError, DissensusError, IncompatibleFormat, NotReadable

from . import format as fmt
from .buffers import Buffer, Buffers, own_buffer
from .codecs import BY_NAME
from .files import crc32c, crc_bytes
from .reading import map_of, open_for_reading, read_checked
from .replaced import unless_replaced
from .tables import numbers, read_arrow

if TYPE_CHECKING:
    import dask.array


class Logits:
    """Logits of one model as an array-like of shape (N, C); slices are float32 rows.

    The row maximum that was subtracted on storing is added back. `centred` gives the stored rows themselves,
    memory-mapped without a copy when they lie in one block. A block's checksum is verified on first touch.
    """

    def __init__(
        self,
        folder: Path,
        model_id: str,
        digest: str,
        files: Mapping[str, Mapping[str, Any]],
        geometry: fmt.Geometry,
    ) -> None:
        self._folder, self._model_id, self._digest = folder, model_id, digest
        self._files, self._geometry = files, geometry
        self.shape = (geometry.n_examples, geometry.n_classes)
        self.dtype, self.ndim = np.dtype(np.float32), 2
        self._shard = files[fmt.SHARD]
        self._places = geometry.places(self._shard.get("blocks_bytes"))
        self._spans: list[tuple[int, int]] = [(int(at), int(size)) for at, size in self._places]
        self._fd, self._map = self._open()
        weakref.finalize(self, os.close, self._fd)
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
        return Logits, (self._folder, self._model_id, self._digest, self._files, self._geometry)

    def _open(self) -> tuple[int, mmap.mmap]:
        """File descriptor and map of the shard, its size checked."""
        path, expected = self._folder / fmt.SHARD, int(self._shard["bytes"])
        what = f"model {self._model_id!r}: {fmt.SHARD}"
        try:
            fd = open_for_reading(path)
        except FileNotFoundError as error:
            raise CorruptionError(f"{what} cannot be read ({error})") from error
        try:
            size = os.fstat(fd).st_size
            if size != expected:
                raise CorruptionError(f"{what} has {size} bytes, not {expected}")
            return fd, map_of(fd)
        except BaseException:
            os.close(fd)
            raise

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

    @cached_property
    def _committed(self) -> list[int]:
        crcs = self._shard["blocks_crc32c"]
        return [int(crcs[at : at + 8], 16) for at in range(0, len(crcs), 8)]

    def _check(self, block: int, buffer: Buffer) -> Buffer:
        """Read a block into a buffer and verify it against the commit record; return its bytes.

        Read, not mapped: a failing disk is an error then, no signal.

        Raises
        ------
        CorruptionError
            Naming model, block and its examples.
        NotReadable
        """
        offset, length = self._spans[block]
        try:
            done = os.preadv(self._fd, [buffer[:length].data], offset)
        except OSError as error:
            raise NotReadable(
                error.errno,
                f"model {self._model_id!r}: block {block} of {fmt.SHARD} cannot be read ({error.strerror}); "
                "check the disk, then bring the model back from a copy",
            ) from error
        data = buffer[: max(done - fmt.CRC_BYTES, 0)]
        crc = crc32c(data)
        if crc != self._committed[block] or buffer[len(data) : done].tobytes() != crc_bytes(crc):
            raise self._damage(block)
        self._verified[block] = True
        return data

    def _damage(self, block: int) -> CorruptionError:
        start, stop = self._geometry.rows(block)
        return CorruptionError(
            f"model {self._model_id!r}: block {block} of {fmt.SHARD} (rows {start} to {stop - 1}) "
            "fails its checksum (set the model aside with `dissensus repair`, then store it again)"
        )

    @property
    def longest(self) -> int:
        """Bytes of the longest block, its checksum included."""
        return int(self._places[:, 1].max())

    @property
    def n_bytes(self) -> int:
        """Bytes of all blocks, their checksums included."""
        return int(self._places[:, 1].sum())

    def faults(self) -> Iterator[tuple[int, DissensusError]]:
        """Read and verify every block; yield the number and error of each that is damaged or unreadable."""
        buffer = own_buffer(self.longest)
        for block in range(self._geometry.n_blocks):
            try:
                self._check(block, buffer)
            except DissensusError as error:
                yield block, error

    def _record(self, block: int) -> Buffer:
        """Map of a block's bytes, without the checksum."""
        offset, length = self._spans[block]
        return self._bytes[offset : offset + length - fmt.CRC_BYTES]

    def block(self, block: int) -> NDArray[Any]:
        """Stored rows of one block, without its padding, read-only: a map, or what the codec unpacks."""
        if not self._verified[block]:
            self._check(block, own_buffer(self.longest))
        held = self._decoded  # read once: another thread may put another block there
        if held is None or held[0] != block:
            held = block, self._codec.decode(self._record(block), self._geometry)
            if self._geometry.codec != "raw":
                self._decoded = held
        start, stop = self._geometry.rows(block)
        return held[1][: stop - start]

    def _blocks_of(self, start: int, stop: int) -> range:
        return range(start // self.block_rows, -(-stop // self.block_rows))

    def verify(self, start: int, stop: int) -> None:
        """Read the blocks with rows start:stop and compute their checksums, unless that was done before.

        Raises
        ------
        CorruptionError, NotReadable
        """
        for block in self._blocks_of(start, stop):
            if not self._verified[block]:
                self._check(block, own_buffer(self.longest))

    def fetch(self, rows: NDArray[np.intp], buffers: Buffers) -> NDArray[Any]:
        """Return `take` of these rows, their blocks verified.

        Rows side by side in a block not yet verified are left in the buffer they were read into: mapping them
        would cost as much again.
        """
        first, last = int(rows[0]), int(rows[-1])
        block, start = first // self.block_rows, first // self.block_rows * self.block_rows
        lie_together = last - first + 1 == len(rows) and last < start + self.block_rows
        if lie_together and not self._verified[block] and self._geometry.codec == "raw":
            buffer = buffers.take()
            if buffer is not None:
                data = self._codec.decode(self._check(block, buffer), self._geometry)
                data.flags.writeable = False
                return data[first - start : last + 1 - start]
        self.verify(first, last + 1)
        return self.take(rows)

    def centred(self, start: int, stop: int) -> NDArray[Any]:
        """Stored rows start:stop, (stop - start, C), in the store's dtype: logit - row maximum, at most 0."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start}:{stop} are not within 0:{len(self)}")
        size = self._geometry.block_rows
        parts = []
        for number in self._blocks_of(start, stop) if stop > start else ():
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
            with unless_replaced(self._folder, self._model_id, self._digest):
                derived = read_checked(self._folder / fmt.DERIVED, self._files[fmt.DERIVED], what)
            self._rowmax = numbers(read_arrow(derived)["rowmax"])
        restored: NDArray[np.float32] = self.centred(start, stop).astype(np.float32)
        restored += self._rowmax[start:stop, None]
        return restored

    def to_dask(self) -> dask.array.Array:
        """Lazy dask array (N, C) float32, one chunk a block."""
        import dask.array

        return dask.array.from_array(self, chunks=(self._geometry.block_rows, self.shape[1]))
