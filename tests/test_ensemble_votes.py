"""Ensembles by plurality vote, for which hard labels are enough: against the loop oracle, and plain NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus import errors
from dissensus.ensemble.members import MemberScores, VoteScores

ON_ALL = {"select": "all", "report": "all", "allow_same_split": True}


@pytest.fixture
def hard_zoo(tmp_path, rng):
    """Store of 6 models with hard labels only x 301 examples x 5 classes."""
    labels = rng.integers(0, 5, 301)
    store = ds.create(tmp_path / "hard.zoo", labels, classes=list("abcde"))
    for i in range(6):
        store.add(f"h{i}", predictions=np.where(rng.random(301) < 0.6, labels, rng.integers(0, 5, 301)))
    return store


@settings(max_examples=80, deadline=None)
@given(data=st.data(), replacement=st.booleans(), as_sets=st.booleans())
def test_votes_equal_the_loops(tmp_path_factory, data, replacement, as_sets):
    """Members, order and hits, with ties between classes and between candidates, under labels and sets."""
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 6), (2, 4)))
    top1 = data.draw(
        st.lists(st.lists(st.integers(0, c - 1), min_size=n, max_size=n), min_size=m, max_size=m)
    )
    one = st.sets(st.integers(0, c - 1), min_size=1).map(sorted) if as_sets else st.integers(0, c - 1)
    labels = data.draw(st.lists(one, min_size=n, max_size=n))
    size = data.draw(st.integers(1, 6 if replacement else m))
    first = data.draw(st.lists(st.integers(0, m - 1), max_size=min(size, 2), unique=True))
    store = ds.create(tmp_path_factory.mktemp("v") / "v.zoo", labels, classes=[str(k) for k in range(c)])
    for i, row in enumerate(top1):
        store.add(f"m{i}", predictions=row)
    options = {"start": [f"m{i}" for i in first], "replacement": replacement, **ON_ALL}
    best = ds.greedy(store, size, combine="votes", **options)
    steps = naive.greedy_votes(top1, labels, c, size, first, replacement)
    assert best.curve["member"].to_pylist() == [f"m{i}" for i, _ in steps]
    assert best.curve["fit_accuracy"].to_pylist() == [hits / n for _, hits in steps]
    assert best.curve["report_accuracy"].to_pylist() == [hits / n for _, hits in steps]


def test_report_equals_plain_numpy(hard_zoo):
    """The vote of the members chosen, the lowest class on ties, and the best single model by itself."""
    best = ds.greedy(hard_zoo, 5, combine="votes", replacement=False)
    top1 = dict(zip(hard_zoo.model_ids, hard_zoo.top1(), strict=True))
    for split, found, single in (
        ("fit", best.fit, best.single_fit),
        ("report", best.report, best.single_report),
    ):
        rows = hard_zoo.rows(split)
        votes = np.array([top1[m][rows] for m in best.members])
        winners = [np.bincount(column, minlength=5).argmax() for column in votes.T]
        assert found == {"accuracy": (winners == hard_zoo.labels[rows]).mean()}
        assert single == {"accuracy": (top1[best.single][rows] == hard_zoo.labels[rows]).mean()}
    assert best.interval.gain == pytest.approx(best.report["accuracy"] - best.single_report["accuracy"])


def test_what_votes_do_not_have_is_absent(hard_zoo):
    best = ds.greedy(hard_zoo, 3, combine="votes")
    assert best.curve.column_names == ["step", "member", "fit_accuracy", "report_accuracy"]
    assert set(best.temperatures.values()) == {1.0}
    assert (best.combine, best.labels, best.left_out) == ("votes", "original", [])
    assert "nll" not in json.dumps(best.to_dict())


def test_ties_of_classes_go_to_the_lowest_as_in_scikit_learn(tmp_path):
    ensemble = pytest.importorskip("sklearn.ensemble")
    from sklearn.dummy import DummyClassifier

    rows = [[2, 1, 0], [1, 2, 0], [0, 0, 0]]
    for row in rows:
        estimators = [
            (str(i), DummyClassifier(strategy="constant", constant=c).fit([[0]] * 3, range(3)))
            for i, c in enumerate(row)
        ]
        voting = ensemble.VotingClassifier(estimators, voting="hard").fit([[0]] * 3, range(3))
        assert voting.predict([[0]])[0] == naive.plurality(row, 3)


def test_scored_models_vote_too(small_zoo):
    """By their first class; the same as hard labels of it."""
    top1 = dict(zip(small_zoo.model_ids, small_zoo.top1(), strict=True))
    before = ds.greedy(small_zoo, 4, combine="votes", calibrate=False)
    for model_id, row in top1.items():
        small_zoo.remove(model_id)
        small_zoo.add(model_id, predictions=row)
    assert ds.greedy(small_zoo, 4, combine="votes").to_dict() == before.to_dict()


def test_votes_are_counted_as_one_hot_probabilities_would_be(hard_zoo, rng):
    """The short cut against the kernel that adds every class of every candidate, ties and all."""
    from dissensus.kernels import candidates as kernel
    from dissensus.kernels.probabilities import ONE

    rows, ids = np.arange(hard_zoo.n_examples), hard_zoo.model_ids
    running, weights = VoteScores(hard_zoo, ids, rows).running(), rng.integers(0, 9, len(rows))
    truth, everybody = hard_zoo.truth, np.arange(len(ids))
    one_hot = np.zeros((len(ids), len(rows), hard_zoo.n_classes), np.uint32)
    np.put_along_axis(one_hot, hard_zoo.top1()[:, :, None].astype(int), ONE, axis=2)
    for candidate in rng.integers(0, len(ids), 6):
        expected = np.zeros(len(ids), np.int64)
        kernel.hits_if_added(
            running.total, one_hot, everybody, truth.offsets, truth.classes, weights, expected
        )
        assert np.array_equal(running.hits_if_added(everybody, weights), expected)
        running.add(candidate)


def test_each_member_votes_once_by_default(hard_zoo):
    best = ds.greedy(hard_zoo, 99, combine="votes")
    assert sorted(best.members) == hard_zoo.model_ids
    again = ds.greedy(hard_zoo, 4, combine="votes", replacement=True)
    assert again.curve.num_rows == 4


def test_adding_a_candidate_equals_adding_its_blocks(small_zoo):
    rows, ids = small_zoo.rows("report"), small_zoo.model_ids
    scores = MemberScores(small_zoo, ids, rows, dict.fromkeys(ids, 1.3))
    running = scores.running()
    running.add(2)
    assert np.array_equal(running.total, np.concatenate([block.q[2] for block in scores.blocks()]))


def test_models_with_hard_labels_point_to_votes(hard_zoo, small_zoo):
    with pytest.raises(
        errors.LabelsOnly, match=r"only models with hard labels: pair stat.*combine='votes' \(--comb"
    ):
        ds.greedy(hard_zoo, 2)
    small_zoo.add("hard", predictions=small_zoo.labels)
    for options in ({"candidates": ["hard"]}, {"start": ["hard"]}):
        with pytest.raises(errors.LabelsOnly, match=f"{next(iter(options))} hard .* or pass combine='votes'"):
            ds.greedy(small_zoo, 2, **options)
    assert ds.greedy(small_zoo, 1, combine="votes").members == ["hard"]
