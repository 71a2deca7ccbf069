"""What looks wrong but can be stored: constant models, classes in another order, the same model twice."""

from __future__ import annotations

import numpy as np
import pytest

import dissensus as ds
import naive
from dissensus.errors import CorruptionError
from dissensus.ingest.imports.suspicions import hypotheses, matched_accuracy, suspicions
from dissensus.store.truth import Truth

NAMES = ["wolf", "ant", "bee", "fox", "cow", "dog", "elk", "hen", "pig", "rat", "yak", "owl"]


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, len(NAMES), 600)


def noisy(labels, accuracy, n_classes=12):
    rng = np.random.default_rng(1)
    return np.where(rng.random(len(labels)) < accuracy, labels, rng.integers(0, n_classes, len(labels)))


def doubts(predicted, labels, names=NAMES, has_ids=True):
    return suspicions(predicted, Truth.of("t", labels, len(names)), names, has_ids)


@pytest.mark.parametrize("accuracy", [0.2, 0.5, 0.9, 0.99])
def test_ordinary_models_raise_none(labels, accuracy):
    assert doubts(noisy(labels, accuracy), labels) == []
    some = np.where(noisy(labels, accuracy) == 3, 4, noisy(labels, accuracy))
    assert doubts(some, labels) == []  # a class that is never predicted is nothing to be said


def test_a_constant_model(labels):
    assert doubts(np.full(600, 2), labels) == ["predicts class 'bee' for every example"]


def test_a_constant_model_that_is_mostly_right_is_none():
    assert doubts(np.full(600, 2), np.full(600, 2)) == []


def test_two_models_that_are_right_everywhere_are_no_copies(labels, tmp_path):
    store = ds.create(tmp_path / "s.zoo", labels, classes=NAMES)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", labels)
    report = ds.import_predictions(store, sorted(tmp_path.glob("*.npy")), rows="store", progress=False)
    assert [len(row.suspicions) for row in report.rows] == [1, 1]  # each equals the labels, said once


def test_worse_than_chance():
    labels = np.arange(400) % 2
    found = doubts(1 - noisy(labels, 0.6, 2), labels, ["a", "b"])
    assert any(text.startswith("accuracy 0.") and "worse than chance (0.5000)" in text for text in found)


def test_chance_asks_for_the_order_of_rows(labels):
    shuffled = np.random.default_rng(3).permutation(labels)
    (text,) = doubts(shuffled, labels, has_ids=False)
    assert "is that of chance (0.0833), and the file has no ids" in text
    (text,) = doubts(shuffled, labels, has_ids=True)
    assert "accuracy 0.0683 is that of chance (shuffled rows would have 0.08" in text
    assert "are its rows in another order" in text
    assert doubts(shuffled[:99], labels[:99]) == []  # so few tell nothing


@pytest.mark.parametrize("has_ids", [True, False])
def test_chance_of_frequent_classes_is_their_share(has_ids):
    """Nine in ten are one class: shuffled rows are right in 0.82, and so is who always says the class."""
    labels = (np.arange(500) % 10 == 0).astype(int)
    good = np.where(np.arange(500) % 25 == 3, 1 - labels, labels)
    assert doubts(good, labels, ["a", "b"], has_ids) == []
    shuffled = np.random.default_rng(5).permutation(good)
    (text,) = doubts(shuffled, labels, ["a", "b"], has_ids)
    assert "is that of chance (shuffled rows would have 0.7" in text
    assert doubts(np.zeros(500, int), labels, ["a", "b"], has_ids) == ["predicts class 'a' for every example"]


def test_few_false_alarms_about_weak_models_that_know_something():
    """Right in 0.25 of four times four classes: far above what their shuffled rows give."""
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 16, 2000)
    assert doubts(noisy(labels, 0.2, 16), labels, [str(i) for i in range(16)]) == []


@pytest.mark.parametrize("n", [20, 600])
def test_labels_that_are_imported_as_a_model_are_said(n, labels):
    (text,) = doubts(labels[:n], labels[:n])
    assert text.startswith("equals the labels in every row: are these the right answers, not a model's?")
    assert doubts(labels[:19], labels[:19]) == []  # a toy may be right everywhere


