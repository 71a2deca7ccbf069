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

from .jit import PARALLEL, kernel, parallel_kernel

WRONG, RIGHT, OPEN = 0, 1, 2
RIVALS = 8  # first classes of S that are known in order
_AT_ONCE = 16  # classes compared before any is looked at
STRIPES = 64  # parts that examples are cut into, each counted by one thread

Integers = NDArray[np.int64]


def live_rows(
    classes: NDArray[Any],
    values: NDArray[Any],
    most: Integers,
    first: Integers,
    gap: Integers,
    allowed: NDArray[np.bool_],
    floor: int,
) -> NDArray[np.bool_]:
    """Examples on which some candidate could change the first class of S.

    Parameters
    ----------
    classes, values : (n, K, M)
        Classes and values of views.
    most : (n,) int64
        Largest value of any model.
    first : (n,) int64
        First class of S.
    gap : (n,) int64
        What it is ahead of all other classes, or less.
    allowed : (M,) bool
        Which models are candidates.
    floor : int
        Least value there can be.
    """
    out = np.empty(len(classes), np.bool_)
    with PARALLEL:
        _live_rows(classes, values, most, first, gap, allowed, floor, out)
    return out


@parallel_kernel
def _live_rows(
    classes: Any, values: Any, most: Any, first: Any, gap: Any, allowed: Any, floor: Any, out: Any
) -> None:
    for n in prange(classes.shape[0]):
        least, found = gap[n] + floor, False
        if most[n] >= least:
            for m in range(classes.shape[2]):  # no early exit: the plain loop vectorises
                found |= (
                    (np.int64(values[n, 0, m]) >= least)
                    & (np.int64(classes[n, 0, m]) != first[n])
                    & allowed[m]
                )
        out[n] = found


