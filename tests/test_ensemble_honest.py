"""Cross-fitting, singles of equal cost, stability, and what calibration changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import dissensus as ds
import naive
from dissensus import errors
from dissensus.ensemble import calibration
from dissensus.ensemble.calibration import CalibrationWarning
from dissensus.ensemble.reliability import Forecasts, calibration_error
from dissensus.ensemble.scaling import fit_vector, minimum
from dissensus.ensemble.splits import SplitWarning, folds
from dissensus.store.truth import Truth
from dissensus_cli.main import cli


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """4 models x 240 examples x 3 classes, over- and underconfident, with costs."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 240)
    store = ds.create(tmp_path_factory.mktemp("h") / "h.zoo", labels, classes=list("abc"))
    for i, (noise, scale) in enumerate(((1.0, 3.0), (1.2, 0.4), (1.5, 1.0), (1.8, 2.0))):
        z = (2 * np.eye(3)[labels] + rng.normal(size=(240, 3)) * noise) * scale
        store.add(f"m{i}", logits=z, metadata={"gmacs": 4.0 - i})
    return store


def test_folds_are_a_stratified_partition(zoo):
    rows, parts = folds(zoo, "all", 4, 0)
    assert sorted(row for _, fold in parts for row in fold) == rows.tolist() == list(range(240))
    for others, fold in parts:
        assert not {*others} & {*fold}
        assert len(others) + len(fold) == 240
        assert all((np.diff(side) > 0).all() for side in (others, fold))
    for c in range(3):
        sizes = [(zoo.labels[fold] == c).sum() for _, fold in parts]
        assert max(sizes) - min(sizes) <= 1
    assert not np.array_equal(parts[0][1], folds(zoo, "all", 4, 1)[1][0][1])


def test_crossfitting_reports_each_fold_under_the_others_choice(zoo, tmp_path):
    """The same numbers from a store whose splits are the folds, one search after another."""
    best = ds.greedy(zoo, 4, folds=3)
    rows, parts = folds(zoo, "all", 3, 0)
    right, single, n_members = 0.0, 0.0, []
    for k, (_, fold) in enumerate(parts):
        marks = np.where(np.isin(rows, fold), "report", "fit").tolist()
        other = ds.create(tmp_path / f"{k}.zoo", zoo.labels, classes=zoo.classes, splits=marks)
        for m in zoo.model_ids:
            other.add(m, logits=zoo.logits(m)[:])
        one = ds.greedy(other, 4)
        right += one.report["accuracy"] * len(fold)
        single += one.single_report["accuracy"] * len(fold)
        n_members += one.members
    assert best.report["accuracy"] == pytest.approx(right / 240)
    assert best.single_report["accuracy"] == pytest.approx(single / 240)
    assert best.interval.gain == pytest.approx((right - single) / 240)
    assert best.interval.n_examples == 240
    whole = ds.greedy(zoo, 4, select="all", report="all", allow_same_split=True)
    assert (best.members, best.weights, best.fit) == (whole.members, whole.weights, whole.fit)
    assert {row["model"]: row["chosen"] for row in best.stability.to_pylist()} == {
        m: n_members.count(m) for m in {*n_members}
    }
    assert best.splits["report"] == {"name": "3 folds of all", "n_examples": 240}
    assert best.splits["folds"] == 3
    assert best.curve["report_accuracy"][-1].as_py() == pytest.approx(best.report["accuracy"])


def test_the_single_of_equal_cost(zoo):
    """The best by the metric among those that cost at most as much as the members together."""
    best = ds.greedy(zoo, 3, candidates=["m1", "m2", "m3"], include=["m2", "m3"], cost="gmacs", max_members=2)
    assert best.costs.total == 3.0
    cheap = {m: ds.greedy(zoo, 1, candidates=[m]) for m in ("m1", "m2", "m3")}
    winner = max(cheap, key=lambda m: (cheap[m].fit["accuracy"], -cheap[m].fit["nll"]))
    assert best.equal_cost.versus == winner
    gain = best.report["accuracy"] - cheap[winner].report["accuracy"]
    assert best.equal_cost.gain == pytest.approx(gain)
    only = ds.greedy(zoo, 1, start=["m3"], cost="gmacs")
    assert only.equal_cost.versus == "m3"
    assert only.single != "m3"
    assert ds.greedy(zoo, 1).equal_cost is None


