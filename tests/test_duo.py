"""The weighted duo: slopes against loops, the best of all pools, honesty, refusals, the command."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.optimize import minimize

import dissensus as ds
import naive
from dissensus.ensemble import all_duos
from dissensus.ensemble.calibration import CalibrationWarning, temperatures
from dissensus.ensemble.pool import DUO, MEAN, best_pool
from dissensus.errors import ArgumentError, LabelsOnly, UnknownName
from dissensus.kernels import pools
from dissensus.kernels.probabilities import codes_of
from dissensus_cli.main import cli
from test_ensemble import make_store


def pooled(z_a, z_b, b):
    return [[b[0] * x + b[1] * y for x, y in zip(*rows, strict=True)] for rows in zip(z_a, z_b, strict=True)]


@pytest.fixture
def both(tmp_path, rng):
    """A good model, one that knows other classes, noise, and a copy."""
    labels = rng.integers(0, 6, 240)
    signal = np.eye(6)[labels]
    first = 3 * signal * (labels < 3)[:, None] + rng.normal(size=(240, 6))
    second = 6 * signal * (labels > 1)[:, None] + 2 * rng.normal(size=(240, 6))
    store = make_store(tmp_path, [first, second, rng.normal(size=(240, 6)), first], labels)
    sets = [sorted({int(y), *rng.integers(0, 6, n % 3).tolist()}) for n, y in enumerate(labels)]
    store.add_labels("sets", sets)
    return store


def rows_of(store, names, split):
    rows = store.rows(split)
    return [store.logits(m).take(rows).astype(float).tolist() for m in names], store.labels[rows].tolist()


@pytest.mark.parametrize("name", [None, "sets"])
def test_moments_equal_loops(both, name):
    """NLL to rounding; slopes and curvature are its differences."""
    store = both.under(name)
    truth = store.truth
    right = [truth.classes[truth.offsets[n] : truth.offsets[n + 1]].tolist() for n in range(len(truth))]
    z = [store.logits(m).take(np.arange(240)).astype(float).tolist() for m in ("m00", "m01")]
    codes = [codes_of(store.logits(m).take(np.arange(240))) for m in ("m00", "m01")]

    def nll(a, b):
        return naive.nll(pooled(*z, (a, b)), right)

    b, h = (0.7, 0.3), 1e-4
    found = pools.pool_moments(*codes, b, truth.offsets, truth.classes).mean(axis=0)
    here = nll(*b)
    steps = {(i, j): nll(b[0] + i * h, b[1] + j * h) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    slope_a, slope_b = ((steps[k] - steps[-k[0], -k[1]]) / 2 / h for k in ((1, 0), (0, 1)))
    aa, bb = ((steps[k] - 2 * here + steps[-k[0], -k[1]]) / h**2 for k in ((1, 0), (0, 1)))
    ab = (steps[1, 1] - steps[1, -1] - steps[-1, 1] + steps[-1, -1]) / 4 / h**2
    np.testing.assert_allclose(found, [here, slope_a, slope_b, aa, ab, bb], rtol=1e-6, atol=1e-6)
    assert found[0] == pytest.approx(here, rel=1e-12)


def test_top1_is_the_lowest_class_of_the_largest_sum(both):
    codes = [codes_of(both.logits(m).take(np.arange(240))) for m in ("m00", "m01")]
    z = [both.logits(m).take(np.arange(240)).astype(float).tolist() for m in ("m00", "m01")]
    expected = [naive.argmax(row) for row in pooled(*z, (0.7, 0.3))]
    assert pools.pool_top1(*codes, (0.7, 0.3)).tolist() == expected
    assert not pools.pool_top1(*codes, (0.0, 0.0)).any()


def test_no_other_pool_is_better(both):
    """Against scipy's bounded search, and steps to all sides; numbers are the loops' own."""
    found = ds.duo(both, "m00", "m01")
    b = [1 / found.temperatures[m] for m in found.models]
    z, labels = rows_of(both, found.models, "fit")
    best = naive.nll(pooled(*z, b), labels)
    for i, j in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)):
        assert naive.nll(pooled(*z, (b[0] * i, b[1] * j)), labels) > best
    peer = minimize(lambda x: naive.nll(pooled(*z, x), labels), (0.5, 0.5), bounds=[(0, None)] * 2, tol=1e-10)
    np.testing.assert_allclose(b, peer.x, rtol=1e-3)
    rows = {row["model"]: row for row in found.table.to_pylist()}
    assert list(rows) == ["m00", "m01", MEAN, DUO]
    assert rows[DUO]["fit_nll"] == pytest.approx(best, rel=1e-12)
    held, truth = rows_of(both, found.models, "report")
    assert rows[DUO]["report_nll"] == pytest.approx(naive.nll(pooled(*held, b), truth), rel=1e-12)
    assert rows[DUO]["report_accuracy"] == naive.accuracy(pooled(*held, b), truth)
    assert rows[DUO]["fit_nll"] < min(rows[m]["fit_nll"] for m in ("m00", "m01"))
    assert found.intervals["nll"].gain > 0


def test_members_and_their_mean_are_those_of_other_queries(both):
    found = {row["model"]: row for row in ds.duo(both, "m00", "m01").table.to_pylist()}
    pairs = ds.pairwise(both, "pair_accuracy", split="report", calibrate=True)
    assert found[MEAN]["report_accuracy"] == pairs["pair_accuracy"][0, 1]
    assert found["m00"]["report_accuracy"] == pairs.accuracy[0]
    fitted = temperatures(both, ["m01"], both.rows("fit"))["m01"]
    z, labels = rows_of(both, ["m01"], "fit")
    assert found["m01"]["fit_nll"] == pytest.approx(naive.nll(z[0], labels, fitted), rel=1e-12)


def test_a_copy_shares_the_weight_and_a_useless_member_has_none(both):
    copy = ds.duo(both, "m00", "m03")
    assert list(copy.weights.values()) == pytest.approx([0.5, 0.5], abs=1e-6)
    wrong = np.random.default_rng(1).normal(size=(240, 6)) - np.eye(6)[both.labels]
    both.add("harm", logits=2 * wrong)
    both.add(
        "noisy", logits=np.array(both.logits("m01")[:]) + np.random.default_rng(2).normal(size=(240, 6)) * 2
    )
    with pytest.warns(CalibrationWarning, match="model 'harm' has no best temperature"):
        found = ds.duo(both, "noisy", "harm")
    assert found.weights["harm"] == 0
    assert math.isinf(found.temperatures["harm"])
    assert found.weights["noisy"] == pytest.approx(1, rel=1e-6)


def test_no_best_pool_warns(tmp_path):
    labels = np.arange(60) % 3
    store = make_store(tmp_path, [np.eye(3)[labels] * 3, np.eye(3)[labels]], labels)
    with pytest.warns(CalibrationWarning) as told:
        found = ds.duo(store, "m00", "m01")
    assert "models 'm00' and 'm01' have no best temperatures together on these 30 examples" in str(
        told[-1].message
    )
    assert list(found.temperatures.values()) == [2, 2]


def test_two_that_only_harm_are_not_used_as_they_are(tmp_path, rng):
    """Neither coefficient may be above 0: no pool is best, and it is said."""
    labels = np.arange(120) % 3
    harm = [rng.normal(size=(120, 3)) - 2 * np.eye(3)[labels] for _ in range(2)]
    store = make_store(tmp_path, harm, labels)
    with pytest.warns(CalibrationWarning, match="no best temperature") as told:
        found = ds.duo(store, "m00", "m01")
    assert "have no best temperatures together" in str(told[-1].message)
    assert list(found.temperatures.values()) == [2, 2]


def test_a_member_hotter_than_any_temperature_alone(tmp_path, rng):
    """Nearly noise, and huge: its own best temperature is above 1000, where others stand at 1."""
    labels = np.arange(200) % 3
    hot = 9000 * (rng.normal(size=(200, 3)) + 0.4 * np.eye(3)[labels])
    harm = rng.normal(size=(200, 3)) - 2 * np.eye(3)[labels]
    store = make_store(tmp_path, [hot, harm], labels)
    with pytest.warns(CalibrationWarning, match="no best temperature"):
        found = ds.duo(store, "m00", "m01")
    z, right = rows_of(store, found.models, "fit")
    peer = minimize(lambda x: naive.nll(pooled(*z, (x[0] / 1e4, 0)), right), (1.0,), tol=1e-12)
    assert found.temperatures["m00"] == pytest.approx(1e4 / peer.x[0], rel=1e-3)
    assert found.temperatures["m00"] > 1000
    assert math.isinf(found.temperatures["m01"])


def test_label_sets(both):
    found = ds.duo(both, "m00", "m01", labels="sets")
    assert found.labels == "sets"
    truth = both.under("sets").truth
    rows = both.rows("report")
    right = [truth.classes[truth.offsets[n] : truth.offsets[n + 1]].tolist() for n in rows]
    z, _ = rows_of(both, found.models, "report")
    b = [1 / found.temperatures[m] for m in found.models]
    expected = naive.nll(pooled(*z, b), right)
    assert found.table["report_nll"].to_pylist()[3] == pytest.approx(expected, rel=1e-12)


def test_the_report_split_changes_no_weight(both):
    """Garbage there changes what is reported, not what is fitted."""
    before = ds.duo(both, "m00", "m01")
    z = np.array(both.logits("m00")[:])
    z[both.rows("report")] = 0
    both.add("m00", logits=z, replace=True)
    after = ds.duo(both, "m00", "m01")
    assert after.weights == before.weights
    assert after.table["report_nll"] != before.table["report_nll"]


def test_refusals(both):
    both.add("hard", predictions=both.labels)
    with pytest.raises(ArgumentError, match="a duo is of two different models; got 'm00' twice"):
        ds.duo(both, "m00", "m00")
    with pytest.raises(LabelsOnly, match="hard have hard labels only; a duo needs logits"):
        ds.duo(both, "m00", "hard")
    with pytest.raises(UnknownName, match="m0"):
        ds.duo(both, "m00", "m0")
    with pytest.raises(ArgumentError, match="share .* examples"):
        ds.duo(both, "m00", "m01", select="all", report="all")
    assert ds.duo(both, "m00", "m01", select="all", report="all", allow_same_split=True).splits[
        "same_examples"
    ]


def test_best_pool_starts_anywhere(both):
    rows = both.rows("fit")
    codes, truth = [codes_of(both.logits(m).take(rows)) for m in ("m00", "m01")], both.truth.take(rows)
    found = [best_pool(codes, truth, start) for start in ((0.5, 0.5), (0.0, 0.0), (30.0, 0.01), (0.0, 5.0))]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5)


def test_command(both):
    done = CliRunner().invoke(cli, ["duo", str(both.path), "m00", "m01", "--format", "json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["models"] == ["m00", "m01"]
    assert [row["model"] for row in record["table"]] == ["m00", "m01", MEAN, DUO]
    shown = CliRunner().invoke(cli, ["duo", str(both.path), "m00", "m01"]).stdout
    assert "weighted duo" in shown
    assert "its calibrated logits count" in shown
    assert "nats of log-likelihood, 95% interval [" in shown
    same = ["--select", "all", "--report", "all", "--allow-same-split"]
    assert (
        "Caution: fitted and reported on shared"
        in CliRunner().invoke(cli, ["duo", str(both.path), "m00", "m01", *same]).stdout
    )


def rows_by_pair(found):
    return {(row["model_a"], row["model_b"]): row for row in found.table.to_pylist()}


@pytest.mark.parametrize("name", [None, "sets"])
def test_all_pairs_are_the_duos_of_each(both, name):
    found = ds.duos(both, ["m03", "m01", "m00"], labels=name)
    rows = rows_by_pair(found)
    assert sorted(rows) == [("m00", "m01"), ("m00", "m03"), ("m01", "m03")]
    fit = found.table["fit_nll"].to_pylist()
    assert fit == sorted(fit)
    for (a, b), row in rows.items():
        one = ds.duo(both, a, b, labels=name)
        assert [row["weight_a"], row["weight_b"]] == list(one.weights.values())
        assert [row["temperature_a"], row["temperature_b"]] == list(one.temperatures.values())
        duo_row = one.table.to_pylist()[-1]
        assert {k: row[k] for k in duo_row if k != "model"} == {
            k: v for k, v in duo_row.items() if k != "model"
        }
        assert row["better"] == one.intervals["nll"].versus
        for metric in ("accuracy", "nll"):
            assert row[f"{metric}_gain"] == pytest.approx(one.intervals[metric].gain, abs=1e-12)
        assert one.splits == found.splits
    assert found.labels == (name or both.truth.name)


def test_tiles_and_threads_change_no_duo(both, monkeypatch):
    expected = ds.duos(both).table
    monkeypatch.setattr(pools, "SMALL", 0)
    assert ds.duos(both).table == expected
    monkeypatch.setattr(all_duos, "available_bytes", lambda: 4 * 240 * 6 * 2)
    assert ds.duos(both).table == expected
    some = ds.duos(both, ["m02", "m00"])
    assert some.models == ["m00", "m02"]
    assert rows_by_pair(some)["m00", "m02"] == rows_by_pair(ds.duos(both))["m00", "m02"]


def test_pairs_without_best_temperatures_are_told_of_once(tmp_path):
    labels = np.arange(60) % 3
    store = make_store(tmp_path, [np.eye(3)[labels] * k for k in (3, 1, 2)], labels)
    with pytest.warns(CalibrationWarning) as told:
        found = ds.duos(store)
    assert str(told[-1].message).startswith("3 pairs have no best temperatures together on these 30 examples")
    assert sum("pairs" in str(one.message) for one in told) == 1
    assert found.table["temperature_a"].to_pylist() == [2, 2, 2]


def test_refusals_of_all_pairs(both, monkeypatch):
    both.add("hard", predictions=both.labels)
    assert "hard" not in ds.duos(both).models
    with pytest.raises(LabelsOnly, match="hard have hard labels only"):
        ds.duos(both, ["m00", "hard"])
    with pytest.raises(ArgumentError, match="duos are of two models at least; got m00 with logits or prob"):
        ds.duos(both, ["m00", "m00"])
    with pytest.raises(ArgumentError, match=r"models must be a list of model ids, got 'm00'; pass \['m00'"):
        ds.duos(both, "m00")
    with pytest.raises(UnknownName, match="m0"):
        ds.duos(both, ["m00", "m0"])
    monkeypatch.setattr(all_duos, "available_bytes", lambda: 1000)
    with pytest.raises(
        ArgumentError, match=r"^a duo of 240 examples needs 0\.0 GB, .* choose smaller splits"
    ):
        ds.duos(both)


def test_command_of_all_pairs(both):
    path = str(both.path)
    expected = ds.duos(both).table
    record = json.loads(CliRunner().invoke(cli, ["duo", path, "--all", "--format", "json"]).stdout)
    assert [row["fit_nll"] for row in record["pairs"]] == expected["fit_nll"].to_pylist()
    assert record["splits"]["report"]["n_examples"] == 120
    shown = CliRunner().invoke(cli, ["duo", path, "--all", "--top", "2"]).stdout
    assert shown.startswith("2 of 6 pairs of 4 models, weighed; fitted on split 'fit' (120 examples)")
    same = ["--select", "all", "--report", "all", "--allow-same-split"]
    some = CliRunner().invoke(cli, ["duo", path, "m00", "m01", "m02", *same]).stdout
    assert "3 pairs of 3 models" in some
    assert "Caution: fitted and reported on shared" in some
    for asked in ([], ["m00"], ["m00", "--all"], ["m00", "m01", "--top", "1"]):
        refused = CliRunner().invoke(cli, ["duo", path, *asked])
        assert refused.exit_code == 2
        assert "Error: " in refused.output
