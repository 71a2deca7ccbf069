"""Kinds of predictions told by their numbers, contradictions refused, rows and classes put into order."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, ExamplesMismatch, UnknownName
from dissensus.ingest.imports import detect, source
from dissensus.ingest.imports.align import Aligned, class_places, order_of
from dissensus.ingest.imports.survey import Survey

LOOSE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def survey(*blocks):
    blocks = [np.asarray(block) for block in blocks]
    found = Survey(blocks[0].shape[1] if blocks[0].ndim == 2 else 4)
    for block in blocks:
        found.add(block)
    return found


def form(*blocks, kind="auto", hint=None):
    return detect.decide(survey(*blocks), kind, hint).form


@LOOSE
@given(st.data())
def test_kinds_equal_the_oracle(data):
    """Rows of one kind, with some rows of another mixed in."""
    n, c = data.draw(st.integers(1, 12)), data.draw(st.integers(2, 5))
    whole = st.integers(0, c).map(float)
    numbers = data.draw(st.sampled_from([st.floats(-8, 8), st.floats(0, 1), st.floats(20, 20.1), whole]))
    decimals = data.draw(st.sampled_from([1, 2, 3, 17]))
    z = data.draw(arrays("f8", (n, c), elements=numbers))
    makers = {
        "logits": lambda x: x,
        "probabilities": softmax,
        "rounded": lambda x: np.round(softmax(x), decimals),
        "shares": lambda x: 100 * softmax(x),
        "log": lambda x: np.log(softmax(x)),
        "one-hot": lambda x: np.eye(c)[x.argmax(axis=1)],
    }
    rows = makers[data.draw(st.sampled_from(sorted(makers)))](z)
    others = makers[data.draw(st.sampled_from(sorted(makers)))](z)
    mixed = data.draw(arrays(bool, n))
    rows = np.where(mixed[:, None], others, rows)
    cut = data.draw(st.integers(0, n))
    blocks = [block for block in (rows[:cut], rows[cut:]) if len(block)]
    expected = naive.kind_of_scores(rows.tolist())
    refusals = {
        "mixed": "some rows are probabilities, but",
        "classes": "whole numbers from 0 to",
        "sigmoids": "all scores lie in 0..1",
        "shares": "and have nearly one sum",
    }
    if expected in refusals:
        with pytest.raises(ArgumentError, match=refusals[expected]):
            form(*blocks)
    else:
        assert form(*blocks) == expected
    whole, parts = survey(rows), survey(*blocks)
    assert whole.content == parts.content


def test_three_decimals_that_sum_to_a_thousandth_more_are_probabilities(tmp_path):
    """The sum is 1.001, or a last bit more than that, as its terms are added up."""
    p = np.array([[249, 155, 229, 135, 233], [233, 135, 229, 155, 249]]) / 1000
    assert (p.sum(axis=1) - 1 > 1e-3).any()
    assert form(p) == naive.kind_of_scores(p.tolist()) == "probabilities"
    np.save(tmp_path / "m.npy", p)
    store = ds.create(tmp_path / "s.zoo", [0, 4], classes=list("abcde"))
    (row,) = ds.import_predictions(store, tmp_path / "m.npy", rows="store", progress=False).rows
    assert (row.status, row.kind) == ("done", "probabilities"), row.error


def test_a_late_row_that_is_no_probability_is_named():
    p = softmax(np.random.default_rng(0).normal(size=(5000, 4)))
    p[4321] *= 1.5
    with pytest.raises(ArgumentError, match=r"1 of 5000 rows .* the worst, row 4321, sums to 1\.5"):
        form(p[:4000], p[4000:])


def test_a_negative_row_that_sums_to_one_is_named_for_what_it_is():
    rows = np.tile([0.25, 0.75], (300, 1))
    rows[7] = 2, -1
    with pytest.raises(ArgumentError, match=r"1 of 300 rows are negative or .* row 7 has a negative value: "):
        form(rows)


def test_what_the_user_says_must_fit():
    z = np.random.default_rng(0).normal(size=(50, 4))
    p = softmax(z)
    with pytest.raises(ArgumentError, match=r"50 of 50 rows .*if these are logits pass kind='logits'"):
        form(z, kind="probabilities")
    with pytest.raises(ArgumentError, match="all 50 rows are >= 0 and sum to 1: these are probabilities"):
        form(p, kind="logits")
    with pytest.raises(ArgumentError, match="'labels' needs one class a row; the file has 4 scores"):
        form(z, kind="labels")
    with pytest.raises(ArgumentError, match="needs one column for each of the 4 classes"):
        form(np.arange(4), kind="logits")
    with pytest.raises(
        ArgumentError, match=r"nearly one sum .*rows sum to 100 to 100.*--kind probabilities\).*--kind"
    ):
        form(100 * p)
    assert form(100 * p, kind="probabilities") == "renormalised"
    assert form(100 * p, kind="logits") == "logits"
    assert form(np.eye(4), kind="probabilities") == "probabilities"
    assert form(np.eye(4), kind="labels") == "one-hot"
    votes = np.arange(12).reshape(3, 4) % 4
    with pytest.raises(
        ArgumentError, match="whole numbers from 0 to 3, as classes and votes are; .*if these are scores"
    ):
        form(votes)
    assert form(votes, kind="logits") == form(votes - 1) == "logits"
    broken = p.copy()
    broken[3] = 0.5
    assert form(broken, kind="logits") == "logits"  # said so, and not all rows contradict it
    for kind in ("auto", "probabilities"):
        with pytest.raises(ArgumentError, match="1 of 50 rows .*the scores before the sigmoid") as refusal:
            form(broken, kind=kind)
        assert "kind logits" not in str(refusal.value)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("n_classes", "decimals"), [(10, 1), (10, 2), (10, 3), (100, 2), (1000, 3), (1000, 4)]
)
def test_rounded_probabilities_are_divided_by_their_sums(n_classes, decimals, dtype):
    p = softmax(np.random.default_rng(0).normal(size=(300, n_classes)) / 3)
    rounded = np.round(p, decimals).astype(dtype)
    for kind in ("auto", "probabilities"):
        reading = detect.decide(survey(rounded[:100], rounded[100:]), kind, None)
        assert reading.form == "renormalised"
        assert "of 300 rows of probabilities were rounded, the worst sums to" in reading.notes[0]
        assert np.abs(reading.convert(rounded).sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda z: 1 / (1 + np.exp(-z)), r"all scores lie in 0\.\.1 but are .*before the sigmoid"),
        (lambda z: np.round(100 * softmax(z)), r"nearly one sum .*--kind probabilities.*--kind logits"),
        (lambda z: np.round(100 * softmax(z), 1), "and have nearly one sum"),
        (lambda z: np.where(np.arange(200)[:, None] == 7, 0, 100 * softmax(z)), "199 of 200 .*other rows"),
        (lambda z: np.where(np.arange(200)[:, None] == 7, -1, 100 * softmax(z)), "199 of 200 .*other rows"),
        (lambda z: np.random.default_rng(0).multinomial(50, softmax(z)), "and have nearly one sum"),
        (lambda z: np.where(np.arange(200)[:, None] < 180, z, softmax(z)), "some rows are probabilities"),
    ],
)  # fmt: skip
def test_what_may_be_no_logits_is_asked_about(scores, message):
    z = np.random.default_rng(0).normal(size=(200, 10))
    with pytest.raises(ArgumentError, match=message):
        form(scores(z))
    assert form(scores(z), kind="logits") == "logits"


def test_a_few_rows_of_logits_may_sum_to_1_by_chance():
    z = np.random.default_rng(0).normal(size=(4000, 2))
    assert 0 < survey(z).n_sums < 0.02 * 4000
    assert form(z) == "logits"


def test_a_name_that_says_otherwise_is_refused():
    z = np.random.default_rng(0).normal(size=(50, 4))
    with pytest.raises(
        ArgumentError, match=r"speaks of probabilities, but the numbers are logits .*--kind logits"
    ):
        form(z, hint="probabilities")
    with pytest.raises(ArgumentError, match=r"speaks of logits, but the numbers are probabilities"):
        form(softmax(z), hint="logits")
    assert form(z, hint="probabilities", kind="logits") == form(z, hint="logits") == "logits"
    assert form(np.log(softmax(z)), hint="probabilities") == "log-probabilities"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([True, False], "true or false; classes are needed"),
        ([0.5, 1.0], r"no class \(0\.5 to 1\)"),
        ([1.0, math.nan], r"no class \(1 to 1\)"),
        ([1, 2, 3, 4], "run from 1 to 4, the store's from 0 to 3; subtract 1"),
    ],
)
def test_one_number_a_row_that_is_no_class(values, message):
    with pytest.raises(ArgumentError, match=message):
        form(np.array(values))


@pytest.mark.parametrize("form", ["npy", "upcast", "csv", "wide", "long"])
def test_every_source_has_one_rule_for_rounded_probabilities(tmp_path, form):
    rng = np.random.default_rng(3)
    p = softmax(rng.normal(size=(40, 1000)) * 0.1).astype("f2")
    p *= np.float16(1.004)  # what sums of rounded numbers may come to
    labels = p.argmax(axis=1)
    store = ds.create(tmp_path / "s.zoo", labels, classes=[str(i) for i in range(1000)])
    table = pa.table({"model": ["m"] * 40, "id": store.example_ids, "probs": list(p)})
    path = tmp_path / f"m.{ {'csv': 'csv', 'wide': 'parquet', 'long': 'parquet'}.get(form, 'npy') }"
    if form in ("npy", "upcast"):
        np.save(path, p if form == "npy" else p.astype("f4"))
    elif form == "csv":
        np.savetxt(path, p.astype("f8"), delimiter=",", header=",".join(map(str, range(1000))), comments="")
    else:
        pq.write_table(table if form == "long" else table.drop_columns(["model"]), path)
    (row,) = ds.import_predictions(store, path, progress=False).rows
    assert (row.status, row.kind) == ("done", "probabilities"), row.error
    assert any("40 of 40 rows of probabilities were rounded" in note for note in row.notes)
    assert np.abs(softmax(store.logits("m")[:]).sum(axis=1) - 1).max() < 1e-5
    assert store.top1(["m"])[0].tolist() == labels.tolist()


def test_log_probabilities_of_zero(tmp_path):
    p = np.array([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]])
    store = ds.create(tmp_path / "s.zoo", [0, 1, 0])
    with np.errstate(divide="ignore"):
        np.save(tmp_path / "log.npy", np.log(p))
    (row,) = ds.import_predictions(store, tmp_path / "log.npy", rows="store", progress=False).rows
    assert (row.kind, row.notes) == ("logits", ["log-probabilities: stored as logits, which they are too"])
    assert np.allclose(softmax(store.logits("log")[:]), p, atol=1e-3)


@LOOSE
@given(st.data())
def test_rows_come_into_the_stores_order(data):
    wanted = data.draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=20, unique=True))
    ids = data.draw(st.permutations(wanted))
    order = order_of(ids, wanted, "file")
    rows = [[i, 2 * i] for i in range(len(ids))]
    expected = naive.rows_by_id(rows, ids, wanted)
    array = np.array(rows)
    assert (order is None) == (ids == wanted)
    block_rows = data.draw(st.integers(1, 8))
    sizes = data.draw(st.integers(1, 8))
    blocks = [array[i : i + sizes] for i in range(0, len(array), sizes)]
    stream = source.StreamSource(array.shape, "i8", lambda: iter(blocks), source.Facts("test"))
    for given_source in (source.ArraySource(array, source.Facts("test")), stream):
        aligned = Aligned(given_source, order, None, ["a", "b"], block_rows)
        for _ in range(2):  # surveyed, then stored
            assert np.concatenate(list(aligned.blocks())).tolist() == expected
        first = block_rows * data.draw(st.integers(0, (len(ids) - 1) // block_rows))
        assert np.concatenate(list(aligned.blocks(first))).tolist() == expected[first:]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b"], r"1 id of the store has no row, first \['c'\]"),
        (
            ["a", "b", "c", "d"],
            r"has 4 rows, the store 3 examples: 1 id is not in the store, first \['d'\]",
        ),
        (["a", "b", "b"], r"1 id comes more than once, first \['b'\]; 1 id of the store has no row"),
        (["x", "y", "z"], r"3 ids are not in the store, first \['x', 'y', 'z'\]; 3 ids of the store have no"),
    ],
)
def test_ids_that_are_not_the_stores(ids, message):
    with pytest.raises(ExamplesMismatch, match=message):
        order_of(ids, ["a", "b", "c"], "file.csv")


def test_a_file_in_other_classes_order(tmp_path):
    rng = np.random.default_rng(0)
    names = ["ant", "bee", "cow", "dog"]
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 4, 60), classes=names)
    z = rng.normal(size=(60, 4)).astype("f4")
    store.add("straight", logits=z)
    order = [2, 0, 3, 1]
    np.save(tmp_path / "scores.npy", z[:, order])
    np.save(tmp_path / "labels.npy", np.argsort(order)[z.argmax(axis=1)])
    np.save(tmp_path / "names.npy", np.array(names)[z.argmax(axis=1)])
    given_names = [names[i] for i in order]
    report = ds.import_predictions(
        store,
        [tmp_path / f"{name}.npy" for name in ("scores", "labels", "names")],
        classes=given_names,
        rows="store",
        progress=False,
    )
    assert [row.status for row in report.rows] == ["done", "done", "failed"]
    assert "predictions are names of classes already" in report.rows[2].error
    top1 = store.top1(["straight", "scores", "labels"])
    assert (top1 == top1[0]).all()
    assert np.array_equal(store.logits("scores")[:], store.logits("straight")[:])


def test_classes_must_be_the_stores():
    assert class_places(None, ["a", "b"]) is None
    assert class_places(["b", "a"], ["a", "b"]).tolist() == [1, 0]
    with pytest.raises(UnknownName, match="unknown class 'c'"):
        class_places(["a", "c"], ["a", "b"])
    with pytest.raises(ArgumentError, match=r"got 1 names, of the store's 1 are missing, first \['b'\]"):
        class_places(["a"], ["a", "b"])
    with pytest.raises(ArgumentError, match="each class once, in the file's order; 'a' comes 2 times"):
        class_places(["a", "a"], ["a", "b"])


def test_what_does_not_fit_into_memory_is_refused_with_both_numbers(tmp_path, monkeypatch):
    store = ds.create(tmp_path / "s.zoo", [0, 1, 0], example_ids=list("abc"))
    (tmp_path / "m.csv").write_text("id,p_0,p_1\nc,1,2\nb,3,4\na,5,6\n")
    monkeypatch.setattr(source, "available_bytes", lambda: 90)
    (row,) = ds.import_predictions(store, tmp_path / "m.csv", progress=False).rows
    assert row.error.startswith(
        "m.csv: putting the rows of this csv file into the store's order needs 0.00 GB"
    )
    assert "sort it by the store's order, or convert it to .npy" in row.error
    monkeypatch.setattr(source, "available_bytes", lambda: 100)
    (row,) = ds.import_predictions(store, tmp_path / "m.csv", progress=False).rows
    assert row.status == "done"
