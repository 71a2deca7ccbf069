"""Data frames in memory: rows and columns are matched by their names, or refused, never by position."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import dissensus as ds
from dissensus.errors import ArgumentError, WrongClassCount

N = 30
CLASSES = ["ant", "bee", "cow"]
IDS = [f"x{row:02d}" for row in range(N)]
TURNED = [2, 0, 1]
NAMES = [CLASSES[c] for c in TURNED]


@pytest.fixture
def store(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, N), classes=CLASSES, example_ids=IDS)
    store.given = rng.normal(size=(N, 3)).astype("f4")
    store.add("plain", logits=store.given)
    return store


def frame(values, names, index=None):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(values, columns=names, index=index)


def polars(values, names):
    return pytest.importorskip("polars").DataFrame(dict(zip(names, values.T, strict=True)))


def arrow(values, names):
    return pa.table(dict(zip(names, np.ascontiguousarray(values.T), strict=True)))


def xarray(values, names):
    package = pytest.importorskip("xarray")
    return package.DataArray(values, dims=("example", "class"), coords={"class": names})


def equal(store, model):
    return np.array_equal(store.logits(model)[:], store.logits("plain")[:])


@pytest.mark.parametrize("table", [frame, polars, arrow, xarray])
def test_columns_named_by_classes_are_put_into_their_order(store, table):
    turned = table(store.given[:, TURNED], NAMES)
    store.add("added", logits=turned)
    with store.writer("streamed", fingerprint={"weights": "1"}) as writer:
        writer.append(turned[:10])
        writer.append(turned[10:])
    assert equal(store, "added")
    assert equal(store, "streamed")


@pytest.mark.parametrize("table", [frame, polars, arrow, xarray])
def test_columns_of_other_names_are_refused(store, table):
    other = table(store.given, ["ant", "bee", "cat"])
    with pytest.raises(ArgumentError, match=r"missing \['cow'\], unknown \['cat'\].*numpy.asarray"):
        store.add("m", logits=other)
    store.add("m", logits=np.asarray(other))
    assert equal(store, "m")


@pytest.mark.parametrize("names", [range(3), ["logit_0", "logit_1", "logit_2"], ["0", "1", "2"]])
def test_numbered_columns_are_in_the_stores_order(store, names):
    store.add("m", logits=frame(store.given, names))
    assert equal(store, "m")


def test_numbers_that_are_names_too_are_never_guessed(tmp_path, rng):
    """As a folder's classes 0 … 11 are sorted: 0, 1, 10, 11, 2, …"""
    order = [2, 0, 1]
    numbers = list(map(str, order))
    store = ds.create(tmp_path / "n.zoo", rng.integers(0, 3, 3), classes=numbers, example_ids=numbers)
    given = rng.normal(size=(3, 3)).astype("f4")
    store.add("plain", logits=given)
    for names, index, what in ((range(3), order, "columns"), (order, range(3), "rows")):
        with pytest.raises(ArgumentError, match=rf"{what} of logits are called 0, 1, ….*numpy.asarray"):
            store.add("m", logits=frame(given, names, index))
    store.add("m", logits=frame(given, order, order))
    assert equal(store, "m")
    store.add("named", logits=frame(given[[2, 1, 0]][:, [2, 1, 0]], [1, 0, 2], [1, 0, 2]))
    assert equal(store, "named")


def test_streamed_rows_that_are_named_come_in_the_stores_order(store):
    table = frame(store.given, CLASSES, IDS)
    with pytest.raises(ArgumentError, match="next is example 'x00', the index says 'x10': sort them"):
        with store.writer("m", fingerprint={"weights": "1"}) as writer:
            writer.append(table[10:])
    with store.writer("m", fingerprint={"weights": "1"}) as writer:
        writer.append(table[:10])
        writer.append(table[10:].reset_index(drop=True))
    assert equal(store, "m")
    counted = frame(store.given, CLASSES)
    with store.writer("counted", fingerprint={"weights": "1"}) as writer:
        writer.append(counted[:10])
        writer.append(counted[10:])
    assert equal(store, "counted")


def test_rows_go_by_the_index(store, rng):
    order = rng.permutation(N)
    ids = [IDS[row] for row in order]
    store.add("m", logits=frame(store.given[order][:, TURNED], NAMES, ids))
    assert equal(store, "m")
    classes = store.given.argmax(axis=1)
    store.add("hard", predictions=frame({"p": classes[order]}, ["p"], ids)["p"])
    assert np.array_equal(store.top1(["hard"])[0], classes)
    store.add("said", logits=frame(store.given[order], CLASSES, order), example_ids=ids)
    assert equal(store, "said")
    with pytest.raises(ArgumentError, match=r"rows that are called as .* such as 'x00'; 30 are not, first"):
        store.add("other", logits=frame(store.given[order], CLASSES, order))
    package = pytest.importorskip("xarray")
    there = {"class": CLASSES, "example": ids}
    store.add("x", logits=package.DataArray(store.given[order], dims=("example", "class"), coords=there))
    assert equal(store, "x")


def test_another_number_of_columns(store):
    with pytest.raises(ArgumentError, match=r"missing \['cow'\], unknown \[\]"):
        store.add("m", logits=frame(store.given[:, :2], CLASSES[:2]))
    with pytest.raises(WrongClassCount, match=r"shape \(30, 2\)"):
        store.add("m", logits=frame(store.given[:, :2], range(2)))
