"""Calibrated probabilities of candidates on chosen rows, block by block, within a memory budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.run.memory import available_bytes
from dissensus.store.catalog import Store

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
        Fixed-point probabilities of every candidate.
    """

    start: int
    stop: int
    q: Q


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
    truth : (M, n) float64
        Probability of the true class.
    labels : (n,) int32
        True classes.
    """

    def __init__(
        self,
        store: Store,
        model_ids: Sequence[str],
        rows: NDArray[np.intp],
        temperatures: Mapping[str, float],
        budget_bytes: int | None = None,
    ) -> None:
        self.labels = store.labels[rows]
        self.n_classes = store.n_classes
        self._rows = rows
        self._logits = [store.logits(m) for m in model_ids]
        self._tables = [kernel.exponentials(_codes_dtype(store), temperatures[m]) for m in model_ids]
        self.truth = np.empty((len(self._logits), len(rows)))
        row_bytes = len(self._logits) * store.n_classes * 4
        self._step = max(1, BLOCK_BYTES // row_bytes)
        budget = available_bytes() // 4 if budget_bytes is None else budget_bytes
        self._keep = budget // (row_bytes * self._step)
        self._kept: dict[int, Block] = {}
        for _ in self.blocks():  # the first pass fills `truth`
            pass

    def blocks(self) -> Iterator[Block]:
        """All rows in order, in blocks."""
        for number, start in enumerate(range(0, len(self._rows), self._step)):
            block = self._kept.get(number) or self._make(start, min(start + self._step, len(self._rows)))
            if number < self._keep:
                self._kept[number] = block
            yield block

    def _make(self, start: int, stop: int) -> Block:
        q = np.empty((len(self._logits), stop - start, self.n_classes), np.uint32)
        for m, (logits, table) in enumerate(zip(self._logits, self._tables, strict=True)):
            codes = kernel.codes_of(logits.take(self._rows[start:stop]))
            kernel.fixed_point(codes, table, self.labels[start:stop], q[m], self.truth[m, start:stop])
        return Block(start, stop, q)


def _codes_dtype(store: Store) -> np.dtype[Any]:
    return np.dtype(np.uint16 if store.dtype == "float16" else np.float32)
