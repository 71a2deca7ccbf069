"""Comparisons of all pairs of models: counts, kappa, overlap of probabilities, ensembles of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dissensus as ds
from contests import FLOOR, OWN, ROOF, Comparison, Way, exactly, within

Matrix = NDArray[Any]
KAPPA = "error_consistency"
L1_WORDS = 256  # of a row: 12 rows take 24 KB


def answers(place: Path, models: int, examples: int) -> NDArray[np.bool_]:
    """Correctness of models that are right more often on easier examples, (M, N) bool."""
    rng = np.random.default_rng(0)
    ease = rng.normal(size=examples).astype(np.float32)
    noise = rng.random((models, examples), np.float32) * np.float32(3)
    right: NDArray[np.bool_] = noise + ease > rng.uniform(0, 1.5, (models, 1)).astype(np.float32)
    return right


# how many examples both models of a pair get right


def counted(correct: Matrix) -> Callable[[], Matrix]:
    from dissensus.kernels.counts import both_right, pack

    packed = pack(correct)
    return lambda: both_right(packed)


def packed_and_counted(correct: Matrix) -> Callable[[], Matrix]:
    from dissensus.kernels.counts import both_right, pack

    return lambda: both_right(pack(correct))


def symmetric_product(correct: Matrix) -> Callable[[], Matrix]:
    K = correct.astype(np.float32)
    return lambda: K @ K.T


def general_product(correct: Matrix) -> Callable[[], Matrix]:
    K = correct.astype(np.float32)
    other = K.copy()  # NumPy computes one triangle only where both sides are the same array
    return lambda: K @ other.T


def torch_product(correct: Matrix) -> Callable[[], Matrix]:
    import torch

    K = torch.from_numpy(correct.astype(np.float32))
    return lambda: (K @ K.T).numpy()


def hamming(correct: Matrix) -> Callable[[], Any]:
    from scipy.spatial.distance import pdist

    return lambda: (pdist(correct, "hamming"), correct)


def right_of_hamming(found: tuple[Matrix, Matrix]) -> Matrix:
    """Both right, from the share of examples on which answers differ: (right_a + right_b - apart) / 2."""
    from scipy.spatial.distance import squareform

    apart = np.rint(squareform(found[0]) * found[1].shape[1]).astype(np.int64)
    right = found[1].sum(axis=1)
    counts: Matrix = (right[:, None] + right - apart) // 2
    return counts


def popcount_roof(correct: Matrix) -> Callable[[], None]:
    """As many ANDs, popcounts and sums of words, of rows that never leave the first cache."""
    import numba

    from dissensus.kernels.counts import ROWS, both_right_rectangle
    from dissensus.kernels.jit import parallel_kernel

    @parallel_kernel
    def run(a: Any, b: Any, rounds: int, out: Any) -> None:
        for thread in numba.prange(len(out)):
            for turn in range(rounds):
                both_right_rectangle(a[turn % 2], b, out[thread])  # other rows each time: nothing is hoisted

    threads, (models, examples) = numba.get_num_threads(), correct.shape
    words = np.random.default_rng(1).integers(0, 2**63, (3, ROWS, L1_WORDS), np.uint64)
    out = np.zeros((threads, ROWS, ROWS), np.int64)
    n_words = models * (models + 1) // 2 * -(-examples // 64)
    rounds = max(1, n_words // (ROWS * ROWS * L1_WORDS * threads))
    return lambda: run(words[:2], words[2], rounds, out)


COUNTS = Comparison(
    "counts of all pairs",
    "How much faster than a float32 matrix product are the counts of all pairs?",
    answers,
    small={"models": 9, "examples": 700},
    large={"models": 512, "examples": 50_000},
    ways={
        "dissensus counts": Way(counted),
        "dissensus, packing included": Way(packed_and_counted, kind=OWN),
        "float32 K @ K.T": Way(symmetric_product, kind=FLOOR),  # exact below 2**24 examples
        "float32 GEMM": Way(general_product),
        "torch, float32 K @ K.T": Way(torch_product, needs="torch"),
        "scipy pdist hamming": Way(hamming, right_of_hamming, once=True, needs="scipy"),
        "popcount roof": Way(popcount_roof, kind=ROOF),
    },
    equal=exactly,
    scaled=tuple({"models": m, "examples": 50_000} for m in (64, 128, 256, 512)),
)


# kappa


def kappa(correct: Matrix) -> Callable[[], Matrix]:
    from dissensus.pairs import MEASURES, PairCounts

    return lambda: MEASURES[KAPPA].finish(PairCounts.from_correct(correct))


def kappa_of_matrices(correct: Matrix) -> Callable[[], Matrix]:
    """Definition of Geirhos et al. (2020) on whole matrices, as one would write it with NumPy."""

    def run() -> Matrix:
        x = correct.astype(np.float32)  # half of the time of float64, and exact below 2**24 examples
        p, n = correct.mean(axis=1), x.shape[1]
        both = (x @ x.T).astype(np.float64) / n
        observed = 1 - p[:, None] - p + 2 * both
        expected = p[:, None] * p + (1 - p)[:, None] * (1 - p)
        found: Matrix = (observed - expected) / (1 - expected)
        return found

    return run


def kappa_by_sklearn(correct: Matrix) -> Callable[[], Matrix]:
    from sklearn.metrics import cohen_kappa_score

    def run() -> Matrix:
        found = np.ones((len(correct), len(correct)))
        for i in range(len(correct)):
            for j in range(i):
                found[i, j] = found[j, i] = cohen_kappa_score(correct[i], correct[j])
        return found

    return run


def kappa_by_torchmetrics(correct: Matrix) -> Callable[[], Matrix]:
    import torch
    from torchmetrics.functional.classification import binary_cohen_kappa

    x = torch.from_numpy(correct.astype(np.int64))

    def run() -> Matrix:
        found = np.ones((len(x), len(x)))
        for i in range(len(x)):
            for j in range(i):
                found[i, j] = found[j, i] = binary_cohen_kappa(x[i], x[j], validate_args=False)
        return found

    return run


def off_diagonal(found: Matrix) -> Matrix:
    rows, columns = np.triu_indices(len(found), 1)
    values: Matrix = found[rows, columns]
    return values


def kappas_agree(name: str, found: Matrix, ours: Matrix) -> None:
    absolute = 1e-5 if "torchmetrics" in name else 1e-12  # it divides in float32
    within(absolute=absolute)(name, found, ours)


COHEN = Comparison(
    "kappa of all pairs",
    "How much faster than the usual scripts is error consistency of all pairs?",
    answers,
    small={"models": 6, "examples": 500},
    large={"models": 48, "examples": 50_000},
    ways={
        "dissensus, packing to kappa": Way(kappa, off_diagonal),
        "NumPy, float32 product": Way(kappa_of_matrices, off_diagonal, kind=FLOOR),
        "scikit-learn, a loop over pairs": Way(kappa_by_sklearn, off_diagonal, once=True, needs="sklearn"),
        "torchmetrics, a loop over pairs": Way(
            kappa_by_torchmetrics, off_diagonal, once=True, needs="torchmetrics"
        ),
    },
    equal=kappas_agree,
    tolerance="to 1e-12 (torchmetrics, in float32, to 1e-5)",
)


# CAPA


def scored_store(place: Path, models: int, examples: int, classes: int) -> ds.Store:
    """Models that share half of their noise; each is as sure as its logits make it."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, examples)
    shared = rng.standard_normal((examples, classes), np.float32)
    shared[np.arange(examples), labels] += 4
    store = ds.create(place / "scored.zoo", labels, classes=[str(c) for c in range(classes)])
    for number in range(models):
        own = np.roll(shared, 31 * number + 1, axis=1)  # as random as new numbers, and made faster
        store.add(f"m{number:05d}", logits=shared + own)
    return store


