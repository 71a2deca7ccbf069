"""One sharded array of a committed model: checksums verified on first touch, then zero-copy maps.

Slices are float32; `stored` gives the rows as they lie in the file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CorruptionError, DissensusError, IncompatibleFormat, NotReadable

from . import format as fmt
from .buffers import AT_ONCE, Buffer, Buffers, own_buffer
from .codecs import BY_NAME
from .files import crc32c, crc_bytes
from .reading import map_of, open_sized, reading
from .replaced import unless_replaced

if TYPE_CHECKING:
    import dask.array


class Shard:
    """Rows of one array as they are stored; a block's checksum is verified on first touch.

    Parameters
    ----------
    folder : Path
        Of the model.
    model_id, digest : str
        The model, and the SHA-256 of the commit record it was opened with.
    files : mapping
        Size and checksums of its files, by name.
    geometry : Geometry
        Of this array.

    Attributes
    ----------
    name : str
        The shard below the model's folder.
    shape : tuple of int
        Rows and columns.

    Raises
    ------
    CorruptionError, IncompatibleFormat
    """

    name: ClassVar[str]
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)
    ndim: ClassVar[int] = 2

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
        self._shard = files[self.name]
        self._places = geometry.places(self._shard.get("blocks_bytes"))
        self._spans: list[list[int]] = self._places.tolist()
        self._check_description()
        self._fd, self._map = self._open()
        weakref.finalize(self, os.close, self._fd)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._codec = BY_NAME[geometry.codec]
        self._verified = np.zeros(geometry.n_blocks, bool)
        self._decoded: tuple[int, NDArray[Any]] | None = None
        self._check_index()

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker opens the file itself
        return type(self), (self._folder, self._model_id, self._digest, self._files, self._geometry)

    def _check_description(self) -> None:
        """Refuse an array that was committed in another layout than this one, before any of it is read."""
        described, own = fmt.described(self.name, self._geometry)
        if self._files[described]["crc32c"] != f"{crc32c(own):08x}":
            raise IncompatibleFormat(
                f"model {self._model_id!r}: its {described} was committed with another layout or codec "
                f"than this store's ({self._geometry}); store it again"
            )

    def _open(self) -> tuple[int, mmap.mmap]:
        """File descriptor and map of the shard, its size checked."""
        path, what = self._folder / self.name, f"model {self._model_id!r}"
        fd = open_sized(path, int(self._shard["bytes"]), what, self.name)
        try:
            with reading(path, what, self.name):
                return fd, map_of(fd)
        except BaseException:
            os.close(fd)
            raise

    def _check_index(self) -> None:
        index = self._places.tobytes()
        if self._map[len(self._map) - len(index) - fmt.CRC_BYTES :] != index + crc_bytes(crc32c(index)):
            raise CorruptionError(f"model {self._model_id!r}: the block index of {self.name} is damaged")

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
        done = self._read([buffer.data[:length]], offset)
        n_bytes = max(done - fmt.CRC_BYTES, 0)
        self._settle(block, crc32c(buffer[:n_bytes]), bytes(buffer[n_bytes:done]))
        return buffer[:n_bytes]

    def _read(self, views: Sequence[memoryview], offset: int) -> int:
        """Fill memory with what is stored from an offset on; return the number of bytes there were."""
        try:
            return os.preadv(self._fd, views, offset)
        except OSError as error:
            block = int(np.searchsorted(self._places[:, 0], offset, "right")) - 1
            raise NotReadable(
                error.errno,
                f"model {self._model_id!r}: block {block} of {self.name} cannot be read ({error.strerror}); "
                "check the disk, then bring the model back from a copy",
            ) from error

    def _settle(self, block: int, crc: int, stored: bytes) -> None:
        """Compare the checksum of a block that was read with the commit record's and its own."""
        if crc != self._committed[block] or stored != crc_bytes(crc):
            with unless_replaced(self._folder, self._model_id, self._digest):  # opened between two
                raise self._damage(block)
        self._verified[block] = True

    def expect(self, block: int) -> None:
        """Let the system begin to read a block that is wanted soon; a hint only."""
        if hasattr(os, "posix_fadvise"):
            offset, length = self._spans[block]
            with contextlib.suppress(OSError):  # not every file system takes it
                os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def read_rows(self, block: int, start: int, out: memoryview, crc: int) -> int:
        """Read stored rows of a block, from its row `start` on, into memory; return the checksum up to there.

        What was read is to be relied on when `settle` has found the block whole. Not of packed blocks.

        Parameters
        ----------
        block, start : int
            The block, and its first row that is read.
        out : memoryview
            Bytes of whole rows.
        crc : int
            Checksum of the block's rows before `start`, that of none being 0.

        Raises
        ------
        NotReadable
        """
        offset = self._spans[block][0] + start * self._row_bytes
        return crc32c(out[: self._read([out], offset)], crc)

    def settle(self, block: int, start: int, crc: int) -> None:
        """Read what is left of a block from row `start` on and verify all of it.

        Raises
        ------
        CorruptionError, NotReadable
            As in `block`.
        """
        offset, length = self._spans[block]
        rest = own_buffer(self.longest)[: length - start * self._row_bytes]
        done = self._read([rest.data], offset + start * self._row_bytes)
        n_bytes = max(done - fmt.CRC_BYTES, 0)
        self._settle(block, crc32c(rest[:n_bytes], crc), bytes(rest[n_bytes:done]))

    @cached_property
    def _row_bytes(self) -> int:
        return self.shape[1] * np.dtype(self._geometry.dtype).itemsize

    def _damage(self, block: int) -> CorruptionError:
        start, stop = self._geometry.rows(block)
        return CorruptionError(
            f"model {self._model_id!r}: block {block} of {self.name} (rows {start} to {stop - 1}) "
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
        together = max(1, AT_ONCE // self.longest)
        buffer = own_buffer(together * self.longest)
        for first in range(0, self._geometry.n_blocks, together):
            blocks = range(first, min(first + together, self._geometry.n_blocks))
            if self._are_sound(blocks, buffer):
                continue
            for block in blocks:
                try:
                    self._check(block, buffer)
                except DissensusError as error:
                    yield block, error

    def _are_sound(self, blocks: range, buffer: Buffer) -> bool:
        """Whether blocks side by side, read at once, are as committed; what is wrong `_check` tells."""
        spans = self._spans[blocks.start : blocks.stop]
        start = spans[0][0]
        view = buffer.data[: sum(spans[-1]) - start]
        try:
            if os.preadv(self._fd, [view], start) < len(view):
                return False
        except OSError:
            return False
        for crc, (offset, length) in zip(self._committed[blocks.start : blocks.stop], spans, strict=True):
            at, end = offset - start, offset - start + length - fmt.CRC_BYTES
            if crc32c(view[at:end]) != crc or view[end : at + length] != crc_bytes(crc):
                return False
        self._verified[blocks.start : blocks.stop] = True
        return True

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return self._geometry.block_rows

    def block(self, block: int) -> NDArray[Any]:
        """Stored rows of one block, without its padding, read-only: a map, or what the codec unpacks."""
        if not self._verified[block]:
            self._check(block, own_buffer(self.longest))
        held = self._decoded  # read once: another thread may put another block there
        if held is None or held[0] != block:
            offset, length = self._spans[block]
            data = self._bytes[offset : offset + length - fmt.CRC_BYTES]
            held = block, self._codec.decode(data, self._geometry)
            if self._geometry.codec != "raw":
                self._decoded = held
        start, stop = self._geometry.rows(block)
        return held[1][: stop - start]

    def fetch(self, rows: NDArray[np.intp], buffers: Buffers) -> NDArray[Any]:
        """Return `take` of these rows; blocks that hold none of them are not looked at.

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
        return self.take(rows)

    def stored(self, start: int, stop: int) -> NDArray[Any]:
        """Stored rows start:stop in the store's dtype; not copied where they lie in one block."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start}:{stop} are not within 0:{len(self)}")
        size, parts = self.block_rows, []
        for number in range(start // size, -(-stop // size)) if stop > start else ():
            first = number * size
            parts.append(self.block(number)[max(start - first, 0) : stop - first])
        if not parts:
            return np.empty((0, self.shape[1]), self._geometry.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Stored rows of given sorted numbers, (n, columns) in the store's dtype."""
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self.stored(int(rows[0]), int(rows[-1]) + 1)  # side by side: no copy within a block
        out = np.empty((len(rows), self.shape[1]), self._geometry.dtype)
        edges = np.searchsorted(rows, np.arange(self._geometry.n_blocks + 1) * self.block_rows)
        for number in np.flatnonzero(np.diff(edges)):
            here = slice(edges[number], edges[number + 1])
            np.take(self.block(int(number)), rows[here] - number * self.block_rows, axis=0, out=out[here])
        return out

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        picked = self._rows(rows)
        selected: NDArray[np.float32] = picked[(..., *rest)] if rest else picked
        return selected

    def _rows(self, rows: Any) -> NDArray[np.float32]:
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            stop = max(start, stop)
            return self._values(self.stored(start, stop), slice(start, stop))
        index = np.arange(len(self))[rows]
        distinct, places = np.unique(index, return_inverse=True)
        return self._values(self.take(distinct), distinct)[places.reshape(index.shape)]

    def _values(self, stored: NDArray[Any], rows: Any) -> NDArray[np.float32]:
        """Turn stored rows of these numbers into what they stand for."""
        values: NDArray[np.float32] = stored.astype(np.float32)
        return values

    def to_dask(self) -> dask.array.Array:
        """Lazy dask array float32, one chunk a block."""
        import dask.array

        return dask.array.from_array(self, chunks=(self.block_rows, self.shape[1]))
