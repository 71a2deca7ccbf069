"""What is known of S, the running sum of members' values, from their views alone.

Of each example L classes of S are known within bounds, all others together up to one; the sums of the right
classes are exact. `bounds` keeps this up to date, `verdicts` decides by it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import borrowing_kernel

LISTED = 16  # classes of S that are known within bounds
NOTHING = -(2**62)  # of a bound on no class at all
STRIPES = 64  # parts that examples are cut into, each gone through by one thread

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


@borrowing_kernel
def rank_of(c: Any, n: Any, m: Any, classes: Any) -> int:
    """Rank of a class in a view; -1 if it is not there."""
    for k in range(classes.shape[1]):
        if np.int64(classes[n, k, m]) == c:
            return k
    return -1


@borrowing_kernel
def above(value: Any, c: Any, best: Any, y: Any) -> Any:
    """Whether a class comes before another: more, or as much and lower."""
    return value > best or (value == best and c < y)


@borrowing_kernel
def among(c: Any, right_classes: Any, begin: Any, end: Any) -> bool:
    """Whether a class is a right one."""
    for k in range(begin, end):  # noqa: SIM110 (numba takes no generators)
        if right_classes[k] == c:
            return True
    return False
