"""Brute force by torch: all classes of all candidates at every step, from what lies on a device.

At the speed of the device's memory where everything fits; what does not is read from the store and sent again
in every step. Integers are those of numba, so that results are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.kernels import probabilities as kernel
from dissensus.kernels import torch_probabilities as twin
from dissensus.run.devices import free_bytes
from dissensus.run.memory import told
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows
from dissensus.store.truth import Truth

from .combine import Combine
from .gram import Gram
from .running import Block, Indices, Integers, leading
from .weights import Weights

BLOCK_BYTES = 1 << 28  # values of all candidates that are made at a time


@dataclass(frozen=True)
class DeviceBlock:
    """Rows start:stop of the chosen rows: values of every candidate, (M, stop - start, C), on the device."""

    start: int
    stop: int
    q: Any


class DeviceScores:
    """Candidates on chosen rows, on a device: see `Scores`.

    Parameters
    ----------
    way : Combine
        Of probabilities or logits.
    store : Store
    model_ids : sequence of str
        Candidates, in tie-breaking order.
    rows : (n,) intp
        Sorted rows of the store.
    temperatures : mapping of str to float
        Temperature of each model.
    device : torch.device
    budget_bytes : int, optional
        Memory of the device to use; by default three quarters of what is free there, half on a processor.

    Raises
    ------
    ArgumentError
        Not even the sum of members fits.
    """

    def __init__(
        self,
        way: Combine,
        store: Store,
        model_ids: Sequence[str],
        rows: Rows,
        temperatures: Mapping[str, float],
        device: Any,
        budget_bytes: int | None = None,
    ) -> None:
        self.metrics, self.truth, self.n_classes = way.metrics, store.truth.take(rows), store.n_classes
        self.device, self._rows = device, rows
        self.of_logits = "nll" not in way.metrics
        self._logits = [store.logits(m) for m in model_ids]
        self._codes = kernel.dtype_of_codes(store.dtype)
        tables = kernel.scaled_logits if self.of_logits else kernel.exponentials
        self._tables = [tables(self._codes, temperatures[m]) for m in model_ids]
        self.right = twin.sent(_padded(self.truth), device)
        free = free_bytes(device) if budget_bytes is None else budget_bytes
        row_bytes = len(self._logits) * self.n_classes * (8 if self.of_logits else 4)
        self._step = max(1, min(BLOCK_BYTES // row_bytes, len(rows)))
        left = free - self._sum_bytes - 3 * row_bytes * self._step  # a block, and what it is made of
        if left < 0 and budget_bytes is None:
            raise ArgumentError(
                f"device {str(device)!r} has {told(free)} free, and the sum of members with one block needs "
                f"{told(free - left)}: select on fewer examples, or leave device out"
            )
        self._keep = max(0, left) // (row_bytes * self._step)
        self._kept: list[DeviceBlock] = []
        self._gram: tuple[Weights, Gram] | None = None
        self.p_truth = np.empty((len(model_ids), 0 if self.of_logits else len(rows)))
        for _ in self.blocks():  # the first pass fills `p_truth`, and the device
            pass

    @property
    def _sum_bytes(self) -> int:
        return 8 * len(self._rows) * self.n_classes

    def running(self) -> DeviceRunning:
        """Return the sum of no members yet."""
        shape = len(self.truth), self.n_classes
        return DeviceRunning(self, twin.sent(np.zeros(shape, np.int64), self.device), 0)

    def gram(self, weights: Weights) -> Gram:
        """Weighted sums of products of probabilities, in one pass; those asked for last are kept."""
        if self._gram is None or self._gram[0] is not weights:
            self._gram = weights, Gram.of(self._here(), len(self._logits), self.truth, weights)
        return self._gram[1]

    def _here(self) -> Iterator[Block]:
        """All rows in order, as this process holds them."""
        for block in self.blocks():
            q = block.q.cpu().numpy().astype(np.int64) + twin.SHIFT
            yield Block(block.start, block.stop, q.astype(np.uint32))

    def blocks(self) -> Iterator[DeviceBlock]:
        """All rows in order, in blocks: those kept on the device, and the others made anew."""
        yield from self._kept
        done = self._kept[-1].stop if self._kept else 0
        for read in read_blocks(self._logits, self._rows[done:], self._step):
            start, stop = done + read.start, done + read.stop
            made = [self._made(m, start, stop, rows) for m, rows in enumerate(read.centred)]
            block = DeviceBlock(start, stop, twin.stacked(made))
            if len(self._kept) < self._keep:
                self._kept.append(block)
            yield block

    def _made(self, model: int, start: int, stop: int, centred: NDArray[np.floating]) -> Any:
        """Values of one model, and its probabilities of the truth: (stop - start, C)."""
        codes, table = kernel.codes_of(centred), self._tables[model]
        if self._codes != np.uint16:  # exponentials of float32 are those of this process's library
            return self._made_here(model, start, stop, codes)
        sent = twin.sent(codes.copy().view(np.int16), self.device)
        values = twin.sent(table, self.device)
        if self.of_logits:
            return twin.scaled_rows(sent, values)
        q, p_truth = twin.fixed_point(sent, values, self.right[start:stop])
        self.p_truth[model, start:stop] = p_truth.cpu().numpy()
        return q

    def _made_here(self, model: int, start: int, stop: int, codes: kernel.Codes) -> Any:
        if self.of_logits:
            values = np.empty(codes.shape, np.int64)
            kernel.scaled_rows(codes, self._tables[model], values)
            return twin.sent(values, self.device)
        q, p_truth = np.empty(codes.shape, np.uint32), np.empty(len(codes))
        offsets, classes = self.truth.offsets[start : stop + 1], self.truth.classes
        kernel.fixed_point(codes, self._tables[model], offsets, classes, q, p_truth)
        self.p_truth[model, start:stop] = p_truth
        return twin.sent((q.astype(np.int64) - twin.SHIFT).astype(np.int32), self.device)


class DeviceRunning:
    """Sum of members on a device, less 2**30 for each of probabilities: see `Running`."""

    def __init__(self, scores: DeviceScores, total: Any, size: int) -> None:
        self._scores, self._total, self._size = scores, total, size
        self.work: list[dict[str, int]] = []

    @property
    def total(self) -> Integers:
        """The sum, (n, C) int64."""
        shift = 0 if self._scores.of_logits else twin.SHIFT * self._size
        total: Integers = self._total.cpu().numpy() + shift
        return total

    @property
    def n_bytes(self) -> int:
        """Memory that a copy takes in this process."""
        return 0  # it lies on the device

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether its largest entry, the lowest class on ties, is a right one: (n,) bool."""
        first: NDArray[np.intp] = self._total.argmax(dim=1).cpu().numpy()
        return self._scores.truth.correct(first)

    def hits_if_added(self, candidates: Indices, weights: Integers) -> Integers:
        """Weight of the examples right with each candidate added, the lowest class on ties: (k,) int64."""
        device = self._scores.device
        asked, each = (twin.sent(a.astype(np.int64), device) for a in (candidates, weights))
        out = twin.sent(np.zeros(len(candidates), np.int64), device)
        for block in self._scores.blocks():
            rows = slice(block.start, block.stop)
            out += twin.hits_if_added(self._total[rows], block.q, asked, self._scores.right[rows], each[rows])
        hits: Integers = out.cpu().numpy()
        return hits

    def leaders(self, candidates: Indices, weights: Integers) -> Indices:
        """Those candidates for which `hits_if_added` is largest, in the order given."""
        return leading(candidates, self.hits_if_added(candidates, weights))

    def add(self, candidate: int) -> None:
        """Add a member."""
        for block in self._scores.blocks():
            self._total[block.start : block.stop] += block.q[candidate]
        self._size += 1

    def remove(self, candidate: int) -> None:
        """Take a member out again."""
        for block in self._scores.blocks():
            self._total[block.start : block.stop] -= block.q[candidate]
        self._size -= 1

    def copy(self) -> DeviceRunning:
        """Return another sum, the same for now."""
        return DeviceRunning(self._scores, self._total.clone(), self._size)


def _padded(truth: Truth) -> NDArray[np.int64]:
    """Right classes, (n, S), -1 where an example has fewer than S."""
    sizes = truth.sizes
    padded = np.full((len(truth), int(sizes.max(initial=1))), -1, np.int64)
    place = np.arange(len(truth.classes)) - np.repeat(truth.offsets[:-1], sizes)
    padded[np.repeat(np.arange(len(truth)), sizes), place] = truth.classes
    return padded
