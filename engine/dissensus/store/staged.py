"""One staged file that grows block by block, each followed by its crc32c.

The logits shard and the derived columns are both such files, so that a killed run goes on at the last block
that is whole in both. Where blocks differ in size, a second file of equal blocks keeps their sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CorruptionError

from .codecs import Codec, Raw
from .files import crc32c, crc_bytes, start_writing, write_at, writing
from .format import CRC_BYTES


class BlockFile:
    """Append-only file of equal blocks.

    Parameters
    ----------
    path : Path
        File to open or make.
    data_bytes : int
        Bytes of a block without its checksum.
    stays : bool
        Whether the finished model keeps the file; one that goes before need not come to the disk early.

    Attributes
    ----------
    crcs : list of int
        Checksum of every block that is there.
    """

    def __init__(self, path: Path, data_bytes: int, *, stays: bool = True) -> None:
        self.path = path
        self.data_bytes, self._stays = data_bytes, stays
        self._codec: Codec = Raw()
        self.crcs: list[int] = []
        self._end = 0
        with writing(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _sizes(self, at_most: int) -> list[int]:
        """Bytes of the leading blocks, without checksums, as far as they are known."""
        return [self.data_bytes] * at_most

    def valid_crcs(self, at_most: int) -> list[int]:
        """Checksums of the leading blocks that are whole."""
        crcs: list[int] = []
        for record in self._records(at_most):
            crc = crc32c(record[:-CRC_BYTES])
            if record[-CRC_BYTES:] != crc_bytes(crc):
                break
            crcs.append(crc)
        return crcs

    def _records(self, at_most: int) -> Iterator[bytes]:
        offset = 0
        for size in self._sizes(at_most):
            record = os.pread(self._fd, size + CRC_BYTES, offset)
            if len(record) < size + CRC_BYTES:
                return
            offset += len(record)
            yield record

    def keep(self, crcs: list[int]) -> None:
        """Keep exactly these leading blocks; cut the rest off."""
        self.crcs = crcs
        self._end = sum(size + CRC_BYTES for size in self._sizes(len(crcs)))
        with writing(self.path):
            os.ftruncate(self._fd, self._end)

    def append(self, data: NDArray[Any]) -> None:
        """Write one block and its checksum after the last."""
        raw = self._codec.encode(data)
        crc = crc32c(raw)
        with writing(self.path):
            write_at(self._fd, raw.data, self._end)
            write_at(self._fd, crc_bytes(crc), self._end + raw.nbytes)
        if self._stays:
            start_writing(self._fd, self._end, raw.nbytes + CRC_BYTES)
        self._end += raw.nbytes + CRC_BYTES
        self.crcs.append(crc)

    def finish(self, trailer: bytes) -> None:
        """Write what follows the blocks and make the file durable."""
        with writing(self.path):
            write_at(self._fd, trailer, self._end)
            os.fsync(self._fd)

    def whole_crc(self, trailer: bytes) -> int:
        """Checksum of all blocks, each with its own, and of what follows them."""
        crc = 0
        for record in self._records(len(self.crcs)):
            crc = crc32c(record, crc)
        return crc32c(trailer, crc)

    def read(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Data of some blocks as it was appended, checksums left out: (blocks, data_bytes) uint8.

        Raises
        ------
        CorruptionError
            The file gives something else.
        """
        crcs, size = self.crcs[first:stop], self.data_bytes + CRC_BYTES
        records = np.empty((len(crcs), size), np.uint8)
        left, offset = records.reshape(-1).data, first * size
        while len(left) and (done := os.preadv(self._fd, [left], offset)):
            left, offset = left[done:], offset + done
        if len(left) or any(crc32c(row[:-CRC_BYTES]) != crc for row, crc in zip(records, crcs, strict=True)):
            raise CorruptionError(
                f"{self.path} was cut short or damaged as it was written; run the same command again"
            )
        return records[:, :-CRC_BYTES]

    def close(self) -> None:
        """Close the file; what was appended stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PackedFile(BlockFile):
    """Append-only file of blocks that a codec makes as long as it likes.

    Parameters
    ----------
    path, sizes_path : Path
        File to open or make, and the one that keeps the sizes of its blocks.
    codec : Codec
        What makes bytes of a block.
    n_blocks : int
        Most blocks there can be.

    Attributes
    ----------
    sizes : list of int
        Bytes of each block, checksum left out.
    """

    def __init__(self, path: Path, sizes_path: Path, codec: Codec, n_blocks: int) -> None:
        super().__init__(path, 0)
        self._codec = codec
        self._kept = BlockFile(sizes_path, 8, stays=False)
        self._kept.keep(self._kept.valid_crcs(n_blocks))
        sizes = self._kept.read(0, n_blocks)
        self.sizes: list[int] = np.ascontiguousarray(sizes).view("<u8").reshape(-1).tolist()

    def _sizes(self, at_most: int) -> list[int]:
        return self.sizes[:at_most]

    def keep(self, crcs: list[int]) -> None:
        """Keep exactly these leading blocks and their sizes; cut the rest off."""
        super().keep(crcs)
        self._kept.keep(self._kept.crcs[: len(crcs)])
        del self.sizes[len(crcs) :]

    def append(self, data: NDArray[Any]) -> None:
        """Write one block after the last, then its size: a block without one is not there."""
        before = self._end
        super().append(data)
        self.sizes.append(self._end - before - CRC_BYTES)
        self._kept.append(np.array(self.sizes[-1:], "<u8"))

    def close(self) -> None:
        """Close both files."""
        super().close()
        self._kept.close()
