"""Right answers of all two-member ensembles: q summed over both members, the lowest class of the largest sum.

For one example and one pair three things are tried in turn, each a proof in integers:

1. Margins, all models side by side: the right class leads every other by `lead` at least, and its strongest
   rival by `short` at most. Leads that add up to more than 0 are right for sure; where the right class cannot
   reach a rival, the ensemble is wrong for sure. They are rounded to 16 bits, each to the side that proves
   less: 32 models at a time, and one answer in two thousand is left to the views by it.
2. Views: sums of the classes that both members know exactly, bounds for those that one knows.
3. What is still open is a bit for the caller, who decides it by full rows with `decide_open`.

Examples come first and models last, as in `views`. Kernels are serial: tiles of pairs run in threads, and
write to places of their own (`needed` but for: there all write the same).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .probabilities import ONE, exp_of

WORD = 64  # second models of a word of open bits
COARSE = 18  # low bits that margins go without: sums of two of them fit 16
FAR = 2**13  # lead (negative) and shortness of a model whose rivals are not known: they decide nothing
FLUSH = 2**13  # examples whose counts are sure to fit 16 bits
_WRONG, _RIGHT, _OPEN = 0, 1, 2

View = tuple[NDArray[Any], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]


@kernel
def margins(
    top_classes: NDArray[Any],
    top_q: NDArray[np.uint32],
    right_q: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    classes: NDArray[np.int32],
    lead: NDArray[np.int16],
    short: NDArray[np.int16],
    most: NDArray[np.int16],
    rival: NDArray[Any],
) -> None:
    """Compare the right classes of every model with the first class of its view that is not right.

    Parameters
    ----------
    top_classes, top_q, right_q, offsets, classes
        Views as `views.fill_view` makes them; ``offsets[0]`` may be any place.
    lead : (n, M) int16, output
        q of one right class, the same for all models of an example, minus that of the rival, in units of
        2**18 rounded down; -`FAR` where all classes of the view are right.
    short : (n, M) int16, output
        Largest q of a right class minus that of the rival, rounded up; `FAR` where there is none.
    most : (n, M) int16, output
        Largest q of a right class, rounded up.
    rival : (n, M) uint16 or uint32, output
        The rival's class; 0 where there is none.
    """
    for n in range(lead.shape[0]):
        first, stop = offsets[n], offsets[n + 1]
        chosen = _strongest(right_q, first - offsets[0], stop - offsets[0])
        for m in range(lead.shape[1]):
            top = np.int64(0)
            for k in range(first - offsets[0], stop - offsets[0]):
                top = max(top, np.int64(right_q[k, m]))
            lead[n, m], short[n, m], most[n, m], rival[n, m] = -FAR, FAR, _up(top), 0
            for k in range(top_q.shape[1]):
                if not _among(top_classes[n, k, m], classes, first, stop):
                    value = np.int64(top_q[n, k, m])
                    lead[n, m] = (np.int64(right_q[chosen, m]) - value) >> COARSE
                    short[n, m], rival[n, m] = _up(top - value), top_classes[n, k, m]
                    break


@kernel
def _up(x: Any) -> Any:
    """In units of 2**18, rounded up."""
    return -(-x >> COARSE)


@kernel
def _strongest(right_q: Any, first: Any, stop: Any) -> Any:
    """Right class that has most of all models: the one whose leads add up best."""
    chosen, best = first, np.int64(-1)
    for k in range(first, stop if stop - first > 1 else first):
        total = np.int64(0)
        for m in range(right_q.shape[1]):
            total += np.int64(right_q[k, m])
        if total > best:
            chosen, best = k, total
    return chosen


@kernel
def _among(c: Any, classes: Any, first: Any, stop: Any) -> bool:
    """Whether a class is one of the right ones."""
    found = False
    for k in range(first, stop):
        found |= classes[k] == c
    return found


@kernel
def count_tile(
    start_a: int,
    start_b: int,
    certify: bool,
    margin: tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16], NDArray[Any]],
    alone: NDArray[np.uint8],
    view: View,
    truth: tuple[NDArray[np.int64], NDArray[np.int32]],
    hits: NDArray[np.int64],
    converted: NDArray[np.int64],
    open_bits: NDArray[np.uint64],
    needed: NDArray[np.uint8],
    ranks: NDArray[np.uint8],
) -> int:
    """Count right answers of the pairs a <= b of A first and B second models.

    Parameters
    ----------
    start_a, start_b : int
        First models of either side.
    certify : bool
        False leaves every example of every pair open.
    margin
        lead, short, most and rival of `margins`.
    alone : (n, M) uint8
        1 where the model alone is right.
    view
        classes, q, tail and right of the views.
    truth
        Offsets and classes of the right ones.
    hits, converted : (A, B) int64, added to
        Examples the pair gets right, and those of them that exactly one of the two alone gets right.
    open_bits : (n, A, W) uint64, output
        Bit b % 64 of word b // 64 is set where an example of a pair is undecided.
    needed : (n, M) uint8, set to 1
        Where rows are needed to decide.
    ranks : (C,) uint8
        Zeros, and again so afterwards.

    Returns
    -------
    int
        Decided by views.
    """
    lead, short, most, rival = margin
    n_viewed = 0
    n_second = hits.shape[1]
    undecided = np.zeros(-(-n_second // 8) * 8, np.uint8)
    eights = undecided.view(np.uint64)
    few_hits, few_converted = np.zeros(hits.shape, np.int16), np.zeros(hits.shape, np.int16)
    open_bits[:] = 0
    for n in range(lead.shape[0]):
        for i in range(hits.shape[0]):
            a = start_a + i
            j0 = max(0, a - start_b)
            undecided[:j0], undecided[j0:n_second] = 0, 1
            if certify:
                others = slice(start_b + j0, start_b + n_second)
                _by_margins(
                    (lead[n, a], short[n, a], most[n, a], rival[n, a], alone[n, a]),
                    lead[n, others],
                    short[n, others],
                    most[n, others],
                    rival[n, others],
                    alone[n, others],
                    few_hits[i, j0:],
                    few_converted[i, j0:],
                    undecided[j0:],
                )
            known = False
            for eight in range(len(eights)):
                if eights[eight] == 0:  # most are
                    continue
                if not known:
                    known = True
                    _set_ranks(view[0], n, a, ranks, True)
                for j in range(8 * eight, min(8 * eight + 8, n_second)):
                    if undecided[j] == 0:
                        continue
                    b = start_b + j
                    found = _by_views(n, a, b, view, truth, ranks) if certify else _OPEN
                    if found == _OPEN:
                        open_bits[n, i, j // WORD] |= np.uint64(1) << np.uint64(j % WORD)
                        needed[n, a] = needed[n, b] = 1
                    else:
                        n_viewed += 1
                        hits[i, j] += found
                        converted[i, j] += found & (alone[n, a] ^ alone[n, b])
            if known:
                _set_ranks(view[0], n, a, ranks, False)
        if (n + 1) % FLUSH == 0 or n + 1 == lead.shape[0]:
            _flush(few_hits, hits)
            _flush(few_converted, converted)
    return n_viewed


@kernel
def _by_margins(
    of_a: Any,
    lead: Any,
    short: Any,
    most: Any,
    rival: Any,
    alone: Any,
    hits: Any,
    converted: Any,
    undecided: Any,
) -> None:
    """One model with many, (B,) each: no branches, narrow numbers, so that the loop is one over vectors."""
    lead_a, short_a, most_a, rival_a, alone_a = of_a
    for j in range(len(lead)):
        right = np.int16(lead_a + lead[j]) > 0
        wrong = (np.int16(short_a + most[j]) < 0) | (np.int16(short[j] + most_a) < 0)
        wrong |= (np.int16(short_a + short[j]) < 0) & (rival_a == rival[j])
        undecided[j] = not (right | wrong)
        hits[j] += np.int16(right)
        converted[j] += np.int16(right & (alone_a != alone[j]))


@kernel
def _flush(few: Any, counts: Any) -> None:
    """Add counts of 16 bits to those of 64, and begin anew."""
    for i in range(few.shape[0]):
        for j in range(few.shape[1]):
            counts[i, j] += np.int64(few[i, j])
            few[i, j] = 0


@kernel
def _set_ranks(classes: Any, n: int, a: int, ranks: Any, known: bool) -> None:
    """Write 1 + the rank of each class in a's view, or zeros again."""
    for k in range(classes.shape[1]):
        ranks[classes[n, k, a]] = k + 1 if known else 0


