"""Selection on a slice of the examples and with weighted examples, against loops; what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import dissensus as ds
import naive
from dissensus import errors
from dissensus.ensemble import splits
from dissensus.ensemble.members import MemberScores
from dissensus.ensemble.mixture import mixed
from dissensus.ensemble.reliability import calibration_error
from dissensus.ensemble.splits import SplitWarning
from dissensus.ensemble.weights import Weights
from dissensus_cli.main import cli

ON_ALL = {"select": "all", "report": "all", "allow_same_split": True}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """4 models x 90 examples x 3 classes, with a column of whole weights and one of groups."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 90)
    frequency = rng.integers(0, 4, 90)
    metadata = {"frequency": frequency, "group": ["cat" if k % 3 else "dog" for k in range(90)]}
    store = ds.create(tmp_path_factory.mktemp("x") / "x.zoo", labels, classes=list("abc"), metadata=metadata)
    for i in range(4):
        store.add(
            f"m{i}", logits=1.3 * np.eye(3)[labels] + rng.normal(size=(90, 3)), metadata={"gmacs": i + 1}
        )
    return store


def repeated(store, rows, times, path):
    """A store in which each example stands as often as it counts."""
    again = np.repeat(rows, times)
    other = ds.create(path, store.labels[again], classes=store.classes)
    for m in store.model_ids:
        other.add(m, logits=store.logits(m)[:][again])
    return other


@pytest.mark.parametrize("metric", ["accuracy", "nll", "balanced_accuracy", "brier"])
def test_a_weight_counts_as_repetition(zoo, tmp_path, metric):
    """Whole weights choose and report as if each example stood there so often."""
    on_all = {"select": "all", "report": "all", "allow_same_split": True, "calibrate": False}
    best = ds.greedy(zoo, 5, metric, example_weights="frequency", **on_all)
    times = np.array(zoo.examples()["frequency"].to_pylist())
    same = ds.greedy(repeated(zoo, np.arange(90), times, tmp_path / f"{metric}.zoo"), 5, metric, **on_all)
    assert best.members == same.members
    for name in same.fit:
        assert best.fit[name] == pytest.approx(same.fit[name], abs=1e-6)
        assert best.report[name] == pytest.approx(same.report[name], abs=1e-6)
        assert best.single_report[name] == pytest.approx(same.single_report[name], abs=1e-6)
    assert best.search["example_weights"] == "frequency"
    array = ds.greedy(zoo, 5, metric, example_weights=times * 7.0, **on_all)
    assert array.search["example_weights"] == "given"
    assert array.members == best.members
    pruned = ds.greedy(zoo, 5, metric, example_weights="frequency", prune=True, **on_all)
    assert pruned.fit[metric] == pytest.approx(
        ds.greedy(
            repeated(zoo, np.arange(90), times, tmp_path / "p.zoo"), 5, metric, prune=True, **on_all
        ).fit[metric],
        abs=1e-6,
    )


@pytest.fixture(scope="module")
def again(zoo, tmp_path_factory):
    """Each example of the zoo as often as its frequency says, on which split it is there."""
    times = np.array(zoo.examples()["frequency"].to_pylist())
    return repeated(zoo, np.arange(90), times, tmp_path_factory.mktemp("r") / "r.zoo"), times


@pytest.mark.parametrize("metric", ["nll", "brier"])
def test_optimal_weights_of_weighted_examples(zoo, again, metric):
    """Those of repeated examples, temperatures alike; what the certificate proves is what is reported."""
    on_all = {"select": "all", "report": "all", "allow_same_split": True, "weights": "optimal"}
    best = ds.greedy(zoo, 4, metric, example_weights="frequency", **on_all)
    same = ds.greedy(again[0], 4, metric, **on_all)
    assert best.members == same.members
    assert best.weights == pytest.approx(same.weights, abs=1e-6)
    assert best.temperatures == pytest.approx(same.temperatures, rel=1e-7)
    assert best.certificate.gap < 1e-6
    assert best.certificate.loss == pytest.approx(best.fit[metric], abs=1e-7)
    every = np.arange(90)
    rows = [zoo.logits(m).take(every).astype(float).tolist() for m in best.members]
    p = [
        [naive.softmax(row, best.temperatures[m]) for row in one]
        for m, one in zip(best.members, rows, strict=True)
    ]
    loss = {"nll": naive.mixture_nll, "brier": naive.mixture_brier}[metric]
    assert best.fit[metric] == pytest.approx(
        loss(p, zoo.labels.tolist(), best.weights, again[1].tolist()), abs=1e-6
    )
    plain = ds.greedy(zoo, 4, metric, **on_all)
    assert plain.weights != pytest.approx(best.weights, abs=1e-3)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "nll", "brier"])