def test_classes_that_selection_lacks_are_told(tmp_path, rng):
    labels = np.array([0, 1, 2] * 20)
    marks = np.where((np.arange(60) < 30) & (labels != 2), "fit", "report").tolist()
    store = ds.create(tmp_path / "u.zoo", labels, classes=["a", "b", "owl"], splits=marks)
    store.add("m", logits=np.eye(3)[labels] + rng.normal(size=(60, 3)))
    with pytest.warns(SplitWarning, match=r"1 classes .* none in select='fit' \(owl\)"):
        ds.greedy(store, 1, calibrate=False)


def test_calibration_error_is_the_loops(rng):
    for n in (1, 4, 15, 16, 100):
        confidence, right = rng.choice([0.3, 0.5, 0.9, 1.0], n), rng.random(n) < 0.6
        found = calibration_error(confidence, right)
        assert found == pytest.approx(naive.calibration_error(confidence.tolist(), right.tolist(), 15))
    assert calibration_error(np.ones(30), np.ones(30, bool)) == 0
    assert calibration_error(np.ones(30), np.zeros(30, bool)) == 1


def test_forecasts_are_the_loops(rng):
    z, labels = rng.normal(size=(40, 3)) * 3, rng.integers(0, 3, 40)
    found = Forecasts.of(z, Truth.of("t", labels.tolist(), 3))
    p = [naive.softmax([v - max(row) for v in row]) for row in z.tolist()]
    assert found.scores()["nll"] == pytest.approx(naive.nll(z.tolist(), labels.tolist()))
    brier = [sum((v - (c == y)) ** 2 for c, v in enumerate(row)) for row, y in zip(p, labels, strict=True)]
    assert found.scores()["brier"] == pytest.approx(sum(brier) / 40)
    assert found.confidence.tolist() == pytest.approx([max(row) for row in p])
    sets = Forecasts.of(z, Truth.of("t", [[0, 1]] * 40, 3))
    assert np.isnan(sets.scores()["brier"])
    assert sets.scores()["nll"] == pytest.approx(-np.log([row[0] + row[1] for row in p]).mean())


def test_the_table_before_and_after(zoo):
    """Temperatures of the selection split, scores of the other, ranks and reversals counted by hand."""
    found = ds.calibrate(zoo)
    fit, report = zoo.rows("fit"), zoo.rows("report")
    fitted = calibration.temperatures(zoo, zoo.model_ids, fit)
    rows = {row["model"]: row for row in found.table.to_pylist()}
    for m, row in rows.items():
        z, y = zoo.logits(m).take(report).astype(float).tolist(), zoo.labels[report].tolist()
        assert row["temperature"] == fitted[m]
        assert row["nll_before"] == pytest.approx(naive.nll(z, y))
        assert row["nll_after"] == pytest.approx(naive.nll(z, y, fitted[m]))
        assert row["accuracy_before"] == row["accuracy_after"]
    for when in ("before", "after"):
        order = sorted(rows, key=lambda m: rows[m][f"nll_{when}"])
        assert [rows[m][f"rank_{when}"] for m in order] == [1, 2, 3, 4]
        assert getattr(found, f"best_{when}") == order[0]
    turned = 0
    for i, a in enumerate(zoo.model_ids):
        for b in zoo.model_ids[:i]:
            before, after = (rows[a][f"nll_{when}"] - rows[b][f"nll_{when}"] for when in ("before", "after"))
            turned += before * after < 0
    assert (found.pairs, found.reversed_pairs) == (6, turned)
    assert turned > 0
    assert found.table["rank_after"].to_pylist() == [1, 2, 3, 4]


def test_crossfitted_calibration(zoo):
    found = ds.calibrate(zoo, ["m0"], folds=3).table.to_pylist()[0]
    _, parts = folds(zoo, "all", 3, 0)
    total = 0.0
    for others, fold in parts:
        t = calibration.temperatures(zoo, ["m0"], others)["m0"]
        z = zoo.logits("m0").take(fold).astype(float).tolist()
        total += naive.nll(z, zoo.labels[fold].tolist(), t) * len(fold)
    assert found["nll_after"] == pytest.approx(total / 240)
    assert found["temperature"] == calibration.temperatures(zoo, ["m0"], np.arange(240))["m0"]


