"""The matrix of predicted classes: cached beside the models, and never stale or wrong."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
from dissensus.store import cache
from dissensus.store import format as fmt


@pytest.fixture
def zoo(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 9, 100), classes=list("abcdefghi"))
    store.wanted = {f"m{i:02}": rng.integers(0, 9, 100) for i in range(20)}
    for model_id, classes in store.wanted.items():
        store.add(model_id, predictions=classes)
    return store


def expected(store, models=None):
    return np.array([store.wanted[m] for m in models or sorted(store.wanted)])


def opened(monkeypatch, store):
    """Names of models read from their own files by the next query of everything."""
    seen, real = [], type(store.model("m00")).column

    def column(self, name):
        seen.append(self.model_id)
        return real(self, name)

    monkeypatch.setattr(type(store.model("m00")), "column", column)
    return seen


def test_the_second_query_reads_no_model(zoo, monkeypatch):
    assert np.array_equal(zoo.top1(), expected(zoo))
    seen = opened(monkeypatch, zoo)
    assert np.array_equal(ds.open(zoo.path).top1(), expected(zoo))
    some = ["m07", "m03", "m11", "m01", "m00", "m05", "m19", "m02", "m04"]
    assert np.array_equal(zoo.top1(some), expected(zoo, some))
    assert np.array_equal(zoo.correct(), expected(zoo) == zoo.labels)
    assert seen == []
    assert not zoo.top1().flags.writeable


@pytest.mark.parametrize("name", ["a", "m005", "z"])
def test_one_model_more_is_one_row_more_wherever_its_name_sorts(zoo, rng, name):
    zoo.top1()
    zoo.wanted[name] = rng.integers(0, 9, 100)
    zoo.add(name, predictions=zoo.wanted[name])
    assert np.array_equal(zoo.top1(), expected(zoo))
    some = [name, "m00", "m01", "m02", "m03", "m04", "m05", "m06", "m07", "m08"]
    assert np.array_equal(ds.open(zoo.path).top1(some), expected(zoo, some))


def test_added_replaced_and_removed_models_are_seen(zoo, rng, monkeypatch):
    zoo.top1()
    zoo.wanted["m03"] = rng.integers(0, 9, 100)
    zoo.add("m03", predictions=zoo.wanted["m03"], replace=True)
    zoo.wanted["new"] = rng.integers(0, 9, 100)
    zoo.add("new", predictions=zoo.wanted["new"])
    zoo.remove("m10")
    del zoo.wanted["m10"]
    assert np.array_equal(zoo.top1(), expected(zoo))
    seen = opened(monkeypatch, zoo)
    assert np.array_equal(zoo.top1(), expected(zoo))
    assert len(seen) <= len(zoo.wanted) * cache.STALE


def test_one_more_model_reads_one_model(zoo, monkeypatch):
    for i in range(20):
        zoo.add(f"x{i:02}", predictions=zoo.wanted["m00"])
        zoo.wanted[f"x{i:02}"] = zoo.wanted["m00"]
    zoo.top1()
    zoo.add("y", predictions=zoo.wanted["m05"])
    zoo.wanted["y"] = zoo.wanted["m05"]
    seen = opened(monkeypatch, zoo)
    assert np.array_equal(zoo.top1(), expected(zoo))
    assert seen == ["y"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_to_the_cache_changes_no_number(tmp_path_factory, data):
    rng = np.random.default_rng(1)
    store = ds.create(tmp_path_factory.mktemp("c") / "s.zoo", rng.integers(0, 3, 30), classes=list("abc"))
    for i in range(9):
        store.add(f"m{i}", predictions=rng.integers(0, 3, 30))
    right = store.top1().copy()
    path = store.path / fmt.CACHE / data.draw(st.sampled_from([cache.TOP1, cache.TOP1_JSON]))
    raw = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[where] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del raw[where:]
    path.write_bytes(raw)
    assert np.array_equal(ds.open(store.path).top1(), right)


@pytest.mark.parametrize(
    ("step", "when", "more"),
    [(0, "before", True), (0, "after", True), (1, "before", True), (1, "before", False), (1, "after", True)],
)
def test_a_maker_beside_another_that_holds_no_lock(zoo, rng, monkeypatch, step, when, more):
    """Nobody locks: at each step of one maker, another makes the whole cache, of these models or of more."""
    real, moves = os.replace, []

    def other():
        if more:
            zoo.wanted["a"] = rng.integers(0, 9, 100)
            zoo.add("a", predictions=zoo.wanted["a"])
        assert np.array_equal(ds.open(zoo.path).top1(), expected(zoo))

    def replace(source, target):
        moves.append(target)
        mine = len(moves) == step + 1
        if mine and when == "before":
            other()  # and clears away what the first has half written
        real(source, target)
        if mine and when == "after":
            other()

    models = sorted(zoo.wanted)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        assert np.array_equal(ds.open(zoo.path).top1(), expected(zoo, models))
    assert len(moves) > step
    for _ in range(2):
        assert np.array_equal(ds.open(zoo.path).top1(), expected(zoo))
    left = {entry.name for entry in (zoo.path / fmt.CACHE).iterdir()}
    assert left == {cache.TOP1, cache.TOP1_JSON}
    seen = opened(monkeypatch, zoo)
    assert np.array_equal(ds.open(zoo.path).top1(), expected(zoo))
    assert len(seen) <= len(zoo.wanted) * cache.STALE


def test_a_read_only_store_needs_no_cache(zoo, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    assert np.array_equal(zoo.top1(), expected(zoo))
    assert not (zoo.path / fmt.CACHE / cache.TOP1).exists()


def test_blocks_are_the_rows_of_every_model(small_zoo, rng):
    rows = np.sort(rng.choice(203, 90, replace=False))
    for chosen in (None, rows, np.arange(20, 60), np.empty(0, int)):
        blocks = list(small_zoo.blocks(rows=chosen))
        wanted = np.arange(203) if chosen is None else chosen
        for i, model_id in enumerate(small_zoo.model_ids):
            got = [block.centred[i] for block in blocks]
            whole = small_zoo.logits(model_id).centred(0, 203)
            assert np.array_equal(np.concatenate([np.empty((0, 4)), *got]), whole[wanted])
        assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]]


def test_blocks_end_where_the_files_own_do(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    store.add("m", logits=rng.normal(size=(9001, 3)))
    from dissensus.store import blocks

    rows = np.concatenate([np.arange(0, 5000, 3), np.arange(8000, 9001)])
    got = list(blocks.read_blocks([store.logits("m")], rows))
    assert np.array_equal(
        np.concatenate([b.centred[0] for b in got]), store.logits("m").centred(0, 9001)[rows]
    )
    given_step = list(blocks.read_blocks([store.logits("m")], rows, 700))
    assert [b.stop - b.start for b in given_step] == [700] * 3 + [len(rows) - 2100]


def test_xarray_is_lazy_and_whole(small_zoo):
    small_zoo.add("hard", predictions=small_zoo.given["model-0"].argmax(1))
    data = small_zoo.to_xarray()
    assert data.logits.dims == ("model", "example", "class")
    assert data.logits.chunks is not None
    rows = data.logits.sel(model="model-2", example=small_zoo.example_ids[5]).compute()
    assert np.array_equal(rows, small_zoo.logits("model-2")[5])
    assert np.isnan(data.logits.sel(model="hard")).all()
    accuracy = data.correct.mean("example").to_series().to_dict()
    assert accuracy == {r["model"]: pytest.approx(r["accuracy"]) for r in small_zoo.models().to_pylist()}
    assert data.split.values.tolist() == list(small_zoo.splits)
