"""Reductions of all pairs, tile by tile, against the whole matrix: partners, bounds, histograms, files."""

from __future__ import annotations

import itertools
import json
import os
import tracemalloc

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, StoreFull, UnknownName
from dissensus.kernels.formulas import compiled
from dissensus.pairs import MEASURES, Answers, PairCounts, matrix_chunks, matrix_files, outputs, scale, tiles
from dissensus.pairs.measures import ratio
from dissensus.store.cache import _Cached

COUNTED = [name for name, one in MEASURES.items() if one.needs == "counts"]
KAPPA = "error_consistency"
FIXTURES = [HealthCheck.function_scoped_fixture]


@st.composite
def questions(draw):
    """A zoo with copies and constant models, a mask, and how it is asked: small numbers make many ties."""
    n_models, n_examples = draw(st.integers(2, 14)), draw(st.sampled_from([1, 2, 5, 9, 64, 70]))
    correct = draw(arrays(bool, (n_models, n_examples)))
    for row in correct:
        kind = draw(st.sampled_from(["as drawn", "as drawn", "right", "wrong", "copy"]))
        row[:] = {"as drawn": row, "right": True, "wrong": False, "copy": correct[0]}[kind]
    mask = draw(st.none() | arrays(bool, n_examples).filter(np.any))
    return {
        "correct": correct,
        "mask": mask,
        "by": draw(st.sampled_from(COUNTED)),
        "undefined": draw(st.sampled_from(["nan", "identical"])),
        "band": draw(st.integers(1, 5)),
        "width": draw(st.integers(1, 9)),
        "threads": draw(st.integers(1, 3)),
    }


@pytest.fixture(params=["formula compiled", "formula on arrays"])
def tiled(request, monkeypatch):
    """Set the size of tiles, with formulas compiled or not."""
    if request.param == "formula compiled":
        monkeypatch.setattr(tiles, "COMPILED", 0)

    def choose(asked):
        monkeypatch.setattr(tiles, "BAND", asked.pop("band"))
        monkeypatch.setattr(tiles, "WIDTH", asked.pop("width"))
        return asked

    return choose


def law(strategy, examples):
    """Fewer cases where each compiles a kernel."""

    def decorate(test):
        checked = given(strategy)(test)
        return settings(deadline=None, max_examples=examples, suppress_health_check=FIXTURES)(checked)

    return decorate


def matrix_of(correct, mask, by, undefined):
    return MEASURES[by].finish(PairCounts.from_correct(correct, mask), undefined)


def listed(table, by, n_models):
    """Partners in a table as (index, value), by model."""
    found = [[] for _ in range(n_models)]
    for row in table.to_pylist():
        found[int(row["model"])].append((int(row["partner"]), row[by]))
        assert row["rank"] == len(found[int(row["model"])])
    return found


@law(questions(), 60)
def test_partners_are_the_first_of_the_matrix(tiled, asked):
    asked = tiled(asked)
    correct, by = asked.pop("correct"), asked["by"]
    values = matrix_of(correct, asked["mask"], by, asked["undefined"]).tolist()
    for k, ascending in itertools.product((1, 3, 20), (True, False)):
        table = ds.partners(correct, k=k, ascending=ascending, **asked)
        assert listed(table, by, len(correct)) == naive.best_partners(values, k, ascending)
    default = ds.partners(correct, k=2, **asked)
    ascending = MEASURES[by].more_different == "low"
    assert listed(default, by, len(correct)) == naive.best_partners(values, 2, ascending)


@law(questions(), 40)
def test_pairs_within_bounds_are_those_of_the_matrix(tiled, asked):
    asked = tiled(asked)
    correct, by = asked.pop("correct"), asked["by"]
    values = matrix_of(correct, asked["mask"], by, asked["undefined"])
    once = np.triu(np.ones(values.shape, bool), 1)
    low, high = np.nanquantile(np.append(values, 0), [0.3, 0.8])
    chosen = (values >= low) & (values <= high) & (once if MEASURES[by].symmetric else once | once.T)
    stream = ds.pairs_within(correct, at_least=low, at_most=high, **asked)
    found = [(int(r["model_a"]), int(r["model_b"]), r[by]) for r in stream.read_all().to_pylist()]
    assert sorted(found) == [(i, j, values[i, j]) for i, j in np.argwhere(chosen).tolist()]