def test_vector_scaling_is_a_minimum(zoo):
    """A step in any direction raises the penalised NLL, written with loops."""
    rows = zoo.rows("fit")
    z = zoo.logits("m0").take(rows).astype(float)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    labels = zoo.labels[rows].tolist()
    found = fit_vector(log_p, zoo.truth.take(rows), 2.0)
    assert found.converged
    x = [*found.factors, *found.offsets]
    best = naive.vector_loss(log_p.tolist(), labels, x, 2.0)
    for place in range(6):
        for step in (-1e-2, 1e-2):
            moved = [v + step * (k == place) for k, v in enumerate(x)]
            assert naive.vector_loss(log_p.tolist(), labels, moved, 2.0) > best
    assert best < naive.vector_loss(log_p.tolist(), labels, [0.5] * 3 + [0.0] * 3, 2.0)


def test_vector_scaling_mends_what_no_temperature_can(tmp_path, rng):
    """One class favoured by all: an offset takes it back, accuracy with it."""
    labels = rng.integers(0, 3, 400)
    store = ds.create(tmp_path / "v.zoo", labels, classes=list("abc"))
    z = 2 * np.eye(3)[labels] + rng.normal(size=(400, 3))
    z[:, 1] += 3
    store.add("m", logits=z)
    vector, temperature = (
        ds.calibrate(store, method=method).table.to_pylist()[0] for method in ("vector", "temperature")
    )
    assert vector["accuracy_after"] > temperature["accuracy_after"] + 0.1
    assert vector["nll_after"] < temperature["nll_after"]
    assert vector["nll_before"] == temperature["nll_before"]


def test_the_minimum_of_a_quadratic_and_one_not_reached(monkeypatch, zoo):
    from dissensus.ensemble import scaling

    matrix = np.array([[3.0, 1.0], [1.0, 50.0]])
    x, converged = minimum(lambda x: (x @ matrix @ x / 2 - x.sum(), matrix @ x - 1), np.zeros(2))
    assert converged
    assert x.tolist() == pytest.approx(np.linalg.solve(matrix, [1, 1]).tolist(), abs=1e-6)
    monkeypatch.setattr(scaling, "MAX_STEPS", 1)
    with pytest.warns(CalibrationWarning, match="vector scaling of model 'm0' did not converge on 120"):
        ds.calibrate(zoo, ["m0"], method="vector")


def test_crossfitted_balanced_accuracy_is_over_all_examples(tmp_path):
    """Of a class with one example, in one fold alone: that fold must not decide how much it counts."""
    rng, labels = np.random.default_rng(0), np.array([0] * 20 + [1] * 9 + [2])
    store = ds.create(tmp_path / "rare.zoo", labels, classes=list("abc"))
    z = np.eye(3)[labels] + rng.normal(size=(30, 3))
    z[-1] = [0, 0, 9]
    store.add("only", logits=z)
    with pytest.warns(SplitWarning, match="have none in select='all without fold"):
        best = ds.greedy(store, 1, "balanced_accuracy", folds=3, calibrate=False)
    right = store.top1(["only"])[0] == labels
    expected = np.mean([right[labels == c].mean() for c in range(3)])
    assert best.report["balanced_accuracy"] == pytest.approx(expected)
    assert best.curve["report_balanced_accuracy"][0].as_py() == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"folds": f} for f in (1, 0, -1, "5", 2.5)] + [{"folds": 2, "seed": -1}])
def test_folds_and_seed_of_calibrate_are_checked(zoo, options):
    with pytest.raises(errors.ArgumentError, match="must be a whole number, at least"):
        ds.calibrate(zoo, **options)


def test_bad_input_of_calibrate(zoo, tmp_path):
    for options, kind, message in (
        ({"method": "platt"}, errors.ArgumentError, "method must be 'temperature' or 'vector', got 'platt'"),
        ({"models": ["m9"]}, errors.UnknownName, "unknown model 'm9'"),
        ({"models": []}, errors.ArgumentError, "no models to calibrate"),
        ({"select": "report"}, errors.ArgumentError, "share 120 examples"),
        ({"folds": 2, "report": "fit"}, errors.ArgumentError, "leave out report='fit'"),
        ({"labels": "real"}, errors.UnknownName, "unknown label set 'real'"),
    ):
        with pytest.raises(kind, match=message):
            ds.calibrate(zoo, **options)
    hard = ds.create(tmp_path / "l.zoo", [0, 1, 0, 1])
    hard.add("h", predictions=[0, 1, 1, 1])
    with pytest.raises(errors.LabelsOnly, match=r"h \(1\) have hard labels only: there are no probabilities"):
        ds.calibrate(hard)


