"""Greedy selection against the loop oracle, laws of the fixed-point sums, calibration, honesty, bad input."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus import errors
from dissensus.ensemble import calibration
from dissensus.ensemble.members import MemberScores
from dissensus.ensemble.result import gain_interval
from dissensus.ensemble.selection import Selection
from dissensus.kernels import probabilities as kernel
from dissensus.store.splits import halves


def make_store(folder, logits, labels, dtype="float16", splits=None):
    n_classes = logits[0].shape[1]
    names = [str(c) for c in range(n_classes)]
    store = ds.create(folder / "z.zoo", labels, classes=names, splits=splits, dtype=dtype)
    for i, z in enumerate(logits):
        store.add(f"m{i:02d}", logits=z)
    return store


def oracle_steps(store, best, size, metric, **options):
    """What the loops choose on the same rows, with the same temperatures."""
    rows = store.rows("fit") if not best.splits["same_examples"] else np.arange(store.n_examples)
    z = [store.logits(m).take(rows).astype(float).tolist() for m in store.model_ids]
    temperatures = [best.temperatures[m] for m in store.model_ids]
    return naive.greedy(z, store.labels[rows].tolist(), temperatures, size, metric, **options), len(rows)


def assert_equals_oracle(store, best, size, metric, **options):
    steps, n = oracle_steps(store, best, size, metric, **options)
    ids = store.model_ids
    assert best.curve["member"].to_pylist() == [ids[s.model] for s in steps]
    assert best.curve["fit_accuracy"].to_pylist() == [s.hits / n for s in steps]
    assert best.curve["fit_nll"].to_pylist() == [s.nll / 2**32 / n for s in steps]


# Coarse logits give ties and near-ties everywhere: equal rows, equal models, constant models.
TIES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0 + 2**-10, -3.0, 40.0, -80000.0])


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(), metric=st.sampled_from(["accuracy", "nll"]), dtype=st.sampled_from(["float16", "float32"])
)
def test_greedy_equals_brute_force(tmp_path_factory, data, metric, dtype):
    """Members, order, hits and NLL equal the loops' to the last bit, ties included."""
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, 5), (2, 8), (2, 4)))
    z = data.draw(st.lists(st.lists(TIES, min_size=n * c, max_size=n * c), min_size=m, max_size=m))
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    logits = [np.array(row).reshape(n, c) for row in z]
    if data.draw(st.booleans()):
        logits.append(logits[0].copy())
    store = make_store(tmp_path_factory.mktemp("g"), logits, labels, dtype)
    replacement = data.draw(st.booleans())
    size = data.draw(st.integers(1, 6 if replacement else len(logits)))
    options = {"select": "all", "report": "all", "allow_same_split": True, "calibrate": False}
    best = ds.greedy(store, size, metric, replacement=replacement, **options)
    assert_equals_oracle(store, best, size, metric, replacement=replacement)


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_greedy_equals_brute_force_calibrated(tmp_path, rng, metric, dtype):
    labels = rng.integers(0, 5, 160)
    logits = [np.eye(5)[labels] * 2 + rng.normal(size=(160, 5)) * s for s in (0.8, 1, 1.2, 2, 3)]
    store = make_store(tmp_path, logits, labels, dtype)
    best = ds.greedy(store, 7, metric)
    assert len(set(best.temperatures.values())) == 5
    assert_equals_oracle(store, best, 7, metric)
    start = ds.greedy(store, 5, metric, start=["m04", "m03"], replacement=False)
    assert start.curve["member"].to_pylist()[:2] == ["m04", "m03"]
    assert_equals_oracle(store, start, 5, metric, start=(4, 3), replacement=False)


def test_blocks_and_kept_memory_change_nothing(small_zoo, monkeypatch):
    from dissensus.ensemble import members

    reference = ds.greedy(small_zoo, 6)
    for block_bytes, kept in ((1, 0), (5 * 4 * 4 * 7, 500), (1 << 20, 0)):
        monkeypatch.setattr(members, "BLOCK_BYTES", block_bytes)
        monkeypatch.setattr(members, "available_bytes", lambda kept=kept: kept * 4)
        again = ds.greedy(small_zoo, 6)
        assert again.curve.equals(reference.curve)
        assert again.to_dict() | {"work": []} == reference.to_dict() | {"work": []}


