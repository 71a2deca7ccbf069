"""The log-linear pool of two models: softmax(b_a z_a + b_b z_b), its likelihood and slopes.

The NLL of one right class is convex in the two coefficients together; that of several need not be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .jit import PARALLEL, kernel, parallel_kernel
from .probabilities import Classes, Codes, Offsets, logit_of

MOMENTS = 6
SMALL = 2**20  # logits of a model up to which threads are left to whoever weighs many pairs at a time
STRIPE = 64  # examples that one task of a thread takes


def pool_moments(
    codes_a: Codes, codes_b: Codes, coefficients: tuple[float, float], offsets: Offsets, classes: Classes
) -> NDArray[np.float64]:
    """Likelihood of each example under the pool, and its derivatives by the coefficients.

    Parameters
    ----------
    codes_a, codes_b : (n, C)
        Rows of both models, from `probabilities.codes_of`.
    coefficients : (float, float)
        b_a and b_b, inverse temperatures.
    offsets, classes
        Right classes of each example, as in `probabilities`.

    Returns
    -------
    (n, 6) float64
        NLL in nats; its slopes by b_a and b_b; its second derivatives by a and a, a and b, b and b.
    """
    out = np.empty((len(codes_a), MOMENTS))
    if codes_a.size <= SMALL:
        _moments_of_rows(codes_a, codes_b, *coefficients, offsets, classes, 0, len(codes_a), out)
        return out
    with PARALLEL:
        _pool_moments(codes_a, codes_b, *coefficients, offsets, classes, out)
    return out


@parallel_kernel
def _pool_moments(
    codes_a: Any, codes_b: Any, b_a: float, b_b: float, offsets: Any, classes: Any, out: Any
) -> None:
    n_stripes = (len(codes_a) + STRIPE - 1) // STRIPE
    for stripe in prange(n_stripes):
        start = stripe * STRIPE
        stop = min(start + STRIPE, len(codes_a))
        _moments_of_rows(codes_a, codes_b, b_a, b_b, offsets, classes, start, stop, out)


@kernel
def _moments_of_rows(
    codes_a: Any,
    codes_b: Any,
    b_a: float,
    b_b: float,
    offsets: Any,
    classes: Any,
    start: int,
    stop: int,
    out: Any,
) -> None:
    everything = np.arange(codes_a.shape[1])
    for n in range(start, stop):
        right = classes[offsets[n] : offsets[n + 1]]
        log_all, a_all, b_all, aa_all, ab_all, bb_all = _moments(codes_a[n], codes_b[n], b_a, b_b, everything)
        log_some, a_some, b_some, aa_some, ab_some, bb_some = _moments(
            codes_a[n], codes_b[n], b_a, b_b, right
        )
        out[n, 0] = log_all - log_some
        out[n, 1], out[n, 2] = a_all - a_some, b_all - b_some
        out[n, 3], out[n, 4], out[n, 5] = aa_all - aa_some, ab_all - ab_some, bb_all - bb_some


@kernel
def _moments(row_a: Any, row_b: Any, b_a: float, b_b: float, some: Any) -> Any:
    """Log of the sum of powers of some classes; means and covariances of both logits under their softmax."""
    top = -np.inf
    for c in some:
        top = max(top, b_a * np.float64(logit_of(row_a[c])) + b_b * np.float64(logit_of(row_b[c])))
    total = mean_a = mean_b = 0.0
    for c in some:
        z_a, z_b = np.float64(logit_of(row_a[c])), np.float64(logit_of(row_b[c]))
        power = math.exp(b_a * z_a + b_b * z_b - top)
        total += power
        mean_a += power * z_a
        mean_b += power * z_b
    mean_a, mean_b = mean_a / total, mean_b / total
    aa = ab = bb = 0.0
    for c in some:  # again: products of raw values minus products of means would cancel
        z_a, z_b = np.float64(logit_of(row_a[c])), np.float64(logit_of(row_b[c]))
        power = math.exp(b_a * z_a + b_b * z_b - top)
        aa += power * (z_a - mean_a) ** 2
        ab += power * (z_a - mean_a) * (z_b - mean_b)
        bb += power * (z_b - mean_b) ** 2
    return top + math.log(total), mean_a, mean_b, aa / total, ab / total, bb / total


def pool_top1(codes_a: Codes, codes_b: Codes, coefficients: tuple[float, float]) -> NDArray[np.int32]:
    """Class of the largest pooled logit, in float64 and the lowest on ties: (n,) int32."""
    out = np.empty(len(codes_a), np.int32)
    if codes_a.size <= SMALL:
        _top1_of_rows(codes_a, codes_b, *coefficients, 0, len(codes_a), out)
        return out
    with PARALLEL:
        _pool_top1(codes_a, codes_b, *coefficients, out)
    return out


@parallel_kernel
def _pool_top1(codes_a: Any, codes_b: Any, b_a: float, b_b: float, out: Any) -> None:
    n_stripes = (len(codes_a) + STRIPE - 1) // STRIPE
    for stripe in prange(n_stripes):
        start = stripe * STRIPE
        _top1_of_rows(codes_a, codes_b, b_a, b_b, start, min(start + STRIPE, len(codes_a)), out)


@kernel
def _top1_of_rows(
    codes_a: Any, codes_b: Any, b_a: float, b_b: float, start: int, stop: int, out: Any
) -> None:
    for n in range(start, stop):
        best, first = -np.inf, 0
        for c in range(codes_a.shape[1]):
            value = b_a * np.float64(logit_of(codes_a[n, c])) + b_b * np.float64(logit_of(codes_b[n, c]))
            if value > best:
                best, first = value, c
        out[n] = first
