"""Views: of every row of probabilities its first classes, a bound on all others, and the right classes.

Decisions about sums of probabilities seldom need more: what is in the view is exact, what is not is at most
the tail. All are the integers of `probabilities`, so that what follows from them needs no margin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import kernel, parallel_kernel, parallel_over
from .probabilities import ONE, Classes, Codes, Offsets, Table, exp_of, scaled_of

RANKS = 8  # classes of a view: all of them where there are no more
_STRIPE = 64  # rows that one task of a thread fills


def ranks_of(n_classes: int) -> int:
    """Classes that a view holds of so many."""
    return min(RANKS, n_classes)


def class_dtype(n_classes: int) -> np.dtype[Any]:
    """Narrowest dtype of class numbers in a view."""
    return np.dtype(np.uint16 if n_classes <= 1 << 16 else np.uint32)


def fill_view(
    codes: Codes,
    table: Table,
    offsets: Offsets,
    classes: Classes,
    model: int,
    top_classes: NDArray[Any],
    top_q: NDArray[np.uint32],
    tail: NDArray[np.uint32],
    right_q: NDArray[np.uint32],
    p_truth: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Fill what one model says of n examples; the outputs hold M models side by side.

    Parameters
    ----------
    codes : (n, C)
        From `codes_of`.
    table
        From `exponentials`.
    offsets, classes
        Right classes of each example, as in `probabilities`: ``offsets[0]`` may be any place.
    model : int
        Its place m among the M.
    top_classes : (n, K, M) uint16 or uint32, output
        Classes of the K largest exp(z / T), of equal ones the lowest first.
    top_q : (n, K, M) uint32, output
        Their q = rint(p * 2**31), never rising with the rank.
    tail : (n, M) uint32, output
        The largest q of all other classes; 0 if there are none.
    right_q : (R, M) uint32, output
        q of the right classes of all examples end to end, R = offsets[n] - offsets[0].
    p_truth : (n, M) float64, output
        Probability of the right classes together; (0, M) where it is not asked for.
    totals : (n, M) float64, output
        Sums of exp(z / T); (0, M) where they are not asked for.
    """
    with parallel_over(codes.size):
        _fill_view(codes, table, offsets, classes, model, top_classes, top_q, tail, right_q, p_truth, totals)


@parallel_kernel
def _fill_view(
    codes: Any,
    table: Any,
    offsets: Any,
    classes: Any,
    m: int,
    top_classes: Any,
    top_q: Any,
    tail: Any,
    right_q: Any,
    p_truth: Any,
    totals: Any,
) -> None:
    n_rows, n_ranks = top_q.shape[0], top_q.shape[1]
    for stripe in prange((n_rows + _STRIPE - 1) // _STRIPE):
        powers, first = np.empty(n_ranks + 1), np.empty(n_ranks + 1, np.int64)
        for n in range(stripe * _STRIPE, min(n_rows, (stripe + 1) * _STRIPE)):
            total = _largest(codes[n], table, powers, first)
            for k in range(n_ranks):
                top_classes[n, k, m] = first[k]
                top_q[n, k, m] = np.uint32(np.rint(powers[k] / total * ONE))
            tail[n, m] = np.uint32(np.rint(powers[n_ranks] / total * ONE))
            right = 0.0
            for k in range(offsets[n], offsets[n + 1]):  # ascending, as in `fixed_point`
                power = exp_of(codes[n, classes[k]], table)
                right_q[k - offsets[0], m] = np.uint32(np.rint(power / total * ONE))
                right += power
            if len(p_truth):
                p_truth[n, m] = right / total
            if len(totals):
                totals[n, m] = total


@kernel
def _put(values: Any, first: Any, value: Any, c: Any) -> None:
    """Put a value larger than the last one in its place, behind equal ones; the last one falls out."""
    k = len(values) - 1
    while k > 0 and value > values[k - 1]:
        values[k], first[k] = values[k - 1], first[k - 1]
        k -= 1
    values[k], first[k] = value, c


@kernel
def _largest(row: Any, table: Any, powers: Any, first: Any) -> float:
    """Put the largest exp(z / T) and their classes in order; 0.0 where there are too few. Returns the sum.

    Ranked by the powers themselves: q follows from them by steps that never change an order, whereas that the
    powers follow the logits would be a promise of the mathematics library.
    """
    powers[:], first[:] = -1.0, 0
    last, total = len(powers) - 1, 0.0
    for c in range(len(row)):  # in class order: the sum is part of the definition
        power = exp_of(row[c], table)
        total += power
        if power > powers[last]:
            _put(powers, first, power, c)
    powers[last] = max(powers[last], 0.0)
    return total


def fill_logit_view(
    codes: Codes,
    table: Table,
    offsets: Offsets,
    classes: Classes,
    model: int,
    floor: int,
    top_classes: NDArray[Any],
    top: NDArray[np.int64],
    tail: NDArray[np.int64],
    right: NDArray[np.int64],
) -> None:
    """Do as `fill_view` with logits rint(z / T * 2**24) int64, from a table of `scaled_logits`.

    The tail is `floor`, which is at most any logit, if there are no other classes.
    """
    with parallel_over(codes.size):
        _fill_logit_view(codes, table, offsets, classes, model, floor, top_classes, top, tail, right)


@parallel_kernel
def _fill_logit_view(
    codes: Any,
    table: Any,
    offsets: Any,
    classes: Any,
    m: int,
    floor: int,
    top_classes: Any,
    top: Any,
    tail: Any,
    right: Any,
) -> None:
    n_rows, n_ranks = top.shape[0], top.shape[1]
    for stripe in prange((n_rows + _STRIPE - 1) // _STRIPE):
        values, first = np.empty(n_ranks + 1, np.int64), np.empty(n_ranks + 1, np.int64)
        for n in range(stripe * _STRIPE, min(n_rows, (stripe + 1) * _STRIPE)):
            values[:], first[:] = np.int64(floor) - 1, 0
            for c in range(codes.shape[1]):
                value = scaled_of(codes[n, c], table)
                if value > values[n_ranks]:
                    _put(values, first, value, c)
            for k in range(n_ranks):
                top_classes[n, k, m], top[n, k, m] = first[k], values[k]
            tail[n, m] = max(values[n_ranks], np.int64(floor))
            for k in range(offsets[n], offsets[n + 1]):
                right[k - offsets[0], m] = scaled_of(codes[n, classes[k]], table)
