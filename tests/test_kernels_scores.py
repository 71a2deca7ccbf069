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
from dissensus.kernels import scores
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


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is that run")
def test_everything_here_holds_without_the_compiler():
    """The Python source of the kernels is what coverage sees and what the compiler is trusted to keep."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
