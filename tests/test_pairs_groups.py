"""Pairs by groups of examples: each group against loops, and all groups against the whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
import real_data
from dissensus.errors import ArgumentError, LabelsOnly, UnknownName
from dissensus.pairs import groups, parts
from dissensus.pairs.measures import MEASURES
from dissensus.store.facts import Facts

EI, KAPPA = "error_inconsistency", "error_consistency"
COUNTED = [name for name, measure in MEASURES.items() if measure.needs == "counts"]
CLASSES = pa.table({"class_id": [0], "name": ["x"]})


@pytest.fixture
def grouped(small_zoo):
    """The small zoo with a group, absent for some, and a second label set."""
    groups = [None if i % 7 == 0 else "abc"[i % 3] for i in range(203)]
    small_zoo.add_columns({"group": groups, "id of it": list(range(203))})
    small_zoo.add_labels("real", [[int(c), 0] if i % 5 else [] for i, c in enumerate(small_zoo.labels)])
    small_zoo.groups = groups
    return small_zoo


@pytest.mark.parametrize("query", [{}, {"split": "fit"}, {"where": "label < 3"}, {"labels": "real"}])
def test_groups_equal_loops_and_add_up(grouped, query):
    """Counts of every pair in every group, by loops; their sum is the whole; nothing is left out."""
    measures = [m for m in COUNTED if hasattr(naive, m)]
    found = ds.pairwise_by(grouped, measures, "group", **query)
    real = query.get("labels") == "real"
    top1, labels = grouped.top1().tolist(), grouped.labels.tolist()
    keep = [
        (not real or i % 5 != 0)
        and (query.get("split") != "fit" or i % 2 == 0)
        and ("where" not in query or labels[i] < 3)
        for i in range(203)
    ]
    rows = naive.rows_by_value([g if k else "left out" for g, k in zip(grouped.groups, keep, strict=True)])
    rows.pop("left out", None)
    assert list(found) == ["a", "b", "c", None]
    assert found.sizes == {value: len(rows[value]) for value in found}
    right = [[p == labels[i] or (real and p == 0) for i, p in enumerate(predicted)] for predicted in top1]
    for value, pairs in found.items():
        assert pairs.counts.n == len(rows[value])
        for i in range(5):
            for j in range(5):
                table = naive.pair_counts(*([right[m][row] for row in rows[value]] for m in (i, j)))
                counts = (pairs.counts.n11, pairs.counts.n10, pairs.counts.n01, pairs.counts.n00)
                assert tuple(int(cell[i, j]) for cell in counts) == table
                for name in measures:
                    assert pairs[name][i, j] == pytest.approx(getattr(naive, name)(*table), nan_ok=True)
    whole = ds.pairwise(grouped, EI, **query).counts
    total = sum((pairs.counts for pairs in found.values()), start=whole + whole)
    np.testing.assert_array_equal(total.both_right, 3 * whole.both_right)
    np.testing.assert_array_equal(total.right, 3 * whole.right)
    assert total.n == 3 * whole.n


def test_each_group_equals_its_mask_to_the_last_bit(grouped):
    """Every measure there is, with intervals; and what resamples works within a group."""
    groups = np.array(grouped.groups, dtype=object)
    found = ds.pairwise_by(grouped, list(MEASURES), "group")
    for value in ("a", None):
        alone = ds.pairwise(grouped, list(MEASURES), mask=groups == value)
        for name in MEASURES:
            np.testing.assert_array_equal(found[value][name], alone[name])
    bounds = ds.pairwise_by(grouped, KAPPA, "group", ci="bootstrap", draws=20, models=["model-3", "model-1"])
    alone = ds.pairwise(
        grouped, KAPPA, mask=groups == "b", ci="bootstrap", draws=20, models=["model-3", "model-1"]
    )
    np.testing.assert_array_equal(bounds["b"].low[KAPPA], alone.low[KAPPA])
    a = ds.pairwise_by(grouped, EI, "group")["a"]
    alone = ds.pairwise(grouped, EI, mask=groups == "a")
    assert a.test().to_arrow() == alone.test().to_arrow()
    assert a.in_top(2, draws=30).column_names == ["model_a", "model_b", EI, "probability"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.integers(0, 6), min_size=1, max_size=40), st.randoms())
def test_groups_are_a_partition_of_the_examples(values, random):
    column = pa.array(values, pa.int64())
    if random.random() < 0.5:
        column = column.cast(pa.string())
    groups = Facts(pa.table({"label": [0] * len(values), "g": column}), CLASSES).groups("g")
    assert {value: rows.tolist() for value, rows in groups.items()} == naive.rows_by_value(column.to_pylist())
    known = [value for value in groups if value is not None]
    assert list(groups) == [*sorted(known), *([None] if None in groups else [])]


def test_long_form(grouped):
    found = ds.pairwise_by(grouped, [EI, KAPPA], "group")
    table = found.to_arrow()
    assert table.column_names == ["group", "n", "model_a", "model_b", "accuracy_a", "accuracy_b", EI, KAPPA]
    assert table.num_rows == 40
    assert table["group"].to_pylist() == [*["a"] * 10, *["b"] * 10, *["c"] * 10, *[None] * 10]
    assert table["n"].to_pylist()[::10] == list(found.sizes.values())
    part = table.slice(10, 10).drop_columns(["group", "n"])
    assert part.to_pylist() == found["b"].to_arrow().to_pylist()
    top = found.top(2, by=KAPPA, model="model-2")
    assert top.num_rows == 8
    assert top.slice(4, 2).drop_columns(["group", "n"]).to_pylist() == (
        found["c"].top(2, by=KAPPA, model="model-2").to_pylist()
    )
    gaps = {value: pairs.n_pairs(max_gap=0.03) for value, pairs in found.items()}
    near = found.top(99, max_gap=0.03)["group"].to_pylist()
    assert {value: near.count(value) for value in found} == gaps
    assert min(gaps.values()) == 0 < max(gaps.values())
    with pytest.raises(ArgumentError, match="max_gap 0: in no group has a pair accuracies so close"):
        found.top(max_gap=0, model="model-0")
    tested = found.map(ds.Pairs.test)
    assert tested["b"].to_arrow() == found["b"].test().to_arrow()
    assert tested.top(1, "test_q").column_names[-3:] == ["test_z", "test_p", "test_q"]
    assert "test_q" not in found.to_arrow().column_names
    numbers = ds.pairwise_by(grouped, EI, "label").to_arrow()
    assert numbers.schema.field("group").type == pa.int64()
    assert repr(found) == "PairsBy('group': 4 groups, 5 models)"


def test_groups_of_a_split_and_of_classes(small_zoo):
    splits = ds.pairwise_by(small_zoo, EI, "split")
    for split, pairs in splits.items():
        np.testing.assert_array_equal(pairs[EI], ds.pairwise(small_zoo, EI, split=split)[EI])
    names = ds.pairwise_by(small_zoo, EI, "label_name", split="fit")
    assert list(names) == ["w", "x", "y", "z"]
    assert sum(names.sizes.values()) == 102
    with_none_left = ds.pairwise_by(small_zoo, EI, "label_name", where="label_name in ('x', 'z')")
    assert list(with_none_left) == ["x", "z"]


def test_bad_questions_are_one_clear_line(grouped, monkeypatch):
    with pytest.raises(UnknownName, match="unknown column of the examples 'grup'; did you mean group"):
        ds.pairwise_by(grouped, EI, "grup")
    with pytest.raises(ArgumentError, match="'label_real' holds several values .* group by"):
        ds.pairwise_by(grouped, EI, "label_real")
    monkeypatch.setattr("dissensus.store.facts.MOST_GROUPS", 200)
    with pytest.raises(ArgumentError, match="'id of it' has 203 different values, groups are at most 200"):
        ds.pairwise_by(grouped, EI, "id of it")
    with pytest.raises(UnknownName, match="unknown value of column 'group': 'd'"):
        ds.pairwise_by(grouped, EI, "group")["d"]
    assert "d" not in ds.pairwise_by(grouped, EI, "group")
    monkeypatch.setattr("dissensus.pairs.groups.available_bytes", lambda: 1000)
    with pytest.raises(ArgumentError, match="all groups needs .* are available: list"):
        ds.pairwise_by(grouped, EI, "group").to_arrow()
    grouped.add("hard", predictions=[0] * 203)
    with pytest.raises(LabelsOnly, match="models with hard labels only: hard"):
        ds.pairwise_by(grouped, "capa", "group")


def test_imagenet_by_group_of_classes(tmp_path):
    """Real models: loops over the files give the counts within a group."""
    ids, predictions, labels = real_data.imagenet()
    group = {i: labels[i] % 7 for i in ids}
    store = ds.create(
        tmp_path / "i.zoo", [labels[i] for i in ids], classes=list(map(str, range(1000))), example_ids=ids
    )
    store.add_columns({"sevens": [group[i] for i in ids]})
    for model, by_file in predictions.items():
        store.add(model, predictions=list(by_file.values()), example_ids=list(by_file))
    found = ds.pairwise_by(store, EI, "sevens", models=real_data.FRAMEWORKS)
    assert list(found) == list(range(7))
    mine = [i for i in ids if group[i] == 3]
    a, b = ([predictions[m][i] == labels[i] for i in mine] for m in ("SimCLR", "ViT"))
    n10, n01 = naive.pair_counts(a, b)[1:3]
    assert found[3].counts.n10[1, 3] == n10
    assert found[3].counts.n01[1, 3] == n01
    one_right = sum(pairs.counts.n10[1, 3] + pairs.counts.n01[1, 3] for pairs in found.values())
    assert one_right == 10272
    np.testing.assert_array_equal(
        ds.pairwise(store, EI, models=real_data.FRAMEWORKS, where="sevens == 3")[EI], found[3][EI]
    )


@pytest.mark.parametrize(("there", "passes"), [(1 << 33, 1), (0, 4), (2 * 4 * 9 * 5**2 * 8, 2)])
def test_probabilities_of_all_groups_take_as_few_passes_as_memory_allows(
    tmp_path, rng, monkeypatch, there, passes
):
    """Four groups, one of them without a name, whose rows are mixed: each as its mask alone gives it."""
    labels, wanted = rng.integers(0, 3, 90), ["capa", "kl"]
    store = ds.create(tmp_path / "p.zoo", labels, classes=list("xyz"), dtype="float32")
    for m in range(5):
        store.add(f"m{m}", logits=rng.normal(size=(90, 3)) + (m / 2) * np.eye(3)[labels])
    names = np.array(["a", "b", "c", None], object)[rng.integers(0, 4, 90)]
    store.add_columns({"group": names.tolist()})
    reads, read = [], parts.read_blocks
    monkeypatch.setattr(parts, "read_blocks", lambda *given: reads.append(1) or read(*given))
    monkeypatch.setattr(groups, "available_bytes", lambda: there)
    found = ds.pairwise_by(store, wanted, "group")
    values = {value: [pairs[name] for name in wanted] for value, pairs in found.items()}
    assert list(values) == ["a", "b", "c", None]
    assert len(reads) == passes
    for value, matrices in values.items():
        alone = ds.pairwise(store, wanted, mask=names == value)
        for name, matrix in zip(wanted, matrices, strict=True):
            np.testing.assert_allclose(matrix, alone[name], rtol=3e-6, atol=3e-6)
    assert np.isfinite(found["b"]["capa"][0, 1])  # in another order