def decide(
    rows: NDArray[np.intp],
    total: Integers,
    order_classes: Integers,
    order_values: Integers,
    was_right: NDArray[np.bool_],
    classes: NDArray[Any],
    values: NDArray[Any],
    tail: NDArray[Any],
    right_values: NDArray[Any],
    offsets: Integers,
    right_classes: NDArray[np.int32],
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
    order_classes, order_values : (n, L) int64
        First classes of S, the lowest of equal ones first, and what S is there: the same.
    was_right : (n,) bool
        Whether S is right.
    classes, values, tail, right_values
        Of views.
    offsets, right_classes
        Right classes of each example.
    allowed : (M,) bool
        Which models are candidates.
    weights : (n,) int64
        What each example counts.
    floor : int
        Least value there can be.

    Returns
    -------
    gained : (M,) int64
        Weight of the examples that are right with the candidate, less that of those right without it; those
        that are open count as wrong.
    open_weight : (M,) int64
        Weight of those that are open.
    is_open : (r, ceil(M / 8)) uint8
        Which are, a bit each, the first model lowest.
    counts : (2,) int64
        Pairs decided, and open ones.
    """
    n_models = classes.shape[2]
    gained, open_weight = np.zeros((2, STRIPES, n_models), np.int64)
    is_open, counts = np.zeros((len(rows), (n_models + 7) // 8), np.uint8), np.zeros((STRIPES, 2), np.int64)
    with PARALLEL:
        _decide(
            rows, total, order_classes, order_values, was_right, classes, values, tail, right_values,
            offsets, right_classes, allowed, weights, floor, gained, open_weight, is_open, counts,
        )  # fmt: skip
    return gained.sum(axis=0), open_weight.sum(axis=0), is_open, counts.sum(axis=0)


@parallel_kernel
def _decide(
    rows: Any, total: Any, order_classes: Any, order_values: Any, was_right: Any, classes: Any,
    values: Any, tail: Any, right_values: Any, offsets: Any, right_classes: Any, allowed: Any,
    weights: Any, floor: Any, gained: Any, open_weight: Any, is_open: Any, counts: Any,
) -> None:  # fmt: skip
    for stripe in prange(STRIPES):
        for i in range(stripe * len(rows) // STRIPES, (stripe + 1) * len(rows) // STRIPES):
            n = rows[i]
            first, was = order_classes[n, 0], np.int64(was_right[n])
            gap = order_values[n, 0] - order_values[n, 1] if order_values.shape[1] > 1 else np.int64(0)
            for m in range(classes.shape[2]):
                if not allowed[m] or classes[n, 0, m] == first or values[n, 0, m] < gap + floor:
                    continue
                verdict = _verdict(
                    n, m, total, order_classes, order_values, classes, values, tail, right_values,
                    offsets, right_classes, floor,
                )  # fmt: skip
                if verdict == OPEN:
                    is_open[i, m >> 3] |= np.uint8(1 << (m & 7))
                    open_weight[stripe, m] += weights[n]
                    counts[stripe, 1] += 1
                    verdict = WRONG
                else:
                    counts[stripe, 0] += 1
                gained[stripe, m] += weights[n] * (verdict - was)


@kernel
def _verdict(
    n: int, m: int, total: Any, order_classes: Any, order_values: Any, classes: Any, values: Any,
    tail: Any, right_values: Any, offsets: Any, right_classes: Any, floor: int,
) -> int:  # fmt: skip
    """RIGHT, WRONG or OPEN: is no class above the best right one, the lowest of equal ones first?"""
    begin, end = offsets[n], offsets[n + 1]
    y = np.int64(right_classes[begin])
    best = total[n, y] + np.int64(right_values[begin, m])
    for k in range(begin + 1, end):
        c, value = np.int64(right_classes[k]), total[n, right_classes[k]] + np.int64(right_values[k, m])
        if value > best:
            y, best = c, value
    rival = order_values[n, 0]  # S of wrong classes at most
    if len(order_values[n]) > 1 and _among(order_classes[n, 0], right_classes, begin, end):
        rival = order_values[n, 1]
    for k in range(classes.shape[1]):  # no right class is above the best of them
        if rival + np.int64(values[n, k, m]) < best:
            break
        c = np.int64(classes[n, k, m])
        if _above(total[n, c] + np.int64(values[n, k, m]), c, best, y):
            return WRONG
    unseen = np.int64(tail[n, m])
    for k in range(order_classes.shape[1]):
        c, value = order_classes[n, k], order_values[n, k]
        if value + unseen < best or (value + unseen == best and c > y):
            return RIGHT  # S only falls from here, and where it does not the class only rises
        if _among(c, right_classes, begin, end) or _in_view(c, classes, n, m):
            continue
        return WRONG if _above(value + floor, c, best, y) else OPEN
    for other in range(total.shape[1] if total.shape[1] > order_classes.shape[1] else 0):
        if _above(total[n, other] + unseen, other, best, y) and not (
            _among(other, right_classes, begin, end) or _in_view(other, classes, n, m)
        ):
            return OPEN
    return RIGHT


@kernel
def _above(value: Any, c: Any, best: Any, y: Any) -> Any:
    return value > best or (value == best and c < y)


@kernel
def _among(c: Any, right_classes: Any, begin: Any, end: Any) -> bool:
    for k in range(begin, end):  # noqa: SIM110 (numba takes no generators)
        if right_classes[k] == c:
            return True
    return False


@kernel
def _in_view(c: Any, classes: Any, n: Any, m: Any) -> bool:
    for k in range(classes.shape[1]):  # noqa: SIM110
        if classes[n, k, m] == c:
            return True
    return False


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


def order_rows(
    total: Integers,
    rows: NDArray[np.intp],
    order_classes: Integers,
    order_values: Integers,
    first: Integers,
    gap: Integers,
) -> None:
    """Put the first classes of S on some rows in order: see `decide` and `live_rows` for the outputs.

    The classes that `order_classes` holds already have to differ from one another.
    """
    with PARALLEL:
        _order_rows(total, rows, order_classes, order_values, first, gap)


@parallel_kernel
def _order_rows(total: Any, rows: Any, order_classes: Any, order_values: Any, first: Any, gap: Any) -> None:
    last, n_classes = order_classes.shape[1] - 1, total.shape[1]
    for i in prange(len(rows)):
        n = rows[i]
        known, values = order_classes[n], order_values[n]
        for k in range(last + 1):  # what was first mostly still is: few others then get in
            c = known[k]
            _insert(total[n, c], c, k, known, values)
        for start in range(0, n_classes, _AT_ONCE):
            part, above = total[n, start : start + _AT_ONCE], np.int64(0)
            least = values[last] - np.int64(start < known[last])  # of equal ones the lowest class gets in
            for value in part:  # the plain loop vectorises, and is mostly all that is done
                above |= np.int64(value > least)
            for k in range(len(part) if above else 0):
                c = start + k
                if _above(part[k], c, values[last], known[last]) and not _holds(known, c):
                    _insert(part[k], c, last, known, values)
        first[n] = order_classes[n, 0]
        gap[n] = order_values[n, 0] - order_values[n, 1] if last else 0


@kernel
def _holds(classes: Any, c: Any) -> bool:
    for other in classes:  # noqa: SIM110
        if other == c:
            return True
    return False


@kernel
def _insert(value: Any, c: Any, k: int, classes: Any, values: Any) -> None:
    while k > 0 and _above(value, c, values[k - 1], classes[k - 1]):
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
        out[i] = _among(top, right_classes, offsets[n], offsets[n + 1])


def bound_if_added(
    classes: NDArray[Any],
    values: NDArray[Any],
    tail: NDArray[Any],
    model: int,
    first: Integers,
    gap: Integers,
    floor: int,
) -> NDArray[np.bool_]:
    """Carry the gap of S over to S plus a model's values, from its view alone.

    Parameters
    ----------
    classes, values, tail
        Of views.
    model : int
        The one added.
    first, gap : (n,) int64
        As in `live_rows`; the gap becomes one of the new sum, wherever the first class is known to stay.
    floor : int
        Least value there can be.

    Returns
    -------
    (n,) bool
        Where it is not: the first class may be another one.
    """
    lost = np.empty(len(first), np.bool_)
    with PARALLEL:
        _bound_if_added(classes, values, tail, model, first, gap, floor, lost)
    return lost


@parallel_kernel
def _bound_if_added(
    classes: Any, values: Any, tail: Any, m: int, first: Any, gap: Any, floor: Any, lost: Any
) -> None:
    for n in prange(len(first)):
        own, rival = np.int64(floor), np.int64(values[n, 0, m])
        if classes[n, 0, m] == first[n]:
            own = rival
            rival = np.int64(values[n, 1, m]) if classes.shape[1] > 1 else np.int64(tail[n, m])
        else:
            for k in range(1, classes.shape[1]):
                if classes[n, k, m] == first[n]:
                    own = np.int64(values[n, k, m])
        left = gap[n] + own - rival
        stays = left > 0 or classes[n, 0, m] == first[n]
        lost[n] = not stays
        if stays:
            gap[n] = left
