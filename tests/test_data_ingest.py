"""From data to stored logits: every source the same, bad images recorded, changed data refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.models import save_for_hf

import dissensus as ds
from dissensus import errors
from dissensus.ingest import CallableModel, ImageFolder, TarExamples, infer
from dissensus.ingest.data.left_out import NAMED_MOST, left_out
from image_sets import cut, hf_dataset, pictures, write_folder, write_shards

MODULE = """
import json
from torchvision.datasets import ImageFolder
from PIL import Image

def dataset():
    return ImageFolder("val", loader=Image.open)
"""


@pytest.fixture(scope="module")
def made():
    """Images of which all ten classes are there."""
    made = pictures(60)
    assert {p.label for p in made} == set(range(10))
    return made


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=10)
    model.pretrained_cfg.update(input_size=(3, 64, 64), crop_pct=0.9)
    save_for_hf(model, folder / "test_resnet", safe_serialization=True)
    return folder


def run(*arguments, cwd, status=0):
    command = [sys.executable, "-m", "dissensus_cli", *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "hf")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def ingest(store, data, checkpoints, cwd, *more, status=0):
    options = ("--data", data, "--checkpoints", checkpoints, "--batch-size", "16", "--device", "cpu")
    return run("ingest", store, "timm", "test_resnet", *options, *more, cwd=cwd, status=status)


@pytest.mark.slow
def test_every_source_gives_the_same_logits(tmp_path, made, checkpoints):
    pytest.importorskip("datasets")
    write_folder(tmp_path / "val", made)
    shards = write_shards(tmp_path / "shards", made)
    hf_dataset(made).save_to_disk(tmp_path / "saved")
    hf_dataset(made).to_parquet(tmp_path / "x.parquet")
    (tmp_path / "own_module.py").write_text(MODULE)
    (tmp_path / "names.txt").write_text("".join(f"{c}\n" for c in range(10)))
    sources = {
        "folder": ("val",),
        "tar": (Path(shards).relative_to(tmp_path),),
        "tar folder": ("shards", "--classes", "names.txt"),
        "saved": ("saved", "--id-column", "name"),
        "parquet": ("x.parquet",),
        "python": ("python:own_module:dataset",),
    }
    stores = {}
    for name, (data, *more) in sources.items():
        ingest(f"{name}.zoo", data, checkpoints, tmp_path, *more)
        stores[name] = ds.open(tmp_path / f"{name}.zoo")
    first = stores["folder"].logits("test_resnet")[:]
    assert first.std() > 0
    for name, store in stores.items():
        assert store.labels.tolist() == [p.label for p in made], name
        assert store.classes == [str(c) for c in range(10)], name
        assert np.array_equal(store.logits("test_resnet")[:], first), name
    assert stores["saved"].example_ids == stores["tar"].example_ids == [p.stem for p in made]


# images left out


def spoiled(made):
    """The third truncated, the fifth no image, the seventh empty."""
    bad = {2: cut(made[2]).data, 4: b"text", 6: b""}
    return [p._replace(data=bad.get(i, p.data)) for i, p in enumerate(made)]


@pytest.mark.slow
def test_images_left_out_are_remembered(tmp_path, made, checkpoints):
    write_folder(tmp_path / "val", spoiled(made))
    bad = sorted(f"{made[i].label}/{made[i].stem}.{made[i].ending}" for i in (2, 4, 6))
    refused = ingest("x.zoo", "val", checkpoints, tmp_path, status=1)
    assert "3 of 60 images could not be decoded" in refused.stderr
    assert not (tmp_path / "x.zoo").exists()

    done = ingest("x.zoo", "val", checkpoints, tmp_path, "--on-bad-image", "skip")
    assert "Warning: left out: 3 of 60 images" in done.stderr
    facts = json.loads(run("info", "x.zoo", "--format", "json", cwd=tmp_path).stdout)
    record = facts["attributes"]["left_out"]
    assert facts["examples"] == 57
    assert record["summary"] == "3 of 60 images could not be read and were left out"
    assert (record["count"], record["of"], list(record["images"])) == (3, 60, bad)
    assert record["images"][bad[1]] == "not an image"
    shown = run("info", "x.zoo", cwd=tmp_path).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "left_out 3 of 60 images could not be read and were left out" in lines
    assert f"left_out 2 {bad[1]} (not an image)" in lines
    assert all(
        any(line.startswith(f"left_out {i} {name} (") for line in lines) for i, name in enumerate(bad, 1)
    )
    store = ds.open(tmp_path / "x.zoo")
    assert not {*store.example_ids} & {*bad}
    assert store.verify().ok

    again = ingest("x.zoo", "val", checkpoints, tmp_path, "--on-bad-image", "skip", "--format", "json")
    assert json.loads(again.stdout)[0]["status"] == "stored"
    assert (
        json.loads(run("info", "x.zoo", "--format", "json", cwd=tmp_path).stdout)["attributes"]
        == facts["attributes"]
    )
    run("copy", "x.zoo", "y.zoo", cwd=tmp_path)
    assert ds.open(tmp_path / "y.zoo").attributes["left_out"] == record

    write_folder(tmp_path / "val", [made[4]])  # mended meanwhile
    told = ingest("x.zoo", "val", checkpoints, tmp_path, "--on-bad-image", "skip", status=1)
    assert f"{bad[1]!r} was left out of the store, since it could not be read (not an image)" in told.stderr


@pytest.mark.parametrize("row", [7, 59])
def test_an_image_that_became_unreadable_since(tmp_path, made, row):
    store = ds.create_from(tmp_path / "zoo", source("folder", tmp_path, made))
    write_folder(tmp_path / "val", [cut(made[row])])
    with pytest.warns(UserWarning, match="left out: 1 of 60"):
        examples = ImageFolder(tmp_path / "val", "skip", progress=False)
    message = rf"{store.example_ids[row]}' is left out of the data, since it cannot be read any more \("
    with pytest.raises(errors.ExamplesMismatch, match=message):
        infer(store, MODEL, examples, progress=False)


class Bad:
    """A source of two examples that left out many."""

    def __init__(self, n):
        self.skipped = {f"{i:06d}": "x" * 1000 for i in range(n)}

    def __len__(self):
        return 2


def test_many_images_left_out_are_counted_and_the_first_named():
    record = left_out(Bad(NAMED_MOST + 5))["left_out"]
    assert (record["count"], record["of"]) == (NAMED_MOST + 5, NAMED_MOST + 7)
    assert record["summary"] == "10,005 of 10,007 images could not be read and were left out"
    assert list(record["images"]) == [f"{i:06d}" for i in range(NAMED_MOST)]
    assert {len(why) for why in record["images"].values()} == {200}
    assert left_out(Bad(0)) == {}


def test_the_screen_names_the_first_images_left_out(tmp_path):
    attributes = left_out(Bad(20))
    ds.create(tmp_path / "s", [0, 1], attributes=attributes)
    shown = run("info", "s", cwd=tmp_path).stdout
    assert "20 of 22 images could not be read" in shown
    assert "000007 (xxx" in shown
    assert "000008" not in shown
    assert "… and 12 more, see --format json" in shown


def test_an_attribute_of_that_name_of_the_users_own(tmp_path):
    ds.create(tmp_path / "s", [0, 1], attributes={"left_out": "the cat"})
    assert "left_out the cat" in run("info", "s", cwd=tmp_path).stdout


# changed data


def constant(images):
    return np.zeros((len(images), 10), np.float32)


MODEL = CallableModel("m", constant, fingerprint="1")


def source(kind, tmp_path, made):
    if kind == "folder":
        return ImageFolder(write_folder(tmp_path / "val", made), progress=False)
    return TarExamples(write_shards(tmp_path / "tars", made), progress=False)


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_other_images_under_the_same_ids_are_named(tmp_path, made, kind):
    examples = source(kind, tmp_path, made)
    store = ds.create_from(tmp_path / "zoo", examples)
    assert store.examples()["content_sha256"].to_pylist() == [c.decode() for c in examples.contents]
    assert infer(store, MODEL, source(kind, tmp_path, made), progress=False).rows[0].status == "done"
    changed = [p._replace(data=made[0].data) if i in (1, 8) else p for i, p in enumerate(made)]
    names = f"{examples.ids[1]!r}, {examples.ids[8]!r}"
    with pytest.raises(
        errors.ExamplesMismatch,
        match=rf"other content .*: 2 of 60 images differ, {names}; use the data it was",
    ):
        infer(store, MODEL, source(kind, tmp_path, changed), progress=False)
    with pytest.raises(
        errors.ExamplesMismatch, match=r"59 of 60 images differ, ('[^']+', ){4}'[^']+', …; use"
    ):
        infer(
            store,
            MODEL,
            source(kind, tmp_path, [p._replace(data=made[0].data) for p in made]),
            progress=False,
        )


def test_an_image_that_changes_while_models_run(tmp_path, made):
    examples = source("folder", tmp_path, made)
    store = ds.create_from(tmp_path / "zoo", examples)
    write_folder(tmp_path / "val", [made[5]._replace(data=made[0].data)])
    (row,) = infer(store, MODEL, examples, progress=False).rows
    assert row.status == "failed"
    assert f"{examples.ids[5]} is not what it was when the data was scanned" in row.error
    write_folder(tmp_path / "val", [made[5]._replace(data=b"text")])
    (row,) = infer(store, MODEL, examples, progress=False).rows
    assert f"{examples.ids[5]} could not be decoded any more (not an image)" in row.error
    write_folder(tmp_path / "val", [made[5]])
    assert infer(store, MODEL, examples, progress=False).rows[0].status == "done"


def test_stores_made_before_images_had_digests_of_their_own(tmp_path, made):
    examples = source("folder", tmp_path, made)
    facts = {"classes": examples.classes, "example_ids": examples.ids}
    store = ds.create(
        tmp_path / "zoo", examples.labels, **facts, attributes={"examples_content": examples.fingerprint}
    )
    assert infer(store, MODEL, examples, progress=False).rows[0].status == "done"
    changed = source("folder", tmp_path, [*made[:-1], made[-1]._replace(data=made[0].data)])
    with pytest.raises(
        errors.ExamplesMismatch, match=r"other content \(sha256 .* made from [0-9a-f]{12}…\); use"
    ):
        infer(store, MODEL, changed, progress=False)


# what the command refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--data", "digits", "--id-column", "x"),
            "id_column must not be given for digits: only Hugging Face",
        ),
        (("--data", "gone-{0..3}.tar"), "no such data: gone-0.tar, which gone-{0..3}.tar stands for"),
        (("--data", "gone"), "python:MODULE:FUNCTION"),
        (("--data", "python:nowhere:f"), "No module named 'nowhere'; it must be importable"),
    ],
)
def test_one_clear_line(tmp_path, checkpoints, options, message):
    arguments = ("ingest", "x.zoo", "timm", "test_resnet", "--checkpoints", checkpoints, *options)
    done = run(*arguments, cwd=tmp_path, status=1)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "x.zoo").exists()
