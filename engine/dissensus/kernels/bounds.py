"""Following S, the running sum of members' values, by their views: its first class, and by how much it leads.

A member that is added or taken out moves the classes known of S by its value where its view has the class,
otherwise by `floor` to the view's tail. The right classes' sums are always exact. Where that settles what
happens, no row of S is made at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, borrowing_kernel, parallel_kernel
from .known import NOTHING, STRIPES, Known, Log, Seen, above, rank_of

_AT_ONCE = 64  # examples whose views are loaded before any is looked at


def carry(seen: Seen, known: Known, model: int, sign: int, floor: int) -> NDArray[np.bool_]:
    """Carry all but the lists over to S with a model added (1) or taken out (-1).

    Returns
    -------
    (n,) bool
        Where the first class may now be another one.
    """
    lost = np.empty(len(known.first), np.bool_)
    with PARALLEL:
        _carry(seen, known, model, sign, floor, lost)
    return lost


@parallel_kernel
def _carry(seen: Any, known: Any, m: int, sign: int, floor: int, lost: Any) -> None:
    for stripe in prange(STRIPES):
        start, end = stripe * len(lost) // STRIPES, (stripe + 1) * len(lost) // STRIPES
        _carry_some(start, end, m, sign, seen, known, floor, np.empty((3, _AT_ONCE), np.int64), lost)


@borrowing_kernel  # numba drops what a parallel loop itself writes into a tuple's arrays
def _carry_some(
    begin: int, stop: int, m: int, sign: int, seen: Any, known: Any, floor: int, views: Any, lost: Any
) -> None:
    for start in range(begin, stop, _AT_ONCE):
        end = min(start + _AT_ONCE, stop)
        _look_up(start, end, m, sign, seen, known, views)
        for n in range(start, end):
            lost[n] = _carried(n, m, sign, views[:, n - start], seen, known, floor)


@borrowing_kernel
def _look_up(start: int, end: int, m: int, sign: int, seen: Any, known: Any, views: Any) -> None:
    """Load what is far apart in memory, and add to the right classes' sums.

    Without a branch between them, many loads are under way at once.
    """
    more = seen.classes.shape[1] > 1
    for n in range(start, end):
        views[0, n - start], views[1, n - start] = seen.classes[n, 0, m], seen.values[n, 0, m]
        views[2, n - start] = seen.values[n, 1, m] if more else seen.tail[n, m]
    for k in range(seen.offsets[start], seen.offsets[end]):
        known.right[k] += sign * np.int64(seen.right[k, m])


@borrowing_kernel
def _carried(n: Any, m: int, sign: int, view: Any, seen: Any, known: Any, floor: int) -> bool:
    first, top = known.first[n], view[0]
    own = view[1] if top == first else _value_of(first, n, m, sign, seen, floor)
    rival = np.int64(floor)
    if sign > 0:
        rival = view[2] if top == first else view[1]
    known.gap[n] += sign * (own - rival)
    known.first_low[n] += sign * own
    return bool(known.gap[n] <= 0 and (sign < 0 or top != first))


@borrowing_kernel
def _value_of(c: Any, n: Any, m: int, sign: int, seen: Any, floor: int) -> Any:
    """What a model adds to a class at least, or takes from it at most."""
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        if np.int64(seen.right_classes[k]) == c:
            return np.int64(seen.right[k, m])
    rank = rank_of(c, n, m, seen.classes)
    if rank >= 0:
        return np.int64(seen.values[n, rank, m])
    return np.int64(floor) if sign > 0 else np.int64(seen.tail[n, m])


def settle(
    seen: Seen, known: Known, log: Log, rows: NDArray[np.intp], floor: int, n_classes: int
) -> NDArray[np.bool_]:
    """Bring the lists of some examples up to date, and with them first class and gap.

    Returns
    -------
    (r,) bool
        Where the first class is not certain: there S itself is needed.
    """
    unsure = np.empty(len(rows), np.bool_)
    with PARALLEL:
        _settle(seen, known, log, rows, floor, n_classes, unsure)
    return unsure


@parallel_kernel
def _settle(seen: Any, known: Any, log: Any, rows: Any, floor: int, n_classes: int, unsure: Any) -> None:
    for stripe in prange(STRIPES):
        part = slice(stripe * len(rows) // STRIPES, (stripe + 1) * len(rows) // STRIPES)
        _settle_some(seen, known, log, rows[part], floor, np.zeros(n_classes, np.uint8), unsure[part])


@borrowing_kernel
def _settle_some(seen: Any, known: Any, log: Any, rows: Any, floor: int, places: Any, unsure: Any) -> None:
    for i in range(len(rows)):
        mark(rows[i], known, places, 1)
        unsure[i] = not caught_up(rows[i], log, seen, known, floor, places)
        mark(rows[i], known, places, 0)


@borrowing_kernel
def mark(n: Any, known: Any, places: Any, listed: int) -> None:
    """Write into (C,) zeros where in an example's list each class is, from 1 on (1); or wipe it out (0)."""
    for j in range(known.classes.shape[1]):
        places[known.classes[n, j]] = listed * (j + 1)