def told(*arguments):
    """Standard output of a command that ends well."""
    done = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_line_of_calibration(zoo):
    found = ds.calibrate(zoo, folds=2)
    record = json.loads(told("calibrate", zoo.path, "--folds", 2, "--format", "json"))
    assert record == json.loads(json.dumps(found.to_dict()))
    screen = told("calibrate", zoo.path, "--folds", 2)
    assert f"{found.reversed_pairs} of 6 pairs of models change their order by NLL." in screen
    assert f"Best by NLL: {found.best_before} before, {found.best_after} after." in screen
    marked = told("calibrate", zoo.path, "--report", "fit", "--allow-same-split", "--model", "m1")
    assert "Caution: fitted and reported on shared examples" in marked


@pytest.mark.parametrize(
    ("options", "expected", "phrases"),
    [
        (
            ["--bags", 3, "--seed", 4],
            {"bags": 3, "seed": 4},
            ["3 bags: how often each model is chosen", "share"],
        ),
        (
            ["--metric", "nll", "--weights", "optimal", "--prune"],
            {"metric": "nll", "weights": "optimal", "prune": True},
            ["Weights with the least NLL, proven to"],
        ),
        (
            ["--cost", "gmacs", "--max-cost", 7, "--beam", 2, "--exclude", "m3"],
            {"cost": "gmacs", "max_cost": 7.0, "beam": 2, "exclude": ["m3"]},
            ["Beam search by accuracy", "Cost: gmacs ", "of at most 7", "Worth their cost", "at equal cost"],
        ),
        (
            ["--folds", 2, "--include", "m2", "--max-members", 3],
            {"folds": 2, "include": ["m2"], "max_members": 3},
            ["On 2 folds, 240 examples, each under what was calibrated and chosen without it:"],
        ),
        (
            ["--combine", "votes", "--sorted-start", 2],
            {"combine": "votes", "sorted_start": 2},
            ["Ended after 4 members, before the size asked for: no further model was allowed"],
        ),
        (["--patience", 1], {"patience": 1}, []),
    ],
)
def test_the_command_line_of_ensembles(zoo, options, expected, phrases):
    """JSON is the library's record; the screen says what happened."""
    best = ds.greedy(zoo, 6, **expected)
    record = json.loads(told("ensemble", zoo.path, "--size", 6, *options, "--format", "json"))
    assert record == json.loads(json.dumps(best.to_dict()))
    screen = told("ensemble", zoo.path, "--size", 6, *options)
    for phrase in phrases:
        assert phrase in screen
    if best.length < best.curve.num_rows:
        assert f"Taken back to step {best.length}, the best on split 'fit'" in screen
    if best.stopped == "patience":
        assert "the last 1 brought no new best" in screen
    if best.dropped:
        assert f"Dropped, no worse without: {', '.join(best.dropped)}" in screen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--cost", "params"],
            "cost='params' is not recorded of m0, m1, m2, m3 (4 of 4); recorded of all: gmacs",
        ),
        (["--cost", "gmac"], "of m0, m1, m2, m3 (4 of 4) (did you mean gmacs?); recorded of all: gmacs"),
        (["--max-cost", "3"], "max_cost needs cost"),
        (["--weights", "optimal"], "needs a loss that is convex"),
        (["--include", "m0", "--exclude", "m0"], "include and exclude both name m0"),
        (["--folds", "3", "--report", "fit"], "leave out report='fit'"),
        (["--exclude", "m7"], "unknown model 'm7'"),
    ],
)
def test_bad_input_on_the_command_line(zoo, options, message):
    done = CliRunner().invoke(cli, ["ensemble", str(zoo.path), *options])
    assert isinstance(done.exception, errors.DissensusError)
    assert message in str(done.exception)
    assert done.stdout == ""


def test_help_is_in_groups():
    text = told("ensemble", "--help")
    places = [
        text.index(f"\n{title}:\n") for title in ("What", "Who takes part", "Limits", "Honesty", "Output")
    ]
    assert places == sorted(places)
