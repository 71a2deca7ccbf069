"""Margins: by how much the right class of every model leads, narrow enough for 32 models at a time.

What two members' margins prove of their sum needs nothing else. They are rounded to 16 bits, each to the side
that proves less: one answer in two thousand is left to the views by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

COARSE = 18  # low bits that margins go without: sums of two of them fit 16
FAR = 2**13  # lead (negative) and shortness of a model whose rivals are not known: they decide nothing

Margin = tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16], NDArray[Any]]


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
                if not among(top_classes[n, k, m], classes, first, stop):
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
def among(c: Any, classes: Any, first: Any, stop: Any) -> bool:
    """Whether a class is one of the right ones."""
    found = False
    for k in range(first, stop):
        found |= classes[k] == c
    return found


@kernel
def by_margins(
    n: int,
    firsts: NDArray[np.int64],
    start_b: int,
    margin: Margin,
    alone: NDArray[np.uint8],
    hits: NDArray[np.int16],
    converted: NDArray[np.int16],
    undecided: NDArray[np.uint8],
) -> None:
    """Decide one example of the pairs of A models with B: no branches, so that it is a loop over vectors.

    Parameters
    ----------
    n : int
        The example.
    firsts : (A,) int64
        First models.
    start_b : int
        The first of the second models.
    margin, alone
        lead, short, most and rival, and 1 where the model alone is right, (n, M) each.
    hits, converted : (A, B) int16, added to
        What is right for sure, and that where exactly one of the two is so alone.
    undecided : (A, B or more) uint8, output
        1 where margins prove nothing.
    """
    lead, short, most, rival = margin
    others = slice(start_b, start_b + hits.shape[1])
    lead_b, short_b, most_b, rival_b = lead[n, others], short[n, others], most[n, others], rival[n, others]
    alone_b = alone[n, others]
    for i in range(len(firsts)):
        a = firsts[i]
        lead_a, short_a, most_a, rival_a, alone_a = (
            lead[n, a],
            short[n, a],
            most[n, a],
            rival[n, a],
            alone[n, a],
        )
        for j in range(len(lead_b)):
            right = np.int16(lead_a + lead_b[j]) > 0
            wrong = (np.int16(short_a + most_b[j]) < 0) | (np.int16(short_b[j] + most_a) < 0)
            wrong |= (np.int16(short_a + short_b[j]) < 0) & (rival_a == rival_b[j])
            undecided[i, j] = not (right | wrong)
            hits[i, j] += np.int16(right)
            converted[i, j] += np.int16(right & (alone_a != alone_b[j]))
