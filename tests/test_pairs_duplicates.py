"""Groups of near-duplicates against loops over chains of links."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
import real_data
from dissensus.errors import ArgumentError, UnknownName
from dissensus.pairs.duplicates import _components


@pytest.fixture
def zoo(tmp_path):
    """Two copies, a chain of four of which neighbours differ on 1 of 100 examples, and two others."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 100)
    store = ds.create(tmp_path / "d.zoo", labels, splits=["fit"] * 50 + ["report"] * 50)

    def add(name, predicted):
        store.add(name, predictions=predicted)

    one = rng.integers(0, 5, 100)
    add("one", one)
    add("copy of one", one)
    chain = labels.copy()
    for i in range(4):
        chain = chain.copy()
        chain[i] = (chain[i] + 1) % 5
        add(f"epoch-{i}", chain)
    add("other", rng.integers(0, 5, 100))
    return store


def test_groups_of_a_store(zoo):
    found = ds.near_duplicates(zoo)
    assert [group.models for group in found] == [
        ("epoch-0", "epoch-1", "epoch-2", "epoch-3"),
        ("copy of one", "one"),
    ]
    assert found[0].largest_distance == 0.03  # the ends of the chain
    assert found[0].accuracies == (0.99, 0.98, 0.97, 0.96)
    assert found[1].largest_distance == 0
    assert (found.n_models, found.n_examples, found.threshold) == (7, 100, 0.01)
    assert found.closest == ("copy of one", "one", 0.0)
    table = found.to_arrow()
    assert table.column_names == ["group", "models", "accuracies", "largest_distance"]
    assert table["group"].to_pylist() == [1, 2]
    assert table["models"].to_pylist()[1] == ["copy of one", "one"]


def test_queries_and_thresholds(zoo):
    assert [g.models for g in ds.near_duplicates(zoo, 0)] == [("copy of one", "one")]
    report = ds.near_duplicates(zoo, 0, split="report", models=["epoch-3", "epoch-0", "other"])
    assert [g.models for g in report] == [("epoch-3", "epoch-0")]
    none = ds.near_duplicates(zoo, models=["one", "other", "epoch-0"])
    assert len(none) == 0
    assert not none
    assert none.to_arrow().schema.names == ["group", "models", "accuracies", "largest_distance"]
    assert none.closest[2] > 0.5
    assert len(ds.near_duplicates(zoo, 1)) == 1
    assert ds.near_duplicates(zoo, where="label == 1").n_examples == (zoo.labels == 1).sum()


def test_bad_questions_are_one_clear_line(zoo):
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(ArgumentError, match="threshold must lie in 0..1, as 0.01 for one in a hundred"):
            ds.near_duplicates(zoo, threshold)
    with pytest.raises(UnknownName, match="unknown model 'oen'; did you mean one"):
        ds.near_duplicates(zoo, models=["oen", "one"])
    with pytest.raises(ArgumentError, match="at least 2 models"):
        ds.near_duplicates(zoo, models=["one"])


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10_000), st.floats(0, 0.6))
def test_parts_equal_a_loop(n_models, seed, threshold):
    values = np.random.default_rng(seed).random((n_models, n_models))
    distance = (values + values.T) / 2
    np.fill_diagonal(distance, 0)
    parts = [part.tolist() for part in _components(distance <= threshold) if len(part) > 1]
    assert sorted(parts) == sorted(naive.linked_groups(distance.tolist(), threshold))


def test_cifar10_has_none_by_default_and_some_when_asked(tmp_path):
    """No two of thirty separately trained models; the closest differ on 2.19 %."""
    names, predictions, labels = real_data.cifar10()
    store = ds.create(tmp_path / "cifar10.zoo", labels)
    for name, row in zip(names, predictions, strict=True):
        store.add(name, predictions=row)
    store.add("z", predictions=np.where(np.arange(10_000) < 40, 0, predictions[3]))
    found = ds.near_duplicates(store)
    assert [group.models for group in found] == [(names[3], "z")]
    distance = [
        [naive.label_disagreement(a, b) for b in predictions.tolist()[:6]] for a in predictions.tolist()[:6]
    ]
    some = ds.near_duplicates(store, 0.08, models=names[:6])
    assert [sorted(map(names.index, group.models)) for group in some] == sorted(
        naive.linked_groups(distance, 0.08), key=lambda group: (-len(group), group)
    )
    closest = ds.near_duplicates(store, models=names).closest
    assert closest == ("shake_shake_26_2x64d_SSI", "shake_shake_26_2x96d_SSI", 0.0219)
