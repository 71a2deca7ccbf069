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

from .jit import PARALLEL, kernel, parallel_kernel
from .known import NOTHING, Known, Log, Seen, above, rank_of


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
    for n in prange(len(lost)):
        lost[n] = _carried(n, m, sign, seen, known, floor)


@kernel  # apart from the loop over n: numba drops what a parallel loop itself writes into a tuple's arrays
def _carried(n: Any, m: int, sign: int, seen: Any, known: Any, floor: int) -> bool:
    first, own, top = known.first[n], np.int64(NOTHING), np.int64(seen.classes[n, 0, m])
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        known.right[k] += sign * np.int64(seen.right[k, m])
        if np.int64(seen.right_classes[k]) == first:
            own = np.int64(seen.right[k, m])
    if own == NOTHING:
        rank = rank_of(first, n, m, seen.classes)
        unseen = np.int64(floor) if sign > 0 else np.int64(seen.tail[n, m])
        own = unseen if rank < 0 else np.int64(seen.values[n, rank, m])
    rival = np.int64(floor)
    if sign > 0:
        rival = np.int64(seen.values[n, 0, m])
        if top == first:
            more = seen.classes.shape[1] > 1
            rival = np.int64(seen.values[n, 1, m]) if more else np.int64(seen.tail[n, m])
    known.gap[n] += sign * (own - rival)
    known.first_low[n] += sign * own
    return bool(known.gap[n] <= 0 and (sign < 0 or top != first))


def settle(seen: Seen, known: Known, log: Log, rows: NDArray[np.intp], floor: int) -> NDArray[np.bool_]:
    """Bring the lists of some examples up to date, and with them first class and gap.

    Returns
    -------
    (r,) bool
        Where the first class is not certain: there S itself is needed.
    """
    unsure = np.empty(len(rows), np.bool_)
    with PARALLEL:
        _settle(seen, known, log, rows, floor, unsure)
    return unsure


@parallel_kernel
def _settle(seen: Any, known: Any, log: Any, rows: Any, floor: int, unsure: Any) -> None:
    for i in prange(len(rows)):
        _catch_up(rows[i], log, seen, known, floor)
        unsure[i] = not _first_is_certain(rows[i], known)


@kernel
def _catch_up(n: Any, log: Any, seen: Any, known: Any, floor: int) -> None:
    """Bring one example's list up to date."""
    for t in range(known.done[n], len(log.models)):
        _follow(n, log.models[t], log.signs[t], log.lowest[t], seen, known, floor)
    known.done[n] = len(log.models)
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        for j in range(known.classes.shape[1]):
            if known.classes[n, j] == np.int64(seen.right_classes[k]):
                known.low[n, j] = known.high[n, j] = known.right[k]


@kernel
def _follow(n: Any, m: Any, sign: Any, lowest: Any, seen: Any, known: Any, floor: int) -> None:
    """Move the bounds of one example's list by a model's view; its classes come into the list."""
    least, most = np.int64(floor), np.int64(seen.tail[n, m])
    if sign < 0:
        least, most = -most, -least
    for j in range(known.classes.shape[1]):
        known.low[n, j] += least
        known.high[n, j] += most
    before, met = known.rest[n], 0
    known.rest[n] += most if before != NOTHING else 0
    for rank in range(seen.classes.shape[1]):
        c, value = np.int64(seen.classes[n, rank, m]), sign * np.int64(seen.values[n, rank, m])
        place = -1
        for j in range(known.classes.shape[1]):  # no early exit: the plain loop vectorises
            place = max(place, j if known.classes[n, j] == c else -1)
        if place >= 0:
            met |= 1 << rank
            known.low[n, place] += value - least
            known.high[n, place] += value - most
    for rank in range(seen.classes.shape[1] if before != NOTHING else 0):  # all that were listed are moved
        if met >> rank & 1 == 0:
            value = sign * np.int64(seen.values[n, rank, m])
            _list(n, np.int64(seen.classes[n, rank, m]), lowest + value, before + value, known)


@kernel
def _list(n: Any, c: Any, low: Any, high: Any, known: Any) -> None:
    """Put a class into the list in place of the one of least upper bound, which then is among the rest."""
    least = 0
    for j in range(1, known.classes.shape[1]):
        if known.high[n, j] < known.high[n, least]:
            least = j
    if high <= known.high[n, least]:
        known.rest[n] = max(known.rest[n], high)
        return
    known.rest[n] = max(known.rest[n], known.high[n, least])
    known.classes[n, least], known.low[n, least], known.high[n, least] = c, low, high


@kernel
def _first_is_certain(n: Any, known: Any) -> bool:
    """Take first class and gap from the list; False where its bounds leave them open."""
    top = 0
    for j in range(1, known.classes.shape[1]):
        if above(known.low[n, j], known.classes[n, j], known.low[n, top], known.classes[n, top]):
            top = j
    c, low, rival = known.classes[n, top], known.low[n, top], known.rest[n]
    if rival >= low and rival != NOTHING:
        return False
    for j in range(known.classes.shape[1]):
        if j != top:
            if above(known.high[n, j], known.classes[n, j], low, c):
                return False
            rival = max(rival, known.high[n, j])
    gap = low - rival
    if known.first[n] == c:
        gap, low = max(gap, known.gap[n]), max(low, known.first_low[n])
    known.first[n], known.gap[n], known.first_low[n] = c, gap, low
    return True
