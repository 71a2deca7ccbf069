"""What candidates say on chosen rows, block by block: calibrated probabilities, or one vote an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.run.memory import available_bytes
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.truth import Truth

from .running import Block, FullRunning, Running, VoteRunning

BLOCK_BYTES = 64 << 20  # probabilities of all candidates on one block of rows


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

    def running(self) -> Running:
        """Return the sum of no members yet."""


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

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "nll", "balanced_accuracy")

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
        self.p_truth = np.empty((len(rows), len(self._logits))).T  # of one example side by side
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

    def running(self) -> FullRunning:
        """Return the sum of no members yet."""
        return FullRunning(self)

    def _make(self, start: int, stop: int, centred: Sequence[NDArray[Any]]) -> Block:
        q = np.empty((len(self._logits), stop - start, self.n_classes), np.uint32)
        offsets, classes = self.truth.offsets[start : stop + 1], self.truth.classes
        p_truth = np.empty(stop - start)
        for m, (rows, table) in enumerate(zip(centred, self._tables, strict=True)):
            kernel.fixed_point(kernel.codes_of(rows), table, offsets, classes, q[m], p_truth)
            self.p_truth[m, start:stop] = p_truth
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

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy")

    def __init__(self, store: Store, model_ids: Sequence[str], rows: NDArray[np.intp]) -> None:
        self.truth = store.truth.take(rows)
        self.n_classes = store.n_classes
        self.p_truth = np.empty((len(model_ids), 0))
        self._top1 = np.empty((len(model_ids), len(rows)), np.int32)
        for m, model_id in enumerate(model_ids):
            self._top1[m] = store.top1([model_id])[0, rows]

    def running(self) -> VoteRunning:
        """Return the count of no votes yet."""
        return VoteRunning(self.truth, self.n_classes, self._top1)
