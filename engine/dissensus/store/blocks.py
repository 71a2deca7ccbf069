"""Rows a:b of many models at once: the one door through which logits are read in bulk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
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
    """Go through rows of models block by block; the disk is asked for the next ones before these are given.

    Checksums are computed here, in the thread that reads: handing blocks to others and back took longer.

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
    for (start, stop), after in itertools.zip_longest(spans, spans[1:]):
        for one in logits if after else ():
            one.read_ahead(int(rows[after[0]]), int(rows[after[1] - 1]) + 1)
        yield Block(start, stop, [one.take(rows[start:stop]) for one in logits])


def _spans(first: Logits, rows: Rows, step: int | None) -> list[tuple[int, int]]:
    """Positions where blocks begin and end: at the files' own blocks, unless a step is given."""
    if step is not None:
        edges = [*range(0, len(rows), step), len(rows)]
        return list(itertools.pairwise(edges))
    size = first.block_rows
    edges = np.unique(np.searchsorted(rows, np.arange(0, len(first) + size, size))).tolist()
    return list(itertools.pairwise(edges))