def test_order_of_members_changes_no_sum(small_zoo, rng):
    """Fixed-point sums are integers: any order gives the same hits."""
    rows, ids = small_zoo.rows("report"), small_zoo.model_ids
    scores = MemberScores(small_zoo, ids, rows, dict.fromkeys(ids, 1.7))
    totals = []
    for _ in range(3):
        state = Selection(scores)
        for i in rng.permutation(5):
            state.add(int(i))
        totals.append(state.total)
    assert np.array_equal(totals[0], totals[1])
    assert np.array_equal(totals[0], totals[2])


def test_probabilities_are_the_naive_ones_and_sum_to_one(rng):
    z = rng.normal(size=(50, 6)).astype("f2") * 8
    z = (z.astype("f4") - z.max(1, keepdims=True)).astype("f2")
    labels = rng.integers(0, 6, 50).astype("i4")
    for stored, t in ((z, 1.0), (z, 0.31), (z.astype("f4"), 2.5)):
        codes = kernel.codes_of(stored)
        q, truth = np.empty((50, 6), np.uint32), np.empty(50)
        kernel.fixed_point(codes, kernel.exponentials(codes.dtype, t), np.arange(51), labels, q, truth)
        expected = [naive.softmax([float(v) for v in row], t) for row in stored]
        assert q.tolist() == [naive.fixed_point(p) for p in expected]
        assert truth.tolist() == [p[y] for p, y in zip(expected, labels, strict=True)]
        assert np.abs(q.sum(axis=1) / 2**31 - 1).max() < 6 * 2**-31


@pytest.mark.parametrize("t", [1e-3, 0.37, 1.0, 1e3])
def test_tables_of_exponentials_are_those_of_a_loop(t):
    bits = np.minimum(np.arange(1 << 15), 0x7BFF).astype(np.uint16)
    values = (-bits.view(np.float16).astype(np.float64)).tolist()
    assert kernel.exponentials(np.dtype(np.uint16), t).tolist() == [math.exp(z / t) for z in values]


def test_temperature_is_the_minimum(small_zoo):
    """NLL is no lower a little colder or hotter, and the fit undoes a known scaling."""
    rows = small_zoo.rows("fit")
    fitted = calibration.temperatures(small_zoo, small_zoo.model_ids, rows)
    labels = small_zoo.labels[rows].tolist()
    for model_id, t in fitted.items():
        z = small_zoo.logits(model_id).take(rows).astype(float).tolist()
        best = naive.nll(z, labels, t)
        assert best <= naive.nll(z, labels, t * 1.01)
        assert best <= naive.nll(z, labels, t * 0.99)
    small_zoo.add("scaled", logits=small_zoo.given["model-1"] * 4)
    scaled = calibration.temperatures(small_zoo, ["scaled"], rows)["scaled"]
    assert scaled == pytest.approx(4 * fitted["model-1"], rel=1e-2)


def test_no_best_temperature_warns_and_uses_one(tmp_path):
    labels = np.array([0, 1, 2, 0, 1, 2])
    store = make_store(tmp_path, [np.eye(3)[labels] * 3, -np.eye(3)[labels]], labels)
    for i in range(2):
        with pytest.warns(calibration.CalibrationWarning, match=f"model 'm0{i}' has no best temperature"):
            assert calibration.temperatures(store, [f"m0{i}"], np.arange(6)) == {f"m0{i}": 1.0}


def test_report_split_never_influences_the_choice(small_zoo, tmp_path):
    """Garbage on the report split changes what is reported, not what is chosen."""
    best = ds.greedy(small_zoo, 4)
    other = ds.create(
        tmp_path / "o.zoo", small_zoo.labels, classes=small_zoo.classes, splits=list(small_zoo.splits)
    )
    for model_id, z in small_zoo.given.items():
        spoiled = z.copy()
        spoiled[small_zoo.rows("report")] = 0
        other.add(model_id, logits=spoiled)
    again = ds.greedy(other, 4)
    assert (again.members, again.fit, again.temperatures) == (best.members, best.fit, best.temperatures)
    assert again.report != best.report


