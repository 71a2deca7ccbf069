"""Expressions over the columns of examples: what they choose, and what they say to what they are not."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, UnknownName
from dissensus.store.facts import Facts
from dissensus.store.where import where

CLASSES = pa.table({"class_id": [0, 1, 2], "name": ["cat", "dog", "eel"], "kind": ["fur", "fur", None]})
VALUES = {
    "group": st.sampled_from(["bird", "fish", "it's", "a`b", 'say "x"']),
    "size": st.integers(-3, 3),
    "blur": st.sampled_from([-0.5, 0.0, 0.25, 1e9]),
    "hard": st.booleans(),
    "two words": st.sampled_from(["x", "y"]),
}


@st.composite
def tables(draw):
    """Columns of a few examples, with missing values."""
    n = draw(st.integers(1, 12))
    columns = {
        name: draw(st.lists(st.none() | values, min_size=n, max_size=n)) for name, values in VALUES.items()
    }
    columns["sets"] = draw(st.lists(st.lists(st.integers(0, 2), max_size=3), min_size=n, max_size=n))
    columns["sets"][0] = [0, 1]  # so that it is a column of sets
    return columns


def word(name):
    return name if name.isidentifier() else f"`{name}`"


@st.composite
def trees(draw, columns, depth=3):
    """An expression as `naive.holds` takes it, and as it is written; equality only with values that occur."""
    kind = draw(st.sampled_from(["and", "or", "not", *["leaf"] * 3])) if depth else "leaf"
    if kind == "not":
        tree, text = draw(trees(columns, depth - 1))
        return ("not", tree), f"not ({text})"
    if kind != "leaf":
        one, other = draw(trees(columns, depth - 1)), draw(trees(columns, depth - 1))
        return (kind, one[0], other[0]), f"({one[1]}) {kind} ({other[1]})"
    name = draw(st.sampled_from(list(columns)))
    if name == "sets":
        value = draw(st.sampled_from(sorted({v for s in columns["sets"] for v in s})))
        return ("has", name, value), f"{value} in sets"
    there = [value for value in columns[name] if value is not None]
    if name == "hard" and draw(st.booleans()):
        return ("column", name), name
    if not there or draw(st.booleans()):
        value = draw(VALUES[name])
        if name != "hard":
            op = draw(st.sampled_from(["<", "<=", ">", ">="]))
            return (op, name, value), f"{word(name)} {op} {value!r}"
    if not there:
        return ("column", "hard"), "hard"
    some = draw(st.lists(st.sampled_from(there), min_size=1, max_size=3))
    if draw(st.booleans()):
        return ("in", name, some), f"{word(name)} in {some!r}"
    op = draw(st.sampled_from(["==", "!="]))
    return (op, name, some[0]), f"{word(name)} {op} {some[0]!r}"


def facts_of(columns, classes=CLASSES):
    n = len(next(iter(columns.values())))
    kinds = {"group": pa.string(), "size": pa.int64(), "blur": pa.float64(), "hard": pa.bool_()}
    kinds |= {"two words": pa.string(), "sets": pa.list_(pa.int32())}
    table = {name: pa.array(values, kinds.get(name)) for name, values in columns.items()}
    return Facts(pa.table({"label": pa.array([0] * n, pa.int32()), **table}), classes)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_expressions_equal_a_loop(data):
    columns = data.draw(tables())
    tree, text = data.draw(trees(columns))
    n = len(columns["hard"])
    rows = [{name: values[i] for name, values in columns.items()} for i in range(n)]
    expected = [naive.holds(tree, row) is True for row in rows]
    if any(expected):
        assert where(text, facts_of(columns)).tolist() == expected
    else:
        with pytest.raises(ArgumentError, match="chooses none of the"):
            where(text, facts_of(columns))


@pytest.fixture
def pets(tmp_path):
    """Store of 6 examples x 3 classes with splits, a group of classes, added columns and a label set."""
    store = ds.create(
        tmp_path / "pets.zoo",
        [0, 1, 2, 0, 1, 2],
        classes=["cat", "dog", "eel"],
        splits=["fit", "fit", "report", "report", None, "report"],
        metadata={"blur": [0.1, math.nan, 0.3, 0.4, 0.5, None]},
    )
    store.add_columns({"group": ["a", "b", "a", None, "b", "c"], "hair colour": list("xyxyxy")})
    store.add_labels("real", [[0], [1, 2], [], [2], [1], [2]])
    return store


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("split == 'report'", [2, 3, 5]),
        ("not split == 'report'", [0, 1]),
        ("split != 'report' or label == 1", [0, 1, 4]),
        ("label_name in ('cat', 'eel') and blur < 0.4", [0, 2]),
        ("blur >= 0 or not blur >= 0", [0, 2, 3, 4]),
        ("0.1 < blur <= 0.4", [2, 3]),
        ("0.3 == blur", [2]),
        ("`hair colour` == 'y' and group not in ['b']", [5]),
        ("label != 0 and\n label < 2", [1, 4]),
        ("1 in label_real", [1, 4]),
        ("2 not in label_real", [0, 2, 4]),
        ("example_id == '3'", [3]),
        ("label == +1", [1, 4]),
        ("blur > -1", [0, 2, 3, 4]),
    ],
)
def test_columns_of_a_store(pets, expression, rows):
    assert np.flatnonzero(pets.where(expression)).tolist() == rows
    assert pets.rows(None, expression).tolist() == rows


def test_what_is_known_of_classes():
    facts = facts_of({"blur": [0.0, 1.0, 2.0]})
    examples = pa.table({"label": pa.array([2, 0, 1], pa.int32()), "kind": ["own", "own", "other"]})
    with_own = Facts(examples, CLASSES)
    assert list(with_own) == ["label", "kind", "label_name"]
    assert len(with_own) == 3
    assert where("kind == 'own'", with_own).tolist() == [True, True, False]
    plain = Facts(examples.select(["label"]), CLASSES)
    assert where("kind == 'fur'", plain).tolist() == [False, True, True]
    assert where("label_name == 'eel'", plain).tolist() == [True, False, False]
    sets = Facts(pa.table({"label": pa.array([[0, 1], [], [2]], pa.list_(pa.int32()))}), CLASSES)
    assert where("'dog' in label_name", sets).tolist() == [True, False, False]
    single = Facts(pa.table({"label": pa.array([[0], [], [2]], pa.list_(pa.int32()))}), CLASSES)
    assert where("label >= 0", single).tolist() == [True, False, True]
    assert where("label_name == 'eel'", single).tolist() == [False, False, True]
    assert "kind" in facts


@pytest.mark.parametrize(
    ("array", "expression", "expected"),
    [
        (pa.array(["a", "b"], pa.large_string()), "x == 'a'", [True, False]),
        (pa.array(["a", "b", None]).dictionary_encode(), "x != 'a'", [False, True, False]),
        (pa.array([0.1, 0.2], pa.float32()), "x == 0.1", [True, False]),
        (pa.array([0.5, 0.2], pa.float16()), "x == 0.5", [True, False]),
        (pa.array([1, 2], pa.uint8()), "x > -1", [True, True]),
        (pa.array([Decimal("1.00"), Decimal("2.25")]), "x > 1.5", [False, True]),
        (
            pa.array([datetime.date(2020, 1, 2), datetime.date(2021, 1, 2)]),
            "x >= '2021-01-01'",
            [False, True],
        ),
        (pa.array([True, False]), "x == False", [False, True]),
    ],
)
def test_kinds_of_columns(array, expression, expected):
    assert where(expression, Facts(pa.table({"x": array}), CLASSES)).tolist() == expected


def test_a_store_without_splits_has_its_two_halves(tmp_path):
    store = ds.create(tmp_path / "h.zoo", [[0], [1], [0, 1], [], [1], [0], [1]], classes=["a", "b"])
    for split in ("fit", "report"):
        assert store.rows(None, f"split == '{split}'").tolist() == store.rows(split).tolist()
    assert (store.where("split == 'fit'") | store.where("split == 'report'")).all()


def test_two_columns_can_be_compared():
    facts = Facts(pa.table({"a": [1, 2, None], "b": [1.0, 3.0, 1.0], "c": ["x", "y", "z"]}), CLASSES)
    assert where("a == b", facts).tolist() == [True, False, False]
    assert where("a < b", facts).tolist() == [False, True, False]
    with pytest.raises(ArgumentError, match=r"columns 'a' \(numbers\) and 'c' \(text\) cannot be compared"):
        where("a == c", facts)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "where must be an expression; got ''"),
        (3, "where must be an expression; got 3"),
        ("split = 'fit'", "is no expression; equality is written =="),
        ("split == 'fit' AND label == 1", "lower case letters"),
        ("split <> 'fit'", "inequality is written !="),
        ("split == 'fit", "is no expression; write comparisons"),
        ("(split == 'fit') & (label == 1)", "has & or |; write and, or"),
        ("len(split) == 3", r"has 'len\(split\)', which has no place there"),
        ("split.upper() == 'FIT'", "has no place there"),
        ("label + 1 == 2", r"has 'label \+ 1', which has no place there"),
        ("label == None", "has 'None', which has no place there"),
        ("1 == 1", "has '1', which has no place there"),
        ("label is 1", "has no place there"),
        ("[x for x in split]", "has no place there"),
        ("label", "column 'label' holds numbers; compare it, as in \"label == 0\""),
        (
            "split == 3",
            "column 'split' holds text, it cannot be compared with 3; write for",
        ),
        ("label == '1'", "column 'label' holds numbers, it cannot be compared with '1'; write for"),
        ("label == True", "column 'label' holds numbers, it cannot be compared with True"),
        (
            "label_real == 3",
            "column 'label_real' holds sets, it cannot .*; write for example \"0 in label_real\"",
        ),
        ("label in 3", "needs a list after in"),
        ("label in ()", "has an empty list after in"),
        ("'f' in split", "column 'split' holds text, not sets"),
        ("label == 99999999999999999999", "no value that column 'label' could hold"),
        ("blur > 0.4 and group == 'a'", "chooses none of the 6 examples"),
        ("x" * 10_001, "at most 10,000 characters; got 10,001"),
        ("not " * 2000 + "label == 1", "is no expression|is nested too deeply"),
        ("(" * 300 + "label == 1" + ")" * 300, "is no expression"),
        ("label == 1\0", "is no expression"),
    ],
)
def test_what_is_no_expression_says_what_is(pets, expression, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        pets.where(expression)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("slit == 'fit'", r"unknown column 'slit'; did you mean split\? \(text values need quotes\)"),
        ("split == fit", "unknown column 'fit'; did you mean split"),
        ("`hair color` == 'x'", "unknown column 'hair color'; did you mean hair colour"),
        (
            "split == 'reprot'",
            "no example has the value 'reprot' in column 'split'; the nearest",
        ),
        ("split != 'zzz'", "no example has the value 'zzz' in column 'split'; there are: 'fit', 'report'"),
        ("label in (1, 7)", "no example has the value 7 in column 'label'; the nearest are 2, 1, 0"),
        ("blur == 0.45", "no example has the value 0.45 in column 'blur'; the nearest are 0"),
        ("7 in label_real", "no example has the value 7 in column 'label_real'"),
    ],
)
def test_unknown_names_and_values_get_the_nearest(pets, expression, message):
    with pytest.raises(UnknownName, match=message):
        pets.where(expression)


def test_queries_take_expressions_with_splits_and_label_sets(pets):
    for name, predicted in {"m": [0, 1, 2, 2, 2, 2], "k": [0, 0, 2, 0, 1, 1]}.items():
        pets.add(name, predictions=predicted)
    pairs = ds.pairwise(pets, "error_inconsistency", where="label != 1", split="report")
    assert pairs.counts.n == 3
    assert pairs.notes == {"split": "report", "where": "label != 1"}
    assert pairs.accuracy.tolist() == [2 / 3, 2 / 3]
    assert pets.models(where="label != 1", split="report")["accuracy"].to_pylist() == [2 / 3, 2 / 3]
    real = ds.pairwise(pets, "error_inconsistency", where="label_name == 'eel'", labels="real")
    assert real.counts.n == 1
    mask = np.arange(6) < 4
    assert ds.pairwise(pets, "error_inconsistency", where="label == 0", mask=mask).counts.n == 2
    for query, message in (
        ({"where": "group == 'c'", "split": "fit"}, "chooses no example within split 'fit'"),
        ({"where": "example_id == '2'", "labels": "real"}, "no example that labels 'real' count"),
        ({"where": "group == 'c'", "mask": mask}, "mask must choose at least one example; it chooses none"),
    ):
        with pytest.raises(ArgumentError, match=message):
            ds.pairwise(pets, "error_inconsistency", **query)


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.large_string()),
        pa.list_(pa.large_string()),
        pa.list_(pa.string(), 2),
        pa.list_view(pa.string()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_lists_of_any_width_are_sets(kind):
    tags = pa.array([["a", "b"], ["b", "c"], None], kind)
    facts = Facts(pa.table({"tags": tags, "label": [0, 1, 2]}), CLASSES)
    assert where("'a' in tags", facts).tolist() == [True, False, False]
    with pytest.raises(UnknownName, match="no example has the value 'd' in column 'tags'"):
        where("'d' in tags", facts)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_are_seconds(unit):
    took = pa.array([datetime.timedelta(seconds=1), datetime.timedelta(seconds=90), None], pa.duration(unit))
    facts = Facts(pa.table({"took": took, "label": [0, 1, 2]}), CLASSES)
    assert where("took < 60", facts).tolist() == [True, False, False]
    with pytest.raises(ArgumentError, match="column 'took' holds numbers, it cannot be compared with '1s'"):
        where("took < '1s'", facts)


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.month_day_nano_interval(), pa.binary(), pa.null()])
def test_other_columns_are_refused_in_one_line(kind):
    value = {pa.time32("s"): datetime.time(1), pa.binary(): b"x"}.get(kind)
    facts = Facts(pa.table({"odd": pa.array([value, value, None], kind), "label": [0, 1, 2]}), CLASSES)
    with pytest.raises(ArgumentError) as refused:
        where("odd == 'x'", facts)
    assert "\n" not in str(refused.value)
    assert "odd" in str(refused.value)