def test_folds_of_weighted_examples(zoo, metric):
    """What is reported is the weighted mean over all folds, each under what was chosen on the others."""
    times = np.array(zoo.examples()["frequency"].to_pylist(), float)
    how = {"folds": 3, "calibrate": False}
    best = ds.greedy(zoo, 2, metric, example_weights=times, **how)
    _, parts = splits.folds(zoo, "all", 3, 0)
    right, nll, brier, weights, labels = [], [], [], [], []
    for others, own in parts:
        on_others = np.where(np.isin(np.arange(90), others), times, 0)
        one = ds.greedy(zoo, 2, metric, example_weights=on_others, calibrate=False, **ON_ALL)
        rows = [zoo.logits(m).take(own).astype(float).tolist() for m in one.members]
        for k, n in enumerate(own.tolist()):
            mixed = np.average([naive.softmax(row[k]) for row in rows], axis=0, weights=one.weights)
            truth = int(zoo.labels[n])
            right.append(mixed.argmax() == truth)
            nll.append(-math.log(mixed[truth]))
            brier.append(((mixed - np.eye(3)[truth]) ** 2).sum())
            weights.append(times[n])
            labels.append(truth)
    assert best.report["accuracy"] == pytest.approx(np.average(right, weights=weights))
    assert best.report["nll"] == pytest.approx(np.average(nll, weights=weights), abs=1e-6)
    if metric == "brier":
        assert best.report["brier"] == pytest.approx(np.average(brier, weights=weights), abs=1e-6)
    if metric == "balanced_accuracy":
        each = naive.balanced_weights(labels, [int(w) for w in weights])
        assert best.report[metric] == pytest.approx(np.average(right, weights=each))
    tenfold = ds.greedy(zoo, 2, metric, example_weights=times * 10.5, **how)
    assert (tenfold.members, tenfold.report) == (best.members, pytest.approx(best.report, abs=1e-6))


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_calibration_of_weighted_examples(zoo, tmp_path, method):
    """As of repeated ones: weights 0 and 2, which leave the number of examples, and so the penalty, alike."""
    times = np.where(np.arange(90) % 2, 2, 0)
    same = ds.calibrate(repeated(zoo, np.arange(90), times, tmp_path / "c.zoo"), method=method, **ON_ALL)
    found = ds.calibrate(zoo, method=method, example_weights=times, **ON_ALL)
    assert found.example_weights == "given"
    for one, other in zip(found.table.to_pylist(), same.table.to_pylist(), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    crossed, whole = (
        {
            row["model"]: row["nll_before"]
            for row in ds.calibrate(zoo, example_weights="frequency", **how).table.to_pylist()
        }
        for how in ({"folds": 2, "method": method}, ON_ALL)
    )
    assert crossed == pytest.approx(whole)


def test_calibration_of_a_slice(zoo):
    """Only those examples are fitted and reported on; a selection takes it where they are not reported."""
    sliced = ds.calibrate(zoo, where="group == 'dog'")
    assert sliced.splits["select"]["n_examples"] == len(zoo.rows("fit", "group == 'dog'"))
    best = ds.greedy(zoo, 2, where="group == 'dog'")
    assert sliced.where == best.search["where"]
    fitted = dict(zip(*(sliced.table[name].to_pylist() for name in ("model", "temperature")), strict=True))
    assert {m: fitted[m] for m in zoo.model_ids} == best.temperatures
    assert ds.greedy(zoo, 2, temperatures=sliced).members
    asked = ["--where", "group == 'dog'", "--example-weights", "frequency"]
    done = CliRunner().invoke(cli, ["calibrate", str(zoo.path), *asked])
    assert done.exit_code == 0, done.output
    assert f"{len(zoo.rows('report', sliced.where))} examples where {sliced.where}, weighted" in done.stdout
    bad = CliRunner().invoke(cli, ["calibrate", str(zoo.path), "--example-weights", "group"])
    assert isinstance(bad.exception, errors.ArgumentError)
    assert "must be a column with a number" in str(bad.exception)


@pytest.mark.parametrize("n", [3, 15, 40])
def test_calibration_error_of_weighted_forecasts(rng, n):
    """Bins of equal weight are those of repeated forecasts, cut through where they must be."""
    confidence, right, times = rng.random(n).round(1), rng.random(n) < 0.6, rng.integers(0, 4, n)
    times[0] = 1
    again = [np.repeat(a, times).tolist() for a in (confidence, right)]
    found = calibration_error(confidence, right, Weights.of(times, n))
    assert found == pytest.approx(naive.calibration_error(*again, 15))
    assert calibration_error(confidence, right) == pytest.approx(
        naive.calibration_error(confidence.tolist(), right.tolist(), 15)
    )


@pytest.mark.parametrize("odd", [0, 1])
def test_weights_of_mean_one_are_weights(zoo, tmp_path, odd):
    """0 and 2 in turn: the mean alone does not tell them from no weights."""
    on_all = {"select": "all", "report": "all", "allow_same_split": True, "calibrate": False}
    times = np.where(np.arange(90) % 2 == odd, 2, 0)
    half = repeated(zoo, np.arange(90), times // 2, tmp_path / f"{odd}.zoo")
    for metric in ("nll", "accuracy"):
        best, alone = (
            ds.greedy(s, 3, metric, **o, **on_all) for s, o in ((zoo, {"example_weights": times}), (half, {}))
        )
        assert best.members == alone.members
        assert best.fit[metric] == pytest.approx(alone.fit[metric], abs=1e-6)


def test_a_slice_is_a_store_of_its_own(zoo, tmp_path):
    best = ds.greedy(zoo, 4, "nll", where="group == 'dog'")
    fit, report = (zoo.rows(split, "group == 'dog'") for split in ("fit", "report"))
    marks = ["fit"] * len(fit) + ["report"] * len(report)
    rows = np.concatenate([fit, report])
    other = ds.create(tmp_path / "s.zoo", zoo.labels[rows], classes=zoo.classes, splits=marks)
    for m in zoo.model_ids:
        other.add(m, logits=zoo.logits(m)[:][rows])
    same = ds.greedy(other, 4, "nll")
    assert (best.members, best.weights, best.temperatures) == (same.members, same.weights, same.temperatures)
    assert best.report == pytest.approx(same.report)
    assert best.splits["report"]["n_examples"] == len(report)
    assert best.search == {"where": "group == 'dog'"}
    crossed = ds.greedy(zoo, 2, where="group == 'dog'", folds=2)
    assert crossed.interval.n_examples == len(fit) + len(report)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"example_weights": "frequencies"}, errors.UnknownName, "unknown column 'frequencies'"),
        ({"example_weights": "group"}, errors.ArgumentError, "must be a column with a number"),
        ({"example_weights": [1.0] * 89}, errors.ArgumentError, "weights must be 90 numbers"),
        ({"example_weights": [-1.0] + [1.0] * 89}, errors.ArgumentError, "1 are not, the first is -1"),
        ({"example_weights": [math.nan] + [1.0] * 89}, errors.ArgumentError, "1 are not, the first is nan"),
        ({"example_weights": np.zeros(90)}, errors.ArgumentError, "all are 0"),
        (
            {"example_weights": [1.0] + [0.0] * 89, "folds": 3},
            errors.ArgumentError,
            r"all 0 on the [36]0 examples of split '.*fold \d.*, or choose fewer folds$",
        ),
        (
            {"example_weights": [1.0] + [0.0] * 89},
            errors.ArgumentError,
            "all 0 on the 4[56] examples of split '(fit|report)'",
        ),
        ({"where": "group == 'bird'"}, errors.UnknownName, "no example has the value 'bird'"),
        (
            {"combine": "logits", "size": 5000, "temperatures": {f"m{i}": 0.001 for i in range(4)}},
            errors.ArgumentError,
            "sums at most 4,196 members exactly",
        ),
    ],
)  # fmt: skip
def test_bad_weights_and_slices(zoo, options, kind, message):
    with pytest.raises(kind, match=message):
        ds.greedy(zoo, **({"size": 2} | options))


