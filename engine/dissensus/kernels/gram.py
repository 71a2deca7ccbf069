"""Sums of products of all pairs of rows: register blocks of float32, added up in float64.

A BLAS library packs what it multiplies and squares up what is a triangle: of a hundred rows it gave 55 % of
its own rate, and these blocks, which read rows as they lie, 85 %. Sums of `DEPTH` columns are float32, in as
many short runs as a vector has lanes; beyond, float64. Kernels are serial and release the GIL; which columns
are summed together does not depend on threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .counts import ROWS
from .jit import summing_kernel

DEPTH = 2048  # columns of one float32 sum; of 512, adding up the lanes takes a fifth of the time
BAND = 32  # rows that stay in the second cache, 128 KB, while all others pass

Rows = NDArray[np.float32]
Sums = NDArray[np.float64]


def padded(n_rows: int) -> int:
    """Rows that the kernels take for so many: whole register blocks, the last filled up with zeros."""
    return -(-n_rows // ROWS) * ROWS


@summing_kernel
def add_gram(x: Rows, out: Sums) -> None:
    """Add products of all pairs of rows of one set, the upper triangle: (R, K) -> out (R, R) +=, R padded.

    Register blocks on the diagonal are added whole.
    """
    for start in range(0, x.shape[1], DEPTH):
        stop = min(start + DEPTH, x.shape[1])
        for top in range(0, len(x), BAND):
            for j in range(top, len(x), ROWS):
                for i in range(top, min(top + BAND, j + ROWS), ROWS):
                    _add_block(x, x, i, j, start, stop, out)


@summing_kernel
def add_products(x: Rows, y: Rows, out: Sums) -> None:
    """Add products of all rows of two sets: (R, K), (S, K) -> out (R, S) +=, R and S padded."""
    for start in range(0, x.shape[1], DEPTH):
        stop = min(start + DEPTH, x.shape[1])
        for top in range(0, len(x), BAND):
            for j in range(0, len(y), ROWS):
                for i in range(top, min(top + BAND, len(x)), ROWS):
                    _add_block(x, y, i, j, start, stop, out)


@summing_kernel
def _add_block(a: Rows, b: Rows, i: int, j: int, start: int, stop: int, out: Sums) -> None:
    """(R, K), (S, K) -> out (R, S)[i : i + 4, j : j + 4] += products over the columns start:stop.

    Sixteen named sums, as in `counts`: each becomes a register of as many short runs as it has lanes.
    """
    a0, a1, a2, a3 = a[i, start:stop], a[i + 1, start:stop], a[i + 2, start:stop], a[i + 3, start:stop]
    b0, b1, b2, b3 = b[j, start:stop], b[j + 1, start:stop], b[j + 2, start:stop], b[j + 3, start:stop]
    c00 = c01 = c02 = c03 = c10 = c11 = c12 = c13 = np.float32(0)
    c20 = c21 = c22 = c23 = c30 = c31 = c32 = c33 = np.float32(0)
    for k in range(stop - start):
        x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
        y0, y1, y2, y3 = b0[k], b1[k], b2[k], b3[k]
        c00 += x0 * y0
        c01 += x0 * y1
        c02 += x0 * y2
        c03 += x0 * y3
        c10 += x1 * y0
        c11 += x1 * y1
        c12 += x1 * y2
        c13 += x1 * y3
        c20 += x2 * y0
        c21 += x2 * y1
        c22 += x2 * y2
        c23 += x2 * y3
        c30 += x3 * y0
        c31 += x3 * y1
        c32 += x3 * y2
        c33 += x3 * y3
    sums = ((c00, c01, c02, c03), (c10, c11, c12, c13), (c20, c21, c22, c23), (c30, c31, c32, c33))
    for row in range(ROWS):
        for column in range(ROWS):
            out[i + row, j + column] += np.float64(sums[row][column])
