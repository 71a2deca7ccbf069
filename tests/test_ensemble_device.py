"""Brute force by torch: kernels and searches give numba's integers, whatever fits on the device."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
from dissensus.ensemble import on_device
from dissensus.ensemble.combine import COMBINE
from dissensus.ensemble.on_device import DeviceScores
from dissensus.ensemble.running import FullRunning
from dissensus.ensemble.selection import Selection
from dissensus.ensemble.weights import Weights
from dissensus.errors import ArgumentError, MissingDependency
from dissensus.kernels import candidates as exact
from dissensus.kernels import probabilities as kernel
from dissensus.kernels import torch_probabilities as twin
from dissensus.run import devices
from dissensus.store.truth import Truth
from dissensus_cli.main import cli
from test_ensemble import TIES, assert_equals_oracle, make_store

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


def sets_of(rng, n, n_classes):
    return Truth.of(
        "t", [sorted({*rng.integers(0, n_classes, rng.integers(1, 4)).tolist()}) for _ in range(n)], n_classes
    )


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 9), n_classes=st.integers(2, 40), cold=st.booleans())
def test_values_are_those_of_numba_to_the_last_bit(device, seed, n, n_classes, cold):
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(n, n_classes)) * rng.choice([0.01, 1, 30, 9000])).astype("f4")
    codes = (z - z.max(axis=1, keepdims=True)).astype("f2").view(np.uint16)
    truth, temperature = sets_of(rng, n, n_classes), 0.01 if cold else float(rng.uniform(0.3, 4))
    table = kernel.exponentials(codes.dtype, temperature)
    q, p_truth = np.empty(codes.shape, np.uint32), np.empty(n)
    kernel.fixed_point(codes, table, truth.offsets, truth.classes, q, p_truth)
    sent, values, right = (
        torch.from_numpy(a).to(device) for a in (codes.view(np.int16), table, on_device._padded(truth))
    )
    found_q, found_p = twin.fixed_point(sent, values, right)
    assert found_q.dtype == torch.int32
    np.testing.assert_array_equal(found_q.cpu().numpy().astype(np.int64) + twin.SHIFT, q)
    np.testing.assert_array_equal(found_p.cpu().numpy(), p_truth)
    table, scaled = kernel.scaled_logits(codes.dtype, temperature), np.empty(codes.shape, np.int64)
    kernel.scaled_rows(codes, table, scaled)
    np.testing.assert_array_equal(
        twin.scaled_rows(sent, torch.from_numpy(table).to(device)).cpu().numpy(), scaled
    )


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), held=st.sampled_from([1, 500, None]))
def test_hits_are_those_of_numba(device, seed, held):
    """Ties everywhere: the lowest class is first."""
    rng = np.random.default_rng(seed)
    m, n, n_classes = rng.integers(1, 6), rng.integers(1, 20), rng.integers(2, 30)
    truth, weights = sets_of(rng, n, n_classes), rng.integers(0, 5, n)
    total, q = rng.integers(0, 3, (n, n_classes)), rng.integers(0, 3, (m, n, n_classes)).astype(np.uint32)
    candidates = rng.permutation(m)[: rng.integers(1, m + 1)]
    out = np.zeros(len(candidates), np.int64)
    exact.hits_if_added(total, q, candidates, truth.offsets, truth.classes, weights, out)
    given_ = total, q.astype(np.int32), candidates, on_device._padded(truth), weights
    found = twin.hits_if_added(*(torch.from_numpy(a).to(device) for a in given_), held_bytes=held)
    np.testing.assert_array_equal(found.cpu().numpy(), out)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
@pytest.mark.parametrize(
    ("blocks", "dtype"), [("all", "float32"), ("some", "float32"), ("some", "float16"), ("none", "float16")]
)
def test_sums_are_those_of_brute_force(tmp_path, rng, monkeypatch, device, dtype, combine, blocks):
    """Through members added, taken out and copied, with all, some or no blocks kept on the device."""
    labels = rng.integers(0, 6, 90)
    logits = [np.round(np.eye(6)[labels] + rng.normal(size=(90, 6)), 1) for _ in range(4)]
    store = make_store(tmp_path, logits, labels, dtype)
    rows, models = np.flatnonzero(rng.random(90) < 0.8), store.model_ids
    temperatures = dict(zip(models, [0.7, 1.0, 1.3, 2.0], strict=True))
    if blocks != "all":
        monkeypatch.setattr(on_device, "BLOCK_BYTES", 4 * 6 * 4 * 11)
    budget = {"all": None, "some": 40_000, "none": 0}[blocks]
    way = COMBINE[combine]
    far = DeviceScores(way, store, models, rows, temperatures, torch.device(device), budget)
    near = way.scores(store, models, rows, temperatures, 0)
    kept = {"all": [1], "some": range(1, len(rows)), "none": [0]}[blocks]
    assert len(far._kept) in kept
    np.testing.assert_array_equal(far.p_truth, near.p_truth)
    states = [Selection(scores, recorded=()) for scores in (near, far)]
    assert isinstance(states[0].running, FullRunning)
    weights, everybody = rng.integers(0, 3, len(rows)), np.arange(4)
    for step in (None, 2, 2, 0, "drop", "copy", 3):
        for place, state in enumerate(states):
            if step == "drop":
                state.drop(1)
            elif step == "copy":
                states[place] = state.copy()
                state.add(1)
            elif step is not None:
                state.add(step)
        for told in zip(*(looked_at(state, everybody, weights) for state in states), strict=True):
            np.testing.assert_array_equal(*told)
    if combine == "probabilities":
        weights = Weights.of(np.arange(len(near.truth)) + 0.5, len(near.truth))
        np.testing.assert_array_equal(far.gram(weights).products, near.gram(weights).products)
        np.testing.assert_array_equal(far.gram(weights).at_truth, near.gram(weights).at_truth)


def looked_at(state, candidates, weights):
    running = state.running
    return (
        running.hits_if_added(candidates, weights),
        running.leaders(candidates, weights),
        state.right,
        state.total,
    )


@settings(max_examples=10, deadline=None)
@given(
    data=st.data(), metric=st.sampled_from(["accuracy", "nll"]), dtype=st.sampled_from(["float16", "float32"])
)
def test_searches_equal_the_loops(tmp_path_factory, data, metric, dtype):
    """Members, order, hits and NLL to the last bit, ties included."""
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, 5), (2, 8), (2, 4)))
    z = data.draw(st.lists(st.lists(TIES, min_size=n * c, max_size=n * c), min_size=m, max_size=m))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    logits = [np.array(row).reshape(n, c) for row in z]
    store = make_store(tmp_path_factory.mktemp("g"), [*logits, logits[0]], labels, dtype)
    options = {"select": "all", "report": "all", "allow_same_split": True, "calibrate": False}
    best = ds.greedy(store, 4, metric, device="cpu", **options)
    assert_equals_oracle(store, best, 4, metric)


@pytest.mark.parametrize("device", DEVICES)
def test_a_search_on_a_device_gives_the_local_result(small_zoo, device):
    for options in ({}, {"metric": "brier"}, {"combine": "logits", "beam": 2}, {"folds": 2, "prune": True}):
        here, there = (
            ds.greedy(small_zoo, 5, device=on, **options).to_dict() | {"work": []} for on in (None, device)
        )
        assert here == there
    command = ["ensemble", str(small_zoo.path), "--size", "3"]
    here, there = (CliRunner().invoke(cli, [*command, *more]) for more in ([], ["--device", device]))
    assert there.exit_code == 0, there.stderr
    assert there.stdout == here.stdout


def test_few_examples_need_little_of_a_device(small_zoo, monkeypatch):
    expected = ds.greedy(small_zoo, size=2).members
    monkeypatch.setattr(devices, "available_bytes", lambda: 4_000_000)
    assert ds.greedy(small_zoo, size=2, device="cpu").members == expected


def test_devices_that_cannot_compare_are_refused(small_zoo, monkeypatch):
    for device in ("gpu", "meta", 3.5):
        with pytest.raises(ArgumentError, match=r"^device must be 'cpu', 'cuda' or 'cuda:<number>'; got "):
            ds.greedy(small_zoo, device=device)
    with pytest.raises(ArgumentError, match=r"^device 'cuda:99' is not there: torch \S+ sees \d+"):
        ds.greedy(small_zoo, device="cuda:99")
    with pytest.raises(ArgumentError, match=r"combine='votes' has none: leave device out"):
        ds.greedy(small_zoo, combine="votes", device="cpu")
    monkeypatch.setattr(devices, "available_bytes", lambda: 4000)
    with pytest.raises(ArgumentError, match=r"^device 'cpu' has 2.0 kB free, .* one block needs "):
        ds.greedy(small_zoo, device="cpu")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match="device= compares candidates by torch, which cannot be impo"):
        ds.greedy(small_zoo, device="cpu")
