"""Figures of embeddings: probes against scikit-learn, a planted zoo whose features add up."""

from __future__ import annotations

import numpy as np
import pytest

import dissensus as ds
from dissensus.explain.probes import PENALTIES, LinearProbe, mixed, steps
from dissensus.plots import require_plots

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

N, C = 400, 4
SPLITS = np.where(np.arange(N) % 2 == 0, "fit", "report").tolist()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Base and copies see half of what tells the classes, `far-*` the other half; `bare` has no embedding."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, C, N)
    store = ds.create(tmp_path_factory.mktemp("e") / "e.zoo", labels, splits=SPLITS, dtype="float32")
    told = {"near": 1.3 * np.eye(C)[labels] + rng.normal(size=(N, C)), "far": 0}
    told["far"] = 1.3 * np.eye(C)[labels] + rng.normal(size=(N, C))

    def add(name, kind, dims, category, embedded=True):
        z = told[kind] + 0.25 * rng.normal(size=(N, C))
        features = np.column_stack([z, rng.normal(size=(N, dims - C - 1)), np.full(N, 3.0)])
        given = {"embeddings": features} if embedded else {}
        store.add(name, logits=z, metadata={"category": category}, **given)

    add("base", "near", 7, "base")
    for k in range(4):
        add(f"near-{k}", "near", 7 + k, "reinitialisation")
        add(f"far-{k}", "far", 9, "architecture")
    add("bare", "far", 9, "architecture", embedded=False)
    return store


@pytest.fixture(scope="module")
def study(zoo):
    return ds.study(zoo, "base", accuracy_band=(0.3, 0.95))


def features_of(zoo, *models):
    parts = [
        np.concatenate([zoo.embeddings(m).take(zoo.rows(split)) for m in models], axis=1)
        for split in ("fit", "report")
    ]
    return [part.astype(np.float32) for part in parts]


@pytest.mark.parametrize("chosen", [range(16), range(7), [3, 1, 12]])
def test_a_probe_equals_scikit_learn(zoo, chosen):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.preprocessing import StandardScaler

    fit, report = features_of(zoo, "base", "far-1")
    truth, chosen = zoo.truth.take(zoo.rows("fit")), np.array(chosen)
    probe = LinearProbe(fit, report, truth, C)
    scaled = StandardScaler().fit(fit.astype(np.float64))
    x, y = scaled.transform(fit)[:, chosen], zoo.labels[zoo.rows("fit")]
    told = RidgeClassifier(alpha=probe.penalty(chosen) * len(x)).fit(x, y)
    assert np.array_equal(probe.top1(chosen), told.predict(scaled.transform(report)[:, chosen]))


def test_the_penalty_is_that_of_most_held_examples(zoo):
    from sklearn.linear_model import RidgeClassifier

    fit, report = features_of(zoo, "base", "far-1")
    probe = LinearProbe(fit, report, zoo.truth.take(zoo.rows("fit")), C)
    spread = fit.std(axis=0, dtype=np.float64)
    x = ((fit - fit.mean(axis=0, dtype=np.float64)) / np.where(spread > 0, spread, np.inf)).astype(np.float64)
    y, held = zoo.labels[zoo.rows("fit")], np.arange(len(x)) % 5 == 4
    scores = []
    for penalty in PENALTIES:  # without an intercept: the features are centred over all that are fitted on
        ridge = RidgeClassifier(alpha=penalty * (~held).sum(), fit_intercept=False)
        ridge.fit(x[~held], y[~held])
        said = x[held] @ ridge.coef_.T / 2 + np.bincount(y) / len(y)
        scores.append((said.argmax(axis=1) == y[held]).sum())
    assert probe.penalty(np.arange(16)) in np.array(PENALTIES)[scores >= max(scores) - 1]


def test_covarying_features_come_last():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5)).astype(np.float32)
    x[:, 4] = x[:, 1] + 0.1 * x[:, 4]  # two that repeat each other
    x[:, 2] = 7.0  # and one that says nothing
    labels = rng.integers(0, 2, 500)
    store_truth = _truth(labels)
    probe = LinearProbe(x, x, store_truth, 2)
    order = np.argsort(probe.covarying, kind="stable").tolist()
    assert {*order[:2]} == {0, 3}
    assert order[4] == 2
    correlated = np.corrcoef(x[:, [0, 1, 3, 4]].astype(np.float64).T) ** 2
    expected = (correlated.sum(axis=0) - 1) / 4
    assert probe.covarying[[0, 1, 3, 4]] == pytest.approx(expected)


def _truth(labels):
    from dissensus.store.truth import Truth

    offsets = np.arange(len(labels) + 1, dtype=np.int64)
    return Truth("t", offsets, labels.astype(np.int32))


def test_mixes_take_their_share_of_either():
    rng = np.random.default_rng(1)
    for share, second in ((0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)):
        drawn = mixed((8, 30), share, 8, rng)
        assert len({*drawn.tolist()}) == 8
        assert (drawn >= 8).sum() == second
        assert drawn.max() < 38
    assert list(steps(5)) == [1, 2, 3, 4, 5]
    assert list(steps(96)) == [*range(12, 97, 12)]
    assert list(steps(4096)) == [512 * k for k in range(1, 9)]
    assert list(steps(1800)) == [256, 512, 768, 1024, 1280, 1536, 1792, 1800]


def test_features_that_add_up_are_found(zoo, study):
    joined = {row["model"]: row for row in study.tables["figure7-concatenated"].to_pylist()}
    assert {*joined} == {*zoo.model_ids} - {"base", "bare"}
    for name, row in joined.items():
        assert row["gain"] == pytest.approx(
            row["concatenated_accuracy"] - max(row["base_probe_accuracy"], row["probe_accuracy"])
        )
        assert (row["gain"] > 0.06) == name.startswith("far"), (name, row)
    mixes = study.tables["figure6-features-mixes"].to_pylist()
    assert {row["features"] for row in mixes} == {7}
    for row in mixes:  # the base has no more features than a mix: without the other model all are its own
        if row["share"] == 0:
            assert row["accuracy"] == joined[row["model"]]["base_probe_accuracy"]
    ranked = study.tables["figure6-features-ranked"].to_pylist()
    for model in {row["model"] for row in ranked}:
        last = [row for row in ranked if row["model"] == model][-1]
        assert last["accuracy"] == joined[model]["concatenated_accuracy"]
        assert last["from_base"] == 7
    assert "points more than the better of the two alone" in study.titles["figure7-concatenated"][0]


def test_they_are_drawn(study):
    require_plots()
    drawn = dict(study.figures())
    assert len(drawn) == 7
    for name in ("figure6-features", "figure7-concatenated"):
        figure = drawn[name]
        assert len(figure.axes) == 2
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes), name
        assert box.width < figure.bbox.width, name
    assert "8 of the 9" in study.record["sample_of_features"]


def test_what_is_left_out_says_why(zoo, tmp_path):
    one = ds.study(zoo, "bare", accuracy_band=(0.3, 0.95))
    assert "the base is stored without embeddings" in one.left_out["figure6-features"]
    zoo.copy(tmp_path / "b.zoo", models=["base", "bare"])
    two = ds.study(ds.open(tmp_path / "b.zoo"), "base", accuracy_band=(0.3, 0.95))
    assert "no model inside the band is stored with" in two.left_out["figure7-concatenated"]