@law(questions(), 40)
def test_histograms_count_the_matrix(tiled, asked):
    asked = tiled(asked)
    correct, by = asked.pop("correct"), asked["by"]
    values = matrix_of(correct, asked["mask"], by, asked["undefined"])
    once = np.triu(np.ones(values.shape, bool), 1)
    values = values[once if MEASURES[by].symmetric else once | once.T]
    for edges in ([0.0, 0.1, 0.25, 0.9, 1.0], np.linspace(-1, 2, 31).tolist()):
        found = ds.histogram(correct, bins=edges, **asked)
        assert found.counts.tolist() == naive.histogram(values.tolist(), edges)
        assert (found.below, found.above) == ((values < edges[0]).sum(), (values > edges[-1]).sum())
        assert found.undefined == np.isnan(values).sum()


@law(questions(), 15)
def test_files_hold_the_matrix(tiled, tmp_path_factory, asked):
    asked = tiled(asked)
    correct, by = asked.pop("correct"), asked["by"]
    folder = tmp_path_factory.mktemp("matrix")
    values = matrix_of(correct, asked["mask"], by, asked["undefined"])
    for dtype in ("float32", "float64"):
        for ending in ("zarr", "npy"):
            ds.save_matrix(correct, out=folder / f"{dtype}.{ending}", dtype=dtype, **asked)
        group = zarr.open_group(folder / f"{dtype}.zarr", mode="r")
        np.testing.assert_array_equal(group[by][:], values.astype(dtype))
        np.testing.assert_array_equal(np.load(folder / f"{dtype}.npy"), values.astype(dtype))


