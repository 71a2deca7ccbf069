"""How booleans and class numbers lie in words of 64 examples; NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 64  # examples in a packed word

Packed = NDArray[np.uint64]
Planes = NDArray[np.uint64]
Counts = NDArray[np.int64]


def pack(correct: NDArray[np.bool_]) -> Packed:
    """Pack booleans into words: bit ``n % 64`` of word ``n // 64`` is example n, the rest of the last word 0.

    Parameters
    ----------
    correct : (M, N) bool
        One row a model.

    Returns
    -------
    (M, W) uint64, W = ceil(N / 64)
    """
    padded = np.pad(correct, ((0, 0), (0, -correct.shape[1] % WORD)))
    packed = np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little"))  # column order is kept else
    return packed.view("<u8").astype(np.uint64, copy=False)


def bytes_of(packed: Packed) -> NDArray[np.uint8]:
    """Words as bytes, bit ``n % 8`` of byte ``n // 8`` being example n: (…, W) uint64 -> (…, 8 W) uint8."""
    return np.ascontiguousarray(packed, "<u8").view(np.uint8)


def pack_labels(labels: NDArray[Any], n_classes: int) -> Planes:
    """Pack predicted classes into bit planes, each laid out as by `pack`.

    Parameters
    ----------
    labels : (M, N) int
        Classes 0..n_classes - 1, one row a model.
    n_classes : int
        Number of classes, which decides the number of planes.

    Returns
    -------
    (M, P, W) uint64, P = bits of n_classes - 1 (at least 1), W = ceil(N / 64)
    """
    planes = np.empty(
        (len(labels), max(1, (n_classes - 1).bit_length()), -(-labels.shape[1] // WORD)), np.uint64
    )
    for p in range(planes.shape[1]):
        planes[:, p] = pack(labels >> p & 1 == 1)
    return planes
