"""Right answers of all two-member ensembles: q summed over both members, the lowest class of the largest sum.

For one example and one pair three things are tried in turn, each a proof in integers:

1. Margins, all models side by side: the right class leads every other by `lead` at least, and its strongest
   rival by `short` at most. Leads that add up to more than 0 are right for sure; where the right class cannot
   reach a rival, the ensemble is wrong for sure.
2. Views: sums of the classes that both members know exactly, bounds for those that one knows. Nearly all that
   they leave open hangs on a class that one member ranks and the other does not; so examples share some
   classes, `Columns`, whose q is known of all models. Which, is learnt by trying some pairs.
3. What is still open is a bit for the caller, who decides it by full rows with `pair_rows.decide_open`.

Examples come first and models last, as in `views`. Kernels are serial: tiles of pairs run in threads, and
write to places of their own (`needed` but for: there all write the same).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import borrowing_kernel, kernel
from .margins import Margin, among, by_margins
from .pair_rows import WORD

FLUSH = 2**13  # examples whose counts are sure to fit 16 bits
_WRONG, _OPEN, _RIGHT = 1, 2, 3  # 0: margins say it

Truth = tuple[NDArray[np.int64], NDArray[np.int32]]  # offsets and classes of the right ones


class View(NamedTuple):
    """What `views.fill_view` writes of M models on n examples.

    Attributes
    ----------
    classes : (n, K, M) uint16 or uint32
    q : (n, K, M) uint32
    tail : (n, M) uint32
    right : (R, M) uint32
    totals : (n, M) float64
    """

    classes: NDArray[Any]
    q: NDArray[np.uint32]
    tail: NDArray[np.uint32]
    right: NDArray[np.uint32]
    totals: NDArray[np.float64]


class Columns(NamedTuple):
    """Classes of each example whose q is known of all models, ranked or not.

    Attributes
    ----------
    starts : (n + 1,) int64
        Those of example i are starts[i]:starts[i + 1].
    classes : (Q,) uint16 or uint32
        They themselves, end to end.
    q : (M, Q) uint32
        Their q.
    """

    starts: NDArray[np.int64]
    classes: NDArray[Any]
    q: NDArray[np.uint32]


@kernel
def count_tile(
    start_a: int,
    start_b: int,
    n_classes: int,
    certify: bool,
    margin: Margin,
    alone: NDArray[np.uint8],
    view: View,
    columns: Columns,
    truth: Truth,
    hits: NDArray[np.int64],
    converted: NDArray[np.int64],
    open_bits: NDArray[np.uint64],
    needed: NDArray[np.uint8],
) -> int:
    """Count right answers of the pairs a <= b of A first and B second models; of others counts are void.

    Parameters
    ----------
    start_a, start_b : int
        First models of either side.
    n_classes : int
        Number of classes C.
    certify : bool
        False leaves every example of every pair open.
    margin
        lead, short, most and rival of `margins`.
    alone : (n, M) uint8
        1 where the model alone is right.
    view, columns, truth
        What is known of the block.
    hits, converted : (A, B) int64, added to
        Examples the pair gets right, and those of them that exactly one of the two alone gets right.
    open_bits : (n, A, W) uint64, output
        Bit b % 64 of word b // 64 is set where an example of a pair is undecided.
    needed : (n, M) uint8, set to 1
        Where rows are needed to decide.

    Returns
    -------
    int
        Decided by views.
    """
    n_viewed, shape = 0, hits.shape
    firsts = np.arange(start_a, start_a + shape[0])
    found = np.zeros((shape[0], -(-shape[1] // 8) * 8), np.uint8)  # eight at a time: beyond B it stays 0
    found[:, : shape[1]] = _OPEN
    few_hits, few_converted = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    ranks, places = np.zeros(n_classes, np.uint8), np.zeros(n_classes, np.int32)
    marks = np.zeros(n_classes, np.int32)  # not asked for here
    open_bits[:] = 0
    for n in range(alone.shape[0]):
        if certify:
            by_margins(n, firsts, start_b, margin, alone, few_hits, few_converted, found)
            for i in range(
                start_b - start_a + 1, shape[0]
            ):  # a whole tile is counted sooner than half of one
                found[i, : start_a + i - start_b] = 0
            _by_views(n, firsts, start_b, view, columns, truth, ranks, places, marks, found)
        n_viewed += _tally(n, start_a, start_b, alone, found, hits, converted, open_bits[n], needed)
        if (n + 1) % FLUSH == 0 or n + 1 == alone.shape[0]:
            _flush(few_hits, hits)
            _flush(few_converted, converted)
    return n_viewed


@kernel
def mark_missing(
    start: int,
    stop: int,
    tried: NDArray[np.int64],
    margin: Margin,
    alone: NDArray[np.uint8],
    view: View,
    columns: Columns,
    truth: Truth,
    marks: NDArray[np.int32],
) -> None:
    """Try the pairs of some models with all on the examples start:stop.

    Parameters
    ----------
    tried : (S,) int64
        Some models.
    margin, alone, view, columns, truth
        As for `count_tile`.
    marks : (n, C) int32, added to
        How often a pair is open for want of a class's q in one of its members.
    """
    n_models = alone.shape[1]
    found = np.zeros((len(tried), -(-n_models // 8) * 8), np.uint8)
    few = np.zeros((2, len(tried), n_models), np.int16)  # of what is counted later
    ranks, places = np.zeros(marks.shape[1], np.uint8), np.zeros(marks.shape[1], np.int32)
    for n in range(start, stop):
        by_margins(n, tried, 0, margin, alone, few[0], few[1], found)
        _by_views(n, tried, 0, view, columns, truth, ranks, places, marks[n], found)


@borrowing_kernel
def _tally(
    n: int,
    start_a: int,
    start_b: int,
    alone: Any,
    found: Any,
    hits: Any,
    converted: Any,
    open_bits: Any,
    needed: Any,
) -> int:
    """Count what views decided of one example, and note what is open. Returns how much the views decided."""
    n_viewed = 0
    for i in range(hits.shape[0]):
        a = start_a + i
        eights = found[i].view(np.uint64)
        for eight in range(len(eights)):
            if eights[eight] == 0:  # most are
                continue
            for j in range(max(8 * eight, a - start_b), min(8 * eight + 8, hits.shape[1])):
                b = start_b + j
                if found[i, j] == _OPEN:
                    open_bits[i, j // WORD] |= np.uint64(1) << np.uint64(j % WORD)
                    needed[n, a] = needed[n, b] = 1
                elif found[i, j]:
                    n_viewed += 1
                    hits[i, j] += found[i, j] == _RIGHT
                    converted[i, j] += (found[i, j] == _RIGHT) & (alone[n, a] != alone[n, b])
    return n_viewed


@borrowing_kernel
def _by_views(
    n: int,
    firsts: Any,
    start_b: int,
    view: Any,
    columns: Any,
    truth: Any,
    ranks: Any,
    places: Any,
    marks: Any,
    found: Any,
) -> None:
    """Say by views what margins left of one example, in place: (A, B), 0 where they left nothing."""
    _set_places(columns, n, places, True)
    for i in range(len(firsts)):
        a, begun = firsts[i], False
        eights = found[i].view(np.uint64)
        for eight in range(len(eights)):
            if eights[eight] == 0:  # most are
                continue
            if not begun:
                begun = True
                _set_ranks(view.classes, n, a, ranks, True)
            for j in range(8 * eight, 8 * eight + 8):
                if found[i, j]:
                    found[i, j] = _one_by_views(n, a, start_b + j, view, columns, truth, ranks, places, marks)
        if begun:
            _set_ranks(view.classes, n, a, ranks, False)
    _set_places(columns, n, places, False)


@borrowing_kernel
def _set_ranks(classes: Any, n: int, a: int, ranks: Any, known: bool) -> None:
    """Write 1 + the rank of each class in a's view, or zeros again."""
    for k in range(classes.shape[1]):
        ranks[classes[n, k, a]] = k + 1 if known else 0


