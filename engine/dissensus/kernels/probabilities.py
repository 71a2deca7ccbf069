"""Calibrated probabilities as fixed-point integers.

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

from .jit import kernel, parallel_kernel, parallel_over

ONE = 2**31  # fixed-point 1.0; 2**32 members fit an int64 sum
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

    ``math.exp`` and not NumPy's: one definition, which a plain loop can repeat to the last bit. Compiled,
    as a table in Python took 2.5 ms and a model needs ten: on small zoos that was most of a search.
    """
    if codes_dtype != np.uint16:
        return np.array([temperature])
    table = _values_of_codes() / temperature
    _exponentiate(table)
    return table


@kernel
def _exponentiate(table: Any) -> None:
    for i in range(table.shape[0]):
        table[i] = math.exp(table[i])


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
    with parallel_over(codes.size):
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
    with parallel_over(codes.size):
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
    with parallel_over(codes.size):
        _scaled_rows(codes, table, out)


@parallel_kernel
def _scaled_rows(codes: Any, table: Any, out: Any) -> None:
    for n in prange(codes.shape[0]):
        for c in range(codes.shape[1]):
            out[n, c] = scaled_of(codes[n, c], table)
