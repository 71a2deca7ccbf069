"""A few models against all others, in one pass over the logits: confidences, and ensembles of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

Counts = NDArray[np.int64]
Q = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Against:
    """A anchors beside M models on n examples.

    Attributes
    ----------
    confidence : (M, n) float32
        Calibrated probability of each model's first class.
    right : (A, M) int64
        Examples that the mean of anchor's and model's probabilities gets right, the lowest class on ties.
    converted : (A, M) int64
        Those of them where exactly one of the two is right.
    gained, lost : (A, M) int64
        Examples right by the mean and not by the anchor, and the other way round.
    """

    confidence: NDArray[np.float32]
    right: Counts
    converted: Counts
    gained: Counts
    lost: Counts


def against(
    store: Store,
    model_ids: Sequence[str],
    anchors: Sequence[int],
    rows: Rows,
    temperatures: Mapping[str, float],
    advance: Callable[[float], None] = lambda part: None,
) -> Against:
    """Compare each of `anchors` (places in `model_ids`) with every model on some rows.

    Two members that put the same class first need no sum: it is first in the sum too.
    """
    correct = store.correct(model_ids)[:, rows]
    shape = len(anchors), len(model_ids)
    found = Against(
        np.empty((len(model_ids), len(rows)), np.float32), *(np.zeros(shape, np.int64) for _ in range(4))
    )
    calibrated = _Calibrated(store, model_ids, rows, temperatures)
    for block in read_blocks([store.logits(m) for m in model_ids], rows):
        span = slice(block.start, block.stop)
        truth = calibrated.truth.take(np.arange(span.start, span.stop))
        fixed = {a: calibrated.rows(a, span, block.centred[a]) for a in anchors}
        first = {a: fixed[a].argmax(axis=1) for a in anchors}
        for m, stored in enumerate(block.centred):
            q = fixed[m] if m in fixed else calibrated.rows(m, span, stored)
            top = first[m] if m in fixed else q.argmax(axis=1)
            found.confidence[m, span] = q[np.arange(len(q)), top] / np.float64(kernel.ONE)
            for place, a in enumerate(anchors):
                together = truth.correct(_first_of_sum(fixed[a], q, first[a], top))
                _count(found, place, m, together, correct[a, span], correct[m, span])
        advance((block.stop - block.start) / len(rows))
    return found


class _Calibrated:
    """Fixed-point probabilities of a store's rows."""

    def __init__(
        self, store: Store, model_ids: Sequence[str], rows: Rows, temperatures: Mapping[str, float]
    ) -> None:
        self.truth = store.truth.take(rows)
        codes = kernel.dtype_of_codes(store.dtype)
        self._tables = [kernel.exponentials(codes, temperatures[m]) for m in model_ids]

    def rows(self, model: int, span: slice, stored: NDArray[Any]) -> Q:
        q, p_truth = np.empty(stored.shape, np.uint32), np.empty(len(stored))
        offsets = self.truth.offsets[span.start : span.stop + 1]
        codes = kernel.codes_of(stored)
        kernel.fixed_point(codes, self._tables[model], offsets, self.truth.classes, q, p_truth)
        return q


def _first_of_sum(a: Q, b: Q, first_a: NDArray[np.intp], first_b: NDArray[np.intp]) -> NDArray[np.intp]:
    """Lowest class of the largest sum, (n,); the summands' own are given."""
    first = first_a.copy()
    rows = np.flatnonzero(first_a != first_b)
    first[rows] = (a[rows].astype(np.uint64) + b[rows]).argmax(axis=1)
    return first


def _count(
    found: Against,
    place: int,
    model: int,
    together: NDArray[np.bool_],
    anchor: NDArray[np.bool_],
    other: NDArray[np.bool_],
) -> None:
    found.right[place, model] += together.sum()
    found.converted[place, model] += (together & (anchor != other)).sum()
    found.gained[place, model] += (together & ~anchor).sum()
    found.lost[place, model] += (anchor & ~together).sum()
