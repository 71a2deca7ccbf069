"""Whether the ensemble is right with a candidate added, decided by what is known of S from views alone.

A verdict is never a guess: where the bounds leave it undecided it is OPEN, and rows of S are needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .bounds import caught_up, mark
from .jit import PARALLEL, borrowing_kernel, parallel_kernel
from .known import NOTHING, STRIPES, Integers, Known, Log, Seen, above, among, rank_of

WRONG, RIGHT, OPEN = 0, 1, 2


def decide(
    seen: Seen,
    known: Known,
    log: Log,
    most: tuple[Integers, Integers],
    allowed: NDArray[np.bool_],
    weights: Integers,
    floor: int,
    n_classes: int,
) -> tuple[Integers, NDArray[np.bool_], int]:
    """Whether S is right with each candidate; lists are brought up to date of examples where that may change.

    Parameters
    ----------
    seen, known, log
        Views, what is known of S, and what has changed it.
    most : (n,), (R,) int64
        Largest value of any model, and of any at each right class.
    allowed : (M,) bool
        Which models are candidates.
    weights : (n,) int64
        What each example counts.
    floor : int
        Least value there can be.

    Returns
    -------
    hits : (M,) int64
        Weight of the examples that are right with the candidate, of those examples on which all candidates
        are decided.
    unsure : (n,) bool
        The other ones.
    decided : int
        Pairs on the former in which the candidate could have changed whether S is right.
    """
    gained, counts = np.zeros((STRIPES, len(allowed)), np.int64), np.zeros((STRIPES, 2), np.int64)
    unsure = np.empty(len(weights), np.bool_)
    with PARALLEL:
        _decide(seen, known, log, most, allowed, weights, floor, n_classes, gained, unsure, counts)
    right, decided = counts.sum(axis=0)
    return gained.sum(axis=0) + right, unsure, int(decided)


@parallel_kernel
def _decide(
    seen: Any, known: Any, log: Any, most: Any, allowed: Any, weights: Any, floor: int, n_classes: int,
    gained: Any, unsure: Any, counts: Any,
) -> None:  # fmt: skip
    n_models = len(allowed)
    for stripe in prange(STRIPES):
        start, end = stripe * len(weights) // STRIPES, (stripe + 1) * len(weights) // STRIPES
        places, models = np.zeros(n_classes, np.uint8), np.empty((2, n_models), np.int64)
        _decide_some(
            start, end, seen, known, log, most, allowed, weights, floor, places, models[0], models[1],
            gained[stripe], unsure, counts[stripe],
        )  # fmt: skip


@borrowing_kernel
def _decide_some(
    start: int, end: int, seen: Any, known: Any, log: Any, most: Any, allowed: Any, weights: Any, floor: int,
    places: Any, models: Any, judged: Any, gained: Any, unsure: Any, counts: Any,
) -> None:  # fmt: skip
    for n in range(start, end):
        place, n_met = right_place(n, seen, known), 0
        unsure[n] = False
        if is_live(n, place, seen, known, most, allowed, floor):
            mark(n, known, places, 1)
            unsure[n] = not caught_up(n, log, seen, known, floor, places)
            if not unsure[n]:
                place = right_place(n, seen, known)
                n_met = who_could_change(n, place, seen, known, allowed, floor, models)
                lowest = log.lowest[-1]
                unsure[n] = not _judge(n, models[:n_met], lowest, seen, known, floor, places, judged)
            mark(n, known, places, 0)
        if not unsure[n]:
            count(weights[n], place, models[:n_met], judged, gained, counts)


@borrowing_kernel
def count(weight: Any, place: int, models: Any, verdicts: Any, gained: Any, counts: Any) -> None:
    """Count an example: whether S is right, and what each model in question changes in that."""
    was = np.int64(place >= 0)
    counts[0] += weight * was
    counts[1] += len(models)
    for i in range(len(models)):
        gained[models[i]] += weight * (verdicts[i] - was)


@borrowing_kernel
def is_live(n: Any, place: int, seen: Any, known: Any, most: Any, allowed: Any, floor: int) -> bool:
    """Whether some candidate could make S right (`place` of the first class at least 0) or wrong."""
    found = False  # the plain loops, without early exit, vectorise
    if place >= 0:
        if most[0][n] >= known.gap[n] + floor:
            for m in range(len(allowed)):
                ahead = np.int64(seen.values[n, 0, m]) - np.int64(seen.right[place, m])
                found |= (ahead >= known.gap[n]) & allowed[m]
        return found
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        behind = known.first_low[n] + floor - known.right[k]
        if most[1][k] >= behind:
            for m in range(len(allowed)):
                found |= (np.int64(seen.right[k, m]) >= behind) & allowed[m]
    return found


@borrowing_kernel
def right_place(n: Any, seen: Any, known: Any) -> int:
    """Where the first class is among the right ones; -1 if it is not."""
    for k in range(seen.offsets[n], seen.offsets[n + 1]):
        if np.int64(seen.right_classes[k]) == known.first[n]:
            return k
    return -1


@borrowing_kernel
def who_could_change(n: Any, place: int, seen: Any, known: Any, allowed: Any, floor: int, models: Any) -> int:
    """List the candidates that could change whether S is right; returns how many."""
    n_met = 0
    if place >= 0:
        for m in range(len(allowed)):
            ahead = np.int64(seen.values[n, 0, m]) - np.int64(seen.right[place, m])
            models[n_met] = m  # overwritten where it could not: no branch
            n_met += 1 if (ahead >= known.gap[n]) & allowed[m] else 0
        return n_met
    for m in range(len(allowed)):
        if allowed[m] and _could_mend(n, m, seen, known, floor):
            models[n_met] = m
            n_met += 1
    return n_met


@borrowing_kernel
def _could_mend(n: Any, m: Any, seen: Any, known: Any, floor: int) -> bool:
    """Whether a model could bring a right class to the front."""
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


@borrowing_kernel
def _judge(
    n: Any, models: Any, lowest: Any, seen: Any, known: Any, floor: int, places: Any, verdicts: Any
) -> bool:
    """Decide an example for some models; False where one of them is OPEN."""
    rival = _rival(n, seen, known)
    for i in range(len(models)):
        verdicts[i] = _verdict(n, models[i], rival, lowest, seen, known, floor, places)
        if verdicts[i] == OPEN:
            return False
    return True


@borrowing_kernel
def _rival(n: Any, seen: Any, known: Any) -> Any:
    """S of wrong classes at most."""
    rival, begin, end = known.rest[n], seen.offsets[n], seen.offsets[n + 1]
    for j in range(known.classes.shape[1]):
        if known.high[n, j] > rival and not among(known.classes[n, j], seen.right_classes, begin, end):
            rival = known.high[n, j]
    return rival


@borrowing_kernel
def _verdict(n: int, m: int, rival: Any, lowest: int, seen: Any, known: Any, floor: int, places: Any) -> int:
    """RIGHT, WRONG or OPEN: can some class be above the best right one, the lowest of equal ones first?"""
    begin, end, doubt = seen.offsets[n], seen.offsets[n + 1], False
    y, best = np.int64(seen.right_classes[begin]), known.right[begin] + np.int64(seen.right[begin, m])
    for k in range(begin + 1, end):
        value = known.right[k] + np.int64(seen.right[k, m])
        if value > best:
            y, best = np.int64(seen.right_classes[k]), value
    for rank in range(seen.classes.shape[1]):
        value = np.int64(seen.values[n, rank, m])
        if rival + value < best:
            return OPEN if doubt else RIGHT  # what is not in the view is no more than this
        c = np.int64(seen.classes[n, rank, m])
        if among(c, seen.right_classes, begin, end):
            continue
        place, low, high = np.int64(places[c]) - 1, np.int64(lowest), known.rest[n]
        if place >= 0:
            low, high = known.low[n, place], known.high[n, place]
        if above(low + value, c, best, y):
            return WRONG
        doubt |= above(high + value, c, best, y)
    unseen = np.int64(seen.tail[n, m])  # few get here: not loaded sooner
    for j in range(known.classes.shape[1] if rival + unseen >= best else 0):
        c = known.classes[n, j]
        if known.high[n, j] + unseen >= best and not (
            among(c, seen.right_classes, begin, end) or rank_of(c, n, m, seen.classes) >= 0
        ):
            if above(known.low[n, j] + floor, c, best, y):
                return WRONG
            doubt |= above(known.high[n, j] + unseen, c, best, y)
    doubt |= known.rest[n] != NOTHING and known.rest[n] + unseen >= best
    return OPEN if doubt else RIGHT
