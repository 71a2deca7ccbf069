"""What one thread sums at a time: examples of one block and one group, of all models.

A thread reads the blocks of a large store itself, strip by strip. Where there are few blocks, or several
groups share them, or they are packed, blocks are read ahead and handed out in pieces. Pieces are the same
either way: the rows of a group between two of the lines that divide a block every so many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.store.blocks import read_blocks
from dissensus.store.strips import read_strips

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.logits import Logits
    from dissensus.store.reader import StoredModel

Rows = NDArray[np.intp]
Run = Mapping[int, Rows]  # sorted rows by group, of whole blocks if all are counted
Piece = tuple[NDArray[Any], NDArray[np.int64]]  # stored rows (M, n, C) and the right class of each example

BLOCKS_EACH = (
    4  # blocks that a thread is to get of a store to read them itself: the last ones leave some idle
)


@dataclass(frozen=True)
class Part:
    """Some examples of one group in one block.

    Attributes
    ----------
    run, block, group : int
        Where they are.
    right : (n,) int64
        Right class of each.
    """

    run: int
    block: int
    group: int
    right: NDArray[np.int64]

    def pieces(self, memory: NDArray[Any]) -> Iterator[Piece]:
        """Go through them, each piece in memory of the store's dtype that the next one overwrites."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Stored(Part):
    """A block that the thread reads itself."""

    logits: Sequence[Logits]
    rows: Rows
    step: int

    def pieces(self, memory: NDArray[Any]) -> Iterator[Piece]:
        for first, stored in read_strips(self.logits, self.block, self.step, memory):
            here = slice(*np.searchsorted(self.rows, (first, first + stored.shape[1])))
            places = self.rows[here] - first
            if 0 < len(places) < stored.shape[1]:
                stored = np.take(stored, places, axis=1)
            if len(places):
                yield stored, self.right[here]


@dataclass(frozen=True)
class _Read(Part):
    """One piece of a block that was read ahead."""

    centred: Sequence[NDArray[Any]]
    places: Rows

    def pieces(self, memory: NDArray[Any]) -> Iterator[Piece]:
        n, n_classes = len(self.places), self.centred[0].shape[1]
        codes = memory[: len(self.centred) * n * n_classes].reshape(len(self.centred), n, n_classes)
        for rows, out in zip(self.centred, codes, strict=True):
            np.take(rows, self.places, axis=0, out=out, mode="clip")  # no copy between
        yield codes, self.right


def parts_of(
    store: Store, models: Sequence[StoredModel], runs: Iterable[Run], step: int, threads: int
) -> Iterator[Part]:
    """Cut runs of examples into parts, those of one run and block side by side."""
    logits, right = [model.logits() for model in models], store.truth.first.astype(np.int64)
    read_itself = store.codec == "raw" and store.n_examples > BLOCKS_EACH * threads * store.block_rows
    for number, run in enumerate(runs):
        if read_itself and len(run) == 1:
            yield from _stored(number, run, logits, right, step)
        else:
            yield from _read(number, run, logits, right, step)


def _stored(
    number: int, run: Run, logits: Sequence[Logits], right: NDArray[np.int64], step: int
) -> Iterator[_Stored]:
    ((group, rows),) = run.items()
    blocks = rows // logits[0].block_rows
    edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(rows)]
    for start, stop in pairwise(edges):
        some, block = rows[start:stop], int(blocks[start])
        for one in logits:  # parts are made some time before their turn
            one.expect(block)
        yield _Stored(number, block, group, right[some], logits, some, step)


def _read(
    number: int, run: Run, logits: Sequence[Logits], right: NDArray[np.int64], step: int
) -> Iterator[_Read]:
    rows = np.concatenate([*run.values()])
    owner = np.repeat([*run], [len(some) for some in run.values()])
    order = np.argsort(rows, kind="stable")
    rows, owner = rows[order], owner[order]
    size = logits[0].block_rows
    for block in read_blocks(logits, rows):
        some, groups = rows[block.start : block.stop], owner[block.start : block.stop]
        lines = some % size // step
        for line in np.unique(lines).tolist():
            for group in np.unique(groups[lines == line]).tolist():
                places = np.flatnonzero((lines == line) & (groups == group))
                where = number, int(some[0]) // size, group
                yield _Read(*where, right[some[places]], block.centred, places)
