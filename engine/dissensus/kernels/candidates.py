"""What an ensemble scores with each candidate added: the sums that greedy selection compares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, parallel_kernel
from .probabilities import TINIEST, Classes, Offsets

NLL_ONE = 2**32  # fixed-point 1.0 of an example's negative log-likelihood, in nats
_PARTS = 64  # of the examples, each summed by one thread
_AT_ONCE = 4  # probabilities multiplied before the product's exponent is taken off
_MANTISSA, _BIAS = np.int64((1 << 52) - 1), np.int64(1023)  # of a float64
_LEAST = np.int64(128)  # exponent, bias included, that no factor can have brought up from underflow


def hits_if_added(
    total: NDArray[np.int64],
    q: NDArray[np.uint32],
    candidates: NDArray[np.intp],
    offsets: Offsets,
    classes: Classes,
    weights: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Add to `out` the weight of the examples that the ensemble gets right with each candidate added.

    Parameters
    ----------
    total : (n, C) int64
        Sum of the members' q.
    q : (M, n, C) uint32
        Models.
    candidates : (k,) intp
        Which of them are candidates.
    offsets, classes
        Right classes of each example.
    weights : (n,) int64
        What each example counts.
    out : (k,) int64, added to
        Weight of the examples whose largest entry of total + q[m], the lowest class on ties, is a right one.
    """
    with PARALLEL:
        _hits_if_added(total, q, candidates, offsets, classes, weights, out)


@parallel_kernel
def _hits_if_added(
    total: Any, q: Any, candidates: Any, offsets: Any, classes: Any, weights: Any, out: Any
) -> None:
    for i in prange(len(candidates)):
        m, hits = candidates[i], np.int64(0)
        for n in range(q.shape[1]):
            y = classes[offsets[n]]  # becomes the lowest of the set's best: no other right class can beat it
            best = total[n, y] + np.int64(q[m, n, y])
            for k in range(offsets[n] + 1, offsets[n + 1]):
                value = total[n, classes[k]] + np.int64(q[m, n, classes[k]])
                if value > best:
                    y, best = classes[k], value
            lost = np.int64(0)
            for c in range(y):  # no early exit: the plain loop vectorises
                lost |= np.int64(total[n, c] + np.int64(q[m, n, c]) >= best)
            for c in range(y + 1, q.shape[2]):
                lost |= np.int64(total[n, c] + np.int64(q[m, n, c]) > best)
            hits += weights[n] * (1 - lost)
        out[i] += hits


def nll_estimates(
    truth_sum: NDArray[np.float64], p_truth: NDArray[np.float64], candidates: NDArray[np.intp]
) -> tuple[NDArray[np.float64], float]:
    """Estimate -sum log(sum of p) with each candidate added, from products: a few logarithms in all.

    Parameters
    ----------
    truth_sum, p_truth, candidates
        As in `nll_if_added`.

    Returns
    -------
    estimates : (k,) float64
        In nats; NaN where a probability is so small that products could underflow.
    error : float
        By which none of them, and none of the sums that `nll_if_added` rounds, is off the true value: the
        roundings of each example to 2**-32, and those of float64 sums of at most 720 n nats.
    """
    n = len(truth_sum)
    parts = np.zeros((min(_PARTS, max(n, 1)), p_truth.shape[0]))
    with PARALLEL:
        _nll_estimates(truth_sum, p_truth.T, parts)
    return parts.sum(axis=0)[candidates], n * (2.0**-32 + 720 * (n + _PARTS) * 2.0**-52)


@parallel_kernel
def _nll_estimates(truth_sum: Any, p_truth: Any, parts: Any) -> None:
    n_examples, n_models = p_truth.shape
    for part in prange(len(parts)):
        first, end = part * n_examples // len(parts), (part + 1) * n_examples // len(parts)
        product, exponent = np.ones(n_models), np.zeros(n_models, np.int64)
        least = np.full(n_models, _BIAS)
        for start in range(first, end, _AT_ONCE):
            for n in range(start, min(start + _AT_ONCE, end)):
                for m in range(n_models):
                    product[m] *= truth_sum[n] + p_truth[n, m]
            for m in range(n_models):  # a logarithm here took most of the time
                bits = np.float64(product[m]).view(np.int64)
                least[m] = min(least[m], bits >> np.int64(52))
                exponent[m] += (bits >> np.int64(52)) - _BIAS
                product[m] = np.int64((bits & _MANTISSA) | (_BIAS << np.int64(52))).view(np.float64)
        for m in range(n_models):
            log = math.log(product[m]) + math.log(2.0) * exponent[m]
            parts[part, m] = -log if least[m] >= _LEAST else np.nan


def nll_if_added(
    truth_sum: NDArray[np.float64],
    p_truth: NDArray[np.float64],
    candidates: NDArray[np.intp],
    size: int,
    weights: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Fixed-point NLL of the ensemble with each candidate added.

    Parameters
    ----------
    truth_sum : (n,) float64
        Sum of the members' probabilities of the truth, in the order they were chosen.
    p_truth : (M, n) float64
        The models'.
    candidates : (k,) intp
        Which of them are candidates.
    size : int
        Members with the candidate counted.
    weights : (n,) float64
        What each example counts: 2**32 where all count once.

    Returns
    -------
    (k,) int64
        Sum over examples of rint(-log(p) * weight), p the mean probability of the truth.
    """
    out = np.zeros(
        (len(candidates), max(1, min(_PARTS // max(len(candidates), 1), len(truth_sum)))), np.int64
    )
    with PARALLEL:
        _nll_if_added(truth_sum, p_truth, candidates, math.log(size), weights, out)
    total: NDArray[np.int64] = out.sum(axis=1)
    return total


@parallel_kernel
def _nll_if_added(
    truth_sum: Any, p_truth: Any, candidates: Any, log_size: float, weights: Any, out: Any
) -> None:
    n_examples, n_parts = p_truth.shape[1], out.shape[1]
    for task in prange(out.size):
        i, part = task // n_parts, task % n_parts
        m, total = candidates[i], np.int64(0)
        for n in range(part * n_examples // n_parts, (part + 1) * n_examples // n_parts):
            p = max(truth_sum[n] + p_truth[m, n], TINIEST)
            total += np.int64(np.rint((log_size - math.log(p)) * weights[n]))
        out[i, part] = total