def test_result_is_consistent(small_zoo):
    best = ds.greedy(small_zoo, 8)
    assert sum(best.weights) == pytest.approx(1)
    assert best.curve.num_rows == 8
    assert best.curve.column_names == [
        "step", "member", "fit_accuracy", "report_accuracy", "fit_nll", "report_nll",
    ]  # fmt: skip
    for split in ("fit", "report"):
        values = getattr(best, split)
        assert values["accuracy"] == best.curve[f"{split}_accuracy"][-1].as_py()
        assert values["nll"] == pytest.approx(best.curve[f"{split}_nll"][-1].as_py(), abs=1e-9)
    assert best.interval.gain == pytest.approx(best.report["accuracy"] - best.single_report["accuracy"])
    assert best.interval.low <= best.interval.gain <= best.interval.high
    record = best.to_dict()
    assert {"members", "weights", "curve", "fit", "report", "interval"} <= record.keys()
    assert record["curve"][0]["member"] == best.curve["member"][0].as_py()


def test_report_equals_plain_numpy(small_zoo):
    """Recomputed from the logits with float64 softmax."""
    best = ds.greedy(small_zoo, 5)
    rows = small_zoo.rows("report")
    mean = np.zeros((len(rows), 4))
    for m, w in zip(best.members, best.weights, strict=True):
        z = small_zoo.logits(m).take(rows).astype("f8") / best.temperatures[m]
        p = np.exp(z - z.max(1, keepdims=True))
        mean += w * p / p.sum(1, keepdims=True)
    labels = small_zoo.labels[rows]
    assert best.report["accuracy"] == (mean.argmax(1) == labels).mean()
    assert best.report["nll"] == pytest.approx(-np.log(mean[np.arange(len(rows)), labels]).mean(), rel=1e-12)


def test_interval_covers(rng):
    """About 95 % of intervals of a mean difference hold the true one."""
    inside = 0
    for _ in range(200):
        ensemble, single = rng.random(400) < 0.8, rng.random(400) < 0.7
        interval = gain_interval("accuracy", "m", ensemble.astype(float), single.astype(float))
        inside += interval.low <= 0.1 <= interval.high
    assert 178 <= inside <= 199


def test_halves_are_stratified_disjoint_and_seeded(rng):
    labels = rng.integers(0, 7, 501)
    fit, report = halves(labels)
    assert sorted([*fit, *report]) == list(range(501))
    for c in range(7):
        assert abs((labels[fit] == c).sum() - (labels[report] == c).sum()) <= 1
    assert np.array_equal(fit, halves(labels)[0])
    assert not np.array_equal(fit, halves(labels, seed=1)[0])


