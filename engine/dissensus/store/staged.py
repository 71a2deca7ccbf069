"""One staged file that grows block by block: fixed-size records, each followed by its crc32c.

The logits shard and the derived columns are both such files, so that a killed run goes on at the last block
that is whole in both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import crc32c, crc_bytes, write_at, writing
from .format import CRC_BYTES


class BlockFile:
    """Append-only file of equal blocks.

    Parameters
    ----------
    path : Path
        File to open or make.
    data_bytes : int
        Bytes of a block without its checksum.
    """

    def __init__(self, path: Path, data_bytes: int) -> None:
        self.path = path
        self._data_bytes = data_bytes
        self.crcs: list[int] = []
        with writing(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @property
    def stride_bytes(self) -> int:
        """Bytes from one block to the next."""
        return self._data_bytes + CRC_BYTES

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
        for i in range(at_most):
            record = os.pread(self._fd, self.stride_bytes, i * self.stride_bytes)
            if len(record) < self.stride_bytes:
                return
            yield record

    def keep(self, crcs: list[int]) -> None:
        """Keep exactly these leading blocks; cut the rest off."""
        self.crcs = crcs
        with writing(self.path):
            os.ftruncate(self._fd, len(crcs) * self.stride_bytes)

    def append(self, data: NDArray[Any]) -> None:
        """Write one block and its checksum after the last."""
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        assert raw.nbytes == self._data_bytes, (raw.nbytes, self._data_bytes)
        crc, offset = crc32c(raw), len(self.crcs) * self.stride_bytes
        with writing(self.path):
            write_at(self._fd, raw.data, offset)
            write_at(self._fd, crc_bytes(crc), offset + self._data_bytes)
        self.crcs.append(crc)

    def finish(self, trailer: bytes) -> None:
        """Write what follows the blocks and make the file durable."""
        with writing(self.path):
            write_at(self._fd, trailer, len(self.crcs) * self.stride_bytes)
            os.fsync(self._fd)

    def read_all(self) -> NDArray[np.uint8]:
        """Data of every block, checksums left out: (blocks, data_bytes) uint8."""
        raw = np.frombuffer(b"".join(self._records(len(self.crcs))), np.uint8)
        return raw.reshape(len(self.crcs), self.stride_bytes)[:, :-CRC_BYTES]

    def close(self) -> None:
        """Close the file; what was appended stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
