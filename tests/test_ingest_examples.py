"""Example sources: arrays, IDX files, image folders, digits, and the door the command line uses."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from dissensus import errors
from dissensus.ingest import (
    ArrayExamples,
    ExampleSource,
    ImageFolder,
    digits_examples,
    idx_examples,
    open_examples,
)
from dissensus.ingest.data.idx import FASHION_CLASSES, read_idx

IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = [0, 1, 2, 0, 1, 2]


def idx_bytes(array, code):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(path, array, code=8, packed=False):
    data = idx_bytes(np.asarray(array), code)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def write_set(folder, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    end = ".gz" if packed else ""
    for part, images in (("train", IMAGES), ("t10k", 255 - IMAGES)):
        write_idx(folder / f"{part}-images-idx3-ubyte{end}", images, packed=packed)
        write_idx(folder / f"{part}-labels-idx1-ubyte{end}", np.array(LABELS, np.uint8), packed=packed)
    return folder


@pytest.fixture
def folder(tmp_path, rng):
    root = tmp_path / "val"
    for name, file in (("zebra", "b.png"), ("zebra", "a.jpg"), ("ant", "deep/c.png"), ("ant", "D.PNG")):
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(path)
    return root


# arrays


def test_arrays_are_an_example_source():
    examples = ArrayExamples(IMAGES, LABELS, classes=["x", "y", "z"], splits=["fit"] * 3 + ["report"] * 3)
    assert isinstance(examples, ExampleSource)
    assert examples.ids == list("012345")
    assert examples.labels.dtype == np.int64
    assert np.array_equal(examples.read(2, 4), IMAGES[2:4])
    assert examples.splits == ["fit"] * 3 + ["report"] * 3


def test_ids_sort_as_numbers():
    assert ArrayExamples(np.zeros((11, 2), np.float32), np.zeros(11, int)).ids[::5] == ["00", "05", "10"]


def test_a_memory_map_is_read_lazily(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    examples = ArrayExamples(mapped, LABELS)
    assert isinstance(examples._images, np.memmap)
    assert np.array_equal(examples.read(0, 6), IMAGES)
    assert examples.fingerprint == ArrayExamples(IMAGES, LABELS).fingerprint


def test_fingerprint_is_of_content_dtype_and_shape():
    digest = ArrayExamples(IMAGES, LABELS).fingerprint
    assert digest == hashlib.sha256(b"|u1(6, 4, 5)" + IMAGES.tobytes()).hexdigest()
    changed = IMAGES.copy()
    changed[5, 3, 4] ^= 1
    others = [changed, IMAGES.reshape(6, 5, 4), IMAGES.view(np.int8), IMAGES[::-1]]
    assert len({digest, *(ArrayExamples(other, LABELS).fingerprint for other in others)}) == 5


def test_big_endian_arrays_are_read_in_native_order():
    examples = ArrayExamples(np.arange(4.0).reshape(2, 2).astype(">f4"), [0, 1])
    assert examples.read(0, 2).dtype == np.dtype("f4")
    assert examples.read(0, 2).dtype.byteorder in "=|"
    assert examples.read(0, 2).tolist() == [[0, 1], [2, 3]]


def test_one_channel_is_dropped():
    assert ArrayExamples(IMAGES[..., None], LABELS).read(0, 2).shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, r"labels must have shape \(6,\), one for each image, got \(2,\)"),
        (
            {"labels": [0, 1, 2, 0, 1, 7], "classes": list("xyz")},
            r"labels must be 0 … 2 .*got 7 for example 5",
        ),
        ({"labels": [0, -1, 2, 0, 1, 1]}, "labels must be 0 or more, got -1 for example 1"),
        ({"labels": np.zeros(6)}, r"labels must be integers \(class indices from 0\), got dtype float64"),
        ({"ids": list("abcdeb")}, "ids must be distinct; 'b' comes more than once"),
        ({"ids": list("ab")}, "ids must have one entry for each of the 6 images, got 2"),
        ({"splits": ["fit"]}, "splits must have one entry for each of the 6 images, got 1"),
        ({"images": np.zeros((6, 4, 4, 4), np.uint8)}, r"uint8 images must be .* got shape \(6, 4, 4, 4\)"),
        ({"images": np.zeros(6)}, "images must be an array of at least two dimensions"),
        ({"images": np.zeros((6, 2), object)}, "images must be numbers .* got dtype object"),
        ({"images": np.zeros((0, 2)), "labels": []}, "at least one example, got none"),
    ],
)
def test_arrays_that_break_a_rule(change, message):
    with pytest.raises(errors.ArgumentError, match=message):
        ArrayExamples(**({"images": IMAGES, "labels": LABELS} | change))


def test_digits():
    digits = digits_examples()
    assert (len(digits), digits.read(0, 3).shape, digits.read(0, 3).dtype) == (1797, (3, 8, 8), np.uint8)
    assert digits.classes == [str(c) for c in range(10)]
    assert len(np.unique(digits.read(0, 1797))) == 17  # all steps of the original stay apart
    assert digits.ids[0] == "digit-0000"


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(errors.MissingDependency, match=r"pip install 'dissensus\[demo\]'"):
        digits_examples()


# IDX


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_every_idx_type(tmp_path, code, dtype, packed):
    array = (np.arange(24).reshape(2, 3, 4) - (0 if code == 8 else 7)).astype(dtype)
    read = read_idx(write_idx(tmp_path / "x", array, code, packed))
    assert isinstance(read, np.memmap)
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, array)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "FashionMNIST/raw"])
def test_idx_folders_are_found(tmp_path, packed, below):
    write_set(tmp_path / "data" / below, packed)
    test, train = idx_examples(tmp_path / "data"), idx_examples(tmp_path / "data", which="train")
    assert np.array_equal(test.read(0, 6), 255 - IMAGES)
    assert np.array_equal(train.read(0, 6), IMAGES)
    assert (test.ids[0], train.ids[0]) == ("test-0", "train-0")
    assert test.labels.tolist() == LABELS


def test_fashion_classes_are_known_by_the_path(tmp_path):
    assert idx_examples(write_set(tmp_path / "fashion-mnist")).classes == list(FASHION_CLASSES)
    assert idx_examples(write_set(tmp_path / "other")).classes == ["0", "1", "2"]
    assert idx_examples(tmp_path / "other", classes=list("xyz")).classes == ["x", "y", "z"]


def test_only_train_is_taken_where_there_is_no_test(tmp_path):
    folder = write_set(tmp_path / "d")
    for file in folder.glob("t10k*"):
        file.unlink()
    assert idx_examples(folder).ids[0] == "train-0"
    with pytest.raises(errors.ArgumentError, match=r"has no test images \(t10k-images-idx3-ubyte\)"):
        idx_examples(folder, which="test")


def test_single_idx_files(tmp_path):
    folder = write_set(tmp_path / "d")
    file = folder / "train-images-idx3-ubyte"
    assert idx_examples(file).labels.tolist() == LABELS
    assert idx_examples(file, labels=[2, 2, 2, 1, 1, 0]).labels.tolist() == [2, 2, 2, 1, 1, 0]
    assert open_examples(file).ids[0] == "train-0"
    with pytest.raises(errors.ArgumentError, match=r"which='train' chooses a part of a folder"):
        idx_examples(file, which="train")
    lonely = write_idx(tmp_path / "lonely", IMAGES)
    with pytest.raises(errors.ArgumentError, match=r"no labels found beside .*lonely; pass labels="):
        idx_examples(lonely)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (idx_bytes(IMAGES, 8)[:-7], r"x is truncated: 129 bytes, but an array \(6, 4, 5\) of uint8 takes"),
        (idx_bytes(IMAGES, 8) + b"?", r"x is longer than its header says: 137 bytes"),
        (b"\0\0\x08\x03\0\0\0", "x is truncated: its header ends after 7 bytes"),
        (b"\0\0\x07\x03" + bytes(99), "x is no IDX file: it begins with 00 00 07 03"),
        (b"PNG or so", "x is no IDX file: it begins with 50 4e 47"),
        (b"", "x is no IDX file: it begins with nothing"),
        (bytes([0, 0, 8, 2]) + bytes(8), r"x holds no examples: shape \(0, 0\)"),
    ],
)
def test_damaged_idx_files(tmp_path, data, message, packed):
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(errors.ArgumentError, match=message):
        read_idx(path)


def test_damaged_gzip(tmp_path):
    path = write_idx(tmp_path / "x", IMAGES, packed=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(errors.ArgumentError, match="x is damaged or truncated: .*fetch it again"):
        read_idx(path)
    with pytest.raises(errors.ArgumentError, match="IDX file not found: .*nothing"):
        read_idx(tmp_path / "nothing")


def test_idx_labels_of_another_length(tmp_path):
    folder = write_set(tmp_path / "d")
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(4, np.uint8))
    with pytest.raises(errors.ArgumentError, match=r"labels must have shape \(6,\)"):
        idx_examples(folder)


def test_idx_folder_errors(tmp_path):
    with pytest.raises(errors.ArgumentError, match="no IDX files in .*expected train-images-idx3-ubyte"):
        idx_examples(tmp_path)
    for name in ("MNIST", "KMNIST"):
        write_set(tmp_path / name / "raw")
    with pytest.raises(errors.ArgumentError, match=r"several IDX data sets \(KMNIST, MNIST\); pass the path"):
        idx_examples(tmp_path)
    with pytest.raises(errors.ArgumentError, match="which must be 'train' or 'test', got 'val'"):
        idx_examples(tmp_path / "MNIST", which="val")


# image folders


def test_image_folder(folder):
    examples = ImageFolder(folder, progress=False)
    assert isinstance(examples, ExampleSource)
    assert examples.classes == ["ant", "zebra"]
    assert examples.ids == ["ant/D.PNG", "ant/deep/c.png", "zebra/a.jpg", "zebra/b.png"]
    assert examples.labels.tolist() == [0, 0, 1, 1]
    images = examples.read(1, 4)
    expected = [np.asarray(Image.open(folder / name)) for name in examples.ids[1:4]]
    assert all(
        np.array_equal(np.asarray(image), array) for image, array in zip(images, expected, strict=True)
    )


def test_folder_fingerprint_follows_content_and_names(folder):
    before = ImageFolder(folder, progress=False).fingerprint
    assert ImageFolder(folder, progress=False).fingerprint == before
    (folder / "zebra/b.png").rename(folder / "zebra/bb.png")
    renamed = ImageFolder(folder, progress=False).fingerprint
    Image.new("L", (3, 3)).save(folder / "zebra/bb.png")
    assert len({before, renamed, ImageFolder(folder, progress=False).fingerprint}) == 3


def spoil(folder):
    """One truncated JPEG, one text file called .png, one empty file; a PNG called .jpg is no fault."""
    data = (folder / "zebra/a.jpg").read_bytes()
    (folder / "zebra/cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "zebra/text.png").write_text("not a picture")
    (folder / "ant/empty.jpeg").write_bytes(b"")
    (folder / "ant/misnamed.jpg").write_bytes((folder / "zebra/b.png").read_bytes())


def test_bad_images_stop_before_anything_runs(folder):
    spoil(folder)
    message = (
        r"3 of 8 images could not be decoded: .*ant/empty\.jpeg \(not an image\); "
        r".*zebra/cut\.jpg \([^)]*[Tt]runcated[^)]*\); "
        r".*zebra/text\.png \(not an image\); .*on_bad_image='skip'"
    )
    with pytest.raises(errors.UnreadableImage, match=message):
        ImageFolder(folder, progress=False)


def test_bad_images_are_skipped_when_asked(folder):
    spoil(folder)
    with pytest.warns(UserWarning, match=r"left out: 3 of 8 images could not be decoded: .*empty\.jpeg"):
        examples = ImageFolder(folder, "skip", progress=False)
    assert list(examples.skipped) == ["ant/empty.jpeg", "zebra/cut.jpg", "zebra/text.png"]
    assert examples.ids == ["ant/D.PNG", "ant/deep/c.png", "ant/misnamed.jpg", "zebra/a.jpg", "zebra/b.png"]
    assert len(examples.read(0, 5)) == len(examples.labels) == 5


def test_many_bad_images_are_counted_and_some_named(folder):
    for i in range(9):
        (folder / "ant" / f"bad{i}.png").write_text("?")
    with pytest.raises(
        errors.UnreadableImage, match=r"9 of 13 .*bad0\.png.*bad4\.png \(not an image\); and 4 more; "
    ):
        ImageFolder(folder, progress=False)


def test_no_image_left(tmp_path):
    (tmp_path / "val/a").mkdir(parents=True)
    (tmp_path / "val/a/x.png").write_text("?")
    with pytest.raises(errors.UnreadableImage, match="no readable image is left"):
        ImageFolder(tmp_path / "val", "skip", progress=False)


def test_an_image_that_breaks_after_the_scan(folder):
    examples = ImageFolder(folder, progress=False)
    (folder / "zebra/b.png").write_text("?")
    with pytest.raises(errors.UnreadableImage, match=r"zebra/b\.png could not be decoded any more"):
        examples.read(0, 4)


def test_folders_without_images(tmp_path, folder):
    with pytest.raises(errors.ArgumentError, match="image folder not found: .*nowhere"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.ArgumentError, match="empty is empty; expected .*/<class>/<image>"):
        ImageFolder(tmp_path / "empty")
    with pytest.raises(errors.ArgumentError, match="ant/deep has no class sub-folders; expected"):
        ImageFolder(folder / "ant" / "deep")
    (folder / "moth").mkdir()
    (folder / "moth" / "readme.txt").write_text("none yet")
    with pytest.raises(errors.ArgumentError, match=r"class folder .*moth holds no images \(.bmp, .*fill or"):
        ImageFolder(folder)
    with pytest.raises(errors.ArgumentError, match="on_bad_image must be 'stop' or 'skip', got 'ignore'"):
        ImageFolder(folder, "ignore")


def test_hidden_files_and_folders_do_not_count(folder):
    (folder / ".cache").mkdir()
    (folder / "ant" / "._D.PNG").write_bytes(b"resource fork")
    assert ImageFolder(folder, progress=False).ids[0] == "ant/D.PNG"


# the door


def test_open_examples_knows_all_kinds(tmp_path, folder):
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", np.array(LABELS))
    assert len(open_examples("digits")) == 1797
    assert open_examples(folder).classes == ["ant", "zebra"]
    assert open_examples(write_set(tmp_path / "idx")).ids[0] == "test-0"
    for labels in (tmp_path / "y.npy", LABELS):
        assert open_examples(tmp_path / "x.npy", labels=labels).labels.tolist() == LABELS


def test_open_examples_refusals(tmp_path, folder):
    np.save(tmp_path / "x.npy", IMAGES)
    (tmp_path / "bad.npy").write_text("no array")
    (tmp_path / "x.csv").write_text("a,b")
    refusals = [
        (("nowhere",), "no such data: nowhere; expected 'digits', a folder of class sub-folders"),
        ((tmp_path / "x.npy",), r"x\.npy holds images only; pass labels="),
        ((tmp_path / "x.npy", tmp_path / "y.npy"), r"file not found: .*y\.npy"),
        ((tmp_path / "bad.npy", LABELS), r"bad\.npy cannot be read as an \.npy array"),
        ((tmp_path / "x.csv",), r"x\.csv is no data that can be read; expected"),
        ((folder, LABELS), "labels must not be given for the image folder .*: it has its own"),
        (("digits", LABELS), "labels must not be given for digits"),
    ]
    for arguments, message in refusals:
        with pytest.raises(errors.ArgumentError, match=message):
            open_examples(*arguments)
    with pytest.raises(errors.UnreadableImage, match="1 of 5"):
        (folder / "ant/x.png").write_text("?")
        open_examples(folder)
    with pytest.warns(UserWarning, match="left out: 1 of 5"):
        assert len(open_examples(folder, on_bad_image="skip")) == 4


def test_file_names_must_be_text(folder):
    bad = os.fsencode(folder / "ant") + b"/\xff.png"
    Image.new("L", (3, 3)).save(folder / "ant" / "x.png")
    os.rename(folder / "ant" / "x.png", bad)
    with pytest.raises(errors.ArgumentError, match="file names must be UTF-8"):
        ImageFolder(folder, progress=False)


# class folders as timm reads them


def image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_labels_are_those_of_timm(tmp_path):
    from timm.data import create_dataset

    names = [*map(str, range(12)), "n02", "n10", "N1", "Zebra", "ant", "a10b2", "a9b10"]
    for seed, name in enumerate(names):
        image(tmp_path / name / "x.png", seed)
        image(tmp_path / name / "y.png", seed)
    examples = ImageFolder(tmp_path, progress=False)
    theirs = create_dataset("", root=str(tmp_path))
    assert {name: i for i, name in enumerate(examples.classes)} == theirs.reader.class_to_idx
    labels = dict(zip(examples.ids, examples.labels.tolist(), strict=True))
    assert labels == {theirs.filename(i): theirs.reader.samples[i][1] for i in range(len(theirs))}
    assert examples.classes[:3] == ["0", "1", "2"]


def test_linked_folders_are_followed_once(tmp_path):
    image(tmp_path / "elsewhere/deep/x.png")
    image(tmp_path / "val/ant/a.png")
    (tmp_path / "val/ant/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/deep/round").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "val/bee").symlink_to(tmp_path / "elsewhere/deep")
    examples = ImageFolder(tmp_path / "val", progress=False)
    assert examples.ids == ["ant/a.png", "ant/link/deep/x.png", "bee/x.png"]


def test_hidden_folders_below_a_class_do_not_count(tmp_path):
    image(tmp_path / "ant/a.png")
    image(tmp_path / "ant/.thumbnails/a.png")
    assert ImageFolder(tmp_path, progress=False).ids == ["ant/a.png"]


def test_images_beside_the_class_folders_are_told(tmp_path):
    image(tmp_path / "ant/a.png")
    for name in ("x.png", "y.JPG", ".z.png"):
        image(tmp_path / name)
    with pytest.warns(UserWarning, match="ignored: 2 images that lie in .* itself, in no class folder"):
        assert ImageFolder(tmp_path, progress=False).ids == ["ant/a.png"]


def refuse_to_list(monkeypatch, folder):
    """The superuser may read everything, so that permissions alone would not do."""
    real = os.scandir

    def scandir(path="."):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_read_does_not_vanish(tmp_path, monkeypatch):
    image(tmp_path / "val/ant/a.png")
    image(tmp_path / "val/ant/more/b.png")
    refuse_to_list(monkeypatch, tmp_path / "val/ant/more")
    with pytest.raises(errors.ArgumentError, match="ant/more cannot be read: Permission denied; make it"):
        ImageFolder(tmp_path / "val", progress=False)


def test_data_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    from pathlib import Path

    file = write_idx(tmp_path / "x-images-idx3-ubyte", IMAGES)
    real = Path.open

    def refuse(path, *arguments, **options):
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(errors.ArgumentError, match="x-images-idx3-ubyte cannot be read: Permission denied"):
        open_examples(file, LABELS)


def test_sixteen_bit_files_are_scaled(tmp_path, rng):
    eight = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    (tmp_path / "ant").mkdir()
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "ant/deep.png")
    Image.fromarray(eight).save(tmp_path / "ant/flat.png")
    deep, flat = ImageFolder(tmp_path, progress=False).read(0, 2)
    assert deep.mode == flat.mode == "L"
    assert np.array_equal(np.asarray(deep), eight)
    assert np.array_equal(np.asarray(flat), eight)


# files of every kind, as timm and torchvision read them


def exif(orientation):
    entries = Image.Exif()
    entries[0x0112] = orientation
    return entries


def modes(rng):
    """One image of each mode that files have: name, image, how it is saved."""
    colour = Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8))
    alpha = Image.fromarray(rng.integers(0, 255, (9, 7, 4), dtype=np.uint8))
    return {
        "alpha.png": (alpha, {}),
        "bits.png": (colour.convert("1"), {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "gif.gif": (colour.convert("P"), {}),
        "grey alpha.png": (alpha.convert("LA"), {}),
        "grey.jpg": (colour.convert("L"), {}),
        "moving.gif": (colour.convert("P"), {"save_all": True, "append_images": [alpha.convert("P")]}),
        "palette.png": (colour.convert("P"), {}),
        "see-through palette.png": (colour.convert("P"), {"transparency": 3}),
        "tiff.tif": (colour, {"compression": "tiff_deflate"}),
        "turned.jpg": (colour, {"exif": exif(6)}),
        "webp.webp": (alpha, {}),
        "ycbcr.jpg": (colour.convert("YCbCr"), {}),
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_files_of_every_mode_are_read_as_timm_and_torchvision_do(tmp_path, rng):  # timm leaves files open
    from timm.data import create_dataset
    from torchvision.datasets.folder import default_loader

    made = modes(rng)
    (tmp_path / "a").mkdir()
    for name, (image, options) in made.items():
        image.save(tmp_path / "a" / name, **options)
    (tmp_path / "a" / "misnamed.jpg").write_bytes((tmp_path / "a" / "palette.png").read_bytes())
    (tmp_path / "a" / "misnamed.png").write_bytes((tmp_path / "a" / "cmyk.jpg").read_bytes())
    examples = ImageFolder(tmp_path, progress=False)
    assert len(examples) == len(made) + 2
    ours = {
        name: np.asarray(image.convert("RGB"))
        for name, image in zip(examples.ids, examples.read(0, len(examples)), strict=True)
    }
    for name, pixels in ours.items():
        assert np.array_equal(pixels, np.asarray(default_loader(tmp_path / name))), name
    timms = create_dataset("", root=str(tmp_path))  # finds .png, .jpg and .jpeg only
    assert len(timms) == sum(name.endswith((".png", ".jpg")) for name in ours)
    for i in range(len(timms)):
        assert np.array_equal(ours[timms.filename(i)], np.asarray(timms[i][0])), timms.filename(i)


def test_orientation_is_left_alone(tmp_path, rng):
    upright = Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8))
    (tmp_path / "a").mkdir()
    for orientation in range(1, 9):
        upright.save(tmp_path / "a" / f"{orientation}.png", exif=exif(orientation))
    with Image.open(tmp_path / "a/6.png") as turned:
        assert turned.getexif()[0x0112] == 6
    images = ImageFolder(tmp_path, progress=False).read(0, 8)
    assert all(np.array_equal(np.asarray(image), np.asarray(upright)) for image in images)


@pytest.mark.parametrize(
    ("kept", "ending"),
    [(0.0, "png"), (0.5, "jpg"), (0.9, "jpg"), (0.5, "png"), (0.5, "webp"), (0.9, "gif"), (0.5, "bmp")],
)
def test_truncated_files_of_every_format(tmp_path, rng, kept, ending):
    (tmp_path / "a").mkdir()
    pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for name in ("good", "cut"):
        Image.fromarray(pixels).save(tmp_path / "a" / f"{name}.{ending}")
    path = tmp_path / "a" / f"cut.{ending}"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.warns(
        UserWarning, match=rf"left out: 1 of 2 images could not be decoded: .*cut\.{ending} \([^)]"
    ):
        examples = ImageFolder(tmp_path, "skip", progress=False)
    assert examples.ids == [f"a/good.{ending}"]
    assert [*examples.skipped] == [f"a/cut.{ending}"]
    assert "0x" not in examples.skipped[f"a/cut.{ending}"]  # no address: the same at every reading


def test_names_of_every_kind(tmp_path):
    names = [
        "with space.png",
        "ünï çödé 漢字.png",
        "a\nline.png",
        "100%.png",
        "{x}.png",
        "[1].png",
        "-o.png",
        "e\u0301.png",
    ]
    for name in names:
        image(tmp_path / "class ü" / name)
    examples = ImageFolder(tmp_path, progress=False)
    assert examples.ids == sorted(f"class ü/{name}" for name in names)
    assert len(examples.read(0, 8)) == 8
    assert open_examples(tmp_path).fingerprint == examples.fingerprint


def test_linked_files(tmp_path):
    image(tmp_path / "store/1.png", 1)
    (tmp_path / "val/ant").mkdir(parents=True)
    (tmp_path / "val/ant/x.png").symlink_to(tmp_path / "store/1.png")
    (tmp_path / "val/ant/y.png").symlink_to("x.png")
    examples = ImageFolder(tmp_path / "val", progress=False)
    assert examples.ids == ["ant/x.png", "ant/y.png"]
    assert examples.contents[0] == examples.contents[1]
    (tmp_path / "val/ant/z.png").symlink_to("nowhere.png")
    (tmp_path / "val/ant/loop.png").symlink_to("loop.png")
    with pytest.warns(
        UserWarning, match=r"2 of 4 .*loop.png \(Too many levels .*z.png \(No such file or directory\)"
    ):
        assert ImageFolder(tmp_path / "val", "skip", progress=False).ids == examples.ids


def test_a_file_that_may_not_be_read_is_a_bad_image(folder, monkeypatch):
    from pathlib import Path

    real = Path.read_bytes

    def refuse(path):
        if path.name == "a.jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(errors.UnreadableImage, match=r"1 of 4 .*zebra/a.jpg \(Permission denied\)"):
        ImageFolder(folder, progress=False)


def test_a_replaced_image_is_told_when_it_is_read(folder):
    examples = ImageFolder(folder, progress=False)
    Image.new("RGB", (7, 9)).save(folder / "zebra/b.png")
    examples.read(0, 3)
    with pytest.raises(
        errors.ExamplesMismatch, match=r"zebra/b\.png is not what it was when the data was scanned"
    ):
        examples.read(3, 4)


def test_sources_tell_whether_they_decode(folder):
    examples = ImageFolder(folder, progress=False)
    assert (examples.decoding, ArrayExamples(IMAGES, LABELS).decoding) == (True, False)
    assert [len(content) for content in examples.contents] == [16] * 4
    digest = hashlib.sha256((folder / examples.ids[2]).read_bytes()).hexdigest()
    assert examples.contents[2].decode() == digest[:16]


# labels and class names


def test_a_label_gone_wild_is_no_class_count():
    with pytest.raises(
        errors.ArgumentError, match=r"label 100000000 of example 2 would make 100,000,001 cla"
    ):
        ArrayExamples(IMAGES, [0, 1, 10**8, 0, 1, 2])
    assert len(ArrayExamples(IMAGES, [0, 1, 9_999, 0, 1, 2]).classes) == 10_000


def test_class_names_for_data_that_lacks_some(tmp_path, folder):
    np.save(tmp_path / "x.npy", IMAGES)
    names = list("vwxyz")
    assert open_examples(tmp_path / "x.npy", LABELS, classes=names).classes == names
    assert open_examples(write_set(tmp_path / "idx"), classes=names).classes == names
    file = tmp_path / "idx" / "train-images-idx3-ubyte"
    assert open_examples(file, classes=names).classes == names
    animals = ["zebra", "moth", "ant"]
    examples = open_examples(folder, classes=animals)
    assert examples.classes == animals
    assert examples.ids == ["zebra/a.jpg", "zebra/b.png", "ant/D.PNG", "ant/deep/c.png"]
    assert examples.labels.tolist() == [0, 0, 2, 2]
    with pytest.raises(
        errors.ArgumentError, match=r"classes must name every class folder .*1 missing, first"
    ):
        open_examples(folder, classes=["ant", "moth"])
    with pytest.raises(errors.ArgumentError, match="classes must not be given for digits: it has its own"):
        open_examples("digits", classes=names)