@borrowing_kernel
def caught_up(n: Any, log: Any, seen: Any, known: Any, floor: int, places: Any) -> bool:
    """Bring one example's list up to date; False where its bounds leave the first class open."""
    if known.done[n] == len(log.models):
        return True
    for t in range(known.done[n], len(log.models)):
        _follow(n, log.models[t], log.signs[t], log.lowest[t], seen, known, floor, places)
    known.done[n] = len(log.models)
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        j = np.int64(places[seen.right_classes[k]]) - 1
        if j >= 0:
            known.low[n, j] = known.high[n, j] = known.right[k]
    return _first_is_certain(n, known)


@borrowing_kernel
def _follow(n: Any, m: Any, sign: Any, lowest: Any, seen: Any, known: Any, floor: int, places: Any) -> None:
    """Move the bounds of one example's list by a model's view; its classes come into the list."""
    least, most = np.int64(floor), np.int64(seen.tail[n, m])
    if sign < 0:
        least, most = -most, -least
    for j in range(known.classes.shape[1]):
        known.low[n, j] += least
        known.high[n, j] += most
    before, missing = known.rest[n], 0
    for rank in range(seen.classes.shape[1]):
        place, value = (
            np.int64(places[seen.classes[n, rank, m]]) - 1,
            sign * np.int64(seen.values[n, rank, m]),
        )
        if place < 0:
            missing |= 1 << rank
        else:
            known.low[n, place] += value - least
            known.high[n, place] += value - most
    if before != NOTHING:  # otherwise no class is missing
        known.rest[n] += most
        for rank in range(seen.classes.shape[1] if missing else 0):  # all that were listed are moved
            if missing >> rank & 1:
                value = sign * np.int64(seen.values[n, rank, m])
                _list(n, np.int64(seen.classes[n, rank, m]), lowest + value, before + value, known, places)


@borrowing_kernel
def _list(n: Any, c: Any, low: Any, high: Any, known: Any, places: Any) -> None:
    """Put a class into the list in place of the one of least upper bound, which then is among the rest."""
    least = known.high[n, 0]
    for j in range(1, known.classes.shape[1]):  # the plain loop vectorises
        least = min(least, known.high[n, j])
    known.rest[n] = max(known.rest[n], min(least, high))
    if high > least:
        j = 0
        while known.high[n, j] != least:
            j += 1
        places[known.classes[n, j]], places[c] = 0, j + 1
        known.classes[n, j], known.low[n, j], known.high[n, j] = c, low, high


@borrowing_kernel
def _first_is_certain(n: Any, known: Any) -> bool:
    """Take first class and gap from the list; False where its bounds leave them open."""
    low, top, rival = known.low[n, 0], -1, known.rest[n]
    for j in range(1, known.classes.shape[1]):  # the plain loop vectorises
        low = max(low, known.low[n, j])
    if rival >= low and rival != NOTHING:
        return False
    for j in range(known.classes.shape[1]):
        if known.low[n, j] == low and (top < 0 or known.classes[n, j] < known.classes[n, top]):
            top = j
    c = known.classes[n, top]
    for j in range(known.classes.shape[1]):
        if j != top:
            rival = max(rival, known.high[n, j])
    if rival >= low:
        for j in range(known.classes.shape[1]):
            if j != top and above(known.high[n, j], known.classes[n, j], low, c):
                return False
    gap = low - rival
    if known.first[n] == c:
        gap, low = max(gap, known.gap[n]), max(low, known.first_low[n])
    known.first[n], known.gap[n], known.first_low[n] = c, gap, low
    return True