def test_members_of_logits_are_limited_by_the_temperatures_fitted(zoo):
    """None of them is near the coldest there can be."""
    best = ds.greedy(zoo, 5000, combine="logits", patience=1)
    assert (best.stopped, min(best.temperatures.values()) > 0.1) == ("patience", True)


@pytest.mark.parametrize("metric", ["accuracy", "nll", "balanced_accuracy", "brier"])
@pytest.mark.parametrize("scale", [1e308, 1e300, 2.0**60, 1e-300, 5e-324])
def test_only_ratios_of_weights_matter(zoo, metric, scale):
    """However large or small: no sum overflows."""
    weights = np.where(np.arange(90) % 3 == 0, 1.0, 0.0)
    best, same = (ds.greedy(zoo, 3, metric, example_weights=w) for w in (weights * scale, weights))
    assert best.members == same.members
    assert best.report[metric] == pytest.approx(same.report[metric], abs=1e-6)


def test_the_command_line_of_slices_and_weights(zoo):
    asked = ["--where", "group == 'cat'", "--example-weights", "frequency"]
    done = CliRunner().invoke(cli, ["ensemble", str(zoo.path), "--size", "3", *asked, "--format", "json"])
    assert done.exit_code == 0, done.output
    best = ds.greedy(zoo, 3, where="group == 'cat'", example_weights="frequency")
    assert json.loads(done.stdout) == json.loads(json.dumps(best.to_dict()))
    table = CliRunner().invoke(cli, ["ensemble", str(zoo.path), "--size", "3", *asked]).stdout
    assert "on split 'fit' where group == 'cat', weighted (frequency)" in table
    assert "examples where group == 'cat', weighted (frequency) that took no part in the choice" in table


