"""Calibrated probabilities as fixed-point integers, and the sums that greedy selection compares.

A probability p is held as q = rint(p * 2**31). Sums of q are exact integers: no order of members, blocks or
threads changes a bit, a member can be taken out again, and a tie is a tie. Exponentials of float16 logits are
looked up by bit pattern: centred logits are at most 0, so 15 bits name them all, and each is computed once.

Right classes of example n are ``classes[offsets[n]:offsets[n + 1]]``, ascending, at least one; where it is
one, every number is that of a plain label to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange, types
from numba.extending import overload
from numpy.typing import NDArray

from .jit import PARALLEL, kernel, parallel_kernel

ONE = 2**31  # fixed-point 1.0; 2**32 members fit an int64 sum
NLL_ONE = 2**32  # fixed-point 1.0 of an example's negative log-likelihood, in nats
REBIAS = np.float32(2.0**112)  # float16's exponent, where float32 has its own, is too small by 127 - 15
TINIEST = 2.0**-1022  # probabilities of the truth are raised to this before the logarithm

Codes = NDArray[Any]  # (n, C) uint16 bit patterns of float16 rows, or float32 rows
Table = NDArray[np.float64]
Offsets = NDArray[np.int64]  # (n + 1,)
Classes = NDArray[np.int32]  # right classes of all examples, end to end


def codes_of(centred: NDArray[Any]) -> Codes:
    """Rows as kernels take them: float16 as its bit patterns, float32 as it is."""
    return centred.view(np.uint16) if centred.dtype == np.float16 else centred


def dtype_of_codes(stored: str) -> np.dtype[Any]:
    """Dtype of the codes of a store that keeps logits as "float16" or "float32"."""
    return np.dtype(np.uint16 if stored == "float16" else np.float32)


def exponentials(codes_dtype: np.dtype[Any], temperature: float) -> Table:
    """Table of exp(z / T) by float16 bit pattern (32,768 float64), or just [T] for float32 rows.

    ``math.exp`` and not NumPy's: one definition, which a plain loop can repeat to the last bit.
    """
    if codes_dtype != np.uint16:
        return np.array([temperature])
    scaled = _values_of_codes() / temperature
    return np.array([math.exp(v) for v in scaled.tolist()])


def _values_of_codes() -> Table:
    finite = np.minimum(np.arange(1 << 15), 0x7BFF).astype(np.uint16)  # infinities and NaN are never stored
    return -finite.view(np.float16).astype(np.float64)


def exp_of(code: Any, table: Any) -> Any:
    """exp(z / T) of one code."""
    return table[code & 0x7FFF] if isinstance(code, np.integer) else math.exp(np.float64(code) / table[0])


@overload(exp_of)  # numba wants the bare signature here
def _typed_exp(code, table):  # type: ignore[no-untyped-def]
    if isinstance(code, types.Integer):
        return lambda code, table: table[code & 0x7FFF]
    return lambda code, table: math.exp(np.float64(code) / table[0])


def logit_of(code: Any) -> Any:
    """Return the float32 z of one code, exactly."""
    return _of_bits(code) if isinstance(code, np.integer) else code


@overload(logit_of)
def _typed_logit(code):  # type: ignore[no-untyped-def]
    if isinstance(code, types.Integer):
        return lambda code: _of_bits(code)
    return lambda code: code


@kernel
def _of_bits(code: Any) -> Any:
    return -(np.int32(np.int32(code & np.uint16(0x7FFF)) << np.int32(13)).view(np.float32) * REBIAS)


def fixed_point(
    codes: Codes,
    table: Table,
    offsets: Offsets,
    classes: Classes,
    q: NDArray[np.uint32],
    p_truth: NDArray[np.float64],
) -> None:
    """Fill the probabilities of one model.

    Parameters
    ----------
    codes : (n, C)
        From `codes_of`.
    table
        From `exponentials`.
    offsets, classes
        Right classes of each example.
    q : (n, C) uint32, output
        rint(p * 2**31).
    p_truth : (n,) float64, output
        Probability of the right classes together.
    """
    with PARALLEL:
        _fixed_point(codes, table, offsets, classes, q, p_truth)


@parallel_kernel
def _fixed_point(codes: Any, table: Any, offsets: Any, classes: Any, q: Any, p_truth: Any) -> None:
    for n in prange(codes.shape[0]):
        total = right = 0.0
        for c in range(codes.shape[1]):  # in class order: the sum is part of the definition
            total += exp_of(codes[n, c], table)
        for c in range(codes.shape[1]):
            q[n, c] = np.uint32(np.rint(exp_of(codes[n, c], table) / total * ONE))
        for k in range(offsets[n], offsets[n + 1]):  # ascending like the total, which it so never exceeds
            right += exp_of(codes[n, classes[k]], table)
        p_truth[n] = right / total


def fixed_point_rows(codes: Codes, table: Table, q: NDArray[np.uint32]) -> None:
    """Fill q (n, C) as `fixed_point` does, and nothing else."""
    with PARALLEL:
        _fixed_point_rows(codes, table, q)


@parallel_kernel
def _fixed_point_rows(codes: Any, table: Any, q: Any) -> None:
    for n in prange(codes.shape[0]):
        total = 0.0
        for c in range(codes.shape[1]):
            total += exp_of(codes[n, c], table)
        for c in range(codes.shape[1]):
            q[n, c] = np.uint32(np.rint(exp_of(codes[n, c], table) / total * ONE))


LOGIT_ONE = 2**24  # fixed-point 1.0 of z / T; 2**12 members of the coldest temperature fit an int64 sum
LOWEST = -65504.0  # least logit that is stored


def scaled_logits(codes_dtype: np.dtype[Any], temperature: float) -> Table:
    """Table of rint(z / T * 2**24) by float16 bit pattern (32,768), or just [T] for float32 rows."""
    if codes_dtype != np.uint16:
        return np.array([temperature])
    return np.rint(_values_of_codes() / temperature * LOGIT_ONE)


def scaled_of(code: Any, table: Any) -> Any:
    """rint(z / T * 2**24) of one code."""
    if isinstance(code, np.integer):
        return np.int64(table[code & 0x7FFF])
    return np.int64(np.rint(np.float64(code) / table[0] * LOGIT_ONE))


@overload(scaled_of)
def _typed_scaled(code, table):  # type: ignore[no-untyped-def]
    if isinstance(code, types.Integer):
        return lambda code, table: np.int64(table[code & 0x7FFF])
    return lambda code, table: np.int64(np.rint(np.float64(code) / table[0] * LOGIT_ONE))


def scaled_rows(codes: Codes, table: Table, out: NDArray[np.int64]) -> None:
    """Fill rint(z / T * 2**24), (n, C) int64, from a table of `scaled_logits`."""
    with PARALLEL:
        _scaled_rows(codes, table, out)


@parallel_kernel
def _scaled_rows(codes: Any, table: Any, out: Any) -> None:
    for n in prange(codes.shape[0]):
        for c in range(codes.shape[1]):
            out[n, c] = scaled_of(codes[n, c], table)


def nll_slopes(
    codes: Codes, temperature: float, offsets: Offsets, classes: Classes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and second derivative of each example's NLL by the inverse temperature: (n,) and (n,) float64.

    With softmax weights over all classes, and over the right ones S alone: E[z] - E_S[z], Var[z] - Var_S[z].
    The variance of one right class is 0 and the NLL convex; with several it need not be.
    """
    table = exponentials(codes.dtype, temperature)
    first, second = np.empty(len(codes)), np.empty(len(codes))
    with PARALLEL:
        _nll_slopes(codes, table, temperature, offsets, classes, first, second)
    return first, second


