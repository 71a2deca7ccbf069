"""What counts as right: sets of classes, several label sets, and columns added later."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus import errors
from dissensus.store.truth import Truth

SETS = st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=12)


@given(sets=SETS, data=st.data())
def test_correctness_equals_the_naive_one(sets, data):
    truth = Truth.of("t", sets, 5)
    top1 = data.draw(
        st.lists(st.lists(st.integers(0, 4), min_size=len(sets), max_size=len(sets)), max_size=3)
    )
    expected = naive.correct_under_sets(top1, sets)
    assert truth.correct(np.array(top1, int).reshape(-1, len(sets))).tolist() == expected
    assert truth.counted.tolist() == [len(s) > 0 for s in sets]


@given(sets=SETS, data=st.data())
def test_taking_rows_and_storing_change_nothing(sets, data):
    truth = Truth.of("t", sets, 5)
    rows = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=9))
    for other, expected in (
        (truth.take(np.array(rows, int)), [sets[row] for row in rows]),
        (Truth.from_column("t", pa.chunked_array([truth.to_column()])), sets),
    ):
        pairs = zip(other.offsets[:-1], other.offsets[1:], strict=True)
        assert [other.classes[a:b].tolist() for a, b in pairs] == [sorted(set(s)) for s in expected]


def test_a_second_label_set_answers_queries(small_zoo):
    sets = [[int(c)] for c in small_zoo.labels]
    sets[0], sets[1] = [], [0, 1, 2, 3]
    order = np.random.default_rng(0).permutation(203)
    ids = [small_zoo.example_ids[i] for i in order]
    small_zoo.add_labels("real", [sets[i] for i in order], example_ids=ids)
    assert small_zoo.label_sets == ["original", "real"]
    assert small_zoo.examples()["label_real"].to_pylist() == sets
    real = ds.open(small_zoo.path, labels="real")
    right = small_zoo.correct()
    right[:, 0], right[:, 1] = False, True
    assert np.array_equal(real.correct(), right)
    assert len(real.rows(None)) == 202
    assert 0 not in real.rows("fit")
    expected = right[:, small_zoo.rows("fit")][:, 1:].mean(axis=1)
    assert real.models(split="fit")["accuracy"].to_pylist() == expected.tolist()
    assert real.under("original").models() == small_zoo.models()
    view = real.to_xarray()
    assert view.correct.mean("example").values.tolist() == pytest.approx(
        real.models()["accuracy"].to_pylist()
    )
    with pytest.raises(errors.UnknownName, match="unknown label set 'rael'; did you mean real"):
        small_zoo.under("rael")
    with pytest.raises(errors.ArgumentError, match="'real' are sets of classes"):
        real.labels  # noqa: B018
    with pytest.raises(errors.ArgumentError, match="column 'real' is in .* already"):
        small_zoo.add_labels("real", sets)
    assert small_zoo.verify().ok
    small_zoo.remove_column("real")
    assert small_zoo.label_sets == ["original"]


def test_a_store_made_with_sets(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [[0, 1], None, {2}], classes=list("abc"), label_set="real")
    store.add("m", predictions=[1, 1, 1])
    assert store.label_sets == ["real"]
    assert store.models()["accuracy"].to_pylist() == [0.5]
    assert ds.open(store.path).examples()["label"].to_pylist() == [[0, 1], [], [2]]


def test_columns_and_splits_added_later(small_zoo, tmp_path):
    ids = small_zoo.example_ids[::-1]
    small_zoo.add_columns(pa.table({"hard": [i % 2 == 0 for i in range(203)]}), example_ids=ids)
    assert ds.open(small_zoo.path).examples()["hard"].to_pylist() == [i % 2 == 0 for i in range(203)][::-1]
    with pytest.raises(errors.ArgumentError, match="'hard' is one of the store's own"):
        small_zoo.add_columns({"hard": range(203)})
    with pytest.raises(errors.ArgumentError, match="have splits already"):
        small_zoo.add_columns({"split": ["fit"] * 203})
    bare = ds.create(tmp_path / "bare.zoo", [0, 1, 1])
    bare.add_columns({"split": ["a", "b", None], "g": ["x", "y", "z"]})
    assert bare.rows("a").tolist() == [0]
    assert bare.examples().column_names == ["example_id", "label", "split", "g"]
    assert small_zoo.verify().ok


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("abc", "must be a list"),
        ([], "non-empty list"),
        ([0, 9], r"must lie in 0\.\.2 \(classes\), row 1 holds 9 \(1 rows are off\)"),
        ([[0], ["a"]], "row 1 holds 'a', which is no class number"),
        ([[0], [True]], "row 1 holds True"),
        (np.eye(2, dtype=int), r"got int64 of shape \(2, 2\)"),
        (["a", "b"], "must be integer classes"),
    ],
)
def test_what_is_no_truth_is_refused(labels, message):
    with pytest.raises(errors.ArgumentError, match=message):
        Truth.of("t", labels, 3)
