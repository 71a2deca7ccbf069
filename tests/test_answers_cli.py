"""Answers on the command line: some examples, groups, several models, matrices, pictures, near-duplicates."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus_cli.main import main

EI, KAPPA = "error_inconsistency", "error_consistency"


class Done:
    def __init__(self, status, out, err):
        self.status, self.stdout, self.stderr = status, out, err


def run(*args, status=0):
    """Run a command in this process; as `main`, but what it prints and its status come back."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        show = warnings.showwarning
        try:
            main([str(one) for one in args])
        except SystemExit as stop:
            code = stop.code
        finally:
            warnings.showwarning = show
    done = Done(code, out.getvalue(), err.getvalue())
    assert done.status == status, f"{code}: {done.stdout}\n{done.stderr}"
    return done


def records(*args):
    return json.loads(run(*args, "--format", "json").stdout)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Store of 6 models x 300 examples x 4 classes with splits, a group, and one model and its copy."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 300)
    splits = np.where(np.arange(300) < 150, "fit", "report").tolist()
    group = [None if i % 10 == 0 else ("bird", "fish")[i % 2] for i in range(300)]
    store = ds.create(
        tmp_path_factory.mktemp("answers") / "a.zoo",
        labels,
        classes=["ant", "bee", "cat", "dog"],
        splits=splits,
        metadata={"group": group},
    )
    for i in range(5):
        z = 2 * np.eye(4)[labels] + rng.normal(size=(300, 4)) * (1 + i / 4)
        store.add(f"m{i}", logits=z)
    store.add("m3 again", predictions=store.top1(["m3"])[0])
    return store


WHERE = "group == 'bird' and label_name != 'dog'"


def test_queries_of_some_examples_equal_the_library(zoo):
    options = ("--where", WHERE, "--split", "fit")
    pairs = ds.pairwise(zoo, [EI, KAPPA], where=WHERE, split="fit")
    n = int((zoo.where(WHERE) & (np.arange(300) < 150)).sum())
    assert pairs.counts.n == n
    assert records("pairs", zoo.path, *options) == pairs.top(20).to_pylist()
    assert records("matrix", zoo.path, *options)["matrix"] == pairs[EI].tolist()
    found = {row["model"]: row["accuracy"] for row in records("models", zoo.path, *options)}
    assert found == dict(zip(pairs.model_ids, pairs.accuracy.tolist(), strict=True))
    said = f"{n} examples of split 'fit' where {WHERE}"
    first = run("pairs", zoo.path, *options).stdout.splitlines()[0]
    assert first == f"15 pairs of 6 models on {said}, by error inconsistency, largest first"
    assert f"error inconsistency of 6 models on {said}\n" in run("matrix", zoo.path, *options).stdout
    title = run("models", zoo.path, *options).stdout.splitlines()[0]
    assert title == f"6 models, accuracy on fit where {WHERE} ({n} examples counted)"


def test_several_models_of_like_accuracy_in_any_order(zoo):
    options = ("--model", "m1", "--model", "m3", "--max-gap", 0.1, "-m", KAPPA, "--ci", "delta")
    options = (*options, "--by", f"{KAPPA}_high", "--top", 3)
    pairs = ds.pairwise(zoo, KAPPA, ci="delta")
    asked = {"model": ["m1", "m3"], "max_gap": 0.1}
    assert records("pairs", zoo.path, *options) == pairs.top(3, f"{KAPPA}_high", **asked).to_pylist()
    there = pairs.n_pairs(**asked)
    assert 3 < there < 9
    first = run("pairs", zoo.path, *options).stdout.splitlines()[0]
    assert first == (
        f"3 of {there} pairs of 6 models with m1 or m3 at most 0.1 apart in accuracy on 300 examples, "
        "by error consistency high, smallest first, 95 % intervals (delta)"
    )
    up = run("pairs", zoo.path, "--ascending", "--all").stdout.splitlines()[0]
    assert up == "15 pairs of 6 models on 300 examples, by error inconsistency, smallest first"


