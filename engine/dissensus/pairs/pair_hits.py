"""How often every two-member ensemble of a zoo is right: exact, in one pass over the logits.

Blocks of examples are turned into views, and these made wider by classes that pairs lack; they decide nearly
everything. The few pairs that they leave open are decided by the full rows of the same block, while it is at
hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.kernels import pair_ensembles as kernel
from dissensus.kernels import probabilities
from dissensus.kernels.pair_rows import WORD, decide_open, fill_rows
from dissensus.run.memory import available_bytes
from dissensus.run.progress import Progress
from dissensus.run.threads import available_threads
from dissensus.store.blocks import read_blocks

from .pair_views import COLUMNS, SOME, Block, Codes, Tables, columns_of, margins_of, no_columns, view_of

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel
    from dissensus.store.splits import Rows

TILE = 128  # models on a side: counts of a tile stay near the processor
BUDGET_BYTES = 256 << 20  # views, margins, columns and open bits of a block, and full rows to decide by
MOST_ROWS = 1024

Counts = NDArray[np.int64]
Needed = NDArray[np.uint8]  # (n, M), 1 where a row is


@dataclass(frozen=True)
class Work:
    """How the answers of all pairs on all examples were found.

    Attributes
    ----------
    margins, views, rows : int
        Decided by margins of the right class, by views with their columns, and by full rows.
    columns : int
        Classes that examples shared, over all of them.
    """

    margins: int = 0
    views: int = 0
    rows: int = 0
    columns: int = 0

    @property
    def total(self) -> int:
        """Answers found."""
        return self.margins + self.views + self.rows

    @property
    def share_of_rows(self) -> float:
        """Share that views left open."""
        return self.rows / self.total if self.total else 0.0


@dataclass
class _Tile:
    """Pairs of some models: where they start, what is counted, what is open in the block at hand."""

    a: int
    b: int
    hits: Counts
    converted: Counts
    open_bits: NDArray[np.uint64] = field(init=False)


class PairHits:
    """Counts right answers of all pairs of M models, block of examples by block.

    Parameters
    ----------
    n_models, n_classes : int
        Sizes.
    anchors : int, optional
        Only pairs with one of the first A models are counted; all by default.
    certify : bool
        False decides everything by full rows: the same counts, by far slower.
    threads : int, optional
        All processors by default.

    Attributes
    ----------
    right : (A, M) int64
        Examples that the ensemble of the row's and the column's model gets right.
    converted : (A, M) int64
        Those of them that exactly one of the two alone gets right.
    work : Work
        How they were decided; a pair counts once, with itself too.
    """

    def __init__(
        self,
        n_models: int,
        n_classes: int,
        *,
        anchors: int | None = None,
        certify: bool = True,
        threads: int | None = None,
    ) -> None:
        n_anchors = n_models if anchors is None else anchors
        self.right, self.converted = np.zeros((2, n_anchors, n_models), np.int64)
        self.work = Work()
        self._n_classes, self._certify = n_classes, certify
        self._threads = threads or available_threads()
        first, second = (
            [slice(*pair) for pair in pairwise([*range(0, n, TILE), n])] for n in (n_anchors, n_models)
        )
        self._tiles = [
            _Tile(a.start, b.start, self.right[a, b], self.converted[a, b])
            for i, a in enumerate(first)
            for b in second[i:]
        ]
        self._tiles.sort(key=lambda tile: tile.a == tile.b)  # the small ones last: threads end together

    def add(
        self,
        view: kernel.View,
        truth: kernel.Truth,
        codes: Sequence[Codes],
        tables: Tables,
        alone: NDArray[np.bool_],
    ) -> None:
        """Count a block of examples.

        Parameters
        ----------
        view
            From `view_of`, of all models on these examples.
        truth
            Offsets and classes of the right ones.
        codes, tables
            The rows that it was made from, (n, C) each, and the models' exponentials.
        alone : (M, n) bool
            What each model alone gets right.
        """
        ones = np.ascontiguousarray(alone.T).view(np.uint8)
        block = Block(view, truth, codes, tables, ones)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="dissensus-pairs") as pool:
            columns, viewed, needed = self._by_views(block, pool)
            self._by_rows(block, needed, pool)
        rows = sum(int(np.bitwise_count(tile.open_bits).sum()) for tile in self._tiles)
        anchors = len(self.right)
        total = len(block.ones) * (anchors * len(codes) - anchors * (anchors - 1) // 2)
        self.work = Work(
            self.work.margins + total - viewed - rows,
            self.work.views + viewed,
            self.work.rows + rows,
            self.work.columns + columns,
        )

    def _by_views(self, block: Block, pool: Executor) -> tuple[int, int, Needed]:
        """Count all that margins and views decide: columns, how much the views do, what else is needed."""
        margin, needed, anchors = margins_of(block), np.zeros(block.ones.shape, np.uint8), len(self.right)
        columns = columns_of(block, margin, anchors, pool) if self._certify else no_columns(block)

        def count(tile: _Tile) -> int:
            first, second = tile.hits.shape
            tile.open_bits = np.empty((len(needed), first, -(-second // WORD)), np.uint64)
            return kernel.count_tile(
                tile.a, tile.b, self._n_classes, self._certify, margin, block.ones, block.view, columns,
                block.truth, tile.hits, tile.converted, tile.open_bits, needed,
            )  # fmt: skip

        return len(columns.classes), sum(pool.map(count, self._tiles)), needed

    def _by_rows(self, block: Block, needed: Needed, pool: Executor) -> None:
        """Count what full rows decide: all that is open."""
        for rows, q, places in self._full_rows(block, needed, pool):

            def decide(tile: _Tile, rows: slice = rows, q: Any = q, places: Any = places) -> None:
                counted = tile.open_bits, tile.hits, tile.converted
                decide_open(
                    rows.start, rows.stop, tile.a, tile.b, q, places, block.ones, block.truth, *counted
                )

            list(pool.map(decide, self._tiles))

    def _full_rows(
        self, block: Block, needed: Needed, pool: Executor
    ) -> Iterator[tuple[slice, NDArray[np.uint32], NDArray[np.int64]]]:
        """Some examples at a time: which, the q of what is needed of them, and its places."""
        most = max(BUDGET_BYTES // 4 // (4 * self._n_classes), needed.shape[1])
        places = np.empty(needed.shape, np.int64)
        start, sums = 0, np.concatenate([[0], np.cumsum(needed.sum(axis=1, dtype=np.int64))])
        while start < len(needed):
            stop = int(np.searchsorted(sums, sums[start] + most, "right")) - 1
            here = [np.flatnonzero(column) + start for column in needed[start:stop].T]
            ends = np.cumsum([len(rows) for rows in here])
            q = np.empty((int(ends[-1]), self._n_classes), np.uint32)

            def fill(models: Any, here: Any = here, ends: Any = ends, q: Any = q) -> None:
                for m in models:
                    at = slice(ends[m] - len(here[m]), ends[m])
                    places[here[m], m] = np.arange(at.start, at.stop)
                    fill_rows(block.codes[m], block.tables[m], block.view.totals[:, m], here[m], q[at])

            filled = np.flatnonzero([len(rows) for rows in here])
            list(pool.map(fill, [filled[i : i + SOME] for i in range(0, len(filled), SOME)]))
            if len(q):
                yield slice(start, stop), q, places
            start = stop

    def finish(self) -> dict[str, Counts]:
        """`right` and `converted`, made symmetric, by the names of pair statistics."""
        for counts in (self.right, self.converted):
            lower = np.tril_indices(len(counts), -1)
            counts[lower] = counts.T[lower]
        return {"pair_right": self.right, "converted": self.converted}


def pair_hits(
    store: Store,
    models: Sequence[StoredModel],
    rows: Rows,
    temperatures: Mapping[str, float],
    correct: NDArray[np.bool_],
    *,
    anchors: int | None = None,
    confidence: NDArray[np.float32] | None = None,
    certify: bool = True,
    progress: bool = False,
) -> tuple[dict[str, Counts], Work]:
    """Count what the equal-weight mean of both members' probabilities gets right, for all pairs.

    Parameters
    ----------
    store : Store
        Its truth decides which classes are right.
    models : sequence of StoredModel
        M models of it, all with logits or probabilities.
    rows : (n,) intp
        Sorted rows to count, each with a right class.
    temperatures : mapping of str to float
        Temperature of each model.
    correct : (M, N) bool
        What each model alone gets right, of all rows of the store.
    anchors, certify
        See `PairHits`.
    confidence : (M, n) float32, optional, output
        Probability of each model's first class, which comes with the pass.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    dict
        "pair_right" and "converted", (A, M) int64, exact: sums are of q = rint(p * 2**31), and the ensemble
        predicts the lowest class of the largest sum.
    Work

    Raises
    ------
    ArgumentError
        The counts do not fit the memory there is.
    CorruptionError, ModelReplaced
    """
    dtype, own = probabilities.dtype_of_codes(store.dtype), [temperatures[m.model_id] for m in models]
    held = (
        2 * len({*own}) * probabilities.exponentials(dtype, 1.0).nbytes
    )  # twice while they are put together
    n_anchors = len(models) if anchors is None else anchors
    step = _step(len(models), n_anchors, len(rows), store.n_classes, held)
    hits = PairHits(len(models), store.n_classes, anchors=anchors, certify=certify)
    tables = Tables.at(dtype, own)
    with Progress(len(rows), "examples of pair ensembles", enabled=progress) as bar:
        for block in read_blocks([model.logits() for model in models], rows):
            for start in range(block.start, block.stop, step):
                stop = min(start + step, block.stop)
                here = slice(start - block.start, stop - block.start)
                codes = [probabilities.codes_of(stored[here]) for stored in block.centred]
                truth = store.truth.take(rows[start:stop])
                right = truth.offsets, truth.classes
                view = view_of(codes, tables, *right)
                if confidence is not None:
                    confidence[:, start:stop] = view.q[:, 0].T / np.float64(probabilities.ONE)
                hits.add(view, right, codes, tables, correct[:, rows[start:stop]])
                bar.advance(stop - start)
    return hits.finish(), hits.work


def _step(n_models: int, n_anchors: int, n_rows: int, n_classes: int, held: int) -> int:
    """Rows of a block within the budget; refuses counts that do not fit beside `held` bytes of tables."""
    n_pairs = n_anchors * (2 * n_models + TILE - n_anchors) // 2
    words = n_pairs * 8  # open bits of 64 examples
    row_bytes = n_models * (110 + 4 * COLUMNS) + words // WORD  # views, margins, columns and what is needed
    row_bytes += 4 * n_classes  # marks
    step = max(BUDGET_BYTES * 3 // 4 // row_bytes // WORD, 1) * WORD
    full = max(BUDGET_BYTES // 4, 4 * n_classes * n_models)  # rows to decide by: of one example at least
    needed = 5 * n_models * n_anchors * 8 + held + full + min(step, MOST_ROWS, n_rows) * row_bytes
    if needed > (there := available_bytes()):
        raise ArgumentError(
            f"ensembles of all pairs of {n_models:,} models need {needed / 1e9:,.1f} GB, "
            f"{there / 1e9:,.1f} GB are available: name fewer models (models=)"
        )
    return min(step, MOST_ROWS)
