"""Sums over examples and classes of products of two models' scores, straight from the store.

For a piece of some examples, the scores of all models are (M, rows * C) float32, made and multiplied by one
thread; N * C of all models is never held. Sums are float32 over at most `DEPTH` columns and float64 beyond,
of the same columns in the same order whatever the threads: pieces are added up by runs of examples, and these
are, which are also the tasks of a cluster. With u = 2**-24 each entry, a sum Σ x_i x_j, is so off by at most
(DEPTH + 8) u Σ |x_i| |x_j|, 1.3e-4 of it; in practice by some 1e-6 of it, since roundings cancel and the
lanes of a vector are runs of their own. What is `SHIFTED` is as exact as it was before its shift: 5 u of each
score.

Probabilities are the softmax of what is stored, at temperature 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.run.memory import available_bytes, told
from dissensus.run.threads import available_threads, in_order
from dissensus.store.blocks import read_blocks

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

RUN = 4096  # examples of a run, about
PIECE_BYTES = 8 << 20  # scores of all models that a thread has in hand: a few times the second cache

# by statistic, the kinds of scores whose products it sums: left of the product, right of it
PRODUCTS = {
    "products": ("probability", "probability"),
    "root_products": ("root", "root"),
    "log_products": ("probability", "log"),
    "logit_products": ("logit", "logit"),
}
TRUTH = ("truth_i", "truth_j")  # sums of the probability of the right class, of the row's and column's model
SCORED = (*PRODUCTS, *TRUTH, "n_classes")
SHIFTED = ("root", "log")  # only differences of models matter: what all have in common would cost digits


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
        Scores that each thread holds; at least one example of all models is held.

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
    step = piece_rows(asked, len(models), store.n_classes, budget_bytes)
    totals = [Sums.none(asked, len(models)) for _ in groups]
    for run in runs(store, groups):
        found = run_sums(store, models, run, asked, step, threads, held=len(groups) + len(run))
        for group, sums in found.items():
            totals[group].add(sums)
    return [total.named(asked, len(models), store.n_classes) for total in totals]


def runs(store: Store, groups: Sequence[Rows]) -> Iterator[dict[int, Rows]]:
    """Cut groups of rows where runs of the store's rows end: rows of each run by group, none empty.

    A run is of whole blocks of the files, `RUN` rows where these are smaller: the same whatever is asked.
    """
    size = max(1, RUN // store.block_rows) * store.block_rows
    for start in range(0, store.n_examples, size):
        ends = ((group, *np.searchsorted(rows, (start, start + size))) for group, rows in enumerate(groups))
        found = {group: groups[group][first:last] for group, first, last in ends if first < last}
        if found:
            yield found


def piece_rows(asked: Wanted, n_models: int, n_classes: int, budget_bytes: int = PIECE_BYTES) -> int:
    """Examples of a piece, whose scores a thread holds."""
    return max(1, budget_bytes // (len(asked.kinds) * n_models * n_classes * 4))


def run_sums(
    store: Store,
    models: Sequence[StoredModel],
    run: Mapping[int, Rows],
    asked: Wanted,
    step: int,
    threads: int,
    held: int = 1,
) -> dict[int, Sums]:
    """Sum over one run, by group; pieces of at most `step` examples, the same on any number of threads.

    Refused where so many sums as are `held`, and those of the threads, do not fit the memory there is.
    """
    step = min(step, max(map(len, run.values())))
    piece_bytes = len(asked.kinds) * len(models) * store.n_classes * 4 * step
    require_room(len(models), len(asked.products) * (held + 2 * threads), threads * piece_bytes)
    makers: SimpleQueue[_Maker] = SimpleQueue()
    for _ in range(threads):
        makers.put(_Maker(asked, len(models), step, store.n_classes))

    def summed(piece: _Piece) -> tuple[int, Sums]:
        maker = makers.get()
        try:
            return piece.group, maker.sums(piece)
        finally:
            makers.put(maker)

    totals = {group: Sums.none(asked, len(models)) for group in run}
    for group, found in in_order(summed, _pieces(store, models, run, step), threads):
        totals[group].add(found)
    return totals


def sums_bytes(n_models: int, wanted: Collection[str]) -> int:
    """Memory that the sums of one group keep."""
    return 2 * (len(Wanted.of(wanted).products) + 1) * n_models**2 * 8  # of the whole, and of a run


@dataclass(frozen=True)
class Wanted:
    """What is summed.

    Attributes
    ----------
    products : dict of str to two str
        Those of `PRODUCTS` that are wanted.
    truth : bool
        Whether `TRUTH` is.
    kinds : list of str
        Kinds of scores needed.
    """

    products: dict[str, tuple[str, str]]
    truth: bool
    kinds: list[str]

    @classmethod
    def of(cls, wanted: Collection[str]) -> Wanted:
        """What there is of these names."""
        products = {name: kinds for name, kinds in PRODUCTS.items() if name in wanted}
        truth = not {*TRUTH}.isdisjoint(wanted)
        kinds = {kind for pair in products.values() for kind in pair} | ({"probability"} if truth else set())
        return cls(products, truth, sorted(kinds))


@dataclass(frozen=True)
class _Piece:
    """Stored rows of all models on some examples of one group, and the right class of each example."""

    group: int
    centred: list[NDArray[Any]]
    right: NDArray[Any]


def _pieces(
    store: Store, models: Sequence[StoredModel], groups: Mapping[int, Rows], step: int
) -> Iterator[_Piece]:
    """Read block by block; what a block has of a group is cut into pieces of at most `step` examples."""
    rows = np.concatenate([*groups.values()])
    owner = np.repeat([*groups], [len(some) for some in groups.values()])
    order = np.argsort(rows, kind="stable")
    rows, owner = rows[order], owner[order]
    right = store.truth.first[rows]
    for block in read_blocks([model.logits() for model in models], rows):
        here = owner[block.start : block.stop]
        for group in np.unique(here).tolist():
            places = np.flatnonzero(here == group)
            for start in range(0, len(places), step):
                some = places[start : start + step]
                yield _Piece(group, [_taken(c, some) for c in block.centred], right[block.start + some])


def _taken(rows: NDArray[Any], places: Rows) -> NDArray[Any]:
    """Rows at ascending places; not copied where they lie side by side."""
    first, last = int(places[0]), int(places[-1])
    return rows[first : last + 1] if last - first + 1 == len(places) else rows[places]


@dataclass(frozen=True)
class Sums:
    """Sums of products by name, (R, R) float64 with M models padded to R, and of the truth, (M,)."""

    products: dict[str, Floats]
    truth: Floats

    @classmethod
    def none(cls, asked: Wanted, n_models: int) -> Sums:
        """Sums over nothing."""
        from dissensus.kernels.gram import padded

        size = padded(n_models)
        return cls({name: np.zeros((size, size)) for name in asked.products}, np.zeros(n_models))

    def add(self, other: Sums) -> None:
        """Add sums over other examples."""
        for name, found in other.products.items():
            self.products[name] += found
        self.truth[:] += other.truth

    def named(self, asked: Wanted, n_models: int, n_classes: int) -> Mapping[str, Floats]:
        """What `score_sums` returns."""
        named = {name: found[:n_models, :n_models] for name, found in self.products.items()}
        for name, (left, right) in asked.products.items():
            if left == right:  # the triangle below is what is above
                named[name] = np.triu(named[name]) + np.triu(named[name], 1).T
        truth = zip(TRUTH, (self.truth[:, None], self.truth[None, :]), strict=True)
        return named | dict(truth if asked.truth else ()) | {"n_classes": np.array(float(n_classes))}


class _Maker:
    """Makes scores of pieces, in memory that it uses again, and sums their products."""

    def __init__(self, asked: Wanted, n_models: int, step: int, n_classes: int) -> None:
        from dissensus.kernels.gram import padded

        self._asked, self._shape = asked, (n_models, padded(n_models), n_classes)
        self._held = {kind: np.empty(self._shape[1] * step * n_classes, np.float32) for kind in asked.kinds}

    def sums(self, piece: _Piece) -> Sums:
        """Sum the products of one piece, on the thread that calls."""
        from dissensus.kernels.gram import add_gram, add_products

        scores = {kind: self._scores(kind, piece.centred) for kind in self._held}
        sums = Sums.none(self._asked, self._shape[0])
        for name, (left, right) in self._asked.products.items():
            x, y = (scores[kind].reshape(self._shape[1], -1) for kind in (left, right))
            add_gram(x, sums.products[name]) if left == right else add_products(x, y, sums.products[name])
        if self._asked.truth:
            p = scores["probability"][: self._shape[0], np.arange(len(piece.right)), piece.right]
            p.sum(axis=1, dtype=np.float64, out=sums.truth)
        return sums

    def _scores(self, kind: str, centred: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Scores of all models, (R, n, C), from their stored rows; 0 beyond the last model."""
        from dissensus.kernels import scores as kernel
        from dissensus.kernels.probabilities import codes_of

        (n_models, padded, n_classes), n = self._shape, len(centred[0])
        out = self._held[kind][: padded * n * n_classes].reshape(padded, n, n_classes)
        fill = {"logit": kernel.centred_rows, "log": kernel.log_probability_rows}.get(
            kind, kernel.probability_rows
        )
        for stored, rows in zip(centred, out, strict=False):
            fill(codes_of(stored), rows)
        if kind == "root":
            np.sqrt(out[:n_models], out=out[:n_models])
        if kind in SHIFTED:
            out[:n_models] -= out[:n_models].mean(axis=0)
        out[n_models:] = 0
        return out


def require_room(n_models: int, n_sums: int, block_bytes: int) -> None:
    """Refuse sums that do not fit."""
    needed, there = (n_sums + 1) * n_models**2 * 8 + block_bytes, available_bytes()
    if needed > there:
        raise ArgumentError(
            f"measures of probabilities of {n_models:,} models need {told(needed)} for sums of all "
            f"pairs and a block of scores, {told(there)} are available: name fewer models (models=)"
        )