def capa_of_store(store: ds.Store) -> Callable[[], Matrix]:
    return lambda: ds.pairwise(store, "capa")["capa"]


def capa_by_numpy(store: ds.Store) -> Callable[[], Matrix]:
    """Definition (Goel et al. 2025, section 2) in float32, block by block; the logits are in memory.

    Blocks are summed up in float64: 1e-5, to which results are compared, needs no more.
    """
    ids, labels = store.model_ids, store.truth.first
    logits = [store.logits(m)[0 : store.n_examples] for m in ids]

    def run() -> Matrix:
        agreement, right = np.zeros((len(ids), len(ids))), np.zeros(len(ids))
        for start in range(0, store.n_examples, 256):
            p = np.array([rows[start : start + 256] for rows in logits], np.float32)
            p -= p.max(axis=2, keepdims=True)
            np.exp(p, out=p)
            p /= p.sum(axis=2, keepdims=True)
            right += p[:, np.arange(p.shape[1]), labels[start : start + 256]].sum(axis=1)
            flat = p.reshape(len(ids), -1)
            agreement += flat @ flat.T
        mean = right / store.n_examples
        chance = mean[:, None] * mean + (1 - mean)[:, None] * (1 - mean) / (store.n_classes - 1)
        found: Matrix = (agreement / store.n_examples - chance) / (1 - chance)
        return found

    return run


