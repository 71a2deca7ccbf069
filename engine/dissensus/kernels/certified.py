"""Whether an ensemble is right with a candidate added, decided from views wherever they settle it.

S is the sum of the members' values, (n, C) int64. A verdict is never a guess: values are integers, those in a
view are exact, the others lie between `floor` and the view's tail, and what that leaves undecided is OPEN.
Views as in `views`; `floor` is the least value that any class can have: 0 for probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, borrowing_kernel, parallel_kernel
from .known import NOTHING, STRIPES, Known, Seen, above, among, rank_of
from .verdicts import OPEN, RIGHT, WRONG, count, right_place, who_could_change

_AT_ONCE = 16  # classes compared before any is looked at

Integers = NDArray[np.int64]


def decide(
    rows: NDArray[np.intp],
    total: Integers,
    seen: Seen,
    known: Known,
    allowed: NDArray[np.bool_],
    weights: Integers,
    floor: int,
) -> tuple[Integers, Integers, NDArray[np.uint8], Integers]:
    """What each candidate changes, on some examples.

    Parameters
    ----------
    rows : (r,) intp
        Examples.
    total : (n, C) int64
        S, up to date on those.
    seen, known
        Views, and what `order_rows` told of those examples.
    allowed : (M,) bool
        Which models are candidates.
    weights : (n,) int64
        What each example counts.
    floor : int
        Least value there can be.

    Returns
    -------
    hits : (M,) int64
        Weight of the examples that are right with the candidate; those that are open count as wrong.
    open_weight : (M,) int64
        Weight of those that are open.
    is_open : (r, ceil(M / 8)) uint8
        Which are, a bit each, the first model lowest.
    counts : (2,) int64
        Pairs decided in which the candidate could have changed whether S is right, and open ones.
    """
    n_models = len(allowed)
    gained, open_weight = np.zeros((2, STRIPES, n_models), np.int64)
    is_open, counts = np.zeros((len(rows), (n_models + 7) // 8), np.uint8), np.zeros((STRIPES, 3), np.int64)
    with PARALLEL:
        _decide(rows, total, seen, known, allowed, weights, floor, gained, open_weight, is_open, counts)
    right, met, n_open = counts.sum(axis=0)
    return gained.sum(axis=0) + right, open_weight.sum(axis=0), is_open, np.array([met - n_open, n_open])


@parallel_kernel
def _decide(
    rows: Any, total: Any, seen: Any, known: Any, allowed: Any, weights: Any, floor: int, gained: Any,
    open_weight: Any, is_open: Any, counts: Any,
) -> None:  # fmt: skip
    for stripe in prange(STRIPES):
        models, verdicts = np.empty(len(allowed), np.int64), np.empty(len(allowed), np.int64)
        for i in range(stripe * len(rows) // STRIPES, (stripe + 1) * len(rows) // STRIPES):
            n = rows[i]
            place = right_place(n, seen, known)
            n_met = who_could_change(n, place, seen, known, allowed, floor, models)
            for j in range(n_met):
                m = models[j]
                verdicts[j] = _verdict(n, m, total, seen, known.classes, known.high, floor)
                if verdicts[j] == OPEN:
                    is_open[i, m >> 3] |= np.uint8(1 << (m & 7))
                    open_weight[stripe, m] += weights[n]
                    counts[stripe, 2] += 1
                    verdicts[j] = WRONG
            count(weights[n], place, models[:n_met], verdicts, gained[stripe], counts[stripe])


@borrowing_kernel
def _verdict(n: int, m: int, total: Any, seen: Any, order_classes: Any, order_values: Any, floor: int) -> int:
    """RIGHT, WRONG or OPEN: is no class above the best right one, the lowest of equal ones first?"""
    begin, end, right_classes = seen.offsets[n], seen.offsets[n + 1], seen.right_classes
    y = np.int64(right_classes[begin])
    best = total[n, y] + np.int64(seen.right[begin, m])
    for k in range(begin + 1, end):
        c, value = np.int64(right_classes[k]), total[n, right_classes[k]] + np.int64(seen.right[k, m])
        if value > best:
            y, best = c, value
    rival = order_values[n, 0]  # S of wrong classes at most
    if len(order_values[n]) > 1 and among(order_classes[n, 0], right_classes, begin, end):
        rival = order_values[n, 1]
    for k in range(seen.classes.shape[1]):  # no right class is above the best of them
        if rival + np.int64(seen.values[n, k, m]) < best:
            break
        c = np.int64(seen.classes[n, k, m])
        if above(total[n, c] + np.int64(seen.values[n, k, m]), c, best, y):
            return WRONG
    unseen = np.int64(seen.tail[n, m])
    for k in range(order_classes.shape[1]):
        c, value = order_classes[n, k], order_values[n, k]
        if value + unseen < best or (value + unseen == best and c > y):
            return RIGHT  # S only falls from here, and where it does not the class only rises
        if among(c, right_classes, begin, end) or rank_of(c, n, m, seen.classes) >= 0:
            continue
        return WRONG if above(value + floor, c, best, y) else OPEN
    for other in range(total.shape[1] if total.shape[1] > order_classes.shape[1] else 0):
        if above(total[n, other] + unseen, other, best, y) and not (
            among(other, right_classes, begin, end) or rank_of(other, n, m, seen.classes) >= 0
        ):
            return OPEN
    return RIGHT


def add_rows(total: Integers, rows: NDArray[np.intp], times: Integers, values: NDArray[Any]) -> None:
    """Add values (r, C), so many times (r,) each, to rows (r,) of S."""
    with PARALLEL:
        _add_rows(total, rows, times, values)


@parallel_kernel
def _add_rows(total: Any, rows: Any, times: Any, values: Any) -> None:
    for i in prange(len(rows)):
        n = rows[i]
        for c in range(values.shape[1]):
            total[n, c] += times[i] * np.int64(values[i, c])


def order_rows(total: Integers, rows: NDArray[np.intp], known: Known, n_changes: int) -> None:
    """Put the first classes of S on some rows in order: into the lists of `known`, where they are exact.

    The classes that these hold already have to differ from one another. `n_changes` is what is done then.
    """
    with PARALLEL:
        _order_rows(total, rows, known, n_changes)


@parallel_kernel
def _order_rows(total: Any, rows: Any, known: Any, n_changes: int) -> None:
    for i in prange(len(rows)):
        n = rows[i]
        _order(total[n], known.classes[n], known.high[n])
        _told(n, known, total.shape[1], n_changes)


@borrowing_kernel
def _order(row: Any, listed: Any, values: Any) -> None:
    """Put the largest entries of a row into (L,) listed classes and their values."""
    last, n_classes = len(listed) - 1, len(row)
    for k in range(last + 1):  # what was first mostly still is: few others then get in
        c = listed[k]
        _insert(row[c], c, k, listed, values)
    for start in range(0, n_classes, _AT_ONCE):
        part, more = row[start : start + _AT_ONCE], np.int64(0)
        least = values[last] - np.int64(start < listed[last])  # of equal ones the lowest class gets in
        for value in part:  # the plain loop vectorises, and is mostly all that is done
            more |= np.int64(value > least)
        for k in range(len(part) if more else 0):
            c = start + k
            if above(part[k], c, values[last], listed[last]) and not _holds(listed, c):
                _insert(part[k], c, last, listed, values)


@borrowing_kernel
def _told(n: Any, known: Any, n_classes: int, n_changes: int) -> None:
    """Take from an example's list, in order and exact, what is known besides."""
    values, last = known.high[n], known.high.shape[1] - 1
    for k in range(last + 1):
        known.low[n, k] = values[k]
    known.first[n], known.first_low[n] = known.classes[n, 0], values[0]
    known.gap[n] = values[0] - values[1] if last else 0
    known.rest[n] = values[last] if n_classes > last + 1 else NOTHING
    known.done[n] = n_changes


