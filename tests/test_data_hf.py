"""Hugging Face data on disk: every form it is saved in, which columns count, and bad rows."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from dissensus import errors
from dissensus.ingest import HfExamples, ImageFolder, open_examples
from image_sets import all_equal, cut, encoded, hf_dataset, pictures, require_same, write_folder

datasets = pytest.importorskip("datasets")

PNG = encoded(Image.new("L", (4, 3), 7), "PNG")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def made():
    return pictures()


def quiet(data, *arguments, **options):
    return HfExamples(data, *arguments, progress=False, **options)


def images_and(**columns):
    """A dataset of an image column and others, of any type."""
    n = len(next(iter(columns.values())))
    features = datasets.Dataset.from_dict(columns).features
    features = datasets.Features(img=datasets.Image(), **features)
    return datasets.Dataset.from_dict(
        {"img": [{"bytes": PNG, "path": None}] * n, **columns}, features=features
    )


# what is read


def save(form, made, folder):
    """Save the images in a form; return what the user names."""
    data = hf_dataset(made)
    if form == "save_to_disk":
        data.save_to_disk(folder / "saved")
        return folder / "saved"
    if form == "dictionary":
        datasets.DatasetDict(test=data).save_to_disk(folder / "all")
        return folder / "all"
    if form == "parquet":
        data.to_parquet(folder / "x.parquet")
        return folder / "x.parquet"
    if form == "parts":
        for i in range(3):
            data.shard(3, i, contiguous=True).to_parquet(folder / f"test-0000{i}-of-00003.parquet")
        return f"{folder}/test-*.parquet"
    data.save_to_disk(folder / "saved")
    return next((folder / "saved").glob("*.arrow"))


@pytest.mark.parametrize("form", ["save_to_disk", "dictionary", "parquet", "parts", "arrow"])
def test_every_form_gives_what_the_folder_gives(tmp_path, made, form):
    examples = open_examples(save(form, made, tmp_path), id_column="name")
    folder = ImageFolder(write_folder(tmp_path / "val", made), progress=False)
    require_same(examples, folder, made)
    assert examples.contents.tolist() == folder.contents.tolist()


def test_a_folder_of_parquet_files(tmp_path, made):
    (tmp_path / "data").mkdir()
    save("parts", made, tmp_path / "data")
    examples = open_examples(tmp_path / "data")
    assert examples.ids == [f"{i:02d}" for i in range(24)]
    assert examples.labels.tolist() == [p.label for p in made]


def test_a_dataset_in_memory_and_rows_chosen_from_it(made):
    data = hf_dataset(made).select([5, 3, 17])
    examples = quiet(data, id_column="name")
    assert examples.ids == [made[i].stem for i in (5, 3, 17)]
    assert examples.labels.tolist() == [made[i].label for i in (5, 3, 17)]
    assert all_equal(examples.read(1, 3), [data[i]["image"] for i in (1, 2)])


def test_a_format_set_by_the_user_does_not_matter(made):
    data = hf_dataset(made).with_format("numpy")
    assert all_equal(quiet(data).read(0, 24), quiet(hf_dataset(made)).read(0, 24))


def test_files_beside_the_table(tmp_path, made):
    root = write_folder(tmp_path / "val", made[:3])
    paths = [str(path) for path in sorted(root.rglob("*.*"))]
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    data = datasets.Dataset.from_dict({"image": paths, "label": [0, 1, 2]}, features=features)
    assert all_equal(quiet(data).read(0, 3), ImageFolder(root, progress=False).read(0, 3))


def test_only_the_rows_asked_for_are_decoded(monkeypatch, made):
    from dissensus.ingest.data import hf_examples

    examples = quiet(hf_dataset(made))
    calls = []
    real = hf_examples.decoded
    monkeypatch.setattr(hf_examples, "decoded", lambda data: calls.append(1) or real(data))
    examples.read(3, 7)
    assert len(calls) == 4


# columns


def test_columns_are_found_or_named(made):
    data = hf_dataset(made).add_column("other", list(range(24)))
    assert quiet(data, label_column="other").labels.tolist() == list(range(24))
    assert quiet(data, id_column="other").ids == [str(i) for i in range(24)]
    assert quiet(data, image_column="image").labels.tolist() == [p.label for p in made]


def test_labels_of_every_type():
    assert quiet(images_and(label=[1, 0, 2])).classes == ["0", "1", "2"]
    assert quiet(images_and(label=[1, 0, 2]), classes=list("abcd")).classes == list("abcd")
    names = quiet(images_and(label=["moth", "ant", "moth"]))
    assert (names.classes, names.labels.tolist()) == (["ant", "moth"], [1, 0, 1])
    given = quiet(images_and(label=["moth", "ant"]), classes=["moth", "bee", "ant"])
    assert (given.classes, given.labels.tolist()) == (["moth", "bee", "ant"], [0, 2])


def test_plain_bytes_are_images_when_named():
    data = datasets.Dataset.from_dict({"png": [PNG, PNG], "label": [0, 1]})
    with pytest.raises(
        errors.ArgumentError, match=r"no column of type Image; name one with image_column .*png, l"
    ):
        quiet(data)
    assert np.asarray(quiet(data, image_column="png").read(1, 2)[0]).tolist() == [[7] * 4] * 3


def two(made):
    data = hf_dataset(made)
    return data.add_column("fine", data["label"][:]).cast_column("fine", data.features["label"])


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (two, {}, "ArgumentError", r"label_column must be told \(--label-column\): label, fine could be it"),
        (two, {"label_column": "fnie"}, "UnknownName", "unknown column 'fnie'; did you mean fine"),
        (two, {"image_column": "none"}, "UnknownName", "unknown column 'none'"),
        (two, {"label_column": "label", "id_column": "none"}, "UnknownName", "unknown column 'none'"),
        (
            two,
            {"label_column": "image"},
            "ArgumentError",
            "label column 'image' must hold class numbers or nam",
        ),
        (
            two,
            {"label_column": "label", "id_column": "image"},
            "ArgumentError",
            "id column 'image' must hold texts or whole numbers",
        ),
        (two, {"image_column": "label"}, "ArgumentError", "column 'label' holds no images: "),
        (
            two,
            {"label_column": "label", "classes": ["a"]},
            "ArgumentError",
            "classes must not be given for colu",
        ),
        (
            lambda _: images_and(name=["a", "b"]),
            {},
            "ArgumentError",
            r"no column of type ClassLabel, nor one called 'label'; name one with label_column .*: img, name",
        ),
        (
            lambda _: images_and(label=[0, 1], name=["a", "a"]),
            {"id_column": "name"},
            "ArgumentError",
            "ids must be distinct; 'a' comes more than once",
        ),
        (
            lambda _: images_and(label=[0, 1], name=["a", None]),
            {"id_column": "name"},
            "ArgumentError",
            "id column 'name' must hold texts or whole numbers, got None in row 1",
        ),
        (
            lambda _: images_and(label=[0, -1]),
            {},
            "ArgumentError",
            "labels must be 0 or more, got -1 for exampl",
        ),
        (lambda _: images_and(label=[0, None]), {}, "ArgumentError", "numbers or names, got None in row 1"),
        (lambda _: images_and(label=[0.0, 1.0]), {}, "ArgumentError", "numbers or names, got 0.0 in row 0"),
        (
            lambda _: images_and(label=["ant", "wasp"]),
            {"classes": ["ant", "bee"]},
            "ArgumentError",
            "label 'wasp' in row 1 of column 'label' is none of the classes",
        ),
        (lambda _: 3, {}, "ArgumentError", "data must be a path or a datasets.Dataset, got int"),
    ],
)
def test_columns_that_break_a_rule(made, data, options, error, message):
    with pytest.raises(getattr(errors, error), match=message):
        quiet(data(made), **options)


# bad rows and files


def test_bad_rows(made):
    broken = [cut(made[0]), made[1], made[2]._replace(data=b"text"), made[3]._replace(data=None), *made[4:]]
    with pytest.raises(
        errors.UnreadableImage, match=r"3 of 24 .*row 0 of the data set .*row 3 .*\(no image\)"
    ):
        quiet(hf_dataset(broken))
    with pytest.warns(UserWarning, match="left out: 3 of 24 images"):
        examples = quiet(hf_dataset(broken), "skip")
    kept = [made[i] for i in (1, *range(4, 24))]
    assert list(examples.skipped) == ["00", "02", "03"]
    assert examples.ids == ["01", *(f"{i:02d}" for i in range(4, 24))]
    assert examples.labels.tolist() == [p.label for p in kept]
    assert all_equal(examples.read(0, 21), quiet(hf_dataset(kept)).read(0, 21))


def test_a_dictionary_of_several_parts(tmp_path, made):
    parts = datasets.DatasetDict(train=hf_dataset(made[:4]), test=hf_dataset(made[4:]))
    parts.save_to_disk(tmp_path / "all")
    with pytest.raises(
        errors.ArgumentError, match=r"holds several parts; name one of them: .*all/train, .*all/te"
    ):
        open_examples(tmp_path / "all")
    assert len(open_examples(tmp_path / "all/test")) == 20


def test_files_of_several_parts(tmp_path, made):
    for part in ("train", "test"):
        hf_dataset(made).to_parquet(tmp_path / f"{part}-00000-of-00001.parquet")
    with pytest.raises(
        errors.ArgumentError, match=r"holds several parts \(test, train\); name one: .*/test-\*"
    ):
        open_examples(tmp_path)
    assert len(open_examples(f"{tmp_path}/test-*")) == 24


def test_damaged_files(tmp_path, made):
    path = save("parquet", made, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(errors.ArgumentError, match=r"x.parquet cannot be read as Hugging Face data: "):
        open_examples(path)
    saved = save("save_to_disk", made, tmp_path)
    arrow = next(saved.glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[: arrow.stat().st_size // 2])
    with pytest.raises(errors.ArgumentError, match=r"saved cannot be read as Hugging Face data: "):
        open_examples(saved)
    with pytest.raises(errors.ArgumentError, match=r"no such data: .*gone.parquet"):
        quiet(tmp_path / "gone.parquet")
    with pytest.raises(
        errors.ArgumentError, match="labels must not be given for the Hugging Face data .*: it h"
    ):
        open_examples(path, labels=[1])


def test_without_the_library(monkeypatch, tmp_path, made):
    path = save("parquet", made, tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(errors.MissingDependency, match=r"not installed: pip install 'dissensus\[hf\]'"):
        open_examples(path)


@pytest.mark.parametrize("form", ["save_to_disk", "parquet"])
def test_rows_stay_in_the_file(tmp_path, made, form):
    many = [p._replace(stem=f"{k}/{p.stem}") for k in range(20) for p in made]
    examples = quiet(save(form, many, tmp_path))
    size = len(pickle.dumps(examples))
    assert sum(len(p.data) for p in many) > 300_000
    assert size < 60_000
    assert all_equal(pickle.loads(pickle.dumps(examples)).read(0, 24), examples.read(0, 24))
