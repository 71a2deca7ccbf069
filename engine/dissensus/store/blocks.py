"""Rows a:b of many models at once: the one door through which logits are read in bulk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .logits import Logits
from .splits import Rows


@dataclass(frozen=True)
class Block:
    """Some examples of every model asked for.

    Attributes
    ----------
    start, stop : int
        Positions among the rows asked for.
    centred : list of (stop - start, C) arrays
        Stored rows of each model: logit - row maximum in the store's dtype. Maps of the file where the rows
        lie side by side in one block.
    """

    start: int
    stop: int
    centred: list[NDArray[Any]]


def read_blocks(logits: Sequence[Logits], rows: Rows, step: int | None = None) -> Iterator[Block]:
    """Go through rows of models block by block, the next ones read from the disk meanwhile.

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
    spans = _spans(logits[0], rows, step)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="dissensus-blocks") as pool:
        ahead: list[Future[None]] = []
        for (start, stop), after in itertools.zip_longest(spans, spans[1:]):
            for done in ahead:
                done.result()
            ahead = _fetch(pool, logits, rows[slice(*after)]) if after else []
            yield Block(start, stop, [one.take(rows[start:stop]) for one in logits])


def _fetch(pool: Executor, logits: Sequence[Logits], rows: Rows) -> list[Future[None]]:
    """Read and verify in threads what must come from the disk; what is in memory is quicker done in place."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    return [pool.submit(one.verify, first, last) for one in logits if not one.is_at_hand(first, last)]


def _spans(first: Logits, rows: Rows, step: int | None) -> list[tuple[int, int]]:
    """Positions where blocks begin and end: at the files' own blocks, unless a step is given."""
    if step is not None:
        edges = [*range(0, len(rows), step), len(rows)]
        return list(itertools.pairwise(edges))
    size = first.block_rows
    edges = np.unique(np.searchsorted(rows, np.arange(0, len(first) + size, size))).tolist()
    return list(itertools.pairwise(edges))
