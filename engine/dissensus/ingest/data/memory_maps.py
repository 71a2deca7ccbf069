"""Arrays that lie in files, told by file, place and shape: another process maps them, it gets no copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from dissensus.errors import ArgumentError


@dataclass(frozen=True)
class MappedArray:
    """Where in a file an array lies; calling it maps the array, read-only.

    Attributes
    ----------
    path
        The file.
    start, n_bytes
        The part of the file that the array spans.
    first
        Bytes from there to the array's first element.
    dtype, shape, strides
        As of the array.
    """

    path: str
    start: int
    n_bytes: int
    first: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self) -> NDArray[Any]:
        """Return the array.

        Raises
        ------
        ArgumentError
            The file is gone or shorter than it was.
        """
        try:
            raw = np.memmap(self.path, np.uint8, "r", self.start, (self.n_bytes,))
        except (OSError, ValueError) as error:
            raise ArgumentError(f"{self.path} cannot be opened again: {error}; restore the file") from error
        return np.ndarray(self.shape, self.dtype, raw, self.first, self.strides)


def place_of(array: NDArray[Any]) -> MappedArray | None:
    """Return where an array lies in a file, also for slices of a `np.memmap`; None where it does not."""
    root = _root(array)
    if (
        root is None or root.filename is None or root.mode == "c" or not array.size
    ):  # "c": changed in memory only
        return None
    low, high = byte_bounds(array)
    start = root.offset + low - byte_bounds(root)[0]
    first = array.__array_interface__["data"][0] - low
    return MappedArray(str(root.filename), start, high - low, first, array.dtype, array.shape, array.strides)


def _root(array: Any) -> np.memmap[Any, Any] | None:
    """Return the memory map that an array is a view of: the outermost, whose offset is the file's."""
    root = None
    while isinstance(array, np.ndarray):
        root = array if isinstance(array, np.memmap) else root
        array = array.base
    return root