def test_files_hold_matrices_of_several_chunks(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(matrix_chunks, "SIDE", 16)
    correct = rng.random((41, 90)) < rng.random((41, 1))
    names = [f"m{i}" for i in range(41)]
    for by in (KAPPA, "relative_nfr"):
        values = matrix_of(correct, None, by, "nan")
        ds.save_matrix(correct, by, tmp_path / f"{by}.zarr", models=names, dtype="float64")
        ds.save_matrix(correct, by, tmp_path / f"{by}.npy", models=names)
        group = zarr.open_group(tmp_path / f"{by}.zarr", mode="r")
        np.testing.assert_array_equal(group[by][:], values)
        np.testing.assert_array_equal(group["accuracy"][:], correct.mean(axis=1))
        assert group.attrs["models"] == names
        assert group[by].metadata.dimension_names == ("model_a", "model_b")
        mapped = np.load(tmp_path / f"{by}.npy", mmap_mode="r")
        np.testing.assert_array_equal(mapped, values.astype("f4"))
        assert f'"{names[-1]}"' in (tmp_path / f"{by}.npy.json").read_text()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compares the compiled formula")
@pytest.mark.parametrize("by", COUNTED)
def test_compiled_formulas_equal_those_on_arrays(by, rng):
    n = 3_000_017
    right_a, right_b = rng.integers(0, n, 40), rng.integers(0, n, 900)
    right_a[:3], right_b[:3] = [0, n, 5], [0, n, 5]
    low, high = np.maximum(0, right_a[:, None] + right_b - n), np.minimum(right_a[:, None], right_b)
    both = rng.integers(low, high + 1)
    out = np.empty(both.shape)
    compiled(MEASURES[by].formula, ratio)(both, right_a, right_b, n, out)
    i, j = right_a[:, None], right_b[None, :]
    cells = (both, i - both, j - both, n - i - j + both)
    np.testing.assert_array_equal(out, MEASURES[by].formula(*(cell.astype(float) for cell in cells)))


def test_a_formula_that_is_not_of_the_four_counts_runs_on_arrays(monkeypatch, rng):
    monkeypatch.setattr(tiles, "COMPILED", 0)

    def agreement(n, n11, n00):
        return (n11 + n00) / n

    declared = {"low": 0, "high": 1, "more_different": "low", "undefined": "", "reference": ""}
    monkeypatch.setitem(
        MEASURES,
        "agreement",
        type(MEASURES[KAPPA])("agreement", agreement, symmetric=True, agreement=True, **declared),
    )
    correct = rng.random((6, 20)) < 0.6
    values = (correct[:, None] == correct).mean(axis=2)
    found = listed(ds.partners(correct, "agreement", 5), "agreement", 6)
    assert found == naive.best_partners(values.tolist(), 5, True)


# a result brought up to date


@law(questions(), 60)
def test_an_update_equals_a_fresh_run(asked):
    """Whichever models are new, wherever they stand."""
    correct, by, mask = asked["correct"], asked["by"], asked["mask"]
    names = [f"{i:02d}" for i in range(len(correct))]
    old = np.flatnonzero(np.random.default_rng(asked["band"]).random(len(names)) < 0.6)
    options = {"by": by, "k": 3, "mask": mask, "undefined": asked["undefined"], "threads": asked["threads"]}
    fresh = ds.partners(correct, models=names, **options)
    if len(old) > 1:
        before = ds.partners(correct[old], models=[names[i] for i in old], **options)
        updated = ds.partners(correct, models=names, previous=before, **options)
        assert updated.equals(fresh, check_metadata=True)
    again = ds.partners(correct, models=names, previous=fresh, **options)
    assert again.equals(fresh, check_metadata=True)


def test_an_update_computes_the_rows_of_new_models_only(monkeypatch, rng):
    correct = rng.random((40, 100)) < 0.7
    names, seen = [f"{i:02d}" for i in range(40)], []
    real = tiles.Tiles.band
    monkeypatch.setattr(tiles.Tiles, "band", lambda self, *band: seen.append(band) or real(self, *band))
    old = [i for i in range(40) if i not in (3, 17)]
    before = ds.partners(correct[old], k=4, models=[names[i] for i in old])
    seen.clear()
    after = ds.partners(correct, k=4, models=names, previous=before)
    assert seen == [(0, 2)]  # both new ones, against all
    seen.clear()
    assert ds.partners(correct, k=4, models=names, previous=after).equals(after)
    assert seen == []


def test_what_was_removed_or_replaced_starts_anew(rng):
    correct, names = rng.random((9, 50)) < 0.7, list("abcdefghi")
    before = ds.partners(correct, k=3, models=names)
    with pytest.warns(RuntimeWarning, match=r"computed anew for all models \(removed: a, c, g, h, i\)"):
        after = ds.partners(correct[[1, 3, 4, 5]], k=3, models=list("bdef"), previous=before)
    assert after.equals(ds.partners(correct[[1, 3, 4, 5]], k=3, models=list("bdef")), check_metadata=True)
    changed = correct.copy()
    changed[4] ^= True
    with pytest.warns(RuntimeWarning, match=r"other answers now: e\)"):
        after = ds.partners(changed, k=3, models=names, previous=before)
    assert after.equals(ds.partners(changed, k=3, models=names), check_metadata=True)
    with pytest.warns(RuntimeWarning, match="models are in another order"):
        ds.partners(correct[::-1], k=3, models=names[::-1], previous=before)


def test_an_update_of_something_else_is_refused(rng):
    correct = rng.random((5, 50)) < 0.7
    before = ds.partners(correct, k=3)
    for other, told in (
        ({"k": 2}, "k: 3, now 2"),
        ({"k": 3, "by": "phi"}, "measure: error_consistency, now phi"),
        ({"k": 3, "ascending": False}, "ascending: True, now False"),
        ({"k": 3, "mask": np.arange(50) > 3}, "examples: "),
    ):
        with pytest.raises(ArgumentError, match=told):
            ds.partners(correct, previous=before, **other)
    with pytest.raises(ArgumentError, match="does not tell what it was made of"):
        ds.partners(correct, previous=before.replace_schema_metadata(None))


# stores


def test_a_store_gives_what_its_matrix_does(small_zoo, tmp_path):
    store, mask = small_zoo, np.arange(203) % 3 > 0
    pairs = ds.pairwise(store, KAPPA, split="report", mask=mask)
    table = ds.partners(store, k=4, split="report", mask=mask)
    for model_id in store.model_ids:
        best = pairs.top(4, model=model_id)
        rows = table.filter(pa.compute.equal(table["model"], model_id))
        for ours, theirs in (("partner", "model_b"), (KAPPA, KAPPA), ("partner_accuracy", "accuracy_b")):
            assert rows[ours].to_pylist() == best[theirs].to_pylist()
    ds.save_matrix(store, KAPPA, tmp_path / "m.npy", split="report", mask=mask, dtype="float64")
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), pairs[KAPPA])
    some = ds.partners(store, models=["model-3", "model-0"], k=1)
    assert some["model"].to_pylist() == ["model-3", "model-0"]