@borrowing_kernel
def _holds(classes: Any, c: Any) -> bool:
    for other in classes:  # noqa: SIM110
        if other == c:
            return True
    return False


@borrowing_kernel
def _insert(value: Any, c: Any, k: int, classes: Any, values: Any) -> None:
    while k > 0 and above(value, c, values[k - 1], classes[k - 1]):
        values[k], classes[k] = values[k - 1], classes[k - 1]
        k -= 1
    values[k], classes[k] = value, c


def right_if_added(
    total: Integers,
    rows: NDArray[np.intp],
    values: NDArray[Any],
    offsets: Integers,
    right_classes: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Whether the largest entry of S plus values (r, C), the lowest class on ties, is right: (r,) bool."""
    out = np.empty(len(rows), np.bool_)
    with PARALLEL:
        _right_if_added(total, rows, values, offsets, right_classes, out)
    return out


@parallel_kernel
def _right_if_added(total: Any, rows: Any, values: Any, offsets: Any, right_classes: Any, out: Any) -> None:
    for i in prange(len(rows)):
        n = rows[i]
        best, top = total[n, 0] + np.int64(values[i, 0]), np.int64(0)
        for c in range(1, total.shape[1]):
            value = total[n, c] + np.int64(values[i, c])
            if value > best:
                best, top = value, np.int64(c)
        out[i] = among(top, right_classes, offsets[n], offsets[n + 1])
