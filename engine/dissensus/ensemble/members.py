"""What candidates say on chosen rows, block by block: calibrated probabilities, or one vote an example."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.run.memory import available_bytes
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.truth import Truth

from .certified import CertifiedRunning, running_bytes
from .gram import Gram
from .running import Block, FullRunning, Running, VoteRunning
from .views import ROWS as VIEW_ROWS
from .views import Views, views_bytes
from .weights import Weights

BLOCK_BYTES = 64 << 20  # probabilities of all candidates on one block of rows


class Scores(Protocol):
    """Candidates on chosen rows, as selection compares them.

    Attributes
    ----------
    truth : Truth
        Right classes of the chosen rows, none of them empty.
    n_classes : int
        Number of classes C.
    p_truth : (M, n) float64
        Probability of the right classes together; (M, 0) where "nll" is not among the metrics.
    """

    truth: Truth
    n_classes: int
    p_truth: NDArray[np.float64]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that these scores have."""

    def gram(self, weights: Weights) -> Gram:
        """Weighted sums of products of probabilities, where "brier" is among the metrics."""

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
        Memory for views and the running sum; half of what is available by default. Where they do not fit,
        every step goes through all probabilities, as many as fit in half of this kept between passes.

    Attributes
    ----------
    metrics, truth, n_classes, p_truth
        As in `Scores`.
    views : Views or None
        First classes of all candidates on all rows, where they fit.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "nll", "balanced_accuracy", "brier")
    floor = 0
    _of_logits: ClassVar[bool] = False
    _dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint32)
    _table = staticmethod(kernel.exponentials)

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
        self._tables = [self._table(kernel.dtype_of_codes(store.dtype), temperatures[m]) for m in model_ids]
        budget = available_bytes() // 2 if budget_bytes is None else budget_bytes
        needed = views_bytes(len(model_ids), self.truth, self.n_classes, self._of_logits)
        needed += running_bytes(self.truth, self.n_classes)
        row_bytes = len(self._logits) * store.n_classes * self._dtype.itemsize
        self._step = max(1, BLOCK_BYTES // row_bytes)
        self._keep = budget // 2 // (row_bytes * self._step)
        self._kept: list[Block] = []
        self._views: Views | None = None
        self._gram: tuple[Weights, Gram] | None = None
        self.p_truth = np.empty((len(rows), 0 if self._of_logits else len(model_ids))).T
        if needed <= budget:
            self._views = self._viewed(store, model_ids, temperatures)
            self.p_truth = self._views.p_truth.T
        elif not self._of_logits:
            for _ in self.blocks():  # the first pass fills `p_truth`
                pass

    def _viewed(self, store: Store, model_ids: Sequence[str], temperatures: Mapping[str, float]) -> Views:
        return Views.of(store, model_ids, self._rows, temperatures)

    @property
    def views(self) -> Views:
        """First classes of all candidates on all rows."""
        if self._views is None:
            raise AssertionError("asked for views that were too large")
        return self._views

    def running(self) -> Running:
        """Return the sum of no members yet."""
        return FullRunning(self) if self._views is None else CertifiedRunning(self)

    def rows(self, candidate: int, places: NDArray[np.intp]) -> NDArray[Any]:
        """Fixed-point values of a candidate on some rows, by ascending place: (r, C)."""
        codes = kernel.codes_of(self._logits[candidate].take(self._rows[places]))
        values = np.empty(codes.shape, self._dtype)
        self._evaluate(codes, self._tables[candidate], values)
        return values

    def _evaluate(self, codes: kernel.Codes, table: kernel.Table, out: NDArray[Any]) -> None:
        kernel.fixed_point_rows(codes, table, out)

    def gram(self, weights: Weights) -> Gram:
        """Weighted sums of products of probabilities, in one pass; those asked for last are kept."""
        if self._gram is None or self._gram[0] is not weights:
            self._gram = weights, Gram.of(self.blocks(), len(self._logits), self.truth, weights)
        return self._gram[1]

    def blocks(self) -> Iterator[Block]:
        """All rows in order, in blocks."""
        yield from self._kept
        done = self._kept[-1].stop if self._kept else 0
        for read in read_blocks(self._logits, self._rows[done:], self._step):
            block = self._make(done + read.start, done + read.stop, read.centred)
            if len(self._kept) < self._keep:
                self._kept.append(block)
            yield block

    def _make(self, start: int, stop: int, centred: Sequence[NDArray[Any]]) -> Block:
        q = np.empty((len(self._logits), stop - start, self.n_classes), np.uint32)
        offsets, classes = self.truth.offsets[start : stop + 1], self.truth.classes
        p_truth = np.empty(stop - start)
        for m, (rows, table) in enumerate(zip(centred, self._tables, strict=True)):
            kernel.fixed_point(kernel.codes_of(rows), table, offsets, classes, q[m], p_truth)
            if self._views is None:
                self.p_truth[m, start:stop] = p_truth
        return Block(start, stop, q)


class LogitScores(MemberScores):
    """Logits of some models on some rows of a store, divided by temperatures: see `MemberScores`.

    Their mean is that of the stored rows, whose maximum is 0: a constant for each example and member changes
    no class. There is no probability of the truth without another softmax: no NLL.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy")
    _of_logits = True
    _dtype = np.dtype(np.int64)
    _table = staticmethod(kernel.scaled_logits)

    def __init__(
        self,
        store: Store,
        model_ids: Sequence[str],
        rows: NDArray[np.intp],
        temperatures: Mapping[str, float],
        budget_bytes: int | None = None,
    ) -> None:
        coldest = min(temperatures[m] for m in model_ids)
        self.floor = math.floor(kernel.LOWEST / coldest * kernel.LOGIT_ONE)
        super().__init__(store, model_ids, rows, temperatures, budget_bytes)
        self.p_truth = np.empty((len(model_ids), 0))

    def _viewed(self, store: Store, model_ids: Sequence[str], temperatures: Mapping[str, float]) -> Views:
        views = Views.empty(self.truth, self.n_classes, len(model_ids), logits=True)
        for block in read_blocks(self._logits, self._rows, VIEW_ROWS):
            for m, centred in enumerate(block.centred):
                codes = kernel.codes_of(centred)
                views.fill_logits(m, block.start, block.stop, codes, self._tables[m], self.floor)
        return views

    def _evaluate(self, codes: kernel.Codes, table: kernel.Table, out: NDArray[Any]) -> None:
        kernel.scaled_rows(codes, table, out)

    def _make(self, start: int, stop: int, centred: Sequence[NDArray[Any]]) -> Block:
        values = np.empty((len(self._logits), stop - start, self.n_classes), np.int64)
        for m, rows in enumerate(centred):
            kernel.scaled_rows(kernel.codes_of(rows), self._tables[m], values[m])
        return Block(start, stop, values)


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

    def gram(self, weights: Weights) -> Gram:
        """Votes are no probabilities."""
        raise NotImplementedError

    def running(self) -> VoteRunning:
        """Return the count of no votes yet."""
        return VoteRunning(self.truth, self.n_classes, self._top1)
