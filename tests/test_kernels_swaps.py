"""Curveball trades: margins stay, every matrix with them is as likely, threads change nothing."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import naive
from dissensus.kernels.counts import pack
from dissensus.kernels.swaps import GOLDEN, trade, trade_all, uniform
from dissensus.kernels.tails import two_sided


def unpack(packed, n):
    return np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little")[:, :n].astype(bool)


def rounds(packed, stream, n):
    size = len(packed)
    for _ in range(n):
        trade_all(packed, stream.permutation(size), stream.integers(0, 2**64, size // 2, dtype=np.uint64))


@settings(deadline=None)
@given(
    st.tuples(st.integers(2, 9), st.integers(1, 150)).flatmap(lambda shape: arrays(bool, shape)),
    st.integers(0, 2**64 - 1),
)
def test_trades_keep_both_margins(correct, seed):
    packed = pack(correct)
    rounds(packed, np.random.default_rng(seed), 5)
    after = unpack(packed, correct.shape[1])
    np.testing.assert_array_equal(after.sum(axis=1), correct.sum(axis=1))
    np.testing.assert_array_equal(after.sum(axis=0), correct.sum(axis=0))
    assert np.bitwise_count(packed).sum() == correct.sum()  # nothing beyond the last example


def test_a_trade_touches_only_what_one_of_both_has():
    rng = np.random.default_rng(0)
    correct = rng.random((2, 1000)) < 0.6
    packed = pack(correct)
    trade(packed[0], packed[1], np.uint64(7))
    after, same = unpack(packed, 1000), correct[0] == correct[1]
    np.testing.assert_array_equal(after[:, same], correct[:, same])
    assert (after[0] != correct[0]).any()
    np.testing.assert_array_equal(after[0] ^ after[1], ~same)


def test_a_trade_gives_every_share_as_often():
    """Five examples only one of both has, two of them the first's: ten outcomes."""
    correct = np.array([[1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1]], dtype=bool)
    seen = Counter()
    for key in range(4000):
        packed = pack(correct)
        trade(packed[0], packed[1], np.uint64(key) * np.uint64(1_000_003))
        seen[int(packed[0, 0])] += 1
    assert len(seen) == math.comb(5, 2)
    assert chi_square(seen, 10) < 27.9  # 1 in 1000, 9 degrees of freedom


def chi_square(seen, kinds):
    total = sum(seen.values())
    return (
        sum((n - total / kinds) ** 2 / (total / kinds) for n in seen.values())
        + (kinds - len(seen)) * total / kinds
    )


@pytest.mark.parametrize(
    ("rows", "columns"), [((2, 2, 1), (2, 1, 1, 1)), ((1, 2, 3, 2), (3, 2, 2, 1)), ((1, 1), (1, 1, 0))]
)
def test_every_matrix_with_the_margins_is_as_likely(rows, columns):
    matrices = naive.matrices_with_margins(rows, columns)
    packed, stream, seen = pack(np.array(matrices[0], bool)), np.random.default_rng(0), Counter()
    for _ in range(1500):
        rounds(packed, stream, 6)
        seen[tuple(map(tuple, unpack(packed, len(columns)).astype(int).tolist()))] += 1
    assert set(seen) == set(matrices)
    degrees = len(matrices) - 1
    assert chi_square(seen, len(matrices)) < degrees + 4 * math.sqrt(2 * degrees) + 4


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="no threads without the compiler")
def test_threads_change_nothing():
    correct = np.random.default_rng(0).random((33, 700)) < 0.7
    found = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        packed = pack(correct)
        rounds(packed, np.random.default_rng(1), 6)
        found.append(packed)
    numba.set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is that run")
def test_everything_here_holds_without_the_compiler():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_numbers_are_splitmix64():
    """The first three of seed 1234567, from the reference implementation by Vigna."""
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    found = [uniform(np.uint64(1234567), i) for i in range(3)]
    assert found == [(z >> 11) * 2.0**-53 for z in reference]
    assert GOLDEN % 2 == 1


def test_tails_equal_the_standard_library():
    z = np.array([[0.0, 1.959963984540054, -3.0], [40.0, -8.0, np.nan]])
    expected = [[math.erfc(abs(x) / math.sqrt(2)) for x in row] for row in z.tolist()]
    np.testing.assert_allclose(two_sided(z), expected, rtol=1e-14)
    assert two_sided(z.T).shape == (3, 2)
    np.testing.assert_allclose(two_sided(z.T), np.array(expected).T, rtol=1e-14)