@parallel_kernel
def _nll_slopes(
    codes: Any,
    table: Any,
    temperature: float,
    offsets: Any,
    classes: Any,
    first: Any,
    second: Any,
) -> None:
    for n in prange(codes.shape[0]):
        total = mean = 0.0
        for c in range(codes.shape[1]):
            weight = exp_of(codes[n, c], table)
            total += weight
            mean += weight * np.float64(logit_of(codes[n, c]))
        mean /= total
        spread = 0.0
        for c in range(codes.shape[1]):  # a second pass: E[z^2] - E[z]^2 would cancel
            spread += exp_of(codes[n, c], table) * (np.float64(logit_of(codes[n, c])) - mean) ** 2
        top = -np.inf
        for k in range(offsets[n], offsets[n + 1]):
            top = max(top, np.float64(logit_of(codes[n, classes[k]])))
        some = shift = 0.0  # as distances from the best right class: all weights could underflow
        for k in range(offsets[n], offsets[n + 1]):
            below = np.float64(logit_of(codes[n, classes[k]])) - top
            some += math.exp(below / temperature)
            shift += math.exp(below / temperature) * below
        right = top + shift / some
        spread_right = 0.0
        for k in range(offsets[n], offsets[n + 1]):
            z = np.float64(logit_of(codes[n, classes[k]]))
            spread_right += math.exp((z - top) / temperature) * (z - right) ** 2
        first[n] = mean - right
        second[n] = spread / total - spread_right / some


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


_PARTS = 64  # of the examples, each summed by one thread
_AT_ONCE = 4  # probabilities multiplied before the product's exponent is taken off
_MANTISSA, _BIAS = np.int64((1 << 52) - 1), np.int64(1023)  # of a float64
_LEAST = np.int64(
    128
)  # exponent of a product, bias included, that no factor can have brought up from underflow


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
