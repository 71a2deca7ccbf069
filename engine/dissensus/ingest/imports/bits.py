"""Numbers of 16 bits that NumPy has no name for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Bfloat16:
    """Rows of bfloat16, kept as their bits, given as float32.

    Parameters
    ----------
    bits : (N,) or (N, C) uint16
        Upper halves of float32 numbers.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, bits: NDArray[np.uint16]) -> None:
        self._bits, self.shape = bits, bits.shape

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        return (np.asarray(self._bits[rows]).astype(np.uint32) << 16).view(np.float32)
