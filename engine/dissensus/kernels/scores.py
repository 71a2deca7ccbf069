"""Stored rows of one model as the float32 rows that matrix products take.

Rows are `codes_of` what the store holds, logit - row maximum: no softmax here can overflow. Sums over classes
are float64, results are off by at most 3 float32 roundings. Tables are those of `probabilities`. Kernels are
serial and release the GIL: threads of numba, waiting for more, would take the cores from the matrix products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .probabilities import Codes, Table, exp_of, value_of

Rows = NDArray[np.float32]


@kernel
def probability_rows(codes: Codes, powers: Table, out: Rows) -> None:
    """Write softmax of each row: (n, C) -> out (n, C). `powers` is from `exponentials`."""
    for n in range(len(codes)):
        scale = np.float32(1.0 / _powers(codes[n], powers, out[n]))
        for c in range(out.shape[1]):
            out[n, c] *= scale


@kernel
def log_probability_rows(codes: Codes, powers: Table, values: Table, out: Rows) -> None:
    """Write log-softmax of each row: (n, C) -> out (n, C). Tables from `exponentials` at 1, and `values`."""
    for n in range(len(codes)):
        log_total = math.log(_powers(codes[n], powers, out[n]))
        for c in range(out.shape[1]):
            out[n, c] = np.float32(value_of(codes[n, c], values) - log_total)


@kernel
def _powers(codes: Any, powers: Table, out: Any) -> float:
    """Write exp of one row, (C,) -> out (C,); return its sum, in four parts that need not wait."""
    size = len(codes)
    s0 = s1 = s2 = s3 = 0.0
    for c in range(0, size - 3, 4):
        x0, x1 = exp_of(codes[c], powers), exp_of(codes[c + 1], powers)
        x2, x3 = exp_of(codes[c + 2], powers), exp_of(codes[c + 3], powers)
        out[c], out[c + 1], out[c + 2], out[c + 3] = x0, x1, x2, x3
        s0, s1, s2, s3 = s0 + x0, s1 + x1, s2 + x2, s3 + x3
    for c in range(size // 4 * 4, size):
        x0 = exp_of(codes[c], powers)
        out[c] = x0
        s0 += x0
    return (s0 + s1) + (s2 + s3)


@kernel
def centred_rows(codes: Codes, values: Table, out: Rows) -> None:
    """Write each row minus its mean over classes: (n, C) -> out (n, C). `values` is from `values`."""
    for n in range(len(codes)):
        first, shift = value_of(codes[n, 0], values), 0.0
        for c in range(out.shape[1]):  # shifted by the first: equal logits are exactly 0
            shift += value_of(codes[n, c], values) - first
        mean = first + shift / out.shape[1]
        for c in range(out.shape[1]):
            out[n, c] = np.float32(value_of(codes[n, c], values) - mean)