CAPA = Comparison(
    "CAPA of all pairs",
    "How much faster than float32 matrices in NumPy is CAPA, from a store on disk?",
    scored_store,
    small={"models": 4, "examples": 120, "classes": 9},
    large={"models": 24, "examples": 4_000, "classes": 1_000},
    ways={
        "dissensus, from the store": Way(capa_of_store, off_diagonal),
        "NumPy, float32, logits in memory": Way(capa_by_numpy, off_diagonal),
    },
    equal=within(absolute=1e-5),
    tolerance="to 1e-5",
)


# ensembles of all pairs


@dataclass(frozen=True)
class Rows:
    """A block of examples of all models, as stored.

    Attributes
    ----------
    labels : (N,) int32
        Right classes.
    codes : list of (N, C) uint16
        float16 rows of each model, maximum 0.
    """

    labels: NDArray[np.int32]
    codes: list[NDArray[np.uint16]]

    @property
    def right(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Offsets and classes of what is right."""
        return np.arange(len(self.labels) + 1), self.labels

    def alone(self) -> NDArray[np.bool_]:
        return np.array([c.view(np.float16).argmax(axis=1) == self.labels for c in self.codes])


def rows_of_models(place: Path, models: int, examples: int, classes: int) -> Rows:
    """Models as right as real ones, about 80 % at 1,000 classes, that share half of their noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, examples).astype(np.int32)
    shared = rng.standard_normal((examples, classes), np.float32)
    ease = 2.0 + 2.5 * rng.standard_normal(examples).astype(np.float32) + np.log(classes)
    shared[np.arange(examples), labels] += ease
    own = rng.standard_normal((examples, classes), np.float32)
    codes = []
    for m in range(models):
        z = shared + np.roll(own, 31 * m + 1, axis=1)
        codes.append((z - z.max(axis=1, keepdims=True)).astype(np.float16).view(np.uint16))
    return Rows(labels, codes)


def from_views(rows: Rows, certify: bool = True) -> Callable[[], Matrix]:
    from dissensus.pairs.pair_hits import PairHits
    from dissensus.pairs.pair_views import Tables, view_of

    tables = Tables.at(np.dtype(np.uint16), [1.0] * len(rows.codes))
    view, alone = view_of(rows.codes, tables, *rows.right), rows.alone()

    def run() -> Matrix:
        hits = PairHits(len(rows.codes), rows.codes[0].shape[1], certify=certify)
        hits.add(view, rows.right, rows.codes, tables, alone)
        return hits.finish()["pair_right"]

    return run


def by_numpy(rows: Rows) -> Callable[[], Matrix]:
    """Sums of float32 rows of probabilities and their argmax, as a notebook would."""
    z = np.array([c.view(np.float16) for c in rows.codes], np.float32)
    p = np.exp(z)
    p /= p.sum(axis=2, keepdims=True)

    def run() -> Matrix:
        found = np.zeros((len(p), len(p)), np.int64)
        for a in range(len(p)):
            for b in range(a + 1, len(p)):
                found[a, b] = ((p[a] + p[b]).argmax(axis=1) == rows.labels).sum()
        return found

    return run


def hits_agree(name: str, found: Matrix, ours: Matrix) -> None:
    """Ours agree exactly; float32 sums may tie where exact ones do not."""
    if name.startswith("NumPy"):
        within(absolute=2)(name, found, ours)
    else:
        exactly(name, found, ours)


DUOS = Comparison(
    "ensembles of all pairs",
    "How much faster than adding up all rows is it to count ensembles of all pairs from views?",
    rows_of_models,
    small={"models": 5, "examples": 90, "classes": 20},
    large={"models": 40, "examples": 512, "classes": 1_000},
    ways={
        "dissensus, from views": Way(from_views, off_diagonal),
        "dissensus, full rows": Way(lambda rows: from_views(rows, certify=False), off_diagonal, kind=OWN),
        "NumPy, float32 rows": Way(by_numpy, off_diagonal, once=True),
    },
    equal=hits_agree,
    tolerance="exactly (float32 sums to two answers a pair)",
    scaled=tuple({"models": m, "examples": 512, "classes": 1_000} for m in (10, 20, 40)),
)
PAIRS = (COUNTS, COHEN, CAPA, DUOS)
