"""Full rows, for the pairs that views leave open, and single values of rows, which make views wider.

All are the integers of `probabilities`: q = rint(p * 2**31).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .probabilities import ONE, exp_of

WORD = 64  # second models of a word of open bits


@kernel
def fill_rows(
    codes: NDArray[Any],
    table: Any,
    totals: NDArray[np.float64],
    rows: NDArray[np.intp],
    out: NDArray[np.uint32],
) -> None:
    """Write q of some rows of one model, as `probabilities.fixed_point` does.

    Parameters
    ----------
    codes, table
        (n, C) codes of the model and its exponentials.
    totals : (n,) float64
        Sums of the exponentials, from `views.fill_view`.
    rows : (r,) intp
        Which.
    out : (r, C) uint32, output
        Their q.
    """
    powers = np.empty(codes.shape[1])
    for r in range(len(rows)):
        row = codes[rows[r]]
        for c in range(len(row)):
            powers[c] = exp_of(row[c], table)
        _fixed_point(powers, totals[rows[r]], out[r])


@kernel
def fill_columns(
    codes: NDArray[Any],
    table: Any,
    totals: NDArray[np.float64],
    starts: NDArray[np.int64],
    classes: NDArray[Any],
    out: NDArray[np.uint32],
) -> None:
    """Write one model's q (Q,) of classes starts[n]:starts[n + 1] of each example; rest as `fill_rows`."""
    for n in range(len(codes)):
        row, total = codes[n], totals[n]
        for k in range(starts[n], starts[n + 1]):
            out[k] = np.uint32(np.rint(exp_of(row[classes[k]], table) / total * ONE))


@kernel
def _fixed_point(powers: Any, total: float, q: Any) -> None:
    """Apart, so that the loop is one over vectors."""
    for c in range(len(q)):
        q[c] = np.uint32(np.rint(powers[c] / total * ONE))


@kernel
def decide_open(
    start: int,
    stop: int,
    start_a: int,
    start_b: int,
    q: NDArray[np.uint32],
    places: NDArray[np.int64],
    alone: NDArray[np.uint8],
    truth: tuple[NDArray[np.int64], NDArray[np.int32]],
    open_bits: NDArray[np.uint64],
    hits: NDArray[np.int64],
    converted: NDArray[np.int64],
) -> None:
    """Decide what is still open of the examples start:stop by full rows.

    Parameters
    ----------
    q : (R, C) uint32
        Rows of `fill_rows`.
    places : (n, M) int64
        Which of them is that of an example and model.
    """
    offsets, right_classes = truth
    for n in range(start, stop):  # rows of one example stay near the processor
        for i in range(hits.shape[0]):
            for w in range(open_bits.shape[2]):
                word = open_bits[n, i, w]
                for j in range(w * WORD, min(w * WORD + WORD, hits.shape[1]) if word else 0):
                    if not (word >> np.uint64(j % WORD)) & np.uint64(1):
                        continue
                    a, b = start_a + i, start_b + j
                    found = _by_rows(
                        q[places[n, a]], q[places[n, b]], right_classes, offsets[n], offsets[n + 1]
                    )
                    hits[i, j] += found
                    converted[i, j] += found & (alone[n, a] ^ alone[n, b])


@kernel
def _by_rows(q_a: Any, q_b: Any, right_classes: Any, first: int, stop: int) -> Any:
    """Whether the lowest class of the largest sum is a right one."""
    y, best = np.int64(-1), np.int64(-1)
    for k in range(first, stop):
        c = right_classes[k]
        total = np.int64(q_a[c]) + np.int64(q_b[c])
        if total > best:
            y, best = np.int64(c), total
    if best > len(q_a):  # each row sums to ONE and a half for each class at most: no sum reaches 2**32
        most = np.uint32(min(int(best), 2**32 - 1))
        return np.int64(1) - np.int64(_lost_in_32_bits(q_a, q_b, most, int(y)))
    lost = np.int64(0)
    for c in range(len(q_a)):  # other right classes are at most the best
        total = np.int64(q_a[c]) + np.int64(q_b[c])
        lost |= np.int64((total > best) | ((total == best) & (c < y)))
    return np.int64(1) - lost


@kernel
def _lost_in_32_bits(q_a: Any, q_b: Any, best: Any, y: int) -> Any:
    """Whether another class comes first; no early exit: the plain loop takes 16 classes at a time."""
    lost = np.uint32(0)
    for c in range(y):
        lost |= np.uint32(np.uint32(q_a[c] + q_b[c]) >= best)
    rest_a, rest_b = q_a[y + 1 :], q_b[y + 1 :]  # indices from 0: they need no check of their sign
    for c in range(len(rest_a)):
        lost |= np.uint32(np.uint32(rest_a[c] + rest_b[c]) > best)
    return lost