def test_groups(zoo, tmp_path):
    found = ds.pairwise_by(zoo, [EI, KAPPA], "group", split="report")
    assert records("pairs", zoo.path, "--by-group", "group", "--split", "report") == found.top(3).to_pylist()
    options = ("--by-group", "group", "--test", "independence", "--by", "test_z", "--top", 2)
    tested = ds.pairwise_by(zoo, [EI, KAPPA], "group").map(ds.Pairs.test).top(2, "test_z")
    assert records("pairs", zoo.path, *options) == tested.to_pylist()
    lines = run("pairs", zoo.path, "--by-group", "group", "--top", 1).stdout.splitlines()
    assert lines[0] == (
        "3 pairs of 6 models in 3 groups by group on 300 examples, by error inconsistency, largest first"
    )
    assert [line.split()[:2] for line in lines[3:]] == [["bird", "120"], ["fish", "150"], ["–", "30"]]
    out = tmp_path / "g.parquet"
    run("pairs", zoo.path, "--by-group", "label_name", "--all", "--out", out)
    assert pq.read_table(out).num_rows == 4 * 15
    per_class = ds.pairwise_by(zoo, [EI, KAPPA], "label_name").to_arrow()
    assert sorted(map(repr, pq.read_table(out).to_pylist())) == sorted(map(repr, per_class.to_pylist()))
    undefined = run("pairs", zoo.path, "--by-group", "example_id", "-m", KAPPA, "--top", 1)
    total = sum(pairs.undefined[KAPPA] for pairs in ds.pairwise_by(zoo, KAPPA, "example_id").values())
    assert undefined.stderr == f"Note: {KAPPA} is undefined for {total:,} pairs\n"


def test_matrix_to_numpy_with_its_order_beside_it(zoo, tmp_path):
    out, beside = tmp_path / "x.npy", tmp_path / "x.models.json"
    done = run(
        "matrix", zoo.path, "-m", KAPPA, "--model", "m2", "--model", "m0", "--model", "m4", "--out", out
    )
    assert done.stderr == f"wrote {beside}\nwrote {out}\n"
    pairs = ds.pairwise(zoo, KAPPA, models=["m2", "m0", "m4"])
    np.testing.assert_array_equal(np.load(out), pairs[KAPPA])
    assert json.loads(beside.read_text()) == ["m2", "m0", "m4"]
    out.unlink()
    assert f"--out {beside} exists already" in run("matrix", zoo.path, "--out", out, status=1).stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.models.json"]
    run("matrix", zoo.path, "--out", out, "--force")
    assert np.load(out).shape == (6, 6)
    named = tmp_path / "numbers"
    run("matrix", zoo.path, "--format", "npy", "--out", named)
    np.testing.assert_array_equal(np.load(named), np.load(out))
    table = tmp_path / "m.csv"
    run("matrix", zoo.path, "--out", table)
    rows = list(csv.reader(io.StringIO(table.read_text())))
    np.testing.assert_array_equal(np.array([row[1:] for row in rows[1:]], float), np.load(out))


