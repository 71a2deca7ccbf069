"""Scores of all models on some examples, and the sums of their products, in one call.

A few examples are taken at a time, so that their scores are still in the second cache when they are
multiplied. Called for each model, or each few examples, threads would wait for Python's lock as long as they
compute: all of it is one kernel, serial, which releases the lock. It raises nothing, whatever the codes: rows
are summed before it is known whether they are whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gram import Rows, Sums, add_gram, add_products
from .jit import summing_kernel
from .probabilities import Codes
from .scores import centred_rows, log_probability_rows, probability_rows

KINDS = ("probability", "root", "log", "logit")  # of scores, by number
PROBABILITY, ROOT, LOG, LOGIT = range(len(KINDS))


@summing_kernel
def add_score_products(
    codes: Codes,
    right: NDArray[np.int64],
    kinds: NDArray[np.int64],
    products: NDArray[np.int64],
    step: int,
    scores: Rows,
    sums: Sums,
    truth: NDArray[np.float64],
) -> None:
    """Add products of all models' scores on some examples, and their probabilities of the right class.

    Parameters
    ----------
    codes : (M, n, C)
        From `codes_of`.
    right : (n,) int64
        Right class of each example.
    kinds : (K,) int64
        Numbers of the `KINDS` needed.
    products : (P, 2) int64
        Places in `kinds` of what is left and right of each product.
    step : int
        Examples at a time.
    scores : (K, >= R * step * C) float32, overwritten
        Memory; R is M padded as `gram` wants it.
    sums : (P, R, R) float64, added to
        Of products; where left and right are the same, the upper triangle.
    truth : (M,) or (0,) float64, added to
        Of probabilities of the right class; the first of `kinds` is PROBABILITY then.
    """
    n_rows, n_examples, n_classes = sums.shape[1], codes.shape[1], codes.shape[2]
    for start in range(0, n_examples, step):
        n = min(step, n_examples - start)
        size = n_rows * n * n_classes
        for k in range(len(kinds)):
            _fill(kinds[k], codes, start, scores[k, :size].reshape(n_rows, n, n_classes))
        for p in range(len(products)):
            x = scores[products[p, 0], :size].reshape(n_rows, n * n_classes)
            y = scores[products[p, 1], :size].reshape(n_rows, n * n_classes)
            if products[p, 0] == products[p, 1]:
                add_gram(x, sums[p])
            else:
                add_products(x, y, sums[p])
        if len(truth):
            _add_truth(scores[0, :size].reshape(n_rows, n, n_classes), right[start : start + n], truth)


@summing_kernel
def _fill(kind: int, codes: Any, start: int, out: Any) -> None:
    """Write one kind of scores of all models on examples from `start` on: (R, n, C), 0 beyond the last."""
    n_models, stop = len(codes), start + out.shape[1]
    for m in range(n_models):
        if kind == LOGIT:
            centred_rows(codes[m, start:stop], out[m])
        elif kind == LOG:
            log_probability_rows(codes[m, start:stop], out[m])
        else:
            probability_rows(codes[m, start:stop], out[m])
    if kind == ROOT:
        _take_roots(out[:n_models])
    if kind in (ROOT, LOG):  # only differences of models matter: what all have in common would cost digits
        _shift(out[:n_models])
    out[n_models:] = 0


@summing_kernel
def _take_roots(x: Any) -> None:
    for m in range(len(x)):
        for n in range(x.shape[1]):
            for c in range(x.shape[2]):
                x[m, n, c] = np.sqrt(x[m, n, c])


@summing_kernel
def _shift(x: Any) -> None:
    """Take the mean of all models from each: (M, n, C)."""
    mean = np.empty(x.shape[2], np.float32)
    for n in range(x.shape[1]):
        mean[:] = 0
        for m in range(len(x)):
            for c in range(len(mean)):
                mean[c] += x[m, n, c]
        for c in range(len(mean)):
            mean[c] /= np.float32(len(x))
        for m in range(len(x)):
            for c in range(len(mean)):
                x[m, n, c] -= mean[c]


@summing_kernel
def _add_truth(p: Any, right: Any, truth: Any) -> None:
    for m in range(len(truth)):
        for n in range(len(right)):
            truth[m] += np.float64(p[m, n, right[n]])
