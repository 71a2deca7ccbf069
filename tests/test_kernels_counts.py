"""Popcount kernels: equal to loops at every edge of words, register blocks, bands and chunks."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import naive
from dissensus.kernels import counts

correctness = st.tuples(st.integers(1, 11), st.integers(0, 140)).flatmap(lambda shape: arrays(bool, shape))


def integer_gemm(correct):
    return correct.astype(np.int64) @ correct.T.astype(np.int64)


def random_correct(n_models, n_examples, seed=0):
    return np.random.default_rng(seed).random((n_models, n_examples)) < 0.7


def test_pack_puts_example_n_at_bit_n():
    correct = np.zeros((2, 70), dtype=bool)
    correct[0, [0, 3, 63]] = correct[1, [64, 69]] = True
    assert counts.pack(correct).tolist() == [[1 + 2**3 + 2**63, 0], [0, 1 + 2**5]]


@settings(deadline=None)  # the first example may compile
@given(correctness)
def test_pack_keeps_every_bit(correct):
    words = [[int(word) for word in row] for row in counts.pack(correct)]
    assert all(len(row) == -(-correct.shape[1] // 64) for row in words)
    bits = [[bool(row[n // 64] >> (n % 64) & 1) for n in range(correct.shape[1])] for row in words]
    assert bits == correct.tolist()
    assert sum(word.bit_count() for row in words for word in row) == correct.sum()


@settings(deadline=None)  # the first example may compile
@given(correctness)
def test_both_right_equals_loops(correct):
    rows = correct.tolist()
    expected = [[naive.pair_counts(i, j)[0] for j in rows] for i in rows]
    assert counts.both_right(counts.pack(correct)).tolist() == expected


@pytest.mark.parametrize("n_models", [1, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 70])
@pytest.mark.parametrize("n_examples", [0, 1, 63, 64, 65, 200])
def test_both_right_at_the_edges(n_models, n_examples):
    correct = random_correct(n_models, n_examples)
    result = counts.both_right(counts.pack(correct))
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, integer_gemm(correct))


def test_rows_longer_than_a_chunk():
    correct = random_correct(9, 2 * 64 * counts.CHUNK + 1)
    np.testing.assert_array_equal(counts.both_right(counts.pack(correct)), integer_gemm(correct))


@settings(deadline=None)  # the first example may compile
@given(st.integers(1, 40), st.integers(1, 300), st.data())
def test_any_tiling_gives_the_same_counts(n_models, n_examples, data):
    packed = counts.pack(random_correct(n_models, n_examples))
    edges = sorted({0, n_models, *data.draw(st.lists(st.integers(0, n_models), max_size=4), label="edges")})
    tiles = [slice(a, b) for a, b in itertools.pairwise(edges)]
    tiled = np.full((n_models, n_models), -1)
    for i, rows in enumerate(tiles):
        counts.both_right_diagonal(packed[rows], tiled[rows, rows])
        for columns in tiles[i + 1 :]:
            counts.both_right_rectangle(packed[rows], packed[columns], tiled[rows, columns])
            tiled[columns, rows] = tiled[rows, columns].T
    np.testing.assert_array_equal(tiled, counts.both_right(packed))


def test_a_tile_writes_nothing_beside_itself():
    packed = counts.pack(random_correct(20, 100))
    out = np.full((40, 40), -7)
    counts.both_right_rectangle(packed[:7], packed[7:], out[3:10, 5:18])
    counts.both_right_diagonal(packed[:6], out[20:26, 20:26])
    assert (out != -7).sum() == 7 * 13 + 6 * 6
    np.testing.assert_array_equal(out[3:10, 5:18], counts.both_right(packed)[:7, 7:])


def test_threads_change_nothing():
    correct = random_correct(70, 1000)
    packed, before = counts.pack(correct), numba.get_num_threads()
    try:
        for n_threads in {1, before}:
            numba.set_num_threads(n_threads)
            np.testing.assert_array_equal(counts.both_right(packed), integer_gemm(correct))
    finally:
        numba.set_num_threads(before)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="no threading layer without the compiler")
def test_calls_from_several_threads_are_safe():
    """Under the workqueue layer, two parallel kernels at once would abort the process: hence another one."""
    code = """
        import numpy as np
        from concurrent.futures import ThreadPoolExecutor
        from dissensus.kernels.counts import both_right, pack
        packed = pack(np.random.default_rng(0).random((64, 20000)) < 0.7)
        expected = both_right(packed)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: both_right(packed), range(200)))
        assert all((r == expected).all() for r in results)
        import numba
        print(numba.threading_layer())
    """
    done = run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "workqueue"


def test_serial_tiles_run_in_a_thread_pool():
    packed = counts.pack(random_correct(64, 5000))
    out = np.empty((64, 64), dtype=np.int64)
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, 64, 8):
            rows = slice(start, start + 8)
            pool.submit(counts.both_right_rectangle, packed[rows], packed, out[rows])
    np.testing.assert_array_equal(out, counts.both_right(packed))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is that run")
def test_everything_here_holds_without_the_compiler():
    """The Python source of the kernels is what coverage sees and what the compiler is trusted to keep."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled, so nothing is cached")
@pytest.mark.parametrize("home", ["writable", "read-only"])
def test_a_read_only_installation_works(home):
    """Compiled code goes to the user's cache; without that either, kernels compile anew in each process."""
    code = """
        import pathlib, numpy as np
        from dissensus.kernels import counts
        try:
            pathlib.Path(counts.__file__).with_name("probe").touch()
        except PermissionError:
            packed = counts.pack(np.eye(3, dtype=bool))
            out = np.empty((3, 3), dtype=np.int64)
            counts.both_right_rectangle(packed, packed, out)
            print(out.trace())
    """
    with tempfile.TemporaryDirectory() as folder:
        installed, user = Path(folder, "site"), Path(folder, "home")
        copy_kernels(installed / "dissensus")
        user.mkdir(mode=0o755 if home == "writable" else 0o555)
        paths = {"PYTHONPATH": str(installed), "HOME": str(user), "XDG_CACHE_HOME": str(user / "cache")}
        done = run_python(code, launcher=OBEYING_FILE_MODES, **paths)
        cached = list(user.rglob("*.nbi"))
        for path in installed.rglob("*"):
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    if not done.stdout:
        pytest.skip("this user may write read-only folders")
    assert done.stdout.strip() == "3"
    assert bool(cached) == (home == "writable")


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a benchmark of the compiled kernels")
def test_the_benchmark_runs(tmp_path):
    script = Path(__file__).resolve().parent.parent / "benchmarks/pair_counts.py"
    arguments = [
        "--models",
        "20",
        "--examples",
        "500",
        "--repeats",
        "2",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(next(tmp_path.glob("*-pair-counts.json")).read_text())
    assert report["equal_results"]
    assert {"dissensus counts", "popcount roof", "float32 K @ K.T"} <= report["median_s"].keys()


def copy_kernels(package):
    """Copy the kernels to a package of their own, read-only."""
    source = Path(counts.__file__).parent
    shutil.copytree(source, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").touch()
    for path in (*package.rglob("*"), package):
        path.chmod(0o555 if path.is_dir() else 0o444)


def run_python(code, *, launcher=(), **environment):
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    command = [*launcher, sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False)


# Root may write anywhere (CAP_DAC_OVERRIDE, 1); PR_CAPBSET_DROP (24) takes that from the next program.
OBEYING_FILE_MODES = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])",
)
