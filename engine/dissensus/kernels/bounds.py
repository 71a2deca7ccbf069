"""What views alone tell of S, the running sum of members' values: its first class, and what could change it.

Of each example L classes of S are known within bounds, all others together up to one. A member that is added
or taken out moves them by its value where its view has the class, otherwise by `floor` to the view's tail.
The right classes' sums are always exact. Where that settles what happens, no row of S is made at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, kernel, parallel_kernel

WRONG, RIGHT, OPEN = 0, 1, 2
LISTED = 16  # classes of S that are known within bounds
STRIPES = 64  # parts that examples are cut into, each counted by one thread
NOTHING = -(2**62)  # of a bound on no class at all

Integers = NDArray[np.int64]


class Seen(NamedTuple):
    """Views of M models on n examples, as in `views`.

    Attributes
    ----------
    classes, values : (n, K, M)
        First classes of each, and their values.
    tail : (n, M)
        Largest value of the other classes.
    right : (R, M)
        Values of the right classes.
    offsets : (n + 1,) int64
        Where each example's right classes begin.
    right_classes : (R,) int32
    """

    classes: NDArray[Any]
    values: NDArray[Any]
    tail: NDArray[Any]
    right: NDArray[Any]
    offsets: Integers
    right_classes: NDArray[np.int32]


class Known(NamedTuple):
    """What is known of S, (n, C).

    Attributes
    ----------
    first : (n,) int64
        First class of S, the lowest on ties.
    gap : (n,) int64
        What it is ahead of all other classes, or less.
    first_low : (n,) int64
        What S is there, or less.
    right : (R,) int64
        S at the right classes, exactly.
    classes, low, high : (n, L) int64
        Some classes, and bounds on S there, of as many members as `done`.
    rest : (n,) int64
        What S is at all other classes, or more.
    done : (n,) int64
        Changes of S that an example's list has seen.
    """

    first: Integers
    gap: Integers
    first_low: Integers
    right: Integers
    classes: Integers
    low: Integers
    high: Integers
    rest: Integers
    done: Integers

    @classmethod
    def of_nobody(cls, n: int, n_right: int, n_classes: int) -> Known:
        """Of the sum of no members."""
        ranks = min(LISTED, n_classes)
        return cls(
            *(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)),
            right=np.zeros(n_right, np.int64),
            classes=np.tile(np.arange(ranks, dtype=np.int64), (n, 1)),
            low=np.zeros((n, ranks), np.int64),
            high=np.zeros((n, ranks), np.int64),
            rest=np.full(n, 0 if n_classes > ranks else NOTHING, np.int64),
            done=np.zeros(n, np.int64),
        )


def known_bytes(n: int, n_right: int, n_classes: int) -> int:
    """Memory that `Known` takes, on n examples with so many right classes."""
    return 8 * (n * (5 + 3 * min(LISTED, n_classes)) + n_right)


class Log(NamedTuple):
    """Changes of S.

    Attributes
    ----------
    models, signs : (T,) int64
        Model added (1) or taken out (-1) each time.
    lowest : (T + 1,) int64
        Least value that a class of S can have before each, and now.
    """

    models: Integers
    signs: Integers
    lowest: Integers


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


@kernel
def rank_of(c: Any, n: Any, m: Any, classes: Any) -> int:
    """Rank of a class in a view; -1 if it is not there."""
    for k in range(classes.shape[1]):
        if np.int64(classes[n, k, m]) == c:
            return k
    return -1


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


@kernel
def above(value: Any, c: Any, best: Any, y: Any) -> Any:
    """Whether a class comes before another: more, or as much and lower."""
    return value > best or (value == best and c < y)


@kernel
def among(c: Any, right_classes: Any, begin: Any, end: Any) -> bool:
    """Whether a class is a right one."""
    for k in range(begin, end):  # noqa: SIM110 (numba takes no generators)
        if right_classes[k] == c:
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
