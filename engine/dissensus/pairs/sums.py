"""Sums over examples and classes of products of two models' scores, straight from the store.

For a piece of some examples, the scores of all models are (M, rows * C) float32, made and multiplied by one
thread; N * C of all models is never held. Sums are float32 over at most `DEPTH` columns and float64 beyond,
of the same columns whatever the threads. With u = 2**-24 each entry, a sum Σ x_i x_j, is so off by at most
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
    asked = _Wanted.of(wanted)
    example_bytes = len(asked.kinds) * len(models) * store.n_classes * 4
    step = min(max(1, budget_bytes // example_bytes), max(map(len, groups)))
    threads = available_threads()
    n_sums = len(asked.products) * (len(groups) + 2 * threads)
    _require_room(len(models), n_sums, threads * step * example_bytes)
    makers: SimpleQueue[_Maker] = SimpleQueue()
    for _ in range(threads):
        makers.put(_Maker(asked, len(models), step, store.n_classes))

    def summed(piece: _Piece) -> tuple[int, _Sums]:
        maker = makers.get()
        try:
            return piece.group, maker.sums(piece)
        finally:
            makers.put(maker)

    totals = [_Sums.none(asked, len(models)) for _ in groups]
    for group, found in in_order(summed, _pieces(store, models, groups, step), threads):
        totals[group].add(found)
    return [total.named(asked, len(models), store.n_classes) for total in totals]


def sums_bytes(n_models: int, wanted: Collection[str]) -> int:
    """Memory that the sums of one group keep."""
    return (len(_Wanted.of(wanted).products) + 1) * n_models**2 * 8


@dataclass(frozen=True)
class _Wanted:
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
    def of(cls, wanted: Collection[str]) -> _Wanted:
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
    store: Store, models: Sequence[StoredModel], groups: Sequence[Rows], step: int
) -> Iterator[_Piece]:
    """Read block by block; what a block has of a group is cut into pieces of at most `step` examples."""
    rows, owner = np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(some) for some in groups])
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
class _Sums:
    """Sums of products by name, (R, R) float64 with M models padded to R, and of the truth, (M,)."""

    products: dict[str, Floats]
    truth: Floats

    @classmethod
    def none(cls, asked: _Wanted, n_models: int) -> _Sums:
        from dissensus.kernels.gram import padded

        size = padded(n_models)
        return cls({name: np.zeros((size, size)) for name in asked.products}, np.zeros(n_models))

    def add(self, other: _Sums) -> None:
        for name, found in other.products.items():
            self.products[name] += found
        self.truth[:] += other.truth

    def named(self, asked: _Wanted, n_models: int, n_classes: int) -> Mapping[str, Floats]:
        """What `score_sums` returns."""
        named = {name: found[:n_models, :n_models] for name, found in self.products.items()}
        for name, (left, right) in asked.products.items():
            if left == right:  # the triangle below is what is above
                named[name] = np.triu(named[name]) + np.triu(named[name], 1).T
        truth = zip(TRUTH, (self.truth[:, None], self.truth[None, :]), strict=True)
        return named | dict(truth if asked.truth else ()) | {"n_classes": np.array(float(n_classes))}


class _Maker:
    """Makes scores of pieces, in memory that it uses again, and sums their products."""

    def __init__(self, asked: _Wanted, n_models: int, step: int, n_classes: int) -> None:
        from dissensus.kernels.gram import padded

        self._asked, self._shape = asked, (n_models, padded(n_models), n_classes)
        self._held = {kind: np.empty(self._shape[1] * step * n_classes, np.float32) for kind in asked.kinds}

    def sums(self, piece: _Piece) -> _Sums:
        """Sum the products of one piece, on the thread that calls."""
        from dissensus.kernels.gram import add_gram, add_products

        scores = {kind: self._scores(kind, piece.centred) for kind in self._held}
        sums = _Sums.none(self._asked, self._shape[0])
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


def _require_room(n_models: int, n_sums: int, block_bytes: int) -> None:
    """Refuse sums that do not fit."""
    needed, there = (n_sums + 1) * n_models**2 * 8 + block_bytes, available_bytes()
    if needed > there:
        raise ArgumentError(
            f"measures of probabilities of {n_models:,} models need {told(needed)} for sums of all "
            f"pairs and a block of scores, {told(there)} are available: name fewer models (models=)"
        )
