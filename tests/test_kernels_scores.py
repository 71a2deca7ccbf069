"""Score kernels: equal to loops in float64 within a few float32 roundings, whatever the store's dtype."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import naive
from dissensus.kernels import score_products, scores
from dissensus.kernels.gram import padded
from dissensus.kernels.probabilities import codes_of

KERNELS = {
    "probability_rows": lambda row: naive.softmax(row),
    "log_probability_rows": lambda row: [z - naive.log_sum_exp(row) for z in row],
    "centred_rows": lambda row: [z - naive.mean(row) for z in row],
}


def filled(name, centred):
    codes, out = codes_of(centred), np.full(centred.shape, np.nan, np.float32)
    getattr(scores, name)(codes, out)
    return out


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 4, 5, 8, 11, 1000])
@pytest.mark.parametrize("name", KERNELS)
def test_equal_to_loops(name, n_classes, dtype, rng):
    z = 5 * rng.normal(size=(7, n_classes))
    z[0], z[1] = 0, -65504
    z[1, 0] = 0
    centred = (z - z.max(axis=1, keepdims=True)).astype(dtype)
    expected = [KERNELS[name]([float(v) for v in row]) for row in centred]
    np.testing.assert_allclose(filled(name, centred), expected, rtol=4 * 2**-24, atol=1e-6 * 2**-24)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_of_equal_logits_are_exact(dtype):
    centred = np.zeros((2, 6), dtype)
    assert (filled("centred_rows", centred) == 0).all()
    assert (filled("probability_rows", centred) == np.float32(1 / 6)).all()
    assert (filled("log_probability_rows", centred) == np.float32(-math.log(6))).all()


PRODUCTS = [("probability", "probability"), ("root", "root"), ("probability", "log"), ("logit", "logit")]


def naive_scores(kind, rows):
    """Scores of one example of all models, by loops."""
    p = [naive.softmax(row) for row in rows]
    if kind == "logit":
        return [[z - naive.mean(row) for z in row] for row in rows]
    made = {"probability": p, "root": [[math.sqrt(v) for v in row] for row in p]}
    made["log"] = [[z - naive.log_sum_exp(row) for z in row] for row in rows]
    if kind == "probability":
        return p
    means = [naive.mean([row[c] for row in made[kind]]) for c in range(len(rows[0]))]
    return [[v - mean for v, mean in zip(row, means, strict=True)] for row in made[kind]]


@pytest.mark.parametrize("step", [1, 2, 7])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_products_are_those_of_loops(dtype, step, rng):
    n_models, n, n_classes, kinds = 5, 6, 3, list(score_products.KINDS)
    z = 3 * rng.normal(size=(n_models, n, n_classes))
    centred = (z - z.max(axis=2, keepdims=True)).astype(dtype)
    right, size = rng.integers(0, n_classes, n), padded(n_models)
    places = np.array([[kinds.index(kind) for kind in pair] for pair in PRODUCTS])
    scores = np.full((len(kinds), size * step * n_classes), np.nan, np.float32)
    sums, truth = np.zeros((len(PRODUCTS), size, size)), np.zeros(n_models)
    how = right, np.arange(len(kinds)), places, step, scores
    score_products.add_score_products(codes_of(centred), *how, sums, truth)
    rows = [[[float(v) for v in centred[m, e]] for m in range(n_models)] for e in range(n)]
    for (left, other), found in zip(PRODUCTS, sums, strict=True):
        made = [(naive_scores(left, example), naive_scores(other, example)) for example in rows]
        for i in range(n_models):
            for j in range(i if left == other else 0, n_models):
                expected = sum(a * b for x, y in made for a, b in zip(x[i], y[j], strict=True))
                assert found[i, j] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    p = [naive_scores("probability", example) for example in rows]
    expected = [sum(p[e][m][right[e]] for e in range(n)) for m in range(n_models)]
    np.testing.assert_allclose(truth, expected, rtol=1e-6)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is that run")
def test_everything_here_holds_without_the_compiler():
    """The Python source of the kernels is what coverage sees and what the compiler is trusted to keep."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
