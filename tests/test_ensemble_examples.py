"""Selection on a slice of the examples and with weighted examples, against loops; what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import dissensus as ds
from dissensus import errors
from dissensus.ensemble.members import MemberScores
from dissensus.ensemble.mixture import mixed
from dissensus.ensemble.splits import SplitWarning
from dissensus_cli.main import cli


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


@pytest.mark.parametrize("metric", ["accuracy", "nll", "balanced_accuracy"])
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
        ({"example_weights": "frequency", "metric": "brier"}, errors.ArgumentError, "part in metric='brier'"),
        ({"example_weights": "frequency", "folds": 2}, errors.ArgumentError, "have no part in folds="),
        (
            {"example_weights": "frequency", "metric": "nll", "weights": "optimal"},
            errors.ArgumentError,
            "have no part in weights='optimal'",
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


@pytest.mark.parametrize("metric", ["accuracy", "nll", "balanced_accuracy"])
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
