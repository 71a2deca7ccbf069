"""Whether the ensemble is right with a candidate added, decided by what is known of S from views alone.

A verdict is never a guess: where the bounds leave it undecided it is OPEN, and rows of S are needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, kernel, parallel_kernel
from .known import NOTHING, Integers, Known, Seen, above, among, rank_of

WRONG, RIGHT, OPEN = 0, 1, 2
STRIPES = 64  # parts that examples are cut into, each counted by one thread


def live_rows(
    seen: Seen, known: Known, most: Integers, most_right: Integers, allowed: NDArray[np.bool_], floor: int
) -> NDArray[np.bool_]:
    """Examples on which some candidate could make S right that was wrong, or wrong that was right: (n,) bool.

    Parameters
    ----------
    most, most_right : (n,), (R,) int64
        Largest value of any model, and of any at each right class.
    allowed : (M,) bool
        Which models are candidates.
    """
    out = np.empty(len(most), np.bool_)
    with PARALLEL:
        _live_rows(seen, known, most, most_right, allowed, floor, out)
    return out


@parallel_kernel
def _live_rows(seen: Any, known: Any, most: Any, most_right: Any, allowed: Any, floor: int, out: Any) -> None:
    for n in prange(len(out)):
        place, found = right_place(n, seen, known), False
        if place >= 0:  # the plain loops, without early exit, vectorise
            if most[n] >= known.gap[n] + floor:
                for m in range(len(allowed)):
                    ahead = np.int64(seen.values[n, 0, m]) - np.int64(seen.right[place, m])
                    found |= (ahead >= known.gap[n]) & allowed[m]
        else:
            for k in range(seen.offsets[n], seen.offsets[n + 1]):
                behind = known.first_low[n] + floor - known.right[k]
                if most_right[k] >= behind:
                    for m in range(len(allowed)):
                        found |= (np.int64(seen.right[k, m]) >= behind) & allowed[m]
        out[n] = found


@kernel
def right_place(n: Any, seen: Any, known: Any) -> int:
    """Where the first class is among the right ones; -1 if it is not."""
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        if np.int64(seen.right_classes[k]) == known.first[n]:
            return k
    return -1


@kernel
def could_change(n: Any, m: Any, place: int, seen: Any, known: Any, floor: int) -> bool:
    """Whether a model could change that S is right (`place` of the first class at least 0) or wrong."""
    if place >= 0:
        ahead = np.int64(seen.values[n, 0, m]) - np.int64(seen.right[place, m])
        return bool(ahead >= known.gap[n])
    rank = -2
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        reached = known.right[k] + np.int64(seen.right[k, m])
        if reached >= known.first_low[n] + floor:
            if rank == -2:
                rank = rank_of(known.first[n], n, m, seen.classes)
            own = np.int64(floor) if rank < 0 else np.int64(seen.values[n, rank, m])
            if reached >= known.first_low[n] + own:
                return True
    return False


def decide(
    rows: NDArray[np.intp],
    seen: Seen,
    known: Known,
    lowest: int,
    allowed: NDArray[np.bool_],
    weights: Integers,
    floor: int,
) -> tuple[Integers, NDArray[np.bool_], int]:
    """What each candidate changes, on examples whose lists are settled.

    Parameters
    ----------
    rows : (r,) intp
        Examples.
    lowest : int
        Least value that a class of S can have.
    allowed : (M,) bool
        Which models are candidates.
    weights : (n,) int64
        What each example counts.

    Returns
    -------
    gained : (M,) int64
        Weight of the examples that are right with the candidate, less that of those right without it, of
        those examples on which all candidates are decided.
    unsure : (r,) bool
        The other ones.
    decided : int
        Pairs decided on the former.
    """
    n_models = len(allowed)
    gained, counts = np.zeros((STRIPES, n_models), np.int64), np.zeros(STRIPES, np.int64)
    unsure = np.empty(len(rows), np.bool_)
    with PARALLEL:
        _decide(rows, seen, known, lowest, allowed, weights, floor, gained, unsure, counts)
    return gained.sum(axis=0), unsure, int(counts.sum())


@parallel_kernel
def _decide(
    rows: Any, seen: Any, known: Any, lowest: int, allowed: Any, weights: Any, floor: int, gained: Any,
    unsure: Any, counts: Any,
) -> None:  # fmt: skip
    for stripe in prange(STRIPES):
        verdicts = np.empty(len(allowed), np.int64)
        for i in range(stripe * len(rows) // STRIPES, (stripe + 1) * len(rows) // STRIPES):
            n, met = rows[i], 0
            place = right_place(n, seen, known)
            was, rival = np.int64(place >= 0), _rival(n, seen, known)
            verdicts[:] = was
            for m in range(len(allowed)):
                if allowed[m] and could_change(n, m, place, seen, known, floor):
                    verdicts[m] = _verdict(n, m, rival, lowest, seen, known, floor)
                    met += 1
                    if verdicts[m] == OPEN:
                        break
            unsure[i] = verdicts.max() == OPEN
            if not unsure[i]:
                counts[stripe] += met
                for m in range(len(allowed)):
                    gained[stripe, m] += weights[n] * (verdicts[m] - was)


@kernel
def _rival(n: Any, seen: Any, known: Any) -> Any:
    """S of wrong classes at most."""
    rival, begin, end = known.rest[n], seen.offsets[n], seen.offsets[n + 1]
    for j in range(known.classes.shape[1]):
        if known.high[n, j] > rival and not among(known.classes[n, j], seen.right_classes, begin, end):
            rival = known.high[n, j]
    return rival


@kernel
def _verdict(n: int, m: int, rival: Any, lowest: int, seen: Any, known: Any, floor: int) -> int:
    """RIGHT, WRONG or OPEN: can some class be above the best right one, the lowest of equal ones first?"""
    begin, end, unseen, doubt = seen.offsets[n], seen.offsets[n + 1], np.int64(seen.tail[n, m]), False
    y, best = np.int64(seen.right_classes[begin]), known.right[begin] + np.int64(seen.right[begin, m])
    for k in range(begin + 1, end):
        value = known.right[k] + np.int64(seen.right[k, m])
        if value > best:
            y, best = np.int64(seen.right_classes[k]), value
    for rank in range(seen.classes.shape[1]):
        value = np.int64(seen.values[n, rank, m])
        if rival + value < best:
            break
        c = np.int64(seen.classes[n, rank, m])
        if among(c, seen.right_classes, begin, end):
            continue
        low, high = np.int64(lowest), known.rest[n]
        for j in range(known.classes.shape[1]):
            if known.classes[n, j] == c:
                low, high = known.low[n, j], known.high[n, j]
        if above(low + value, c, best, y):
            return WRONG
        doubt |= above(high + value, c, best, y)
    for j in range(known.classes.shape[1]):
        c = known.classes[n, j]
        if known.high[n, j] + unseen >= best and not (
            among(c, seen.right_classes, begin, end) or rank_of(c, n, m, seen.classes) >= 0
        ):
            if above(known.low[n, j] + floor, c, best, y):
                return WRONG
            doubt |= above(known.high[n, j] + unseen, c, best, y)
    doubt |= known.rest[n] != NOTHING and known.rest[n] + unseen >= best
    return OPEN if doubt else RIGHT
