"""First classes of every row by value: a bound sifts the row, and only what reaches it is sorted.

Sorting whole rows of a thousand classes takes longer than all else that is done to store them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 1 << 17  # values that a processor's cache holds beside what is made of them
_GROUPS = 4  # groups of columns a rank, at least: fewer let too much pass
_CROWD = 4  # values a rank that reach a row's bound, from which on many are taken to be equal
_ABSENT = np.iinfo(np.int64).min

Values = NDArray[np.float32]


def top_classes(values: NDArray[Any], k: int) -> NDArray[np.int32]:
    """First k classes of each row of finite (n, C) values: the largest first, the lowest of equal ones."""
    out = np.empty((len(values), k), np.int32)
    step = max(1, BATCH // values.shape[1])
    for start in range(0, len(values), step):
        rows = np.ascontiguousarray(values[start : start + step], np.float32)
        out[start : start + step] = first_classes(rows, k)
    return out


def first_classes(rows: Values, k: int) -> NDArray[np.int32]:
    """`top_classes` of as many contiguous rows as a processor's cache holds, (n, k)."""
    n, n_classes = rows.shape
    bound = _lower_bound(rows, k)
    places = np.flatnonzero(rows >= bound)
    counts = np.bincount(places // n_classes, minlength=n)
    if n and counts.max() > _CROWD * k:
        places = np.flatnonzero((rows > bound) | _first_equal(rows, bound, k))
        counts = np.bincount(places // n_classes, minlength=n)
    keys = np.full((n, counts.max(initial=k)), _ABSENT)
    row, place = np.repeat([np.arange(n), np.cumsum(counts) - counts], counts, axis=1)
    keys[row, np.arange(len(places)) - place] = _keys(rows.reshape(-1)[places], places - row * n_classes)
    keys.sort(axis=1)
    classes: NDArray[np.int32] = (~keys[:, : -k - 1 : -1] & 0xFFFFFFFF).astype(np.int32)
    return classes


def _lower_bound(rows: Values, k: int) -> Values:
    """Value that at least k of each row reach, (n, 1): the k-th of the maxima of disjoint groups."""
    maxima = rows
    while maxima.shape[1] >= 2 * _GROUPS * k:
        half = maxima.shape[1] // 2
        folded = np.maximum(maxima[:, :half], maxima[:, half : 2 * half])
        if maxima.shape[1] % 2:
            np.maximum(folded[:, 0], maxima[:, -1], out=folded[:, 0])
        maxima = folded
    place = maxima.shape[1] - k
    return np.partition(maxima, place, axis=1)[:, place : place + 1]


def _first_equal(rows: Values, bound: Values, k: int) -> NDArray[np.bool_]:
    """The first k values of each row that equal its bound: no other of them can be among the first k."""
    equal = rows == bound
    first: NDArray[np.bool_] = equal & (np.cumsum(equal, axis=1) <= k)
    return first


def _keys(values: Values, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integers in the order of the values, those of equal ones in the opposite order of the classes."""
    bits = (values + np.float32(0)).view(np.int32)  # -0 is 0
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (ascending.astype(np.int64) << 32) | (~classes & 0xFFFFFFFF)
