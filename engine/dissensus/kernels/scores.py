"""Stored rows of one model as the float32 rows that matrix products take.

Rows are `codes_of` what the store holds, logit - row maximum: no softmax here can overflow. Sums over classes
are float64, results are off by at most 4 float32 roundings. Nothing is looked up: logits are made of the bits
of float16 and exponentials by a polynomial, many classes at once. Kernels are serial and release the GIL:
threads of numba, waiting for more, would take the cores from the matrix products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import fusing_kernel, summing_kernel
from .probabilities import Codes, logit_of

Rows = NDArray[np.float32]

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # 9 bits: its products are exact
TO_WHOLE = np.float32(1.5 * 2**23)  # added and taken away again, leaves the nearest whole number
SMALLEST = np.float32(-87.0)  # exponentials of less are no normal numbers: 0
# exp(r) = 1 + r + r**2 * (C0 + C1 r + ...) for |r| <= ln(2) / 2, off by less than 2**-28:
# fitted at Chebyshev's points
C0, C1, C2 = np.float32(0.5000000013562926), np.float32(0.16666576560554353), np.float32(0.0416664639775096)
C3, C4 = np.float32(0.008363249172971347), np.float32(0.0013933754099737252)


@summing_kernel
def probability_rows(codes: Codes, out: Rows) -> None:
    """Write softmax of each row: (n, C) -> out (n, C); NaN where the sum is 0, as of damaged rows."""
    for n in range(len(codes)):
        _powers(codes[n], out[n])
        scale = np.float32(1.0 / _sum_of_fours(out[n]))
        for c in range(out.shape[1]):
            out[n, c] *= scale


@summing_kernel
def log_probability_rows(codes: Codes, out: Rows) -> None:
    """Write log-softmax of each row: (n, C) -> out (n, C)."""
    for n in range(len(codes)):
        _powers(codes[n], out[n])
        total = 0.0  # where one class is nearly certain, what it is above 1 decides: no rounding to float32
        for c in range(out.shape[1]):
            total += np.float64(out[n, c])
        log_total = math.log(total)
        for c in range(out.shape[1]):
            out[n, c] = np.float32(np.float64(logit_of(codes[n, c])) - log_total)


@summing_kernel
def _powers(codes: Any, out: Any) -> None:
    """Write exp of one row: (C,) -> out (C,)."""
    for c in range(len(codes)):
        out[c] = exp32(logit_of(codes[c]))


@summing_kernel
def _sum_of_fours(x: Any) -> float:
    """Sum a row within 2 float32 roundings: to make each number float64 is a seventh of all work on it."""
    quarter = len(x) // 4
    a, b, c, d = x[:quarter], x[quarter:], x[2 * quarter :], x[3 * quarter :]
    total = 0.0
    for k in range(quarter):
        total += np.float64((a[k] + b[k]) + (c[k] + d[k]))
    for k in range(4 * quarter, len(x)):
        total += np.float64(x[k])
    return total


@summing_kernel
def centred_rows(codes: Codes, out: Rows) -> None:
    """Write each row minus its mean over classes: (n, C) -> out (n, C)."""
    for n in range(len(codes)):
        first, shift = np.float64(logit_of(codes[n, 0])), 0.0
        for c in range(out.shape[1]):  # shifted by the first: equal logits are exactly 0
            shift += np.float64(logit_of(codes[n, c])) - first
        mean = first + shift / out.shape[1]
        for c in range(out.shape[1]):
            out[n, c] = np.float32(np.float64(logit_of(codes[n, c])) - mean)


@fusing_kernel
def exp32(z: Any) -> Any:
    """Exponential of a float32 number that is not positive, within 2 roundings; 0 below exp(-87)."""
    shifted = np.float32(max(z, SMALLEST) * LOG2_E + TO_WHOLE)  # its last bits are the whole number
    whole = shifted - TO_WHOLE
    r = max(z, SMALLEST) - whole * LN2_HIGH - whole * LN2_LOW
    p = (((C4 * r + C3) * r + C2) * r + C1) * r + C0
    power = np.float32(p * r * r + r + np.float32(1))
    scaled = np.int32(power.view(np.int32) + np.int32(shifted.view(np.int32) << np.int32(23)))
    return scaled.view(np.float32) if z >= SMALLEST else np.float32(0)
