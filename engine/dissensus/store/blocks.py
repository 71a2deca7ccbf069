"""Rows a:b of many models at once: the one door through which logits are read in bulk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .logits import Logits
from .splits import Rows

STEP_BYTES = 64 << 20  # stored rows of all models in one step


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
        Rows a block; by default whole blocks of the files, of all models together about 64 MiB.
    """
    if not len(logits) or not len(rows):
        return
    spans = _spans(logits[0], rows, len(logits), step)
    with ThreadPoolExecutor(1, thread_name_prefix="dissensus-prefetch") as pool:
        ahead = pool.submit(_prefetch, logits, rows[slice(*spans[0])])
        for number, (start, stop) in enumerate(spans):
            ahead.result()
            if number + 1 < len(spans):
                ahead = pool.submit(_prefetch, logits, rows[slice(*spans[number + 1])])
            yield Block(start, stop, [one.take(rows[start:stop]) for one in logits])


def _spans(first: Logits, rows: Rows, n_models: int, step: int | None) -> list[tuple[int, int]]:
    """Positions where blocks begin and end: at the files' own blocks, unless a step is given."""
    if step is not None:
        edges = [*range(0, len(rows), step), len(rows)]
        return list(itertools.pairwise(edges))
    size = first.block_rows
    together = max(1, STEP_BYTES // (n_models * size * first.row_bytes)) * size
    edges = np.unique(np.searchsorted(rows, np.arange(0, len(first) + together, together))).tolist()
    return list(itertools.pairwise(edges))


def _prefetch(logits: Sequence[Logits], rows: Rows) -> None:
    for one in logits:
        one.prefetch(int(rows[0]), int(rows[-1]) + 1)
