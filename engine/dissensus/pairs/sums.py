"""Sums over examples and classes of products of two models' scores, straight from the store.

Each thread reads a few examples of all models, makes their scores, multiplies them and forgets them: N * C of
all models is never held. Sums are float32 over at most `DEPTH` columns and float64 beyond, of the same
columns in the same order whatever the threads: those of pieces are added up by blocks, of blocks by runs of
examples, and runs, which are also the tasks of a cluster, to the whole. With u = 2**-24 each entry, a sum
Σ x_i x_j, is so off by at most (DEPTH + 8) u Σ |x_i| |x_j|, 1.3e-4 of it; in practice by some 1e-6 of it,
since roundings cancel and the lanes of a vector are runs of their own. Roots and logarithms are shifted by
the mean of all models, since only differences matter, and as exact as before: 5 u of each score.

Probabilities are the softmax of what is stored, at temperature 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from dissensus.errors import ArgumentError
from dissensus.run.memory import available_bytes, told
from dissensus.run.threads import available_threads, in_order

from .parts import Part, Rows, Run, parts_of
from .summed import Floats, Sums, Wanted

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

RUN = 4096  # examples of a run, about
PIECE_BYTES = 16 << 20  # scores of a piece were they held: as stored a part of the third cache of a core
SLICE_BYTES = 1 << 20  # scores that are held: the second cache


def score_sums(
    store: Store,
    models: Sequence[StoredModel],
    rows: Rows,
    wanted: Collection[str],
    budget_bytes: int = PIECE_BYTES,
) -> Mapping[str, Floats]:
    """Sum for all pairs what is wanted of `PRODUCTS` and `TRUTH`, in one pass over the logits.

    Parameters
    ----------
    store : Store
        Its truth decides which class is right.
    models : sequence of StoredModel
        M models of it, all with logits or probabilities.
    rows : (n,) intp
        Sorted rows to sum over, of exactly one right class each where `TRUTH` is wanted.
    wanted : collection of str
        Names of statistics; others are passed over.
    budget_bytes : int
        Scores of one kind of a piece, of which each thread holds what is stored; at least of one example.

    Returns
    -------
    mapping of str to float64
        (M, M) by name of `PRODUCTS`; (M, 1) and (1, M) by those of `TRUTH`; "n_classes".

    Raises
    ------
    ArgumentError
        The sums do not fit the memory there is.
    CorruptionError, ModelReplaced
    """
    return grouped_score_sums(store, models, [rows], wanted, budget_bytes)[0]


def grouped_score_sums(
    store: Store,
    models: Sequence[StoredModel],
    groups: Sequence[Rows],
    wanted: Collection[str],
    budget_bytes: int = PIECE_BYTES,
) -> list[Mapping[str, Floats]]:
    """`score_sums` of each of several disjoint groups of sorted rows, in one pass over the logits."""
    asked, threads = Wanted.of(wanted), available_threads()
    step = piece_rows(len(models), store.n_classes, budget_bytes)
    totals = [Sums.none(asked, len(models)) for _ in groups]
    for found in summed_runs(store, models, runs(store, groups), asked, step, threads, held=3 * len(groups)):
        for group, sums in found.items():
            totals[group].add(sums)
    return [total.named(asked, len(models), store.n_classes) for total in totals]


def runs(store: Store, groups: Sequence[Rows]) -> Iterator[Run]:
    """Cut groups of rows where runs of the store's rows end: rows of each run by group, none empty.

    A run is of whole blocks of the files, `RUN` rows where these are smaller: the same whatever is asked.
    """
    size = max(1, RUN // store.block_rows) * store.block_rows
    for start in range(0, store.n_examples, size):
        ends = ((group, *np.searchsorted(rows, (start, start + size))) for group, rows in enumerate(groups))
        found = {group: groups[group][first:last] for group, first, last in ends if first < last}
        if found:
            yield found


def piece_rows(n_models: int, n_classes: int, budget_bytes: int = PIECE_BYTES) -> int:
    """Rows of a block between two lines along which it is cut into pieces."""
    return max(1, budget_bytes // (n_models * n_classes * 4))


def summed_runs(
    store: Store,
    models: Sequence[StoredModel],
    runs: Iterable[Run],
    asked: Wanted,
    step: int,
    threads: int,
    held: int = 3,
) -> Iterator[dict[int, Sums]]:
    """Sum over runs, by group, in their order; the same on any number of threads.

    Refused where so many sums as are `held`, and those of the threads, do not fit the memory there is.
    """
    step = min(step, store.block_rows)
    stored_bytes = step * np.dtype(store.dtype).itemsize
    scores_bytes = len(asked.kinds) * slice_rows(asked, len(models), store.n_classes) * 4
    thread_bytes = len(models) * store.n_classes * (stored_bytes + scores_bytes)
    require_room(len(models), len(asked.products) * (held + 4 * threads), threads * thread_bytes)
    makers: SimpleQueue[_Maker] = SimpleQueue()
    for _ in range(threads):
        makers.put(_Maker(asked, len(models), step, store))

    def summed(part: Part) -> tuple[Part, Sums]:
        maker = makers.get()
        try:
            return part, maker.sums(part)
        finally:
            makers.put(maker)

    found = in_order(summed, parts_of(store, models, runs, step, threads), threads)
    for _, of_run in groupby(found, lambda item: item[0].run):
        blocks = (
            _added(((part.group, sums) for part, sums in of_block), asked, len(models))
            for _, of_block in groupby(of_run, lambda item: item[0].block)
        )
        yield _added((item for block in blocks for item in block.items()), asked, len(models))


def _added(found: Iterable[tuple[int, Sums]], asked: Wanted, n_models: int) -> dict[int, Sums]:
    """Add up what is found of each group."""
    totals: dict[int, Sums] = {}
    for group, sums in found:
        totals.setdefault(group, Sums.none(asked, n_models)).add(sums)
    return totals


def sums_bytes(n_models: int, wanted: Collection[str]) -> int:
    """Memory that the sums of one group keep."""
    return 3 * (len(Wanted.of(wanted).products) + 1) * n_models**2 * 8  # of the whole, a run and a block


class _Maker:
    """Sums parts, in memory that it uses again."""

    def __init__(self, asked: Wanted, n_models: int, step: int, store: Store) -> None:
        from dissensus.kernels.gram import padded
        from dissensus.kernels.score_products import KINDS

        self._asked, self._n_models = asked, n_models
        self._kinds = np.array([KINDS.index(kind) for kind in asked.kinds], np.int64)
        places = [[asked.kinds.index(kind) for kind in kinds] for kinds in asked.products.values()]
        self._products = np.array(places, np.int64).reshape(-1, 2)
        self._slice = slice_rows(asked, n_models, store.n_classes)
        size = padded(n_models) * self._slice * store.n_classes
        self._scores = np.empty((len(asked.kinds), size), np.float32)
        self._stored = np.empty(n_models * step * store.n_classes, np.dtype(store.dtype))

    def sums(self, part: Part) -> Sums:
        """Sum over one part, piece by piece, on the thread that calls."""
        from dissensus.kernels.probabilities import codes_of
        from dissensus.kernels.score_products import add_score_products

        total = Sums.none(self._asked, self._n_models)
        for stored, right in part.pieces(self._stored):
            of_piece = Sums.none(self._asked, self._n_models)
            how = self._kinds, self._products, self._slice, self._scores
            add_score_products(codes_of(stored), right, *how, of_piece.products, of_piece.truth)
            total.add(of_piece)
        return total


def slice_rows(asked: Wanted, n_models: int, n_classes: int) -> int:
    """Examples whose scores a thread holds at a time."""
    return max(1, SLICE_BYTES // (max(1, len(asked.kinds)) * n_models * n_classes * 4))


def require_room(n_models: int, n_sums: int, block_bytes: int) -> None:
    """Refuse sums that do not fit."""
    needed, there = (n_sums + 1) * n_models**2 * 8 + block_bytes, available_bytes()
    if needed > there:
        raise ArgumentError(
            f"measures of probabilities of {n_models:,} models need {told(needed)} for sums of all "
            f"pairs and a block of scores, {told(there)} are available: name fewer models (models=)"
        )