def test_a_sorted_start_under_limits_goes_on_to_the_size(zoo):
    """The last of two best singles does not fit: members that do are repeated instead."""
    best = ds.greedy(zoo, 5, sorted_start=2, max_members=1)
    assert (best.curve.num_rows, best.stopped, len(best.members)) == (5, "size", 1)


def test_folds_tell_of_classes_they_lack(tmp_path):
    labels = np.array([0, 1] * 10 + [2])
    store = ds.create(tmp_path / "l.zoo", labels, classes=["a", "b", "owl"])
    store.add("m", logits=2 * np.eye(3)[labels] + np.arange(63).reshape(21, 3) % 5 / 5)
    with pytest.warns(SplitWarning, match=r"have none in select='all without fold \d' \(owl\)"):
        ds.greedy(store, 1, folds=3, calibrate=False)


def test_impossible_truths_count_the_same_when_selecting_and_reporting(tmp_path):
    """Probabilities that underflow are raised to the same least sum."""
    store = ds.create(tmp_path / "u.zoo", [0, 1, 0, 1], classes=["a", "b"])
    for m in ("m", "other"):
        store.add(m, logits=[[-60000.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    best = ds.greedy(store, 3, "nll", select="all", report="all", allow_same_split=True, calibrate=False)
    assert best.fit["nll"] == pytest.approx(best.report["nll"], abs=1e-9)


def test_a_mixture_keeps_no_list_of_its_weights(zoo):
    scores = MemberScores(zoo, ["m0", "m1"], np.arange(90), dict.fromkeys(zoo.model_ids, 1.0))
    state = mixed(scores, {0: 3 * 2**40, 1: 2**40})
    assert (state.size, state.counts.tolist(), state.chosen) == (2**42, [3 * 2**40, 2**40], [])
