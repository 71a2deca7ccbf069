"""What CAPA of a store is made of, each part alone on all threads: reading, probabilities, products."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import repeat

import numpy as np

import dissensus as ds
from dissensus.kernels.gram import add_gram, padded
from dissensus.kernels.probabilities import codes_of
from dissensus.kernels.score_products import PROBABILITY, add_score_products
from dissensus.pairs import parts, sums
from dissensus.pairs.summed import Wanted
from dissensus.run.threads import available_threads, in_order

ASKED = Wanted.of(["products", "truth_i", "truth_j"])


def read(store: ds.Store) -> None:
    """Read and verify all logits, a piece at a time."""
    models, rows = [store.model(name) for name in store.model_ids], np.arange(store.n_examples)
    own = threading.local()
    step = min(sums.piece_rows(len(models), store.n_classes), store.block_rows)

    def go_through(part: parts.Part) -> None:
        if not hasattr(own, "memory"):
            own.memory = np.empty(len(models) * step * store.n_classes, np.dtype(store.dtype))
        deque(part.pieces(own.memory), maxlen=0)

    found = parts.parts_of(store, models, sums.runs(store, [rows]), step, available_threads())
    deque(in_order(go_through, found), maxlen=0)


def make(store: ds.Store) -> None:
    """Make as many probabilities as there are logits, from a piece in memory."""
    n_models = len(store.model_ids)
    n = min(sums.piece_rows(n_models, store.n_classes), store.block_rows, store.n_examples)
    codes = codes_of(np.stack([store.logits(name).centred(0, n) for name in store.model_ids]))
    step, right = sums.slice_rows(ASKED, n_models, store.n_classes), np.zeros(n, np.int64)
    kinds, products, size = np.array([PROBABILITY]), np.empty((0, 2), np.int64), padded(n_models)

    def make_piece() -> None:
        scores = own_scores(size * step * store.n_classes)
        add_score_products(
            codes, right, kinds, products, step, scores, np.zeros((0, size, size)), np.zeros(0)
        )

    often(make_piece, -(-store.n_examples // n))


def multiply(store: ds.Store) -> None:
    """Multiply as many probabilities as there are logits, from slices in the second cache."""
    n_models, n_classes = len(store.model_ids), store.n_classes
    step, size = sums.slice_rows(ASKED, n_models, n_classes), padded(n_models)
    step = min(step, store.n_examples)
    at_once = max(1, sums.piece_rows(n_models, n_classes) // step)

    def multiply_piece() -> None:
        found = np.zeros((size, size))
        for _ in range(at_once):
            add_gram(own_scores(size * step * n_classes).reshape(size, -1), found)

    often(multiply_piece, -(-store.n_examples // (step * at_once)))


_OWN = threading.local()


def own_scores(size: int) -> np.ndarray:
    """Memory of this thread's own, (1, size) float32."""
    if not hasattr(_OWN, "scores") or _OWN.scores.size != size:
        _OWN.scores = np.full((1, size), 1e-3, np.float32)
    return _OWN.scores


def often(job: Callable[[], None], times: int) -> None:
    """Do a job so many times on all threads."""
    deque(in_order(lambda _: job(), repeat(None, times)), maxlen=0)
