"""Churn: flips against loops, rates and intervals as those of pairs, replacements, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
import real_data
from dissensus import errors

RATES = ("positive_flip_rate", "negative_flip_rate", "relative_nfr")


def same(value, expected):
    return value == (None if expected != expected else pytest.approx(expected, rel=1e-9, abs=1e-12))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_churn_equals_loops(tmp_path_factory, data):
    n = data.draw(st.integers(1, 12))
    row = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    labels, old, new = data.draw(row), data.draw(row), data.draw(row)
    store = ds.create(tmp_path_factory.mktemp("c") / "c.zoo", labels, classes=list("xyz"))
    store.add("old", predictions=old)
    store.add("new", predictions=new)
    found = ds.churn(store, "old", "new", level=0.9)
    before, after = ([p == y for p, y in zip(top1, labels, strict=True)] for top1 in (old, new))
    table = naive.pair_counts(before, after)
    assert (found.positive_flips, found.negative_flips) == (table[2], table[1])
    assert found.n_examples == n
    assert (found.accuracy_old, found.accuracy_new) == (sum(before) / n, sum(after) / n)
    both = [(a, b) for a, b, y in zip(old, new, labels, strict=True) if a != y and b != y]
    assert found.same_class_wrong == sum(a == b for a, b in both)
    assert found.other_class_wrong == sum(a != b for a, b in both)
    p = naive.mcnemar(table[2], table[1])
    assert found.p_value == pytest.approx(p, nan_ok=True)
    for row, high in zip(found.rates.to_pylist(), (1, 1, np.inf), strict=True):
        measure = getattr(naive, row["measure"])
        assert same(row["value"], float(measure(*table)))
        low, up = naive.delta_interval(measure, table, 0.9, 0, high)
        assert row["low"] == (None if low != low else pytest.approx(low, rel=1e-6, abs=1e-9))
        assert row["high"] == (None if up != up else pytest.approx(up, rel=1e-6, abs=1e-9))
    expected = naive.changes(before, after, ["xyz"[y] for y in labels])
    for row in found.slices.to_pylist():
        size, _, _, gained, lost = expected.pop(row["value"])
        assert (row["n"], row["positive_flips"], row["negative_flips"]) == (size, gained, lost)
        assert row["negative_flip_rate"] == lost / size
        assert same(row["p_value"], naive.mcnemar(gained, lost))
    assert not expected
    flips = found.slices["negative_flips"].to_pylist()
    assert flips == sorted(flips, reverse=True)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """6 models with hard labels x 300 examples x 4 classes, splits, groups, and sets of labels."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 300)
    columns = {"group": ["ab"[i % 2] for i in range(300)]}
    splits = np.where(np.arange(300) < 100, "fit", "report").tolist()
    path = tmp_path_factory.mktemp("churn") / "c.zoo"
    store = ds.create(path, labels, classes=list("wxyz"), splits=splits, metadata=columns)
    store.add_labels("real", [[int(c), 0] if i % 5 else [] for i, c in enumerate(labels)])
    for i in range(6):
        right = rng.random(300) < 0.9 - i / 20
        store.add(f"m{i}", predictions=np.where(right, labels, rng.integers(0, 4, 300)))
    return store


@pytest.mark.parametrize(
    "query",
    [{}, {"split": "report"}, {"where": "group == 'a'"}, {"labels": "real"}, {"mask": np.arange(300) > 9}],
)
def test_rates_are_those_of_all_pairs(zoo, query):
    """And so are their intervals; turned round, positive flips become negative ones."""
    pairs = ds.pairwise(zoo, RATES, ci="delta", **query)
    forth, back = ds.churn(zoo, "m1", "m4", **query), ds.churn(zoo, "m4", "m1", **query)
    assert forth.n_examples == pairs.counts.n
    for row in forth.rates.to_pylist():
        name = row["measure"]
        assert row["value"] == pairs[name][1, 4]
        assert (row["low"], row["high"]) == (pairs.low[name][1, 4], pairs.high[name][1, 4])
    assert (forth.positive_flips, forth.negative_flips) == (back.negative_flips, back.positive_flips)
    assert forth.p_value == back.p_value
    assert (forth.positive_flips - forth.negative_flips) / forth.n_examples == pytest.approx(
        forth.accuracy_new - forth.accuracy_old
    )
    by_group = ds.churn(zoo, "m1", "m4", by=["group"], **query).slices
    assert sum(by_group["negative_flips"].to_pylist()) == forth.negative_flips
    table = ds.replacements(zoo, "m1", **query)
    for row in table.to_pylist():
        j = int(row["model"][1])
        assert row["accuracy"] == pairs.counts.accuracy[j]
        assert row["gain"] == pytest.approx(pairs.counts.accuracy[j] - pairs.counts.accuracy[1])
        for name in RATES:
            assert row[name] == pairs[name][1, j]
        ends = pairs.low["negative_flip_rate"][1, j], pairs.high["negative_flip_rate"][1, j]
        assert (row["negative_flip_rate_low"], row["negative_flip_rate_high"]) == ends


