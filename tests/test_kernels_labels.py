"""Label kernels: equal to loops at every edge of words, planes, bands and chunks."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dissensus.kernels import labels
from dissensus.kernels.counts import pack


@st.composite
def predictions(draw):
    """(M, N) predicted classes in one of the dtypes that stores give, and the number of classes."""
    n_classes, shape = draw(st.integers(1, 40)), draw(st.tuples(st.integers(1, 9), st.integers(0, 140)))
    dtype = draw(st.sampled_from([np.uint8, np.int16, np.int32, np.int64]))
    return draw(arrays(dtype, shape, elements=st.integers(0, n_classes - 1))), n_classes


def random_top1(n_models, n_examples, n_classes, seed=0):
    """Models that agree more often than by chance."""
    rng = np.random.default_rng(seed)
    easy, own = rng.integers(0, n_classes, n_examples), rng.integers(0, n_classes, (n_models, n_examples))
    return np.where(rng.random((n_models, n_examples)) < 0.5, easy, own).astype(np.int16)


def everything(top1):
    return pack(np.ones(top1.shape, bool))


def plain(top1, counted=None):
    same = (top1[:, None] == top1[None]).astype(np.int64)
    return same.sum(axis=2) if counted is None else (same * counted[:, None]).sum(axis=2)


def test_planes_hold_the_bits_of_class_numbers():
    top1 = np.zeros((2, 70), np.int16)
    top1[0, [0, 64]], top1[1, 3] = 5, 2
    assert labels.pack_labels(top1, 6).tolist() == [[[1, 1], [0, 0], [1, 1]], [[0, 0], [8, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("n_classes", "planes"), [(1, 1), (2, 1), (3, 2), (10, 4), (256, 8), (257, 9), (21_843, 15)]
)
def test_as_many_planes_as_the_largest_class_has_bits(n_classes, planes):
    top1 = np.array([[n_classes - 1, 0], [0, 0], [n_classes - 1, n_classes - 1]])
    packed = labels.pack_labels(top1, n_classes)
    assert packed.shape == (3, planes, 1)
    np.testing.assert_array_equal(labels.same(packed, everything(top1)), plain(top1))


@settings(deadline=None)  # the first example may compile
@given(predictions())
def test_same_equals_loops(drawn):
    top1, n_classes = drawn
    rows = top1.tolist()
    expected = [[sum(x == y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    found = labels.same(labels.pack_labels(top1, n_classes), everything(top1))
    assert found.dtype == np.int64
    assert found.tolist() == expected


@settings(deadline=None)  # the first example may compile
@given(predictions(), st.data())
def test_only_what_is_counted_counts(drawn, data):
    """Rows of `counted` that go by the answer, as right and wrong do, under a mask of examples."""
    top1, n_classes = drawn
    wrong = data.draw(arrays(bool, (top1.shape[1], n_classes)))
    counted = wrong[np.arange(top1.shape[1]), top1] & data.draw(arrays(bool, top1.shape[1]))
    found = labels.same(labels.pack_labels(top1, n_classes), pack(counted))
    np.testing.assert_array_equal(found, plain(top1, counted))
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(found.diagonal(), counted.sum(axis=1))


@pytest.mark.parametrize("n_models", [1, 2, 15, 16, 17, 33, 50])
@pytest.mark.parametrize("n_examples", [0, 1, 63, 64, 65, 200])
def test_at_the_edges(n_models, n_examples):
    top1 = random_top1(n_models, n_examples, 10)
    np.testing.assert_array_equal(labels.same(labels.pack_labels(top1, 10), everything(top1)), plain(top1))


def test_rows_longer_than_a_chunk():
    top1 = random_top1(5, 2 * 64 * labels.CHUNK + 1, 1000)
    np.testing.assert_array_equal(labels.same(labels.pack_labels(top1, 1000), everything(top1)), plain(top1))


@settings(deadline=None)  # the first example may compile
@given(st.integers(1, 40), st.integers(1, 300), st.data())
def test_any_tiling_and_any_blocks_give_the_same_counts(n_models, n_examples, data):
    top1 = random_top1(n_models, n_examples, 7)
    edges = sorted({0, n_models, *data.draw(st.lists(st.integers(0, n_models), max_size=4), label="edges")})
    cuts = sorted({0, n_examples, *data.draw(st.lists(st.integers(0, n_examples), max_size=3), label="cuts")})
    tiles, total = [slice(a, b) for a, b in itertools.pairwise(edges)], 0
    for start, stop in itertools.pairwise(cuts):
        part = top1[:, start:stop]
        planes, counted, tiled = (
            labels.pack_labels(part, 7),
            everything(part),
            np.full((n_models, n_models), -1),
        )
        for i, rows in enumerate(tiles):
            labels.same_diagonal(planes[rows], counted[rows], tiled[rows, rows])
            for columns in tiles[i + 1 :]:
                labels.same_rectangle(planes[rows], counted[rows], planes[columns], tiled[rows, columns])
                tiled[columns, rows] = tiled[rows, columns].T
        total = total + tiled
    np.testing.assert_array_equal(total, labels.same(labels.pack_labels(top1, 7), everything(top1)))


def test_a_tile_writes_nothing_beside_itself():
    top1 = random_top1(20, 100, 5)
    planes, counted, out = labels.pack_labels(top1, 5), everything(top1), np.full((40, 40), -7)
    labels.same_rectangle(planes[:7], counted[:7], planes[7:], out[3:10, 5:18])
    labels.same_diagonal(planes[:6], counted[:6], out[20:26, 20:26])
    assert (out != -7).sum() == 7 * 13 + 6 * 6
    np.testing.assert_array_equal(out[3:10, 5:18], plain(top1)[:7, 7:])


def test_serial_tiles_run_in_a_thread_pool():
    top1 = random_top1(64, 3000, 100)
    planes, counted, out = labels.pack_labels(top1, 100), everything(top1), np.empty((64, 64), np.int64)
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, 64, 8):
            rows = slice(start, start + 8)
            pool.submit(labels.same_rectangle, planes[rows], counted[rows], planes, out[rows])
    np.testing.assert_array_equal(out, labels.same(planes, counted))


def test_threads_change_nothing():
    top1, before = random_top1(70, 1000, 12), numba.get_num_threads()
    planes = labels.pack_labels(top1, 12)
    try:
        for n_threads in {1, before}:
            numba.set_num_threads(n_threads)
            np.testing.assert_array_equal(labels.same(planes, everything(top1)), plain(top1))
    finally:
        numba.set_num_threads(before)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is that run")
def test_everything_here_holds_without_the_compiler():
    """The Python source of the kernels is what coverage sees and what the compiler is trusted to keep."""
    quick = "planes or bits or edges or beside or pool"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", quick]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