ORDERS = {
    "reversed": list(range(12))[::-1],
    "sorted as text (0, 1, 10, …)": [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9],
    "in alphabetical order of the class names": [NAMES.index(name) for name in sorted(NAMES)],
    "counted from 1": [11, *range(11)],
    "one too low": [*range(1, 12), 0],
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_classes_is_named(labels, name):
    """The file's class j is class order[j] of the store."""
    order = ORDERS[name]
    predicted = np.argsort(order)[noisy(labels, 0.8)]
    under = naive.accuracy_in_order(predicted.tolist(), labels.tolist(), order)
    found = doubts(predicted, labels)
    assert any(f"but {under:.4f} if its classes are {name}: give the names" in text for text in found), found
    assert [places.tolist() for n, places in hypotheses(NAMES) if n == name] == [order]


def test_any_other_order_is_found_by_matching(labels):
    order = np.array([3, 0, 7, 1, 11, 2, 9, 4, 10, 5, 8, 6])
    found = doubts(order[noisy(labels, 0.8)], labels)
    assert any("if its classes are matched one to one" in text for text in found)


def test_matching_promises_nothing_where_there_is_nothing():
    """Counted on other examples than those it was matched on: many classes cannot be matched by luck."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 500, (2, 5000))
    assert matched_accuracy(predicted, labels) < 0.02
    (text,) = doubts(predicted, labels, [str(i) for i in range(500)])
    assert "matched" not in text
    assert "is that of chance" in text
    assert matched_accuracy(labels[:1], labels[:1]) == 0


def test_sets_of_right_classes_and_examples_that_are_not_counted():
    truth = Truth.of("t", [[0, 1], [], [2], [1]] * 50, 3)
    assert suspicions(np.tile([1, 0, 2, 1], 50), truth, list("abc"), True) == []
    nothing = Truth.of("t", [[], []], 3)
    assert suspicions(np.array([0, 1]), nothing, list("abc"), True) == []


def test_the_remedy_works(labels, tmp_path):
    store = ds.create(tmp_path / "s.zoo", labels, classes=NAMES)
    np.save(tmp_path / "m.npy", (9.5 * np.eye(12, dtype="f4") - 1)[noisy(labels, 0.8)][:, ::-1].copy())
    options = {"rows": "store", "progress": False}
    (row,) = ds.import_predictions(store, tmp_path / "m.npy", **options).rows
    assert row.status == "done"
    assert "reversed" in row.suspicions[-1]
    assert row.notes[-1] == row.suspicions[-1]
    (row,) = ds.import_predictions(
        store, tmp_path / "m.npy", model_id="right", classes=NAMES[::-1], **options
    ).rows
    assert row.suspicions == []
    assert row.accuracy > 0.8


def test_the_same_model_twice(labels, tmp_path):
    store = ds.create(tmp_path / "s.zoo", labels, classes=NAMES)
    z = np.random.default_rng(0).normal(size=(600, 12)) + 5 * np.eye(12)[labels]
    files = {"a": z, "b": z, "c": z * 2, "d": z.argmax(axis=1), "e": z.argmax(axis=1), "f": z + 3}
    for name, values in files.items():
        np.save(tmp_path / f"{name}.npy", values)
    report = ds.import_predictions(store, sorted(tmp_path.glob("*.npy")), rows="store", progress=False)
    found = {row.model: row.suspicions for row in report.rows}
    assert found["a"] == []
    assert found["b"] == ["the same numbers as model 'a'"]
    assert found["c"] == found["d"] == ["the same predictions as model 'a' on every example"]
    assert found["e"] == ["the same numbers as model 'd'"]
    again = ds.import_predictions(store, tmp_path / "d.npy", rows="store", progress=False).rows[0]
    assert (again.status, again.suspicions) == ("stored", ["the same numbers as model 'e'"])


def test_a_damaged_model_of_the_store_is_said_first(labels, tmp_path):
    store = ds.create(tmp_path / "s.zoo", labels, classes=NAMES)
    predicted = noisy(labels, 0.9)
    np.save(tmp_path / "m.npy", predicted)
    for name in ("cut", "flipped"):
        store.add(name, predictions=predicted)
    derived = store.model("flipped").folder / "derived.arrow"
    derived.write_bytes(derived.read_bytes().replace(b"top1", b"top2"))
    (row,) = ds.import_predictions(ds.open(store.path), tmp_path / "m.npy", rows="store", progress=False).rows
    assert (row.status, row.suspicions) == ("done", ["the same numbers as model 'cut'"])
    (store.model("cut").folder / "derived.arrow").write_bytes(b"")
    with pytest.raises(CorruptionError, match="model 'cut': derived.arrow has 0 bytes"):
        ds.import_predictions(ds.open(store.path), tmp_path / "m.npy", model_id="n", progress=False)
