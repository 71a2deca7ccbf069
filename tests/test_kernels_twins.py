"""Twins of the count kernels: numba, NumPy and torch give the counts of loops, whatever their blocks."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, MissingDependency
from dissensus.kernels import bits, counts, labels, numpy_counts, torch_counts
from dissensus.pairs.measures import MEASURES
from dissensus.run import devices

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
CPU = torch.device("cpu")
BOTH_RIGHT = {
    "numba": counts.both_right,
    "numpy": numpy_counts.both_right,
    "torch": partial(torch_counts.both_right, device=CPU),
    **{str(n): partial(torch_counts.both_right, device=CPU, numbers=n) for n in torch_counts.EXACT},
}
SAME = {"numba": labels.same, "torch": partial(torch_counts.same, device=CPU)}


def both_right(name):
    on_gpu = partial(torch_counts.both_right, device=torch.device("cuda"))
    return BOTH_RIGHT.get(name, on_gpu)


def same(name):
    return SAME.get(name, partial(torch_counts.same, device=torch.device("cuda")))


@pytest.mark.parametrize("name", [*BOTH_RIGHT, pytest.param("cuda", marks=CUDA)])
@settings(deadline=None, max_examples=15)
@given(st.integers(1, 9), st.integers(0, 700), st.integers(0, 2**32), st.floats(0, 1))
def test_both_right_equals_loops(name, n_models, n_examples, seed, share):
    correct = np.random.default_rng(seed).random((n_models, n_examples)) < share
    rows = correct.tolist()
    expected = [[naive.pair_counts(a, b)[0] for b in rows] for a in rows]
    found = both_right(name)(bits.pack(correct))
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize("name", [*SAME, pytest.param("cuda", marks=CUDA)])
@settings(deadline=None, max_examples=15)
@given(st.integers(1, 7), st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**32))
def test_same_answers_equal_loops(name, n_models, n_examples, n_classes, seed):
    """Among the examples of a mask, and among the wrong answers of each model."""
    rng = np.random.default_rng(seed)
    top1 = rng.integers(0, n_classes, (n_models, n_examples))
    truth, mask = rng.integers(0, n_classes, n_examples), rng.random(n_examples) < 0.7
    planes, kept = bits.pack_labels(top1, n_classes), bits.pack(mask[None])
    for counted in (np.broadcast_to(mask, top1.shape), (top1 != truth) & mask):
        expected = [
            [
                sum(a == b and bool(c) for a, b, c in zip(*pair, some, strict=True))
                for pair in ((row.tolist(), other.tolist()) for other in top1)
            ]
            for row, some in zip(top1, counted, strict=True)
        ]
        found = same(name)(planes, bits.pack(counted) & kept)
        assert found.dtype == np.int64
        assert found.tolist() == expected


@pytest.mark.parametrize("name", [*BOTH_RIGHT, pytest.param("cuda", marks=CUDA)])
def test_counts_beyond_what_a_type_can_hold(name):
    """20,000 examples that all get right: bfloat16 has no 257, float16 no 2,049."""
    correct = np.ones((3, 20_001), bool)
    correct[1, ::2] = False
    every = [20_001, 10_000, 20_001]
    assert both_right(name)(bits.pack(correct)).tolist() == [every, [10_000] * 3, every]


def test_comparisons_are_held_some_rows_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    top1 = rng.integers(0, 5, (11, 200))
    planes, every = bits.pack_labels(top1, 5), bits.pack(np.ones((11, 200), bool))
    whole = torch_counts.same(planes, every, CPU)
    monkeypatch.setattr(torch_counts, "COMPARED", 3 * 11 * 200)
    monkeypatch.setattr(torch_counts, "BLOCK", 64)
    np.testing.assert_array_equal(torch_counts.same(planes, every, CPU), whole)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("query", [{}, {"split": "fit"}, {"where": "label < 3"}])
def test_pairs_on_a_device_are_those_of_numba(small_zoo, device, query):
    measures = [name for name, measure in MEASURES.items() if measure.needs in ("counts", "labels")]
    here, there = (ds.pairwise(small_zoo, measures, device=d, **query) for d in (None, device))
    for name in measures:
        np.testing.assert_array_equal(here[name], there[name], err_msg=name)
    groups = ds.pairwise_by(small_zoo, "label_kappa", "label", device=device, **query)
    for value, pairs in ds.pairwise_by(small_zoo, "label_kappa", "label", **query).items():
        np.testing.assert_array_equal(pairs["label_kappa"], groups[value]["label_kappa"])
        np.testing.assert_array_equal(pairs.counts.both_right, groups[value].counts.both_right)


def test_devices_that_are_not_there_are_refused(small_zoo, monkeypatch):
    for device in ("gpu", "cuda:-1", "meta", "", 3.5):
        with pytest.raises(ArgumentError, match=r"^device must be 'cpu', 'cuda' or 'cuda:<number>'; got "):
            ds.pairwise(small_zoo, "phi", device=device)
    with pytest.raises(ArgumentError, match=r"^device 'cuda:99' is not there: torch \S+ sees \d+"):
        ds.pairwise(small_zoo, "phi", device="cuda:99")
    with pytest.raises(ArgumentError, match=r"^device counts measures of .*; capa .* without device$"):
        ds.pairwise(small_zoo, ["phi", "capa"], device="cpu")
    with pytest.raises(ArgumentError, match=r"^device counts measures of .*; kl .* without device$"):
        ds.pairwise_by(small_zoo, "kl", "label", device="cpu")
    with pytest.raises(ArgumentError, match=r"^the workers of a scheduler count by numba: pass scheduler or"):
        ds.pairwise(small_zoo, "phi", device="cpu", scheduler="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"torch, which cannot be imported; run: pip install torch"):
        ds.pairwise(small_zoo, "phi", device="cpu")


def test_numba_is_loaded_when_it_has_paid(monkeypatch):
    packed, asked = bits.pack(np.ones((4, 130), bool)), []
    monkeypatch.delitem(sys.modules, "dissensus.kernels.counts")
    monkeypatch.setattr(devices._Rent, "spent", 0.0)
    monkeypatch.setattr(devices, "FEW", 2 * 4 * 4 * 3)
    monkeypatch.setattr(numpy_counts, "both_right", lambda packed: asked.append(1))
    for _ in range(3):
        devices.LOCAL.both_right(packed)
    assert len(asked) == 2
    assert "dissensus.kernels.counts" in sys.modules


def test_a_question_of_a_new_process_loads_neither_numba_nor_pandas_nor_torch(small_zoo):
    code = f"""if True:
        import sys
        from dissensus_cli.main import cli
        cli(["pairs", {str(small_zoo.path)!r}, "--top", "3"], standalone_mode=False)
        assert not {{"numba", "pandas", "torch", "scipy"}} & {{*sys.modules}}
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 of 10 pairs" in done.stdout
