"""What candidates say on chosen rows, block by block: calibrated probabilities, or one vote an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.run.memory import available_bytes
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.truth import Truth

Q = NDArray[np.uint32]
BLOCK_BYTES = 64 << 20  # probabilities of all candidates on one block of rows


@dataclass(frozen=True)
class Block:
    """Rows ``start:stop`` of the chosen rows.

    Attributes
    ----------
    start, stop : int
        Positions among the chosen rows.
    q : (M, stop - start, C) uint32
        Fixed-point probabilities of every candidate; 1.0 for the class voted for.
    """

    start: int
    stop: int
    q: Q


class Scores(Protocol):
    """Candidates on chosen rows, as selection compares them.

    Attributes
    ----------
    metrics : tuple of str
        Metrics that these scores have.
    truth : Truth
        Right classes of the chosen rows, none of them empty.
    n_classes : int
        Number of classes C.
    p_truth : (M, n) float64
        Probability of the right classes together; (M, 0) where "nll" is not among the metrics.
    """

    metrics: ClassVar[tuple[str, ...]]
    truth: Truth
    n_classes: int
    p_truth: NDArray[np.float64]

    def hits_if_added(self, total: NDArray[np.int64]) -> NDArray[np.int64]:
        """Examples right with each candidate added to a sum of q, the lowest class on ties: (M,) int64."""

    def add_to(self, total: NDArray[np.int64], candidate: int) -> None:
        """Add a candidate's q on all rows to a sum, (n, C)."""


class MemberScores:
    """Probabilities of some models on some rows of a store.

    Parameters
    ----------
    store : Store
        Where the logits lie.
    model_ids : sequence of str
        Candidates, in tie-breaking order.
    rows : (n,) intp
        Sorted rows of the store.
    temperatures : mapping of str to float
        Temperature of each model.
    budget_bytes : int, optional
        Memory for probabilities kept between passes; what does not fit is computed anew in each. A quarter of
        what is available by default.

    Attributes
    ----------
    metrics, truth, n_classes, p_truth
        As in `Scores`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "nll")

    def __init__(
        self,
        store: Store,
        model_ids: Sequence[str],
        rows: NDArray[np.intp],
        temperatures: Mapping[str, float],
        budget_bytes: int | None = None,
    ) -> None:
        self.truth = store.truth.take(rows)
        self.n_classes = store.n_classes
        self._rows = rows
        self._logits = [store.logits(m) for m in model_ids]
        self._tables = [kernel.exponentials(_codes_dtype(store), temperatures[m]) for m in model_ids]
        self.p_truth = np.empty((len(self._logits), len(rows)))
        row_bytes = len(self._logits) * store.n_classes * 4
        self._step = max(1, BLOCK_BYTES // row_bytes)
        budget = available_bytes() // 4 if budget_bytes is None else budget_bytes
        self._keep = budget // (row_bytes * self._step)
        self._kept: list[Block] = []
        for _ in self.blocks():  # the first pass fills `p_truth`
            pass

    def blocks(self) -> Iterator[Block]:
        """All rows in order, in blocks."""
        yield from self._kept
        done = self._kept[-1].stop if self._kept else 0
        for read in read_blocks(self._logits, self._rows[done:], self._step):
            block = self._make(done + read.start, done + read.stop, read.centred)
            if len(self._kept) < self._keep:
                self._kept.append(block)
            yield block

    def hits_if_added(self, total: NDArray[np.int64]) -> NDArray[np.int64]:
        """Examples right with each candidate added to a sum of q: (M,) int64. One pass over probabilities."""
        out = np.zeros(len(self.p_truth), np.int64)
        offsets, classes = self.truth.offsets, self.truth.classes
        for block in self.blocks():
            rows, ends = slice(block.start, block.stop), slice(block.start, block.stop + 1)
            kernel.hits_if_added(total[rows], block.q, offsets[ends], classes, out)
        return out

    def add_to(self, total: NDArray[np.int64], candidate: int) -> None:
        """Add a candidate's q on all rows to a sum, (n, C)."""
        for block in self.blocks():
            total[block.start : block.stop] += block.q[candidate]

    def _make(self, start: int, stop: int, centred: Sequence[NDArray[Any]]) -> Block:
        q = np.empty((len(self._logits), stop - start, self.n_classes), np.uint32)
        offsets, classes = self.truth.offsets[start : stop + 1], self.truth.classes
        for m, (rows, table) in enumerate(zip(centred, self._tables, strict=True)):
            codes = kernel.codes_of(rows)
            kernel.fixed_point(codes, table, offsets, classes, q[m], self.p_truth[m, start:stop])
        return Block(start, stop, q)


def _codes_dtype(store: Store) -> np.dtype[Any]:
    return np.dtype(np.uint16 if store.dtype == "float16" else np.float32)


class VoteScores:
    """Votes of some models on some rows of a store: all of the weight on the top-1 class.

    Parameters
    ----------
    store : Store
        Where the predictions lie.
    model_ids : sequence of str
        Candidates, in tie-breaking order; hard labels are enough.
    rows : (n,) intp
        Sorted rows of the store.

    Attributes
    ----------
    metrics, truth, n_classes, p_truth
        As in `Scores`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(self, store: Store, model_ids: Sequence[str], rows: NDArray[np.intp]) -> None:
        self.truth = store.truth.take(rows)
        self.n_classes = store.n_classes
        self.p_truth = np.empty((len(model_ids), 0))
        self._top1 = np.empty((len(model_ids), len(rows)), np.int32)
        for m, model_id in enumerate(model_ids):
            self._top1[m] = store.top1([model_id])[0, rows]

    def hits_if_added(self, total: NDArray[np.int64]) -> NDArray[np.int64]:
        """Examples right with each candidate's votes added: (M,) int64.

        One vote more can only bring its own class to the front: the largest count and the lowest class that
        has it are all that must be known of the others, whatever the number of classes.
        """
        rows, first = np.arange(len(total)), total.argmax(axis=1)
        most = total[rows, first]
        out = np.empty(len(self._top1), np.int64)
        for m, vote in enumerate(self._top1):
            count = total[rows, vote] + kernel.ONE
            ahead = (count > most) | ((count == most) & (vote < first))
            out[m] = self.truth.correct(np.where(ahead, vote, first)).sum()
        return out

    def add_to(self, total: NDArray[np.int64], candidate: int) -> None:
        """Add a candidate's q on all rows to a sum, (n, C)."""
        total[np.arange(len(total)), self._top1[candidate]] += kernel.ONE
