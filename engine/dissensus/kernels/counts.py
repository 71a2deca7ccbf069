"""How many examples each pair of models gets right together: AND and popcount on packed bits.

Counts are exact int64 and additive over examples, so any tiling or order gives the same numbers.
Two serial tiles, `both_right_diagonal` and `both_right_rectangle`, are for schedulers;
`both_right` runs them over all pairs on numba's threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, prange, types
from numba.extending import intrinsic

from .bits import Counts, Packed
from .bits import pack as pack
from .jit import PARALLEL, kernel, parallel_kernel

ROWS = 4  # side of a register block: 16 sums stay in registers; 1x4 took 2.2 ms where 4x4 took 1.6 ms
BAND = 16  # models of a parallel task: 100 KB at 50,000 examples stay in L2 while all later models stream by
CHUNK = 1024  # words of a row taken at once: 8 rows of them fit L1 and L2 however many examples there are


def both_right(packed: Packed) -> Counts:
    """Count, for every pair of models, the examples both get right, on numba's threads.

    Parameters
    ----------
    packed : (M, W) uint64
        From `pack`.

    Returns
    -------
    (M, M) int64
        Symmetric; the diagonal holds the examples each model gets right.

    Notes
    -----
    Calls from several threads wait for each other. Inside a thread pool or a Dask task use the serial tiles.
    """
    out = np.empty((len(packed), len(packed)), dtype=np.int64)
    with PARALLEL:
        _all_pairs(packed, out)
    return out


if config.DISABLE_JIT:

    def popcount(word: Any) -> Any:
        """Count the bits of one word, without the compiler."""
        return int(word).bit_count()

else:

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def popcount(typing_context: Any, word: Any) -> Any:
        """Count the bits of one word: ``llvm.ctpop.i64``, which LLVM vectorises (vpopcntq, 512 bits)."""

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.ctpop(arguments[0])

        return types.int64(types.uint64), emit


@parallel_kernel
def _all_pairs(packed: Packed, out: Counts) -> None:
    """(M, W) -> (M, M): task t takes band t and its mirror image, so all tasks have the same work."""
    bands = (len(packed) + BAND - 1) // BAND
    for task in prange((bands + 1) // 2):
        _band(packed, int(np.intp(task)), out)
        if bands - 1 - task != task:
            _band(packed, int(np.intp(bands - 1 - task)), out)


@kernel
def _band(packed: Packed, band: int, out: Counts) -> None:
    """(M, W) -> BAND rows of (M, M) from the diagonal on, and their transpose."""
    start, stop = band * BAND, min(band * BAND + BAND, len(packed))
    both_right_diagonal(packed[start:stop], out[start:stop, start:stop])
    both_right_rectangle(packed[start:stop], packed[stop:], out[start:stop, stop:])
    mirror(out, start, stop)


@kernel
def both_right_diagonal(a: Packed, out: Counts) -> None:
    """Write the counts of all pairs within one set of models, each computed once: (A, W) -> out (A, A)."""
    for i in range(0, len(a), ROWS):
        both_right_rectangle(a[i : i + ROWS], a[i:], out[i : i + ROWS, i:])
        mirror(out, i, min(i + ROWS, len(a)))


@kernel
def mirror(out: Counts, start: int, stop: int) -> None:
    """(M, M): copy what is right of the diagonal block start:stop to below it; .T compiled 2 s longer."""
    for j in range(stop, len(out)):
        for i in range(start, stop):
            out[j, i] = out[i, j]


@kernel
def both_right_rectangle(a: Packed, b: Packed, out: Counts) -> None:
    """Write the counts of all pairs between two sets of models: (A, W), (B, W) -> out (A, B)."""
    words, whole_a, whole_b = a.shape[1], len(a) // ROWS * ROWS, len(b) // ROWS * ROWS
    out[:, :] = 0
    for start in range(0, words, CHUNK):
        stop = min(start + CHUNK, words)
        for j in range(0, whole_b, ROWS):
            for i in range(0, whole_a, ROWS):
                _add_block(a, b, i, j, start, stop, out)
    _add_singles(a[whole_a:], b, out[whole_a:])
    _add_singles(a[:whole_a], b[whole_b:], out[:whole_a, whole_b:])


@kernel
def _add_singles(a: Packed, b: Packed, out: Counts) -> None:
    """(A, W), (B, W) -> out (A, B) +=: one pair at a time, for the rows that fill no register block."""
    for i in range(len(a)):
        for j in range(len(b)):
            count = 0
            for w in range(a.shape[1]):
                count += popcount(a[i, w] & b[j, w])
            out[i, j] += count


@kernel
def _add_block(a: Packed, b: Packed, i: int, j: int, start: int, stop: int, out: Counts) -> None:
    """(A, W), (B, W) -> out (A, B)[i : i + 4, j : j + 4] += counts over the words start:stop.

    Rows are sliced here, where numba still sees that they are contiguous, without which nothing vectorises.
    Sixteen named sums, because an array of sums lives in memory and not in registers.
    """
    a0, a1, a2, a3 = a[i, start:stop], a[i + 1, start:stop], a[i + 2, start:stop], a[i + 3, start:stop]
    b0, b1, b2, b3 = b[j, start:stop], b[j + 1, start:stop], b[j + 2, start:stop], b[j + 3, start:stop]
    c00 = c01 = c02 = c03 = c10 = c11 = c12 = c13 = 0
    c20 = c21 = c22 = c23 = c30 = c31 = c32 = c33 = 0
    for w in range(stop - start):
        x0, x1, x2, x3 = a0[w], a1[w], a2[w], a3[w]
        y0, y1, y2, y3 = b0[w], b1[w], b2[w], b3[w]
        c00 += popcount(x0 & y0)
        c01 += popcount(x0 & y1)
        c02 += popcount(x0 & y2)
        c03 += popcount(x0 & y3)
        c10 += popcount(x1 & y0)
        c11 += popcount(x1 & y1)
        c12 += popcount(x1 & y2)
        c13 += popcount(x1 & y3)
        c20 += popcount(x2 & y0)
        c21 += popcount(x2 & y1)
        c22 += popcount(x2 & y2)
        c23 += popcount(x2 & y3)
        c30 += popcount(x3 & y0)
        c31 += popcount(x3 & y1)
        c32 += popcount(x3 & y2)
        c33 += popcount(x3 & y3)
    sums = ((c00, c01, c02, c03), (c10, c11, c12, c13), (c20, c21, c22, c23), (c30, c31, c32, c33))
    for row in range(ROWS):
        for column in range(ROWS):
            out[i + row, j + column] += sums[row][column]
