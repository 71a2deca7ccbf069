"""create, import and annotate through the real entry point: results, warnings, exit status."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

import dissensus as ds
from test_answers_cli import run


@pytest.fixture
def files(tmp_path):
    """Labels of 8 examples with a group, class names, predictions of two models."""
    ids = [f"x{i}" for i in (3, 1, 0, 2, 7, 6, 5, 4)]
    lines = [f"{name},{i % 2},{'ab'[i // 4]}\n" for i, name in enumerate(ids)]
    (tmp_path / "labels.csv").write_text("id,label,group\n" + "".join(lines))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    rows = "".join(f"{name},{['cat', 'dog'][i % 2]},0.7\n" for i, name in enumerate(ids))
    (tmp_path / "right.csv").write_text("id,pred,confidence\n" + rows)
    np.save(tmp_path / "noise.npy", np.array([0, 0, 1, 1, 0, 1, 1, 0]))
    (tmp_path / "broken.json").write_text("[1, 2")
    return tmp_path


@pytest.fixture
def zoo(files):
    run("create", files / "s.zoo", "--labels", files / "labels.csv", "--classes", files / "names.txt")
    return files / "s.zoo"


def test_create(files):
    done = run(
        "create", files / "s.zoo", "--labels", files / "labels.csv", "--label-set", "first",
        "--id-column", "id", "--label-column", "label", "--split-column", "group",
        "--classes", files / "names.txt", "--dtype", "float32",
    )  # fmt: skip
    assert done.stdout == f"made {files / 's.zoo'}: 8 examples, 2 classes\n"
    assert done.stderr == "Note: labels are column 'label', ids are column 'id'\n"
    store = ds.open(files / "s.zoo")
    assert (store.classes, store.dtype, store.label_sets) == (["cat", "dog"], "float32", ["first"])
    assert store.info()["splits"] == {"a": 4, "b": 4}
    assert (
        "exists already" in run("create", files / "s.zoo", "--labels", files / "labels.csv", status=1).stderr
    )


def test_create_again_says_equal_and_changes_nothing(files):
    arguments = (
        "create",
        files / "s.zoo",
        "--labels",
        files / "labels.csv",
        "--classes",
        files / "names.txt",
    )
    run(*arguments)
    before = {path: path.stat().st_mtime_ns for path in (files / "s.zoo").rglob("*")}
    done = run(*arguments)
    assert done.stdout == f"{files / 's.zoo'} is there already and equal: 8 examples, 2 classes\n"
    assert {path: path.stat().st_mtime_ns for path in (files / "s.zoo").rglob("*")} == before


def test_class_names_that_repeat_are_refused(files, zoo):
    (files / "twice.csv").write_text("name\ncat\ncat\n")
    done = run("import", zoo, files / "noise.npy", "--classes", files / "twice.csv", status=1)
    assert (
        "classes must name each class once: column 'name' of twice.csv repeats names ('cat' 2 times)"
        in done.stderr
    )


def test_import(files, zoo):
    arguments = ("import", zoo, files / "right.csv", files / "broken.json", files / "noise.npy")
    done = run(
        *arguments, "--format", "json", "--metadata", "category=odd", "--metadata", "params=12", status=1
    )
    rows = json.loads(done.stdout)
    assert [(r["model"], r["status"], r.get("accuracy")) for r in rows] == [
        ("right", "done", 1.0),
        ("broken", "failed", None),
        ("noise", "done", 0.5),
    ]
    assert rows[0]["notes"] == ["columns not used: 'confidence'"]
    assert "cannot be read as json" in rows[1]["error"]
    *warnings, failed = done.stderr.splitlines()
    assert failed.startswith(f"Failed: broken: {files / 'broken.json'} cannot be read as json")
    assert warnings == [
        "Warning: noise: accuracy 0.5000 is that of chance (0.5000), and the file has no ids: are its rows "
        "in "
        "another order? (rows=, --rows)"
    ]
    metadata = ds.open(zoo).model("right").metadata
    assert (metadata["category"], metadata["params"], metadata["file"]) == ("odd", 12, "right.csv")
    again = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv", status=1).stdout)))
    assert [row["status"] for row in again] == ["stored", "failed", "stored"]
    screen = run("import", zoo, files / "right.csv").stdout
    assert screen.startswith(f"{zoo}: 0 models imported, 1 there before, 0 failed")
    assert "columns not used: 'confidence'" in screen
    out = files / "report.parquet"
    run("import", zoo, files / "right.csv", "--out", out)
    assert out.exists()


def test_what_several_files_have_in_common_is_said_once(files, zoo):
    np.save(files / "other.npy", np.array([0, 1, 1, 1, 0, 1, 1, 0]))
    done = run("import", zoo, files / "noise.npy", files / "other.npy", files / "right.csv")
    shared = "no ids in the file: its rows are taken in the store's order"
    assert f"Note: 2 models: {shared}\n" in done.stderr
    assert shared not in done.stdout
    assert "columns not used: 'confidence'" in done.stdout
    again = run("import", zoo, files / "noise.npy", files / "other.npy")
    assert "note" not in again.stdout.splitlines()[2]


def test_create_where_another_store_is_names_what_differs_and_the_commands(files, zoo):
    (files / "other.csv").write_text((files / "labels.csv").read_text().replace("x3,0", "x3,1"))
    command = ("create", zoo, "--labels", files / "other.csv", "--classes", files / "names.txt")
    told = run(*command, "--dtype", "float32", status=1).stderr
    assert (
        "is not what these files make: dtype is float16, not float32; other examples (columns label)" in told
    )
    assert "`dissensus annotate`, models with `dissensus import`" in told
    (files / "folder").mkdir()
    command = ("create", files / "folder", "--labels", files / "labels.csv")
    assert f"{files / 'folder'} exists already; choose another path\n" in run(*command, status=1).stderr


def test_info_tells_splits_that_nobody_gave_and_no_empty_facts(files, zoo):
    run("import", zoo, files / "right.csv")
    assert "fit and report are seeded halves" in " ".join(run("info", zoo).stdout.split())
    assert json.loads(run("info", zoo, "--format", "json").stdout)["splits"] == {}
    assert "embedding" not in run("info", zoo, "--model", "right").stdout


def test_top_k_of_hard_labels_says_why_there_is_none(files, zoo):
    run("import", zoo, files / "right.csv")
    done = run("models", zoo, "--top-k", "2")
    assert done.stderr == "Note: 1 model has no top-2 accuracy: hard labels rank nothing\n"
    np.save(files / "scores.npy", np.eye(2)[[0, 0, 1, 1, 0, 1, 1, 0]])
    run("import", zoo, files / "scores.npy", "--kind", "probabilities")
    assert "Note: 1 model has" in run("models", zoo, "--top-k", "2").stderr


def test_a_copy_of_hard_labels_says_that_the_codec_changes_nothing(files, zoo):
    run("import", zoo, files / "right.csv")
    done = run("copy", zoo, files / "packed.zoo", "--codec", "archive")
    assert "Note: --codec archive packs logits; these models have hard labels only\n" in done.stderr


def test_import_options(files, zoo):
    ids = files / "ids.txt"
    ids.write_text("".join(f"x{i}\n" for i in range(8)))
    order = np.argsort(ds.open(zoo).example_ids)
    labels = ds.open(zoo).labels
    np.save(files / "flipped.npy", (1 - labels)[order])
    (files / "reversed.txt").write_text("dog\ncat\n")
    for number, rows in enumerate(("sorted", ids)):
        done = run(
            "import", zoo, files / "flipped.npy", "--model", f"m{number}", "--rows", rows, "--kind", "labels",
            "--classes", files / "reversed.txt", "--format", "json",
        )  # fmt: skip
        assert json.loads(done.stdout)[0]["accuracy"] == 1.0
    assert done.stderr == ""  # two that are right everywhere are no copies for that
    named = run(
        "import", zoo, files / "right.csv", "--id-column", "id", "--column", "pred", "--format", "json"
    )
    assert json.loads(named.stdout)[0]["model"] == "right"


def test_annotate(files, zoo):
    (files / "real.jsonl").write_text("[[0], [1], [], [0, 1], [1], [0], [1], [0]]")
    (files / "more.csv").write_text(
        "id,split\n" + "".join(f"x{i},{'fit' if i % 2 else 'report'}\n" for i in range(8))
    )
    done = run("annotate", zoo, "--labels", f"real={files / 'real.jsonl'}", "--rows", "sorted")
    assert done.stdout == "added labels real: 7 of 8 examples are counted\n"
    assert run("annotate", zoo, "--columns", files / "more.csv").stdout == "added columns split\n"
    store = ds.open(zoo, labels="real")
    assert store.truth.sizes.tolist() == [2, 1, 1, 0, 1, 1, 1, 1]
    assert store.info()["splits"] == {"fit": 4, "report": 4}
    assert (
        run("annotate", zoo, "--remove", "real", "--remove", "split").stdout
        == "removed real\nremoved split\n"
    )
    assert ds.open(zoo).label_sets == ["original"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["import", "ZOO"], 2, "Missing argument 'FILES...'"),
        (["import", "ZOO", "right.csv", "--metadata", "x"], 2, "--metadata must be KEY=VALUE; got 'x'"),
        (["import", "ZOO", "right.csv", "--kind", "score"], 2, "Invalid value for '--kind'"),
        (["import", "ZOO", "right.csv", "right.csv"], 1, "model id 'right' comes from"),
        (["import", "ZOO", "right.csv", "--classes", "no.txt"], 1, "classes must be a text file"),
        (["import", "nowhere.zoo", "right.csv"], 1, "is not a Dissensus store"),
        (["create", "new.zoo"], 2, "Missing option '--labels'"),
        (["create", "new.zoo", "--labels", "gone.csv"], 1, "gone.csv cannot be read: No such file"),
        (["create", "new.zoo", "--labels", "right.csv"], 1, "no column that is known to hold labels among"),
        (["annotate", "ZOO"], 2, "nothing to do: pass --labels NAME=FILE, --columns FILE or --remove NAME"),
        (["annotate", "ZOO", "--labels", "x"], 2, "--labels must be NAME=FILE; got 'x'"),
        (["annotate", "ZOO", "--remove", "x", "--rows", "store"], 2, "--id-column and --rows go with"),
        (["annotate", "ZOO", "--remove", "x"], 1, "unknown added column 'x'"),
        (["annotate", "ZOO", "--labels", "a=noise.npy"], 1, "noise.npy has no ids; say how its rows lie"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(files, zoo, arguments, status, message, monkeypatch):
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    done = run(*[zoo if a == "ZOO" else a for a in arguments], status=status)
    assert message in done.stderr
    assert done.stdout == ""
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(files.rglob("*")) == before
