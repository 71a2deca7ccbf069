"""Measures of predicted classes: equal to loops and to their peers, exact, under masks and label sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import cohen_kappa_score

import dissensus as ds
import naive
from dissensus.pairs.counts import PairCounts
from dissensus.pairs.labels import LABEL_STATISTICS, label_counts
from dissensus.pairs.measures import MEASURES

NAMES = [name for name, measure in MEASURES.items() if measure.needs == "labels"]
N_CLASSES = 4


@st.composite
def zoos(draw):
    """Predicted classes (M, N) of models, constant ones and copies among them, and the right classes (N,)."""
    n_models, n_examples = draw(st.integers(2, 6)), draw(st.integers(1, 80))
    some_class = st.integers(0, N_CLASSES - 1)
    top1, labels = (
        draw(arrays(np.int16, shape, elements=some_class))
        for shape in ((n_models, n_examples), (n_examples,))
    )
    for row in top1:
        kind = draw(st.sampled_from(["as drawn", "as drawn", "as drawn", "right", "constant", "copy"]))
        if kind != "as drawn":
            row[:] = {"right": labels, "constant": 1, "copy": top1[0]}[kind]
    return top1, labels


def law(test):
    """Run a law on many zoos; the first may compile a kernel."""
    return settings(deadline=None)(given(zoos())(test))


def finished(top1, correct, mask=None):
    counts, more = (
        PairCounts.from_correct(correct, mask),
        label_counts(top1, correct, N_CLASSES, mask),
    )
    return {name: MEASURES[name].finish(counts, "nan", more) for name in NAMES}


def same(one, other):
    """Equal to the last bit, NaN where NaN."""
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def loops(name, top1, labels):
    more = (labels,) if name == "same_wrong" else ()
    rows = top1.tolist()
    return [[getattr(naive, name)(a, b, *more) for b in rows] for a in rows]


@law
def test_equal_to_loops(zoo):
    top1, labels = zoo
    for name, found in finished(top1, top1 == labels).items():
        expected = loops(name, top1, labels.tolist())
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)


@law
def test_in_range_and_symmetric(zoo):
    top1, labels = zoo
    for name, found in finished(top1, top1 == labels).items():
        np.testing.assert_array_equal(found, found.T)
        defined = found[~np.isnan(found)]
        assert (defined >= MEASURES[name].low).all(), name
        assert (defined <= MEASURES[name].high).all(), name


@law
def test_kappa_equals_sklearn_where_both_are_defined(zoo):
    top1, labels = zoo
    kappa = finished(top1, top1 == labels)["label_kappa"]
    for i, j in zip(*np.nonzero(~np.isnan(kappa)), strict=True):
        assert abs(kappa[i, j] - cohen_kappa_score(top1[i], top1[j])) < 1e-12


def test_kappa_and_disagreement_equal_their_peers(rng):
    top1 = rng.integers(0, 100, (6, 3000)).astype(np.int16)
    top1[1:, ::2] = top1[0, ::2]
    counts, more = (
        PairCounts.from_correct(top1 == 0),
        label_counts(top1, top1 == 0, 100, None),
    )
    found = MEASURES["label_kappa"].finish(counts, "nan", more)
    expected = [[cohen_kappa_score(a, b) for b in top1] for a in top1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    found = MEASURES["label_disagreement"].finish(counts, "nan", more)
    np.testing.assert_allclose(found, squareform(pdist(top1, "hamming")), rtol=0, atol=1e-15)


@law
def test_disagreement_is_at_least_error_inconsistency(zoo):
    """One right and one wrong are two answers; of two classes, and one right, they are the same thing."""
    top1, labels = zoo
    correct = top1 == labels
    inconsistency = MEASURES["error_inconsistency"].finish(PairCounts.from_correct(correct))
    assert (finished(top1, correct)["label_disagreement"] >= inconsistency).all()
    two, right = top1 % 2, labels % 2
    inconsistency = MEASURES["error_inconsistency"].finish(PairCounts.from_correct(two == right))
    np.testing.assert_array_equal(finished(two, two == right)["label_disagreement"], inconsistency)
    alike = finished(two, two == right)["same_wrong"]
    assert (alike[~np.isnan(alike)] == 1).all()


@law
def test_a_model_and_itself(zoo):
    top1, labels = zoo
    found = finished(top1, top1 == labels)
    assert (found["label_disagreement"].diagonal() == 0).all()
    constant, perfect = np.ptp(top1, axis=1) == 0, (top1 == labels).all(axis=1)
    np.testing.assert_array_equal(found["label_kappa"].diagonal(), np.where(constant, np.nan, 1.0))
    np.testing.assert_array_equal(found["same_wrong"].diagonal(), np.where(perfect, np.nan, 1.0))


@settings(deadline=None)
@given(zoos(), st.randoms(use_true_random=False))
def test_permuting_models_permutes_and_order_of_examples_changes_nothing(zoo, random):
    top1, labels = zoo
    models, examples = (random.sample(range(size), size) for size in top1.shape)
    whole = finished(top1, top1 == labels)
    same(
        finished(top1[models], (top1 == labels)[models]),
        {name: values[np.ix_(models, models)] for name, values in whole.items()},
    )
    same(finished(top1[:, examples], (top1 == labels)[:, examples]), whole)


@settings(deadline=None)
@given(zoos(), st.data())
def test_counts_of_blocks_add_up(zoo, data):
    top1, labels = zoo
    n = top1.shape[1]
    edges = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=4))})
    whole = label_counts(top1, top1 == labels, N_CLASSES, None)
    blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
    parts = [label_counts(top1[:, b], (top1 == labels)[:, b], N_CLASSES, None) for b in blocks]
    for name in ("same_label", "same_wrong_label"):
        np.testing.assert_array_equal(sum(part[name] for part in parts), whole[name])


@settings(deadline=None)
@given(zoos(), st.data())
def test_a_mask_counts_its_examples_only(zoo, data):
    top1, labels = zoo
    correct, mask = top1 == labels, data.draw(arrays(bool, top1.shape[1]))
    same(finished(top1, correct, mask), finished(top1[:, mask], correct[:, mask]))


def test_only_what_is_wanted_is_counted(rng):
    top1 = rng.integers(0, 4, (3, 50))
    for name in LABEL_STATISTICS:
        assert list(label_counts(top1, top1 == 0, 4, None, {name, "n11"})) == [name]
    assert not label_counts(top1, top1 == 0, 4, None, {"n11", "products"})


@pytest.fixture
def hard(tmp_path, rng):
    """A store of hard labels: six models, 300 examples, five classes, sets of right ones under "sets"."""
    labels = rng.integers(0, 5, 300)
    store = ds.create(tmp_path / "hard.zoo", labels, classes=list("abcde"))
    for m in range(6):
        store.add(f"m{m}", predictions=np.where(rng.random(300) < 0.5, labels, rng.integers(0, 5, 300)))
    sets = [sorted({int(c), int(c) // 2, m % 5} - {4}) if m % 7 else [] for m, c in enumerate(labels)]
    store.add_labels("sets", sets)
    store.sets = sets
    return store


def test_stores_of_hard_labels_have_them(hard):
    pairs = ds.pairwise(hard, [*NAMES, "error_consistency"])
    for name in NAMES:
        expected = loops(name, hard.top1(), hard.labels.tolist())
        np.testing.assert_allclose(pairs[name], expected, rtol=1e-12, atol=1e-12)


def test_label_sets_splits_and_masks_apply(hard):
    """Wrong means outside the set; what the set does not count, or the mask leaves out, is not there."""
    mask, fit = np.arange(300) < 200, np.isin(np.arange(300), hard.rows("fit"))
    counted = np.array([len(s) > 0 for s in hard.sets])
    for rows, query in (
        (counted, {"labels": "sets"}),
        (counted & mask, {"labels": "sets", "mask": mask}),
        (counted & mask & fit, {"labels": "sets", "mask": mask, "split": "fit"}),
    ):
        pairs = ds.pairwise(hard, NAMES, **query)
        top1, sets = hard.top1()[:, rows], [s for s, kept in zip(hard.sets, rows, strict=True) if kept]
        for name in NAMES:
            expected = loops(name, top1, sets)
            np.testing.assert_allclose(pairs[name], expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_of_single_right_classes_the_same_wrong_are_the_same_but_not_right(hard):
    counts = ds.pairwise(hard, "same_wrong").counts
    more = label_counts(hard.top1(), hard.correct(), 5, None)
    np.testing.assert_array_equal(more["same_wrong_label"], more["same_label"] - counts.n11)


def test_undefined_and_identical(tmp_path):
    store = ds.create(tmp_path / "u.zoo", [0, 0, 0], classes=["a", "b"])
    for name, row in {"a": [0, 0, 0], "b": [0, 0, 0], "c": [1, 1, 1], "d": [1, 1, 1]}.items():
        store.add(name, predictions=row)
    pairs = ds.pairwise(store, NAMES)
    assert pairs.undefined == {"label_disagreement": 0, "label_kappa": 2, "same_wrong": 5}
    assert pairs["label_kappa"][0, 2] == 0
    identical = ds.pairwise(store, NAMES, undefined="identical")
    assert identical["label_kappa"][0, 1] == identical["same_wrong"][0, 1] == 1
    assert np.isnan(identical["label_kappa"][2, 3])  # the same, but not right
    assert identical["same_wrong"][2, 3] == 1


def test_one_example(tmp_path):
    store = ds.create(tmp_path / "one.zoo", [0], classes=["yes", "no"])
    for name in "ab":
        store.add(name, predictions=[0])
    pairs = ds.pairwise(store, NAMES)
    assert (pairs["label_disagreement"] == 0).all()
    assert np.isnan(pairs["label_kappa"]).all()
    assert np.isnan(pairs["same_wrong"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_direction_is_as_declared(name):
    """Both right on half of the examples; wrong alike, or apart."""
    labels = np.repeat([0, 1], 20)
    wrong = np.where(np.arange(40) % 2, labels, 2)
    apart = np.where(np.arange(40) % 2, labels, 3)
    found = finished(np.array([wrong, wrong, apart]), np.array([wrong, wrong, apart]) == labels)[name]
    assert (found[0, 2] > found[0, 1]) == (MEASURES[name].more_different == "high")
    assert found[0, 2] != found[0, 1]
