"""How often each pair of models predicts the same class: XOR of bit planes, AND, popcount.

Class numbers are packed as bit planes, plane p holding bit p of each: two predictions are the same where no
plane differs. So 64 examples are compared at once in as many steps as a class number has bits, 4 for ten
classes and 10 for a thousand, and what is to be counted is one more AND, as in `counts`. Comparing the
numbers themselves would need sums of a byte or two a lane, which numba widens to eight.

Counts are exact int64 and additive over examples. Two serial tiles, `same_diagonal` and `same_rectangle`, are
for schedulers; `same` runs them over all pairs on numba's threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from .bits import Counts, Packed, Planes
from .bits import pack_labels as pack_labels
from .counts import BAND, mirror, popcount
from .jit import PARALLEL, kernel, parallel_kernel

CHUNK = 256  # words of a row taken at once: planes of two models, and what differs, stay in L1 and L2


def same(planes: Planes, counted: Packed) -> Counts:
    """Count, for every pair of models, the examples both give the same class, on numba's threads.

    Parameters
    ----------
    planes : (M, P, W) uint64
        From `pack_labels`.
    counted : (M, W) uint64
        From `pack`: examples to count. Rows may differ only where the labels do, as those of wrong answers:
        the same answer is right for both models or for none.

    Returns
    -------
    (M, M) int64
        Symmetric; the diagonal holds the number of examples counted.

    Notes
    -----
    Calls from several threads wait for each other. Inside a thread pool or a Dask task use the serial tiles.
    """
    out = np.empty((len(planes), len(planes)), dtype=np.int64)
    with PARALLEL:
        _all_pairs(planes, counted, out)
    return out


@parallel_kernel
def _all_pairs(planes: Planes, counted: Packed, out: Counts) -> None:
    """(M, P, W), (M, W) -> (M, M): task t takes band t and its mirror image, so all have the same work."""
    bands = (len(planes) + BAND - 1) // BAND
    for task in prange((bands + 1) // 2):
        _band(planes, counted, int(np.intp(task)), out)
        if bands - 1 - task != task:
            _band(planes, counted, int(np.intp(bands - 1 - task)), out)


@kernel
def _band(planes: Planes, counted: Packed, band: int, out: Counts) -> None:
    """(M, P, W), (M, W) -> BAND rows of (M, M) from the diagonal on, and their transpose."""
    start, stop = band * BAND, min(band * BAND + BAND, len(planes))
    same_diagonal(planes[start:stop], counted[start:stop], out[start:stop, start:stop])
    same_rectangle(planes[start:stop], counted[start:stop], planes[stop:], out[start:stop, stop:])
    mirror(out, start, stop)


@kernel
def same_diagonal(a: Planes, counted: Packed, out: Counts) -> None:
    """Write the counts of all pairs within one set of models, each once: (A, P, W), (A, W) -> out (A, A)."""
    for i in range(len(a)):
        same_rectangle(a[i : i + 1], counted[i : i + 1], a[i:], out[i : i + 1, i:])
        mirror(out, i, i + 1)


@kernel
def same_rectangle(a: Planes, counted: Packed, b: Planes, out: Counts) -> None:
    """Write the counts of all pairs between two sets: (A, P, W), (A, W), (B, P, W) -> out (A, B).

    Parameters are those of `same`; what `a` does not count is not counted.
    """
    words = a.shape[2]
    out[:, :] = 0
    differ = np.empty(CHUNK, np.uint64)
    for start in range(0, words, CHUNK):
        stop = min(start + CHUNK, words)
        for j in range(len(b)):
            for i in range(len(a)):
                out[i, j] += _same(a, counted, b, i, j, start, stop, differ[: stop - start])


@kernel
def _same(a: Planes, counted: Packed, b: Planes, i: int, j: int, start: int, stop: int, differ: Any) -> int:
    """(A, P, W), (A, W), (B, P, W) -> counted examples of one pair over the words start:stop.

    Planes outside, words inside, through a buffer of what differs: with the planes, whose number is not known
    before, in the inner loop nothing vectorises.
    """
    differ[:] = 0
    for p in range(a.shape[1]):
        x, y = a[i, p, start:stop], b[j, p, start:stop]
        for w in range(len(differ)):
            differ[w] |= x[w] ^ y[w]
    z, count = counted[i, start:stop], 0
    for w in range(len(differ)):
        count += popcount(z[w] & ~differ[w])
    return count
