"""Files that cannot be stored: one clear line each, the others go on, nothing is half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus.errors import ArgumentError, FingerprintMismatch, NotWritable

N, C = 12, 3


@pytest.fixture
def store(tmp_path):
    labels = np.arange(N) % C
    ids = [f"x{i}" for i in range(N)]
    return ds.create(tmp_path / "s.zoo", labels, classes=["cat", "dog", "eel"], example_ids=ids)


def text(content):
    """What writes a file of this text."""
    return lambda path: path.write_text(content)


def table(header, rows):
    return text(csv(header, rows))


def array(values):
    return lambda path: np.save(path, values)


def csv(header, rows):
    return header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def rows(last=None, n=N):
    table = [[f"x{i}", i % C] for i in range(n)]
    if last is not None:
        table[-1] = last
    return table


def truncated(path, **arrays):
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:-60])


def inner_truncation(path):
    """A sound archive whose array ends early."""
    import zipfile

    np.save(path.with_suffix(".npy"), np.zeros((N, C)))
    data = path.with_suffix(".npy").read_bytes()[:-40]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("logits.npy", data)


def pickled(path):
    with open(path, "wb") as file:
        np.save(file, np.array([{}] * N, object), allow_pickle=True)


class _Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def running(path):
    with open(path, "wb") as file:
        np.save(file, np.array([_Runs()] * N, object), allow_pickle=True)


def evil_pt(path):
    import torch

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(path.with_suffix(".touched")),))

    torch.save(Evil(), path)


def weights(path):
    import torch

    torch.save({"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}, path)


def linear(path):
    import torch

    torch.save(torch.nn.Linear(4, 3).state_dict(), path)


def float8(path):
    import torch

    torch.save(torch.zeros(N, C).to(torch.float8_e4m3fn), path)


def ragged_lists(path):
    pq.write_table(
        pa.table({"id": [f"x{i}" for i in range(N)], "logits": [[0.0] * (2 + (i > 5)) for i in range(N)]}),
        path,
    )


z = np.zeros((N, C))
place = np.arange(N * C).reshape(N, C) == 22  # of 'x7', class 'dog'
BAD = {
    "gone.npy": (lambda p: None, r"gone\.npy cannot be read: No such file"),
    "folder.npy": (lambda p: p.mkdir(), r"is a folder; name the files in it, such as"),
    "empty.csv": (lambda p: p.touch(), r"empty\.csv is empty \(0 bytes\)"),
    "what.xlsx": (text("x"), r"ending '\.xlsx', which is no known format; known are \.npy"),
    "noise.npy": (lambda p: p.write_bytes(b"noise" * 9), r"noise\.npy .*it does not begin as a NumPy array"),
    "short.npy": (lambda p: (np.save(p, z), p.write_bytes(p.read_bytes()[:-8])), r"cannot be read as npy"),
    "objects.npy": (pickled, r"objects\.npy: an array of objects must hold numbers or class names"),
    "code.npy": (running, r"code\.npy .* Python objects of posix\.system, which are not loaded"),
    "cut.npz": (lambda p: truncated(p, logits=z), r"cut\.npz cannot be read as npz: File is not a zip file"),
    "inner.npz": (inner_truncation, r"array 'logits\.npy' ends after 10 of 12 rows"),
    "nothing.npz": (lambda p: np.savez(p), r"holds no arrays of predictions"),
    "truth.npz": (lambda p: np.savez(p, labels=z), r"holds no arrays of predictions, only labels"),
    "noise.safetensors": (lambda p: p.write_bytes(b"noise" * 9), r"cannot be read as safetensors"),
    "noise.pt": (lambda p: p.write_bytes(b"noise" * 9), r"noise\.pt cannot be read as torch"),
    "evil.pt": (evil_pt, r"evil\.pt cannot be read as torch: it is damaged or holds more than tensors"),
    "weights.pt": (weights, r"holds a network's weights, not predictions; run it with `dissensus ingest`"),
    "linear.pt": (linear, r"holds a network's weights, not predictions"),
    "float8.pt": (float8, r"tensors of torch\.float8_e4m3fn are not read; save float32 or float16"),
    "noise.parquet": (lambda p: p.write_bytes(b"noise" * 9), r"cannot be read as parquet"),
    "noise.arrow": (lambda p: p.write_bytes(b"noise" * 9), r"cannot be read as arrow"),
    "noise.json": (text("[1, 2"), r"cannot be read as json: Expecting ',' delimiter"),
    "empty.json": (text("[]"), r"holds an empty list"),
    "text.json": (text('"x"'), r"must hold a list, or an object of lists; it holds 'x'"),
    "ragged.json": (text(json.dumps([[1, 2, 3]] * 11 + [[1]])), r"rows of one length; they differ"),
    "null.json": (text(json.dumps([1] * 11 + [None])), r"must hold numbers or class names"),
    "one-name.json": (text(json.dumps(["cat"] * 11 + ["emu"])), r"unknown class of example 'x11' .*'emu'"),
    "header.csv": (text("id,pred\n"), r"header\.csv has no rows"),
    "ragged.csv": (table("id,pred", rows(["x11"])), r"cannot be read as csv: .*Expected 2 columns"),
    "text.csv": (
        table("id,a_0,a_1,a_2", [[*r, 1, "lots"] for r in rows()]),
        r"text\.csv cannot be read as csv: .*conversion error to double: invalid value 'lots'",
    ),
    "twice.csv": (table("id,pred,pred", [[*r, 1] for r in rows()]), r"more than one column named 'pred'"),
    "gap.csv": (table("id,pred", rows(["x11", ""])), r"column 'pred' of .* has no value in row 11"),
    "nan.csv": (
        table("id,a_0,a_1,a_2", [[f"x{i}", 1, 2, "NaN" if i == 7 else 3] for i in range(N)]),
        r"column 'a_2' of .* has no value in row 7 \(empty or NaN\)",
    ),
    "same-id.csv": (table("id,pred", rows(["x0", 1])), r"1 id comes more than once, first \['x0'\]"),
    "other-id.csv": (table("id,pred", rows(["q", 1])), r"not in the store, first \['q'\]"),
    "fewer.csv": (table("id,pred", rows(n=9)), r"has 9 rows, the store 12 examples: 3 ids of the"),
    "more.csv": (table("id,pred", rows(n=14)), r"2 ids are not in the store, first \['x12', 'x13'\]"),
    "wide.csv": (
        table("id,p0,p1,p2,p3", [[*r, 1, 1, 1] for r in rows()]),
        r"has 4 columns 'p0' to 'p3'; the store needs one for each of its 3 classes",
    ),
    "unclear.csv": (
        table("id,this,that", [[*r, 1] for r in rows()]),
        r"no column that is known to hold predictions among 'this', 'that'; name it with columns=",
    ),
    "ragged.parquet": (ragged_lists, r"row 0 has 2 values, row 6 has 3"),
    "class.csv": (table("id,pred", rows(["x11", 3])), r"must lie in 0\.\.2; that of 'x11' is 3"),
    "name.csv": (
        table("id,pred", [[f"x{i}", "dog" if i else "dgo"] for i in range(N)]),
        r"name\.csv: unknown class of example 'x0' \(1 of the rows 0 to 11 are off\): 'dgo'; did",
    ),
    "probability.csv": (
        table("id,p", [[f"x{i}", 0.5 + i / 99] for i in range(N)]),
        r"one number a row that is no class \(0\.5 to 0\.611111\); name the column of predicted classes",
    ),
    "wide.npy": (array(np.zeros((N, 4))), r"have 4 columns, the store needs one for each of its 3 classes"),
    "long.npy": (array(np.zeros((N + 1, C))), r"has 13 rows, the store 12 examples, and no ids say which"),
    "cube.npy": (array(np.zeros((N, C, 1))), r"must be classes \(N,\) or scores \(N, 3\); got float64 of"),
    "complex.npy": (array(z.astype(complex)), r"must be classes \(N,\) or scores"),
    "none.npy": (array(z[:0]), r"must have one row an example; got none|has 0 rows"),
    "nan.npy": (
        array(np.where(place, np.nan, -z - 1)),
        r"nan\.npy gave nan for example 'x7', class 'dog'; predictions must be finite",
    ),
    "inf.npy": (
        array(np.where(place, np.inf, z - 1)),
        r"inf\.npy gave inf for example 'x7', class 'dog'",
    ),
    "pixels.npz": (
        lambda p: np.savez(p, logits=z, image=np.zeros((N, 2, 2)), ids=["x0"]),
        r"has 1 ids for 12 rows",
    ),
    "ids.npz": (lambda p: np.savez(p, logits=z, ids=["x0"]), r"ids\.npz has 1 ids for 12 rows"),
    "float-ids.npz": (
        lambda p: np.savez(p, logits=z, ids=np.arange(12.0)),
        r"must hold texts or whole numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_line_and_stops_nothing(store, tmp_path, name):
    write, message = BAD[name]
    bad, good = tmp_path / name, tmp_path / "good.json"
    write(bad)
    good.write_text(json.dumps((np.arange(N) % C).tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        report = ds.import_predictions(store, [bad, good], progress=False)
    assert [row.status for row in report.rows] == ["failed", "done"]
    error = report.rows[0].error
    with pytest.raises(ArgumentError, match=message):
        raise ArgumentError(error)
    assert "\n" not in error
    assert store.model_ids == ["good"]
    assert store.staged() == []
    assert store.verify().ok
    assert not (tmp_path / "evil.touched").exists()


def test_arguments_are_checked_before_any_file_is_stored(store, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(N, int))
    (tmp_path / "b.json").write_text(json.dumps({"a": [0] * N, "c": [1] * N}))
    files = [tmp_path / "a.npy", tmp_path / "b.json"]
    cases = [
        ({"paths": []}, ArgumentError, "paths must name at least one file"),
        ({"kind": "scores"}, ArgumentError, "kind must be one of auto, logits, .*; got 'scores'"),
        ({}, ArgumentError, r"model id 'a' comes from .*a\.npy and from .*b\.json; .*model_id="),
        ({"model_id": "m"}, ArgumentError, "model_id='m' names one model, the files hold 3: a, a, c"),
        ({"classes": ["cat"]}, ArgumentError, "must name each of the store's 3 classes once"),
        ({"rows": tmp_path / "no.txt"}, ArgumentError, "rows must be 'store', 'sorted' or a text file"),
    ]  # fmt: skip
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            ds.import_predictions(store, **{"paths": files, "progress": False, **options})
    assert store.model_ids == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m.npy", {"id_column": "id"}, "id_column must not be given for m.npy: it has no named columns"),
        ("m.npy", {"columns": "pred"}, "columns must not be given for m.npy"),
        ("m.npz", {"columns": "nothing"}, "unknown array in m.npz 'nothing'; .*logits"),
        ("m.npz", {"id_column": "nothing"}, "unknown array in m.npz 'nothing'"),
        ("m.csv", {"columns": "prad"}, "unknown column of m.csv 'prad'; did you mean pred"),
        ("m.csv", {"id_column": "di"}, "unknown column of m.csv 'di'"),
        ("m.csv", {"rows": "store"}, "rows must not be given for m.csv: it has ids of its own"),
        ("m.csv", {"columns": ["pred", "pred"]}, "or one for each of the store's 3 classes; got 2"),
        ("m.npy", {"metadata": {"kind": "x"}}, "metadata of model 'm' must not name kind"),
    ],
)
def test_an_option_that_does_not_fit_the_file(store, tmp_path, name, options, message):
    np.save(tmp_path / "m.npy", np.zeros(N, int))
    np.savez(tmp_path / "m.npz", logits=np.arange(N * C).reshape(N, C))
    (tmp_path / "m.csv").write_text(csv("id,pred", rows()))
    (row,) = ds.import_predictions(store, tmp_path / name, progress=False, **options).rows
    with pytest.raises(ArgumentError, match=message):
        raise ArgumentError(row.error)
    assert store.model_ids == []


def test_the_same_again_is_stored_and_other_content_is_refused(store, tmp_path):
    labels = np.arange(N) % C
    np.save(tmp_path / "m.npy", labels)
    options = {"rows": "store", "progress": False}
    assert ds.import_predictions(store, tmp_path / "m.npy", **options).rows[0].status == "done"
    stored = store.model("m").folder / "commit.json"
    before = stored.read_bytes()
    again = ds.import_predictions(store, tmp_path / "m.npy", **options).rows[0]
    assert (again.status, again.accuracy) == ("stored", 1.0)
    (tmp_path / "m.csv").write_text(csv("id,pred", rows()))  # the same content in another file
    (row,) = ds.import_predictions(store, tmp_path / "m.csv", progress=False).rows
    assert row.status == "stored"
    np.save(tmp_path / "m.npy", labels[::-1])
    (row,) = ds.import_predictions(store, tmp_path / "m.npy", **options).rows
    assert row.status == "failed"
    with pytest.raises(FingerprintMismatch, match=r"content: stored \w+, given \w+.*replace=True"):
        raise FingerprintMismatch(row.error)
    assert stored.read_bytes() == before


def test_a_model_is_replaced_when_asked(store, tmp_path):
    np.save(tmp_path / "m.npy", np.zeros(N, int))
    options = {"rows": "store", "progress": False, "replace": True}
    assert ds.import_predictions(store, tmp_path / "m.npy", **options).rows[0].status == "done"
    assert ds.import_predictions(store, tmp_path / "m.npy", **options).rows[0].status == "stored"
    np.save(tmp_path / "m.npy", np.arange(N) % C)
    assert ds.import_predictions(store, tmp_path / "m.npy", **options).rows[0].status == "done"
    assert store.model_ids == ["m"]
    assert store.models()["accuracy"].to_pylist() == [1.0]


KILLED = """
import os, sys
import dissensus as ds
from dissensus.store.writer import ModelWriter
ModelWriter.commit = lambda self: os._exit(9)
ds.import_predictions(ds.open(sys.argv[1]), sys.argv[2], rows="store", progress=False)
"""


def test_a_killed_import_goes_on(store, tmp_path):
    """Staged rows of the same content are taken over; those of another origin are not touched."""
    logits = np.random.default_rng(0).normal(size=(N, C))
    np.save(tmp_path / "m.npy", logits)
    killed = subprocess.run([sys.executable, "-c", KILLED, store.path, tmp_path / "m.npy"], check=False)
    assert killed.returncode == 9
    assert store.staged() == ["m"]
    np.save(tmp_path / "m.npy", -logits)
    (row,) = ds.import_predictions(store, tmp_path / "m.npy", rows="store", progress=False).rows
    assert "staged with another fingerprint" in row.error
    np.save(tmp_path / "m.npy", logits)
    (row,) = ds.import_predictions(store, tmp_path / "m.npy", rows="store", progress=False).rows
    assert row.status == "done"
    store.add("straight", logits=logits)
    shards = [(store.model(m).folder / "logits/c.0.0").read_bytes() for m in ("m", "straight")]
    assert shards[0] == shards[1]


def test_a_store_that_cannot_be_written(store, tmp_path, monkeypatch):
    from dissensus.ingest.imports import run

    def refuse(store):
        raise NotWritable("no")

    monkeypatch.setattr(run, "check_writable", refuse)
    with pytest.raises(NotWritable):
        ds.import_predictions(store, tmp_path / "any.npy", progress=False)


def test_a_full_disk_stops_the_rest(store, tmp_path, monkeypatch):
    from dissensus.errors import StoreFull
    from dissensus.ingest.imports import job

    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.zeros(N, int))

    def full(self, *_):
        raise StoreFull("no room")

    monkeypatch.setattr(job.Job, "_write", full)
    report = ds.import_predictions(store, sorted(tmp_path.glob("*.npy")), progress=False)
    assert [row.error for row in report.rows] == ["no room", "not started: no room"]


def test_the_report_as_a_table(store, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(N, int))
    report = ds.import_predictions(store, [tmp_path / "a.npy", tmp_path / "b.npy"], progress=False)
    table = report.to_arrow()
    assert table.column_names == ["model", "file", "status", "kind", "accuracy", "notes", "error", "seconds"]
    assert table["status"].to_pylist() == ["done", "failed"]
    assert table["accuracy"].to_pylist() == [pytest.approx(1 / 3), None]
    assert [len(part) for part in (report.done, report.stored, report.failed)] == [1, 0, 1]
