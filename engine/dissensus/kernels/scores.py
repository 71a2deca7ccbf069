"""Stored rows of one model as the float32 rows that matrix products take.

Rows are `codes_of` what the store holds, logit - row maximum: no softmax here can overflow. Sums over classes
are float64, each result is rounded once. Tables are those of `probabilities`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, parallel_kernel
from .probabilities import Codes, Table, exp_of, value_of

Rows = NDArray[np.float32]


def probability_rows(codes: Codes, powers: Table, out: Rows) -> None:
    """Write softmax of each row: (n, C) -> out (n, C). `powers` is from `exponentials`."""
    with PARALLEL:
        _probability_rows(codes, powers, out)


@parallel_kernel
def _probability_rows(codes: Any, powers: Any, out: Any) -> None:
    for n in prange(codes.shape[0]):
        total = 0.0
        for c in range(codes.shape[1]):
            total += exp_of(codes[n, c], powers)
        for c in range(codes.shape[1]):
            out[n, c] = np.float32(exp_of(codes[n, c], powers) / total)


def log_probability_rows(codes: Codes, powers: Table, values: Table, out: Rows) -> None:
    """Write log-softmax of each row: (n, C) -> out (n, C). Tables from `exponentials` at 1, and `values`."""
    with PARALLEL:
        _log_probability_rows(codes, powers, values, out)


@parallel_kernel
def _log_probability_rows(codes: Any, powers: Any, values: Any, out: Any) -> None:
    for n in prange(codes.shape[0]):
        total = 0.0
        for c in range(codes.shape[1]):
            total += exp_of(codes[n, c], powers)
        log_total = math.log(total)
        for c in range(codes.shape[1]):
            out[n, c] = np.float32(value_of(codes[n, c], values) - log_total)


def centred_rows(codes: Codes, values: Table, out: Rows) -> None:
    """Write each row minus its mean over classes: (n, C) -> out (n, C). `values` is from `values`."""
    with PARALLEL:
        _centred_rows(codes, values, out)


@parallel_kernel
def _centred_rows(codes: Any, values: Any, out: Any) -> None:
    for n in prange(codes.shape[0]):
        first, shift = value_of(codes[n, 0], values), 0.0
        for c in range(codes.shape[1]):  # shifted by the first: equal logits are exactly 0
            shift += value_of(codes[n, c], values) - first
        mean = first + shift / codes.shape[1]
        for c in range(codes.shape[1]):
            out[n, c] = np.float32(value_of(codes[n, c], values) - mean)
