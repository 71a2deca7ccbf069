"""Sums over examples and classes of products of two models' scores: blocked matrix products from the store.

For a block of examples, the scores of all models are one (M, rows * C) float32 matrix; N * C of all models is
never held. Products are float32 over at most `DEPTH` columns, and added up in float64. With u = 2**-24 each
entry, a sum Σ x_i x_j, is so off by at most (DEPTH + 8) u Σ |x_i| |x_j|, 1.3e-4 of it; in practice by some
1e-6 of it, since roundings cancel and libraries add in short runs. What is `SHIFTED` is as exact as it was
before its shift: 5 u of each score.

Probabilities are the softmax of what is stored, at temperature 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.run.memory import available_bytes
from dissensus.run.threads import available_threads, one_blas_thread
from dissensus.store.blocks import read_blocks

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.logits import Logits
    from dissensus.store.reader import StoredModel

Floats = NDArray[np.float64]
Scores = dict[str, NDArray[np.float32]]  # by kind, (M, rows, C)

DEPTH = 2048  # columns of one float32 product: fewer round less, and do not reach the machine's rate
BLOCK_BYTES = 64 << 20  # scores of all models on one block of examples

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
    rows: NDArray[np.intp],
    wanted: Collection[str],
    budget_bytes: int = BLOCK_BYTES,
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
        Memory for scores; at least one example of all models is held.

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
    size, n_classes = len(models), store.n_classes
    products = {name: kinds for name, kinds in PRODUCTS.items() if name in wanted}
    with_truth = not {*TRUTH}.isdisjoint(wanted)
    kinds = {kind for pair in products.values() for kind in pair} | ({"probability"} if with_truth else set())
    example_bytes = len(kinds) * size * n_classes * 4
    step = min(max(1, budget_bytes // example_bytes), len(rows))
    _require_room(size, len(products), step * example_bytes)
    sums, truth = {name: np.zeros((size, size)) for name in products}, np.zeros(size)
    held = {kind: np.empty((size, step, n_classes), np.float32) for kind in sorted(kinds)}
    labels = store.truth.first[rows]
    with _workers(step * n_classes) as pool:
        for start, scores in _blocks([model.logits() for model in models], rows, held, pool):
            for name, (left, right) in products.items():
                _add_products(sums[name], scores[left], scores[right], pool)
            if with_truth:
                p = scores["probability"]
                here = np.arange(p.shape[1])
                truth += p[:, here, labels[start + here]].sum(axis=1, dtype=np.float64)
    both = zip(TRUTH, (truth[:, None], truth[None, :]), strict=True)
    return sums | dict(both if with_truth else ()) | {"n_classes": np.array(float(n_classes))}


@contextlib.contextmanager
def _workers(columns: int) -> Iterator[Executor]:
    """Threads for blocks of so many columns, which take a product each where a block holds enough of them.

    BLAS divides a product of a hundred models badly among its own threads: half the rate of one on each.
    """
    n = available_threads()
    alone = one_blas_thread() if columns >= 2 * n * DEPTH else contextlib.nullcontext()
    with alone, ThreadPoolExecutor(n, thread_name_prefix="dissensus-scores") as pool:
        yield pool


def _blocks(
    logits: Sequence[Logits], rows: NDArray[np.intp], held: Scores, pool: Executor
) -> Iterator[tuple[int, Scores]]:
    """Fill what is held with the next rows of all models; yield where they start, and what is filled."""
    step = next(iter(held.values())).shape[1]
    for block in read_blocks(logits, rows):
        for start in range(block.start, block.stop, step):
            stop = min(start + step, block.stop)
            centred = [stored[start - block.start : stop - block.start] for stored in block.centred]
            scores = {kind: out[:, : stop - start] for kind, out in held.items()}
            for kind, out in scores.items():
                list(pool.map(_fill, repeat(kind), *_shares(centred, out)))
                if kind in SHIFTED:
                    out -= out.mean(axis=0)
            yield start, scores


def _shares(centred: list[NDArray[Any]], out: NDArray[np.float32]) -> tuple[list[Any], list[Any]]:
    """Models and their scores dealt out to threads: a task a model costs more than its work."""
    size = -(-len(centred) // available_threads())
    starts = range(0, len(centred), size)
    return [centred[s : s + size] for s in starts], [out[s : s + size] for s in starts]


def _fill(kind: str, centred: list[NDArray[Any]], out: NDArray[np.float32]) -> None:
    """Turn stored rows of some models into their (m, n, C) scores."""
    from dissensus.kernels import scores as kernel
    from dissensus.kernels.probabilities import codes_of

    kernels = {"logit": kernel.centred_rows, "log": kernel.log_probability_rows}
    for stored, scores in zip(centred, out, strict=True):
        kernels.get(kind, kernel.probability_rows)(codes_of(stored), scores)
        if kind == "root":
            np.sqrt(scores, out=scores)


def _add_products(
    total: Floats, left: NDArray[np.float32], right: NDArray[np.float32], pool: Executor
) -> None:
    """Add (M, n, C) times (M, n, C), summed over n and C, to (M, M); in the same order on any threads."""
    x, y = (scores.reshape(len(scores), -1) for scores in (left, right))

    def product(start: int) -> NDArray[np.float32]:
        columns = slice(start, start + DEPTH)
        found: NDArray[np.float32] = x[:, columns] @ y[:, columns].T  # of one with itself: half the work
        return found

    for found in pool.map(product, range(0, x.shape[1], DEPTH)):
        total += found


def _require_room(n_models: int, n_sums: int, block_bytes: int) -> None:
    """Refuse sums that do not fit."""
    needed, there = (n_sums + 1) * n_models**2 * 8 + block_bytes, available_bytes()
    if needed > there:
        raise ArgumentError(
            f"measures of probabilities of {n_models:,} models need {needed / 1e9:,.1f} GB for sums of all "
            f"pairs and a block of scores, {there / 1e9:,.1f} GB are available: name fewer models (models=)"
        )