@borrowing_kernel
def _set_places(columns: Any, n: int, places: Any, known: bool) -> None:
    """Write 1 + the place of each class of the example's columns, or zeros again."""
    for k in range(columns.starts[n], columns.starts[n + 1]):
        places[columns.classes[k]] = k + 1 if known else 0


@borrowing_kernel
def _one_by_views(
    n: int, a: int, b: int, view: Any, columns: Any, truth: Any, ranks: Any, places: Any, marks: Any
) -> int:
    """One example of one pair; `ranks` holds 1 + the rank of each class in a's view, `places` as columns'."""
    classes, q, tail, right, _ = view
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
        if among(c, right_classes, first, stop):
            continue
        if rank:
            if _beats(value + np.int64(q[n, rank - 1, a]), c, best, y):
                return _WRONG
        elif _beats(value + tail_a, c, best, y):
            least = _least(columns.q[a], places[c])
            if _beats(value + max(least, np.int64(0)), c, best, y):
                return _WRONG
            is_open |= least < 0
            marks[c] += least < 0
    for k in range(q.shape[1]):
        value, c = np.int64(q[n, k, a]), np.int64(classes[n, k, a])
        if value + tail_b < best:
            break
        if (seen >> k) & 1 or among(c, right_classes, first, stop):
            continue
        if _beats(value + tail_b, c, best, y):
            least = _least(columns.q[b], places[c])
            if _beats(value + max(least, np.int64(0)), c, best, y):
                return _WRONG
            is_open |= least < 0
            marks[c] += least < 0
    if q.shape[1] < len(ranks) and tail_a + tail_b >= best:  # classes unknown: a tie may go to either
        return _OPEN
    return _OPEN if is_open else _RIGHT


@borrowing_kernel
def _least(q: Any, place: Any) -> Any:
    """The q of a class that a member does not rank where a column tells it, -1 where none does."""
    return np.int64(q[place - 1]) if place else np.int64(-1)


@borrowing_kernel
def _flush(few: Any, counts: Any) -> None:
    """Add counts of 16 bits to those of 64, and begin anew."""
    for i in range(few.shape[0]):
        for j in range(few.shape[1]):
            counts[i, j] += np.int64(few[i, j])
            few[i, j] = 0


@borrowing_kernel
def _beats(total: Any, c: Any, best: Any, y: Any) -> Any:
    """Whether a class that is not right comes before the best right one."""
    return total > best or (total == best and c < y)
