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
    buffers = Buffers(max(one.longest for one in logits), _BUDGET_BYTES)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="dissensus-blocks") as pool:
        ahead = deque(_fetch(pool, logits, rows[span], buffers) for span in spans[:_AHEAD])
        for span, later in itertools.zip_longest(spans, spans[_AHEAD:]):
            shares = [future.result() for future in ahead.popleft()]
            if later:
                ahead.append(_fetch(pool, logits, rows[later], buffers))
            yield Block(span.start, span.stop, _in_order(shares, len(logits)))


def _fetch(
    pool: Executor, logits: Sequence[Logits], rows: Rows, buffers: Buffers
) -> list[Future[list[NDArray[Any]]]]:
    """Read a block of every model, in as many shares as there are threads: a task a model costs too much."""
    shares = min(_READERS, len(logits))

    def share(number: int) -> list[NDArray[Any]]:
        return [one.fetch(rows, buffers) for one in logits[number::shares]]

    return [pool.submit(share, number) for number in range(shares)]


def _in_order(shares: list[list[NDArray[Any]]], n: int) -> list[NDArray[Any]]:
    """Put together what `_fetch` dealt out."""
    return [shares[place % len(shares)][place // len(shares)] for place in range(n)]


def _spans(first: Logits, rows: Rows, step: int | None) -> list[tuple[int, int]]:
    """Positions where blocks begin and end: at the files' own blocks, unless a step is given."""
    if step is not None:
        edges = [*range(0, len(rows), step), len(rows)]
        return list(itertools.pairwise(edges))
    size = first.block_rows
    edges = np.unique(np.searchsorted(rows, np.arange(0, len(first) + size, size))).tolist()
    return list(itertools.pairwise(edges))