def test_predictions_are_read_some_models_at_a_time(small_zoo, monkeypatch):
    whole = ds.partners(small_zoo)
    monkeypatch.setattr("dissensus.pairs.correctness.READ_BYTES", 203 * 3)
    loads, sizes = [], []
    load, completed = _Cached.load, _Cached.completed
    monkeypatch.setattr(_Cached, "load", lambda *given: loads.append(1) or load(*given))
    monkeypatch.setattr(
        _Cached,
        "completed",
        lambda self, some, *given: sizes.append(len(some)) or completed(self, some, *given),
    )
    assert ds.partners(small_zoo).equals(whole, check_metadata=True)
    assert sizes == [1] * 5
    assert len(loads) == 1  # whose checksum is that of all predictions


def test_an_added_model_updates_a_stored_result(small_zoo, tmp_path, rng):
    pq.write_table(ds.partners(small_zoo, k=3), tmp_path / "p.parquet")
    small_zoo.add("a new one", predictions=rng.integers(0, 4, 203))
    previous = pq.read_table(tmp_path / "p.parquet")
    updated = ds.partners(small_zoo, k=3, previous=previous)
    assert updated.equals(ds.partners(small_zoo, k=3), check_metadata=True)


def test_answers_and_memory_maps_give_what_arrays_do(tmp_path, rng):
    correct = rng.random((30, 130)) < 0.7
    np.save(tmp_path / "correct.npy", correct)
    mask = rng.random(130) < 0.5
    whole = ds.partners(correct, mask=mask)
    mapped = np.load(tmp_path / "correct.npy", mmap_mode="r")
    assert ds.partners(mapped, mask=mask).equals(whole, check_metadata=True)
    assert ds.partners(Answers.of(correct), mask=mask).equals(whole, check_metadata=True)
    assert ds.partners(Answers.of(correct, mask)).equals(whole, check_metadata=True)


# memory, disk, failures