def test_bad_input(small_zoo):
    cases = [
        ({"metric": "acuracy"}, errors.UnknownName, "unknown metric 'acuracy'; did you mean accuracy"),
        ({"size": True}, errors.ArgumentError, "size must be a whole number .* got True"),
        ({"size": 2.0}, errors.ArgumentError, "size must be a whole number .* got 2.0"),
        ({"metric": None}, errors.UnknownName, "unknown metric 'None'"),
        ({"select": 3}, errors.UnknownName, "unknown split '3'"),
        ({"start": "model-1"}, errors.ArgumentError, r"pass \['model-1'\]"),
        ({"candidates": 5}, errors.ArgumentError, "models must be a list of model ids, got 5"),
        ({"size": 0}, errors.ArgumentError, "size must be a whole number of members, at least 1; got 0"),
        (
            {"combine": "logit"},
            errors.ArgumentError,
            r"combine must be 'probabilities' .* or 'votes' .*got",
        ),
        ({"combine": ["votes"]}, errors.ArgumentError, r"combine must be .* got \['votes'\]"),
        (
            {"combine": "votes", "metric": "nll"},
            errors.ArgumentError,
            "metric='nll' needs probabilities, and",
        ),
        ({"combine": "votes", "calibrate": True}, errors.ArgumentError, "calibrate=True changes no vote"),
        ({"labels": "real"}, errors.UnknownName, "unknown label set 'real'; did you mean original"),
        ({"select": "train"}, errors.UnknownName, "unknown split 'train'"),
        ({"select": "report"}, errors.ArgumentError, "share 101 examples.*allow_same_split=True"),
        ({"select": "all"}, errors.ArgumentError, "share 101 examples"),
        ({"candidates": []}, errors.ArgumentError, "candidates is empty"),
        ({"candidates": ["model-9"]}, errors.UnknownName, "unknown model 'model-9'; did you mean"),
        ({"candidates": ["model-1", "model-1"]}, errors.ArgumentError, "model-1 more than once"),
        ({"candidates": "model-1"}, errors.ArgumentError, r"pass \['model-1'\]"),
        ({"size": 6, "replacement": False}, errors.ArgumentError, "without replacement need as many"),
        ({"size": 1, "start": ["model-1", "model-2"]}, errors.ArgumentError, "start names 2 members"),
        (
            {"start": ["model-1", "model-1"], "replacement": False},
            errors.ArgumentError,
            "names a member twice",
        ),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message):
            ds.greedy(small_zoo, **options)


def test_stores_too_small_to_choose_on(tmp_path):
    empty = ds.create(tmp_path / "e.zoo", [0, 1])
    with pytest.raises(errors.ArgumentError, match="holds no models: an ensemble needs logits"):
        ds.greedy(empty, 1)
    one = ds.create(tmp_path / "o.zoo", [0], classes=["a", "b"])
    one.add("m", logits=[[1.0, 0.0]])
    with pytest.raises(
        errors.ArgumentError, match="report='report' has 0 examples counted under .*; it needs at least 1"
    ):
        ds.greedy(one, 1)


def test_sizes_of_any_integer_kind(small_zoo):
    assert ds.greedy(small_zoo, np.int64(2)).members == ds.greedy(small_zoo, 2).members


def test_memory_budget_is_what_the_system_or_the_container_has_left(tmp_path, monkeypatch):
    from dissensus.run import memory

    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 7000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.available_bytes() == 7000 * 1024
    for name, text in {"max": "6000000\n", "current": "5000000\n", "stat": "anon 1\nfile 900000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.available_bytes() == 6_000_000 - 5_000_000 + 900_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 7000 * 1024
    (tmp_path / "meminfo").unlink()
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert memory.available_bytes() == half


def test_peak_of_a_job_is_at_least_what_it_filled():
    """In a process of its own: one that has run tests finds room in memory that it holds already."""
    code = (
        "import numpy as np; from dissensus.run.memory import peak_of; "
        "grown = peak_of(lambda: np.ones(1 << 27, np.uint8)); print(grown is None or grown >= 0.9 * 2**27)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_hard_labels_are_no_candidates(small_zoo):
    small_zoo.add("hard", predictions=small_zoo.labels)
    with pytest.raises(errors.LabelsOnly, match="candidates hard .* need logits or probabilities"):
        ds.greedy(small_zoo, 2, candidates=["hard", "model-1"])
    best = ds.greedy(small_zoo, 2)
    assert best.left_out == ["hard"]
    assert "hard" not in best.members


def test_same_split_only_when_said_and_marked(small_zoo):
    best = ds.greedy(small_zoo, 2, select="all", report="all", allow_same_split=True)
    assert best.splits["same_examples"]
    assert best.fit["accuracy"] == best.report["accuracy"]


def test_zero_probability_of_the_truth_is_floored(tmp_path):
    labels = np.array([0, 1, 0, 1])
    wrong = np.array([[-1e5, 0.0], [0.0, -1e5], [-1e5, 0.0], [0.0, -1e5]])
    store = make_store(tmp_path, [wrong], labels)
    best = ds.greedy(store, 1, select="all", report="all", allow_same_split=True, calibrate=False)
    assert best.fit["nll"] == pytest.approx(1022 * math.log(2))
