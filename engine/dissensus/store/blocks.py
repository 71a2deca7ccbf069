"""Rows a:b of many models at once: the one door through which logits are read in bulk."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .buffers import Buffers
from .files import expect_bulk
from .logits import Logits
from .splits import Rows

_READERS = max((os.cpu_count() or 1) - 1, 1)  # one processor is left to whoever asks for the blocks
_AHEAD = 2
_BUDGET_BYTES = 128 << 20  # of buffers; what has none is checked and mapped


@dataclass(frozen=True)
class Block:
    """Some examples of every model asked for.

    Attributes
    ----------
    start, stop : int
        Positions among the rows asked for.
    centred : list of (stop - start, C) arrays
        Stored rows of each model, read-only: logit - row maximum in the store's dtype. No copies of what was
        read where the rows lie side by side in one block.
    """

    start: int
    stop: int
    centred: list[NDArray[Any]]


def read_blocks(logits: Sequence[Logits], rows: Rows, step: int | None = None) -> Iterator[Block]:
    """Go through rows of models block by block, the next ones read and verified in threads meanwhile.

    Parameters
    ----------
    logits : sequence of Logits
        Models to read.
    rows : (n,) intp
        Sorted row numbers.
    step : int, optional
        Rows a block; by default the blocks of the files, whose rows are then given without a copy.
    """
    if not len(logits) or not len(rows):
        return
    spans = [slice(*span) for span in _spans(logits[0], rows, step)]
    expect_bulk(sum(one.n_bytes for one in logits) * len(rows) // len(logits[0]))
    buffers = Buffers(max(one.longest for one in logits), _BUDGET_BYTES)
    stripes = [_Stripe(logits, rows[span], buffers) for span in spans]
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="dissensus-blocks")
    try:
        for stripe in stripes[:_AHEAD]:
            stripe.start(pool)
        for place, span in enumerate(spans):
            if place + _AHEAD < len(spans):
                stripes[place + _AHEAD].start(pool)
            yield Block(span.start, span.stop, stripes[place].finish())
    finally:  # whoever has enough, or met damage, waits for what is under way and for nothing else
        for stripe in stripes:
            stripe.drop()
        pool.shutdown(cancel_futures=True)


class _Stripe:
    """A block of every model, read by whoever has time: the threads ahead, then the one that waits for it."""

    def __init__(self, logits: Sequence[Logits], rows: Rows, buffers: Buffers) -> None:
        self._logits, self._rows, self._buffers = logits, rows, buffers
        self._left = deque(range(len(logits)))
        self._found: dict[int, NDArray[Any]] = {}
        self._helpers: list[Future[None]] = []

    def start(self, pool: Executor) -> None:
        """Let the threads of a pool read it."""
        self._helpers = [pool.submit(self._read) for _ in range(_READERS)]

    def finish(self) -> list[NDArray[Any]]:
        """Read what is left, wait for what the threads have under way, and give all of it away."""
        self._read()
        for helper in self._helpers:
            helper.result()
        found, self._found = self._found, {}
        return [found[place] for place in range(len(found))]

    def drop(self) -> None:
        """Let nobody begin with what is left."""
        self._left.clear()

    def _read(self) -> None:
        while True:
            try:
                place = self._left.popleft()  # asking first would leave another thread time to take the last
            except IndexError:
                return
            self._found[place] = self._logits[place].fetch(self._rows, self._buffers)


def _spans(first: Logits, rows: Rows, step: int | None) -> list[tuple[int, int]]:
    """Positions where blocks begin and end: at the files' own blocks, unless a step is given."""
    if step is not None:
        edges = [*range(0, len(rows), step), len(rows)]
        return list(itertools.pairwise(edges))
    size = first.block_rows
    edges = np.unique(np.searchsorted(rows, np.arange(0, len(first) + size, size))).tolist()
    return list(itertools.pairwise(edges))