def test_a_matrix_goes_to_a_zarr_folder(zoo, tmp_path):
    import zarr

    out = tmp_path / "kappa.zarr"
    run("matrix", zoo.path, "-m", KAPPA, "--where", WHERE, "--model", "m3", "--model", "m1", "--out", out)
    group = zarr.open_group(out, mode="r")
    expected = ds.pairwise(zoo, KAPPA, models=["m3", "m1"], where=WHERE)[KAPPA]
    np.testing.assert_array_equal(group[KAPPA][:], expected.astype(np.float32))
    assert group.attrs["models"] == ["m3", "m1"]
    for options in (["--force"], ["--device", "cpu"], ["--calibrate", "fit"]):
        run("matrix", zoo.path, "--out", tmp_path / "new.zarr", *options, status=2)
    run("matrix", zoo.path, "--format", "zarr", status=2)
    assert (
        "more than right and wrong"
        in run("matrix", zoo.path, "-m", "label_kappa", "--out", tmp_path / "new.zarr", status=1).stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["kappa.zarr"]


@pytest.mark.parametrize("ending", ["png", "svg", "PNG"])
def test_heatmap(zoo, tmp_path, ending):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"h.{ending}"
    done = run("heatmap", zoo.path, "--split", "fit", "--where", WHERE, "--out", out)
    assert done.stderr == f"wrote {out}\n"
    start = b"<?xml" if ending == "svg" else b"\x89PNG"
    assert out.read_bytes().startswith(start)
    if ending == "svg":
        n = int((zoo.where(WHERE) & (np.arange(300) < 150)).sum())
        assert f"a.zoo: 6 models on {n} examples of split 'fit' where group == 'bird'" in out.read_text()
        assert "error consistency (lower: more different)" in out.read_text()
    assert "exists already" in run("heatmap", zoo.path, "--out", out, status=1).stderr
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_duplicates(zoo):
    found = records("duplicates", zoo.path)
    accuracy = float(ds.pairwise(zoo, EI).accuracy[zoo.model_ids.index("m3")])
    assert found == [
        {"group": 1, "models": ["m3", "m3 again"], "accuracies": [accuracy] * 2, "largest_distance": 0.0}
    ]
    lines = run("duplicates", zoo.path).stdout.splitlines()
    assert lines[0] == (
        "1 group of near-duplicates, 2 of 6 models, each linked to another by at most 1 % different classes "
        "on 300 examples"
    )
    assert [line.split()[0] for line in lines[3:]] == ["1", "1"]
    none = run("duplicates", zoo.path, "--model", "m0", "--model", "m3", "--split", "fit")
    distance = ds.near_duplicates(zoo, models=["m0", "m3"], split="fit").closest[2]
    assert none.stdout == (
        "no near-duplicates: no two of 2 models have at most 1 % different classes on 150 examples of split "
        f"'fit'; the closest are m0 and m3, {100 * distance:.3g} %\n"
    )
    assert records("duplicates", zoo.path, "--model", "m0", "--model", "m3") == []
    assert none.stderr == ""
    loose = run("duplicates", zoo.path, "--threshold", 0.9)
    assert "a lower --threshold tells copies from good models" in loose.stderr


BAD = [
    (["pairs", "ZOO", "-m", "kapa"], "unknown measure 'kapa'"),
    (
        ["pairs", "ZOO", "-m", "disagreement"],
        "of right and wrong it is error_inconsistency, of predicted classes",
    ),
    (["pairs", "ZOO", "-m", "Churn"], "label_disagreement; what a new model breaks is negative_flip_rate"),
    (["pairs", "ZOO", "--min-accuracy", "1"], "no model reaches it, pairs need 2 (best 0."),
    (["matrix", "ZOO", "-m", "error_consistancy"], "did you mean error_consistency"),
    (["heatmap", "ZOO", "-m", "fhi", "--out", "new.png"], "unknown measure 'fhi'; did you mean phi"),
    (["pairs", "ZOO", "--model", "m0", "--model", "m9"], "unknown model 'm9'; did you mean"),
    (["matrix", "ZOO", "--model", "m0", "--model", "n1"], "unknown model 'n1'; did you mean"),
    (["matrix", "ZOO", "--model", "m0"], "pairs need at least 2 models; models names 1: ['m0']"),
    (["heatmap", "ZOO", "--model", "m0", "--out", "new.png"], "pairs need at least 2 models"),
    (["duplicates", "ZOO", "--model", "m0"], "pairs need at least 2 models"),
    (["pairs", "ZOO", "--where", "grup == 'bird'"], "unknown column 'grup'; did you mean group"),
    (
        ["pairs", "ZOO", "--where", "group == 'birt'"],
        "no example has the value 'birt' in column 'group'; the",
    ),
    (["pairs", "ZOO", "--where", "group = 'bird'"], "is no expression; equality is written =="),
    (["models", "ZOO", "--where", "exit()"], "which has no place there; write comparisons"),
    (["matrix", "ZOO", "--where", "group == 'bird' and group == 'fish'"], "chooses none of the 300 examples"),
    (
        ["pairs", "ZOO", "--where", "example_id == '0'", "--split", "report"],
        "no example within split 'report'",
    ),
    (["pairs", "ZOO", "--by-group", "grp"], "unknown column of the examples 'grp'; did you mean group"),
    (["pairs", "ZOO", "--max-gap", "0.000001", "--model", "m0"], "no pair has accuracies so close; m"),
    (["pairs", "ZOO", "--max-gap", "0", "--by-group", "group", "--model", "m4"], "in no group has a pair"),
    (
        ["pairs", "ZOO", "-m", "capa"],
        "logits or probabilities are needed for capa; models with hard labels only",
    ),
    (["heatmap", "ZOO", "-m", "kl", "--out", "new.png"], "models with hard labels only: m3 again"),
    (["heatmap", "ZOO", "--out", "new.jpg"], "no format is called 'jpg'; end the name in .png or .svg"),
    (
        ["matrix", "ZOO", "--out", "new.xlsx"],
        "end the name in .json, .csv, .parquet, .arrow, .npy, .zarr or .txt, or name",
    ),
    (["heatmap", "ZOO", "--out", "there.png"], "--out there.png exists already; choose another file or pass"),
    (["matrix", "ZOO", "--out", "there.npy"], "--out there.npy exists already"),
    (["matrix", "ZOO", "-m", "phi", "--out", "."], "--out . is a folder that exists already"),
    (["heatmap", "ZOO", "--out", "no/new.png"], "there is no folder no; make it first"),
    (["partners", "ZOO", "--scheduler", "threads"], "scheduler must be a Dask client or the address"),
    (["duplicates", "ZOO", "--scheduler", "1"], "scheduler must be a Dask client or the address"),
    (["matrix", "ZOO", "--out", "new.zarr", "--scheduler", "x:y"], "scheduler must be a Dask client or the"),
    (["duplicates", "nowhere.zoo"], "nowhere.zoo is not a Dissensus store: it does not exist"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_clear_line(zoo, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("there.png", "there.npy"):
        (tmp_path / name).write_text("mine")
    done = run(*[zoo.path if a == "ZOO" else a for a in arguments], status=1)
    assert message in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"there.png": "mine", "there.npy": "mine"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["matrix", "ZOO", "--format", "npy"], "--format npy is binary: name a file with --out FILE"),
        (["heatmap", "ZOO"], "name the picture to write: --out error_consistency.png, or .svg"),
        (["pairs", "ZOO", "--min-accuracy", "95"], "95 is no share from 0 to 1; 95 % is 0.95."),
        (["partners", "ZOO", "--min-accuracy", "x"], "'x' is not a valid float"),
        (["duplicates", "ZOO", "--threshold", "2"], "2 is no share from 0 to 1; 2 % is 0.02."),
        (["pairs", "ZOO", "--max-gap", "nan"], "nan is no share from 0 to 1."),
        (["pairs", "ZOO", "--max-gap", "2"], "Invalid value for '--max-gap'"),
        (
            ["duplicates", "ZOO", "--threshold", "5"],
            "Invalid value for '--threshold': 5 is no share from 0 to 1",
        ),
    ],
)
def test_wrong_usage(zoo, arguments, message):
    done = run(*[zoo.path if a == "ZOO" else a for a in arguments], status=2)
    assert message in done.stderr


def test_a_folder_that_may_not_be_written(zoo, tmp_path, monkeypatch):
    """Said before anything is computed; a folder that refuses in the end says so too and keeps nothing."""
    monkeypatch.setattr("dissensus_cli.output.os.access", lambda path, mode: path != tmp_path)
    out = tmp_path / "m.npy"
    assert "no permission to write in" in run("matrix", zoo.path, "--out", out, status=1).stderr
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("dissensus.store.files.os.replace", full)
    done = run("matrix", zoo.path, "--out", tmp_path / "m.csv", status=1)
    assert done.stderr.startswith(f"Error: no room left on the device while writing {tmp_path / 'm.csv'} (")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_one_clear_line_before_the_work(zoo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(ds, "pairwise", None)
    done = run("heatmap", zoo.path, "--out", tmp_path / "h.png", status=1)
    assert done.stderr == (
        "Error: heat maps need matplotlib and scipy, matplotlib is not installed; "
        "run: pip install 'dissensus[plots]'\n"
    )


def test_help_names_the_measures():
    from dissensus.pairs import MEASURES

    for command in ("matrix", "heatmap"):
        words = run(command, "--help").stdout.split()
        assert [name for name in MEASURES if name not in words] == []


def test_ci_alone_is_the_closed_form(zoo):
    alone = run("pairs", zoo.path, "--top", 2, "--ci")
    assert alone.stdout == run("pairs", zoo.path, "--ci", "delta", "--top", 2).stdout


def test_partners_show_as_many_as_find_room(zoo, tmp_path, monkeypatch):
    from dissensus_cli import partners

    for room, shown in ((200, 3), (60, 2), (10, 1)):
        monkeypatch.setattr(partners, "screen_width", lambda otherwise, room=room: room)
        text = run("partners", zoo.path).stdout
        assert f"; the first {shown} of up to 20, --format csv lists all" in text.splitlines()[0]
        assert f"partner {shown}" in text
        assert f"partner {shown + 1}" not in text


def test_tables_in_pipes_are_at_most_100_wide_where_texts_allow(capsys):
    import pyarrow as pa

    from dissensus_cli import output

    name, note = "vit_base_patch16_clip_224.laion2b", "word " * 60
    text = output.render(pa.table({"model": [name], "accuracy": [0.5], "note": [note]}))
    assert max(map(len, text.splitlines())) <= 100
    assert name in text
    assert "0.5000" in text