def test_memory_is_not_that_of_the_matrix(rng):
    correct = rng.random((5000, 64)) < 0.7
    ds.partners(correct[:50], k=5)
    tracemalloc.start()
    try:
        ds.partners(correct, k=5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5000**2 * 8 / 8


def test_what_does_not_fit_is_refused_with_both_numbers(tmp_path, monkeypatch, rng):
    correct = rng.random((300, 64)) < 0.7
    with monkeypatch.context() as patch:
        patch.setattr(scale, "available_bytes", lambda: 1_000)
        with pytest.raises(ArgumentError, match=r"300 models need .* of memory, 1\.0 kB are available"):
            ds.partners(correct)
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr(scale.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StoreFull, match=r"m\.npy would take 360\.0 kB, 100\.0 kB are free"):
        ds.save_matrix(correct, KAPPA, tmp_path / "m.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_large_run_is_announced(monkeypatch, capsys, rng, tmp_path):
    monkeypatch.setattr(scale, "LARGE", 100)
    correct = rng.random((120, 64)) < 0.7
    told = ds.partners(correct, progress=True)
    text = capsys.readouterr().err
    assert text.startswith("7,140 pairs of 120 models on 64 examples: ")
    assert told.equals(ds.partners(correct))
    ds.save_matrix(correct, KAPPA, tmp_path / "m.npy", progress=True)
    assert "57.6 kB on disk" in capsys.readouterr().err
    ds.histogram(correct, progress=True)
    ds.pairs_within(correct, at_least=0, progress=True).read_all()
    assert capsys.readouterr().err.count("7,140 pairs of") == 2


@pytest.mark.parametrize("name", ["m.zarr", "m.npy"])
def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch, rng, name):
    monkeypatch.setattr(matrix_chunks, "SIDE", 16)
    correct, done = rng.random((70, 64)) < 0.7, []
    real = matrix_files.Blocks.write

    def fails(self, place, *rest):
        done.append(place)
        if len(done) > 4:
            raise OSError(28, "No space left on device")
        real(self, place, *rest)

    monkeypatch.setattr(matrix_files.Blocks, "write", fails)
    with pytest.raises(StoreFull, match="no room left"):
        ds.save_matrix(correct, KAPPA, tmp_path / name, threads=2)
    assert list(tmp_path.iterdir()) == []
    assert len(done) < 8  # the other thread stopped too


def test_streams_become_files(tmp_path, rng):
    correct = rng.random((80, 40)) < 0.7
    table = ds.pairs_within(correct, at_most=0.1).read_all()
    for name in ("p.arrow", "p.parquet"):
        rows = ds.save_stream(ds.pairs_within(correct, at_most=0.1), tmp_path / name)
        assert rows == table.num_rows > 100
    assert pq.read_table(tmp_path / "p.parquet").equals(table)
    with pa.memory_map(str(tmp_path / "p.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().equals(table)
    before = os.listdir(tmp_path)
    for name, told in (("p.arrow", "exists already"), ("p.csv", r"must end in \.arrow or \.parquet")):
        with pytest.raises(ArgumentError, match=told):
            ds.save_stream(ds.pairs_within(correct, at_most=0.1), tmp_path / name)
    with pytest.raises(ArgumentError, match="there is no folder"):
        ds.save_stream(ds.pairs_within(correct, at_most=0.1), tmp_path / "none" / "p.arrow")
    assert sorted(os.listdir(tmp_path)) == sorted(before)
    assert ds.save_stream(ds.pairs_within(correct, at_least=9), tmp_path / "p.arrow", replace=True) == 0


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(ArgumentError, match="exists already"):
        with outputs.fresh_file(tmp_path / "x") as temporary:
            temporary.write_text("ours")
            (tmp_path / "x").write_text("theirs")
    assert (tmp_path / "x").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda c: ds.partners(c, "eror_consistency"), UnknownName, "did you mean error_consistency"),
        (lambda c: ds.partners(c, "label_kappa"), ArgumentError, "needs more than right and wrong"),
        (lambda c: ds.partners(c, k=0), ArgumentError, "k must be a whole number, at least 1"),
        (lambda c: ds.partners(c, threads=0), ArgumentError, "threads must be a whole number, at least 1"),
        (lambda c: ds.partners(c, undefined="one"), ArgumentError, "undefined must be"),
        (lambda c: ds.partners(c.astype(int)), ArgumentError, r"got int64 \(4, 9\)"),
        (lambda c: ds.partners(c.tolist()), ArgumentError, "got list"),
        (lambda c: ds.partners(c[:1]), ArgumentError, "at least 2 models; the array has 1"),
        (lambda c: ds.partners(c, models=["a", "a", "b", "c"]), ArgumentError, "3 of them different"),
        (lambda c: ds.partners(c, split="fit"), ArgumentError, "are those of a store"),
        (lambda c: ds.partners(c, mask=np.zeros(9, bool)), ArgumentError, "it chooses none"),
        (lambda c: ds.partners(c, mask=np.ones(8, bool)), ArgumentError, r"got bool \(8,\)"),
        (lambda c: ds.partners(Answers.of(c), mask=np.ones(80, bool)), ArgumentError, "mask has 80"),
        (lambda c: ds.pairs_within(c), ArgumentError, "bounds are needed"),
        (lambda c: ds.pairs_within(c, at_least=1, at_most=0), ArgumentError, "must not exceed"),
        (lambda c: ds.histogram(c, bins=0), ArgumentError, "at least 1"),
        (lambda c: ds.histogram(c, bins=[0, 0, 1]), ArgumentError, "ascending"),
        (lambda c: ds.histogram(c, "relative_nfr"), ArgumentError, "no largest value"),
        (lambda c: ds.save_matrix(c, KAPPA, "m.txt"), ArgumentError, r"must end in \.zarr or \.npy"),
        (lambda c: ds.save_matrix(c, KAPPA, "m.npy", dtype="int8"), ArgumentError, "dtype must be"),
        (lambda c: ds.save_matrix(c, KAPPA, "/"), ArgumentError, "exists already"),
    ],
)
def test_bad_input_is_refused(ask, error, told):
    with pytest.raises(error, match=told):
        ask(np.random.default_rng(0).random((4, 9)) < 0.5)