def test_record_is_plain_json(zoo):
    record = json.loads(json.dumps(ds.churn(zoo, "m0", "m5").to_dict()))
    assert list(record["rates"]) == list(RATES)
    assert record["slices"][0].keys() >= {"by", "value", "negative_flips", "q_value"}
    assert (record["old"], record["new"], record["labels"]) == ("m0", "m5", "original")


def test_replacements_allowed_come_first(zoo):
    """By accuracy, within the limit and then beyond it; the old model is no candidate."""
    everyone = ds.replacements(zoo, "m3")
    assert everyone["allowed"].to_pylist() == [True] * 5
    assert everyone["accuracy"].to_pylist() == sorted(everyone["accuracy"].to_pylist(), reverse=True)
    rates = sorted(everyone["negative_flip_rate"].to_pylist())
    limited = ds.replacements(zoo, "m3", max_negative_flips=rates[2]).to_pylist()
    assert [row["allowed"] for row in limited] == [True] * 3 + [False] * 2
    assert all((row["negative_flip_rate"] <= rates[2]) == row["allowed"] for row in limited)
    for some in (limited[:3], limited[3:]):
        assert [r["accuracy"] for r in some] == sorted((r["accuracy"] for r in some), reverse=True)
    assert sorted(row["model"] for row in limited) == ["m0", "m1", "m2", "m4", "m5"]
    two = ds.replacements(zoo, "m3", models=["m3", "m5", "m0"])
    assert two["model"].to_pylist() == ["m0", "m5"]


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (lambda s: ds.churn(s, "m0", "m0"), errors.ArgumentError, "old and new are both 'm0'"),
        (lambda s: ds.churn(s, "m0", "m9"), errors.UnknownName, "unknown model 'm9'"),
        (lambda s: ds.churn(s, "m0", "m1", level=2), errors.ArgumentError, "level must lie between 0 and 1"),
        (lambda s: ds.churn(s, "m0", "m1", by=["id"]), errors.UnknownName, "unknown column of the examples"),
        (lambda s: ds.churn(s, "m0", "m1", by=["class"] * 2), errors.ArgumentError, "different columns"),
        (lambda s: ds.churn(s, "m0", "m1", split="x"), errors.UnknownName, "unknown split 'x'"),
        (lambda s: ds.replacements(s, "m9"), errors.UnknownName, "unknown model 'm9'"),
        (
            lambda s: ds.replacements(s, "m0", models=["m0"]),
            errors.ArgumentError,
            "no model to take the place",
        ),
        (
            lambda s: ds.replacements(s, "m0", max_negative_flips=2),
            errors.ArgumentError,
            "max_negative_flips must be a share of the examples from 0 to 1; got 2",
        ),
    ],
)
def test_bad_input(zoo, query, error, message):
    with pytest.raises(error, match=message):
        query(zoo)


def test_the_old_and_the_new_framework(tmp_path):
    """Real predictions: flips from ResNet50 to ViT, counted by NumPy, and the pair's stated inconsistency."""
    ids, predictions, labels = real_data.imagenet()
    y = np.array([labels[i] for i in ids])
    store = ds.create(tmp_path / "i.zoo", y, example_ids=ids)
    right = {}
    for model_id in ("ResNet50", "ViT"):
        row = np.array([predictions[model_id][i] for i in ids])
        store.add(model_id, predictions=row)
        right[model_id] = row == y
    found = ds.churn(store, "ResNet50", "ViT")
    assert found.negative_flips == (right["ResNet50"] & ~right["ViT"]).sum()
    assert found.positive_flips + found.negative_flips == 7742
    worst = found.slices.to_pylist()[0]
    lost = np.bincount(y[right["ResNet50"] & ~right["ViT"]])
    assert worst["negative_flips"] == lost.max()
