"""Calibrated probabilities as fixed-point integers, and the sums that greedy selection compares.

A probability p is held as q = rint(p * 2**31). Sums of q are exact integers: no order of members, blocks or
threads changes a bit, a member can be taken out again, and a tie is a tie. Exponentials of float16 logits are
looked up by bit pattern: centred logits are at most 0, so 15 bits name them all, and each is computed once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange, types
from numba.extending import overload
from numpy.typing import NDArray

from .jit import PARALLEL, parallel_kernel

ONE = 2**31  # fixed-point 1.0; 2**32 members fit an int64 sum
NLL_ONE = 2**32  # fixed-point 1.0 of an example's negative log-likelihood, in nats
TINIEST = 2.0**-1022  # probabilities of the truth are raised to this before the logarithm

Codes = NDArray[Any]  # (n, C) uint16 bit patterns of float16 rows, or float32 rows
Table = NDArray[np.float64]


def codes_of(centred: NDArray[Any]) -> Codes:
    """Rows as kernels take them: float16 as its bit patterns, float32 as it is."""
    return centred.view(np.uint16) if centred.dtype == np.float16 else centred


def exponentials(codes_dtype: np.dtype[Any], temperature: float) -> Table:
    """Table of exp(z / T) by float16 bit pattern (32,768 float64), or just [T] for float32 rows.

    ``math.exp`` and not NumPy's: one definition, which a plain loop can repeat to the last bit.
    """
    if codes_dtype != np.uint16:
        return np.array([temperature])
    scaled = _values_of_codes() / temperature
    return np.array([math.exp(v) for v in scaled.tolist()])


def values(codes_dtype: np.dtype[Any]) -> Table:
    """Table of z by float16 bit pattern; an empty one for float32 rows, which hold z themselves."""
    return _values_of_codes() if codes_dtype == np.uint16 else np.empty(0)


def _values_of_codes() -> Table:
    finite = np.minimum(np.arange(1 << 15), 0x7BFF).astype(np.uint16)  # infinities and NaN are never stored
    return -finite.view(np.float16).astype(np.float64)


def _exp(code: Any, table: Any) -> Any:
    """exp(z / T) of one code."""
    return table[code & 0x7FFF] if isinstance(code, np.integer) else math.exp(np.float64(code) / table[0])


@overload(_exp)  # numba wants the bare signature here
def _typed_exp(code, table):  # type: ignore[no-untyped-def]
    if isinstance(code, types.Integer):
        return lambda code, table: table[code & 0x7FFF]
    return lambda code, table: math.exp(np.float64(code) / table[0])


def _value(code: Any, table: Any) -> Any:
    """z of one code."""
    return table[code & 0x7FFF] if isinstance(code, np.integer) else np.float64(code)


@overload(_value)
def _typed_value(code, table):  # type: ignore[no-untyped-def]
    if isinstance(code, types.Integer):
        return lambda code, table: table[code & 0x7FFF]
    return lambda code, table: np.float64(code)


def fixed_point(
    codes: Codes, table: Table, labels: NDArray[np.int32], q: NDArray[np.uint32], truth: NDArray[np.float64]
) -> None:
    """Fill the probabilities of one model.

    Parameters
    ----------
    codes : (n, C)
        From `codes_of`.
    table
        From `exponentials`.
    labels : (n,) int32
        True classes.
    q : (n, C) uint32, output
        rint(p * 2**31).
    truth : (n,) float64, output
        Probability of the true class.
    """
    with PARALLEL:
        _fixed_point(codes, table, labels, q, truth)


@parallel_kernel
def _fixed_point(codes: Any, table: Any, labels: Any, q: Any, truth: Any) -> None:
    for n in prange(codes.shape[0]):
        total = 0.0
        for c in range(codes.shape[1]):  # in class order: the sum is part of the definition
            total += _exp(codes[n, c], table)
        for c in range(codes.shape[1]):
            q[n, c] = np.uint32(np.rint(_exp(codes[n, c], table) / total * ONE))
        truth[n] = _exp(codes[n, labels[n]], table) / total


def nll_slopes(
    codes: Codes, table: Table, value: Table, labels: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and second derivative of each example's NLL by the inverse temperature: (n,) and (n,) float64.

    With softmax weights p at this temperature: E_p[z] - z_truth, and Var_p(z).
    """
    first, second = np.empty(len(labels)), np.empty(len(labels))
    with PARALLEL:
        _nll_slopes(codes, table, value, labels, first, second)
    return first, second


@parallel_kernel
def _nll_slopes(codes: Any, table: Any, value: Any, labels: Any, first: Any, second: Any) -> None:
    for n in prange(codes.shape[0]):
        total = mean = 0.0
        for c in range(codes.shape[1]):
            weight = _exp(codes[n, c], table)
            total += weight
            mean += weight * _value(codes[n, c], value)
        mean /= total
        spread = 0.0
        for c in range(codes.shape[1]):  # a second pass: E[z^2] - E[z]^2 would cancel
            spread += _exp(codes[n, c], table) * (_value(codes[n, c], value) - mean) ** 2
        first[n] = mean - _value(codes[n, labels[n]], value)
        second[n] = spread / total


def hits_if_added(
    total: NDArray[np.int64], q: NDArray[np.uint32], labels: NDArray[np.int32], out: NDArray[np.int64]
) -> None:
    """Add to `out` how many examples the ensemble gets right with each candidate added.

    Parameters
    ----------
    total : (n, C) int64
        Sum of the members' q.
    q : (M, n, C) uint32
        Candidates.
    labels : (n,) int32
        True classes.
    out : (M,) int64, added to
        Examples whose largest entry of total + q[m], the lowest class on ties, is the label.
    """
    with PARALLEL:
        _hits_if_added(total, q, labels, out)


@parallel_kernel
def _hits_if_added(total: Any, q: Any, labels: Any, out: Any) -> None:
    for m in prange(q.shape[0]):
        hits = np.int64(0)
        for n in range(q.shape[1]):
            y = labels[n]
            best = total[n, y] + np.int64(q[m, n, y])
            lost = np.int64(0)
            for c in range(y):  # no early exit: the plain loop vectorises
                lost |= np.int64(total[n, c] + np.int64(q[m, n, c]) >= best)
            for c in range(y + 1, q.shape[2]):
                lost |= np.int64(total[n, c] + np.int64(q[m, n, c]) > best)
            hits += 1 - lost
        out[m] += hits


def nll_if_added(truth_sum: NDArray[np.float64], truth: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Fixed-point NLL of the ensemble with each candidate added.

    Parameters
    ----------
    truth_sum : (N,) float64
        Sum of the members' probabilities of the truth, in the order they were chosen.
    truth : (M, N) float64
        The candidates'.
    size : int
        Members with the candidate counted.

    Returns
    -------
    (M,) int64
        Sum over examples of rint(-log(p) * 2**32), p the mean probability of the truth.
    """
    out = np.zeros(len(truth), np.int64)
    with PARALLEL:
        _nll_if_added(truth_sum, truth, math.log(size), out)
    return out


@parallel_kernel
def _nll_if_added(truth_sum: Any, truth: Any, log_size: float, out: Any) -> None:
    for m in prange(truth.shape[0]):
        total = np.int64(0)
        for n in range(truth.shape[1]):
            p = max(truth_sum[n] + truth[m, n], TINIEST)
            total += np.int64(np.rint((log_size - math.log(p)) * NLL_ONE))
        out[m] = total
