"""Point profiles: every example against loops and exact fractions, laws, real models, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
import real_data
from dissensus import errors
from dissensus.explain.profiles import categories
from dissensus.kernels.columns import columns
from dissensus.kernels.counts import pack

COLUMNS = [
    "example_id", "label_name", "n_right", "difficulty", "discrimination", "slope", "p_value", "q_value",
    "strongest_right", "only_weak", "only_category",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_columns_equal_loops(data):
    m, n = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 140))
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    right = data.draw(st.lists(flags, min_size=m, max_size=m))
    numbers = st.lists(st.integers(-9, 9), min_size=m, max_size=m)
    weights, groups = data.draw(numbers), data.draw(st.lists(st.integers(0, 2), min_size=m, max_size=m))
    found = columns(pack(np.array(right)), np.array(weights), np.array(groups), n)
    for k in range(n):
        able = [i for i in range(m) if right[i][k]]
        kinds = {groups[i] for i in able}
        expected = (
            len(able),
            sum(weights[i] for i in able),
            able[0] if able else -1,
            kinds.pop() if len(kinds) == 1 else -1,
        )
        assert tuple(int(values[k]) for values in found) == expected


def make_store(folder, right, kinds):
    """Store in which the models are right where said: 0 is the right class, 1 a wrong one."""
    store = ds.create(folder / "p.zoo", [0] * len(right[0]), classes=["right", "wrong"])
    for i, (row, kind) in enumerate(zip(right, kinds, strict=True)):
        metadata = {} if kind is None else {"category": kind}
        store.add(f"m{i}", predictions=[0 if r else 1 for r in row], metadata=metadata)
    return store


def check(table, right, kinds, names):
    """Every column of a table against loops over right[model][example]."""
    p = []
    for k, row in enumerate(table.to_pylist()):
        able, kind = naive.who(right, k, kinds)
        r, slope = naive.item(right, k)
        assert row["n_right"] == len(able)
        assert row["difficulty"] == pytest.approx(1 - len(able) / len(right))
        for name, value in (("discrimination", r), ("slope", slope)):
            assert row[name] == (None if math.isnan(value) else pytest.approx(value, abs=1e-12))
        z = abs(r) * math.sqrt(len(right) - 1)
        p.append(math.erfc(z / math.sqrt(2)))
        assert row["p_value"] == (None if math.isnan(r) else pytest.approx(p[-1], rel=1e-9))
        assert row["strongest_right"] == (names[able[0]] if able else None)
        accuracies = sorted(sum(r) for r in right)
        median = (accuracies[(len(right) - 1) // 2] + accuracies[len(right) // 2]) / 2
        assert row["only_weak"] == bool(able and sum(right[able[0]]) < median)
        assert row["only_category"] == kind
    for row, q in zip(table.to_pylist(), naive.benjamini_hochberg(p), strict=True):
        assert row["q_value"] == (None if math.isnan(q) else pytest.approx(q, rel=1e-9))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_profiles_equal_loops(tmp_path_factory, data):
    m, n = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 8))
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    right = data.draw(st.lists(flags, min_size=m, max_size=m))
    kinds = data.draw(st.lists(st.sampled_from("ab"), min_size=m, max_size=m))
    store = make_store(tmp_path_factory.mktemp("p"), right, kinds)
    table = ds.profiles(store)
    assert table.column_names == COLUMNS
    check(table, right, kinds, store.model_ids)


@pytest.mark.parametrize(
    "query",
    [{}, {"split": "fit"}, {"where": "label != 1"}, {"labels": "real"}, {"mask": np.arange(203) < 150}],
)
def test_examples_asked_for(small_zoo, query):
    """Any choice of examples equals loops over these alone; rows are named."""
    small_zoo.add_labels("real", [[int(c), 0] if i % 5 else [] for i, c in enumerate(small_zoo.labels)])
    table = ds.profiles(small_zoo, **query)
    view = small_zoo.under(query.get("labels"))
    rows = view.rows(query.get("split"), query.get("where"))
    rows = rows if "mask" not in query else rows[query["mask"][rows]]
    assert table["example_id"].to_pylist() == [small_zoo.example_ids[k] for k in rows]
    right = view.correct()[:, rows].tolist()
    kinds = ["odd" if m[-1] in "135" else "even" for m in small_zoo.model_ids]
    check(table, right, kinds, small_zoo.model_ids)
    truth = view.truth.take(rows)
    sets = [truth.classes[a:b] for a, b in zip(truth.offsets, truth.offsets[1:], strict=False)]
    assert table["label_name"].to_pylist() == [", ".join("wxyz"[c] for c in one) for one in sets]


def test_order_of_models_changes_nothing(small_zoo):
    """To the last bit, but for which of two equally accurate models is called the strongest."""
    reference = ds.profiles(small_zoo)
    again = ds.profiles(small_zoo, models=small_zoo.model_ids[::-1])
    assert again.equals(reference)


def test_a_better_model_that_fails_turns_the_sign(tmp_path):
    """Hand-made: on the last example the stronger a model elsewhere, the wronger."""
    right = [[True] * k + [False] * (6 - k) + [k <= 2] for k in range(1, 7)]
    row = ds.profiles(make_store(tmp_path, right, "aaabbb")).to_pylist()[-1]
    assert row["discrimination"] == pytest.approx(np.corrcoef(range(1, 7), [1, 1, 0, 0, 0, 0])[0, 1])
    assert row["slope"] == pytest.approx(6 * np.polyfit(range(1, 7), [1, 1, 0, 0, 0, 0], 1)[0])
    assert (row["strongest_right"], row["only_weak"], row["only_category"]) == ("m1", True, "a")


def test_categories_fall_back_to_the_family(tmp_path):
    store = ds.create(tmp_path / "f.zoo", [0, 1])
    for name, metadata in (("a", {"family": "vit", "tags": ["x"]}), ("b", {"family": "knn"}), ("c", {})):
        store.add(name, predictions=[0, 1], metadata=metadata)
    names, places = categories(store, store.model_ids, None)
    assert [names[k] for k in places] == ["vit", "knn", "(none)"]
    with pytest.raises(
        errors.UnknownName, match="unknown metadata of the models 'famly'; did you mean family"
    ):
        ds.profiles(store, category="famly")
    with pytest.raises(errors.ArgumentError, match="must be one text or number a model"):
        ds.profiles(store, category="tags")
    assert ds.profiles(store, models=["c", "a"])["only_category"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"models": ["model-0"]}, errors.ArgumentError, "pairs need at least 2 models"),
        ({"models": ["model-0", "modle-1"]}, errors.UnknownName, "did you mean model-1"),
        ({"split": "test"}, errors.UnknownName, "unknown split 'test'"),
        ({"mask": np.zeros(203, bool)}, errors.ArgumentError, "mask must choose at least one example"),
        ({"mask": [1, 0]}, errors.ArgumentError, "mask must be bool of shape"),
        ({"where": "label > 7"}, errors.ArgumentError, "chooses none of the 203 examples"),
    ],
)
def test_bad_input(small_zoo, options, error, message):
    with pytest.raises(error, match=message):
        ds.profiles(small_zoo, **options)


def test_thirty_models_of_cifar10(tmp_path):
    """Real predictions: correlations by NumPy, and the sums of right answers add up."""
    names, predictions, labels = real_data.cifar10()
    store = ds.create(tmp_path / "c.zoo", labels)
    for name, row in zip(names, predictions, strict=True):
        store.add(name, predictions=row)
    table = ds.profiles(store)
    right = predictions == labels
    assert sum(table["n_right"].to_pylist()) == right.sum()
    found = table["discrimination"].to_pylist()
    for k in [*range(0, 10_000, 97), 4710]:
        rest = right.sum(axis=1) - right[:, k]
        if 0 < right[:, k].sum() < 30:
            assert found[k] == pytest.approx(np.corrcoef(rest, right[:, k])[0, 1], abs=1e-12)
        else:
            assert found[k] is None
    assert found[4710] < -0.7
