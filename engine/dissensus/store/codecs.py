"""How a block of stored rows becomes bytes: as it is, or compressed without loss for an archive."""

from __future__ import annotations

import threading
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from . import format as fmt

_BITSHUFFLE = 2  # numcodecs' number for it
_ONE_AT_A_TIME = threading.Lock()  # its switch for threads is global
Bytes = NDArray[np.uint8]


class Codec(Protocol):
    """What a store's codec does to each block."""

    def encode(self, block: NDArray[Any]) -> Bytes:
        """Bytes of a block of rows, without checksum."""
        ...

    def decode(self, data: Bytes, geometry: fmt.Geometry) -> NDArray[Any]:
        """Rows (block_rows, C) of these bytes, read-only."""
        ...


class Raw:
    """Rows as they are: a map of the file is the array."""

    def encode(self, block: NDArray[Any]) -> Bytes:
        """Bytes of a contiguous block, not copied."""
        return np.ascontiguousarray(block).reshape(-1).view(np.uint8)

    def decode(self, data: Bytes, geometry: fmt.Geometry) -> NDArray[Any]:
        """Rows, not copied."""
        rows = data.view(np.dtype(geometry.dtype).newbyteorder("<"))
        return rows.reshape(geometry.block_rows, geometry.n_classes)


class Archive:
    """Zarr's blosc codec: bits of like weight side by side, then a fast compressor."""

    def encode(self, block: NDArray[Any]) -> Bytes:
        """Compressed bytes; the same block gives the same bytes."""
        from numcodecs import blosc

        raw, c = np.ascontiguousarray(block), fmt.ARCHIVE
        options = str(c["cname"]).encode(), c["clevel"], _BITSHUFFLE, c["blocksize"]
        with _ONE_AT_A_TIME:
            # blosc's threads append their parts in the order in which they finish: bytes would differ
            before, blosc.use_threads = blosc.use_threads, False
            try:
                return np.frombuffer(blosc.compress(raw, *options), np.uint8)
            finally:
                blosc.use_threads = before

    def decode(self, data: Bytes, geometry: fmt.Geometry) -> NDArray[Any]:
        """Rows in memory of their own."""
        from numcodecs import blosc

        rows = np.empty((geometry.block_rows, geometry.n_classes), np.dtype(geometry.dtype).newbyteorder("<"))
        blosc.decompress(data, rows)
        rows.flags.writeable = False
        return rows


BY_NAME: Final[dict[str, Codec]] = {"raw": Raw(), "archive": Archive()}