@kernel
def _by_views(n: int, a: int, b: int, view: Any, truth: Any, ranks: Any) -> int:
    """One example of one pair; `ranks` holds 1 + the rank of each class in a's view."""
    classes, q, tail, right = view
    offsets, right_classes = truth
    first, stop = offsets[n], offsets[n + 1]
    y, best = np.int64(-1), np.int64(-1)
    for k in range(first, stop):  # ascending: the lowest class of the largest sum
        total = np.int64(right[k - offsets[0], a]) + np.int64(right[k - offsets[0], b])
        if total > best:
            y, best = np.int64(right_classes[k]), total
    tail_a, tail_b, top_a = np.int64(tail[n, a]), np.int64(tail[n, b]), np.int64(q[n, 0, a])
    seen, is_open = 0, False
    for k in range(q.shape[1]):
        value, c = np.int64(q[n, k, b]), np.int64(classes[n, k, b])
        if top_a + value < best:  # so are the sums of all classes that b ranks from here on
            return _OPEN if is_open else _RIGHT
        rank = ranks[c]
        if rank:
            seen |= 1 << (rank - 1)
        if _among(c, right_classes, first, stop):
            continue
        least = value + (np.int64(q[n, rank - 1, a]) if rank else np.int64(0))
        if _beats(least, c, best, y):
            return _WRONG
        is_open |= rank == 0 and _beats(value + tail_a, c, best, y)
    for k in range(q.shape[1]):
        value, c = np.int64(q[n, k, a]), np.int64(classes[n, k, a])
        if value + tail_b < best:
            break
        if (seen >> k) & 1 or _among(c, right_classes, first, stop):
            continue
        if _beats(value, c, best, y):
            return _WRONG
        is_open |= _beats(value + tail_b, c, best, y)
    if q.shape[1] < len(ranks) and tail_a + tail_b >= best:  # classes unknown: a tie may go to either
        return _OPEN
    return _OPEN if is_open else _RIGHT


@kernel
def _beats(total: Any, c: Any, best: Any, y: Any) -> Any:
    """Whether a class that is not right comes before the best right one."""
    return total > best or (total == best and c < y)


@kernel
def fill_rows(codes: NDArray[Any], rows: NDArray[np.intp], table: Any, out: NDArray[np.uint32]) -> None:
    """Write q of some rows of one model, as `probabilities.fixed_point` does: (n, C) codes -> out (r, C)."""
    powers = np.empty(codes.shape[1])
    for r in range(len(rows)):
        row, total = codes[rows[r]], 0.0
        for c in range(len(row)):  # in class order: the sum is part of the definition
            powers[c] = exp_of(row[c], table)
            total += powers[c]
        _fixed_point(powers, total, out[r])


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