# the command


def run_cli(*arguments):
    from click.testing import CliRunner

    from dissensus_cli.main import cli

    return CliRunner().invoke(cli, [str(a) for a in arguments])


def test_the_command_lists_partners(small_zoo, tmp_path):
    expected = ds.partners(small_zoo, "phi", 2, split="fit")
    ask = ("partners", small_zoo.path, "--by", "phi", "--k", 2, "--split", "fit")
    found = run_cli(*ask, "--format", "json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout) == expected.to_pylist()
    screen = run_cli(*ask).stdout
    first = expected.to_pylist()[0]
    assert f"{first['phi']:.4f} {first['partner']}" in screen
    for name, read in (("p.parquet", pq.read_table), ("p.arrow", read_ipc), ("p.csv", pa.csv.read_csv)):
        assert run_cli(*ask, "--out", tmp_path / name).exit_code == 0
        assert read(tmp_path / name).equals(expected)
    assert read_ipc(tmp_path / "p.arrow").equals(expected, check_metadata=True)


def read_ipc(path):
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_the_command_brings_a_file_up_to_date(small_zoo, tmp_path, rng, ending):
    out = tmp_path / f"p.{ending}"
    ask = ("partners", small_zoo.path, "--out", out)
    assert run_cli(*ask, "--update").exit_code == 0  # makes it where there is none
    small_zoo.add("another", predictions=rng.integers(0, 4, 203))
    assert "exists already" in str(run_cli(*ask).exception)
    assert run_cli(*ask, "--update").exit_code == 0
    read = pq.read_table if ending == "parquet" else read_ipc
    assert read(out).equals(ds.partners(small_zoo), check_metadata=True)
    before = out.read_bytes()
    assert f"nothing new: {out} has all 6 models\n" in run_cli(*ask, "--update").stderr
    assert out.read_bytes() == before
    out.write_bytes(b"nothing of the kind")
    assert f"is no {ending} file" in str(run_cli(*ask, "--update").exception)
    assert out.read_bytes() == b"nothing of the kind"


def test_the_command_refuses_an_update_of_what_tells_nothing(small_zoo, tmp_path):
    assert run_cli("partners", small_zoo.path, "--update").exit_code == 2
    refused = run_cli("partners", small_zoo.path, "--update", "--out", tmp_path / "p.csv")
    assert "needs a file that keeps what it was made of" in str(refused.exception)


def test_a_table_that_lacks_rows_is_not_brought_up_to_date():
    correct = np.random.default_rng(0).random((30, 200)) < 0.7
    first = ds.partners(correct, k=3)
    with pytest.raises(ArgumentError, match="lacks rows"):
        ds.partners(correct, k=3, previous=first.slice(0, 60))
    assert ds.partners(correct, k=np.int64(3), previous=first).equals(first)


@pytest.mark.parametrize("bins", [[0, 1e-310], "auto", 2.5, float("inf"), 10**12, ["a", "b"]])
def test_odd_bins_are_refused(bins):
    with pytest.raises(ArgumentError, match="bins"):
        ds.histogram(np.ones((4, 100), bool), "error_inconsistency", bins=bins)
