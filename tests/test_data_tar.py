"""WebDataset shards: what is read, how they are named, and every way in which they can be broken."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from dissensus import errors
from dissensus.ingest import ExampleSource, ImageFolder, TarExamples, open_examples
from image_sets import (
    add,
    all_equal,
    cut,
    encoded,
    pictures,
    sample_files,
    write_folder,
    write_shards,
    write_tar,
)

PNG = encoded(Image.new("L", (4, 3), 7), "PNG")
TWO = [("a.png", PNG), ("a.cls", b"0"), ("b.png", PNG), ("b.cls", b"1\n")]


def quiet(path, *arguments, **options):
    return TarExamples(path, *arguments, progress=False, **options)


@pytest.fixture(scope="module")
def made():
    return pictures()


# what is read


def test_shards_give_what_the_folder_gives(tmp_path, made):
    examples = quiet(write_shards(tmp_path / "shards", made))
    folder = ImageFolder(write_folder(tmp_path / "val", made), progress=False)
    assert isinstance(examples, ExampleSource)
    assert examples.decoding
    assert examples.ids == [p.stem for p in made]
    assert [id.split("/")[1].split(".")[0] for id in folder.ids] == examples.ids
    assert examples.classes == [str(c) for c in range(int(examples.labels.max()) + 1)]
    assert [folder.classes[label] for label in folder.labels] == [str(label) for label in examples.labels]
    assert all_equal(examples.read(0, len(made)), folder.read(0, len(made)))
    assert all_equal(examples.read(5, 11), folder.read(5, 11))
    assert examples.contents.tolist() == folder.contents.tolist()


def test_every_way_of_naming_shards(tmp_path, made):
    pattern = write_shards(tmp_path / "s", made, n_shards=11)
    ids = [p.stem for p in made]
    files = [tmp_path / f"s/val-{i:03d}.tar" for i in range(11)]
    for spec in (pattern, tmp_path / "s", f"{tmp_path}/s/val-*.tar", f"{tmp_path}/s/val-0{{0,1}}*.tar"):
        assert open_examples(spec).ids == ids
        assert open_examples(spec).fingerprint == quiet(files).fingerprint
    assert open_examples(files[3]).ids == quiet(f"{tmp_path}/s/val-{{003..003}}.tar").ids
    assert quiet(files[::-1]).ids != ids


def test_shards_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        write_tar(tmp_path / f"{number}.tar", [(f"k{number}.png", PNG), (f"k{number}.cls", b"0")])
    assert quiet(tmp_path).ids == ["k1", "k9", "k10"]


def test_labels_in_every_form(tmp_path):
    files = [
        *(("a.png", PNG), ("a.cls", b" 2\n")),
        *(("b.PNG", PNG), ("b.cls.txt", b"moth")),
        *(("c.jpg", PNG), ("c.json", b'{"label": 1, "caption": "x"}')),
        *(("d.png", PNG), ("d.json", b'{"label": "ant"}')),
        *(("e.png", PNG), ("e.json", b'{"label": 0}'), ("e.cls", b"2")),
    ]
    examples = quiet(write_tar(tmp_path / "x.tar", files), classes=["ant", "bee", "moth"])
    assert examples.labels.tolist() == [2, 2, 1, 0, 2]
    assert examples.classes == ["ant", "bee", "moth"]


def test_digits_are_numbers_even_where_classes_are_called_so(tmp_path):
    files = [("a.png", PNG), ("a.cls", b"0"), ("b.png", PNG), ("b.cls", b"one")]
    examples = quiet(write_tar(tmp_path / "x.tar", files), classes=["one", "0"])
    assert examples.labels.tolist() == [0, 0]


def test_keys_paths_and_files_that_do_not_count(tmp_path):
    long = "deep/" * 30 + "ünï cödé 1"
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "sub", b"", type=tarfile.DIRTYPE)
        add(tar, "b.cls", b"1")  # its image comes later, after another sample
        add(tar, f"{long}.png", PNG)
        add(tar, f"{long}.cls", b"0")
        for name in ("._a.png", "README", "readme.txt", "b.seg.png", "b.txt"):
            add(tar, name, b"no image")
        add(tar, "b.png", PNG)
    examples = quiet(path)
    assert examples.ids == ["b", long]
    assert examples.labels.tolist() == [1, 0]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(tmp_path, form):
    name = "x" * 90 + "/" + "y" * 60 if form != tarfile.USTAR_FORMAT else "y" * 60
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
        for file, data in ((f"{name}.png", PNG), (f"{name}.cls", b"1")):
            add(tar, file, data)
    examples = quiet(tmp_path / "x.tar")
    assert examples.ids == [name]
    assert np.asarray(examples.read(0, 1)[0]).tolist() == [[7] * 4] * 3


def test_the_index_holds_no_images(tmp_path, rng):
    noise = [encoded(Image.fromarray(rng.integers(0, 255, (300, 300), np.uint8)), "PNG") for _ in range(4)]
    files = [f for i in range(40) for f in ((f"{i}.png", noise[i % 4]), (f"{i}.cls", b"0"))]
    path = write_tar(tmp_path / "x.tar", files)
    assert path.stat().st_size > 3_000_000
    assert len(pickle.dumps(quiet(path))) < 10_000


# bad images


def test_bad_images_in_shards(tmp_path, made):
    broken = [cut(made[0]), *made[1:5], made[5]._replace(data=b""), made[6]._replace(data=b"text"), *made[7:]]
    pattern = write_shards(tmp_path, broken)
    message = rf"3 of 24 images could not be decoded: .*val-000.tar: {made[0].stem} \(.*runcated.*skip"
    with pytest.raises(errors.UnreadableImage, match=message):
        quiet(pattern)
    with pytest.warns(UserWarning, match="left out: 3 of 24 images"):
        examples = quiet(pattern, "skip")
    kept = [made[i] for i in range(24) if i not in (0, 5, 6)]
    assert examples.ids == [p.stem for p in kept]
    assert examples.labels.tolist() == [p.label for p in kept]
    assert list(examples.skipped) == [made[i].stem for i in (0, 5, 6)]
    assert examples.skipped[made[6].stem] == "not an image"
    assert all_equal(examples.read(0, 21), quiet(write_shards(tmp_path / "good", kept)).read(0, 21))


def test_shards_that_change_after_the_scan(tmp_path, made):
    pattern = write_shards(tmp_path, made, n_shards=1)
    examples = quiet(pattern)
    write_shards(tmp_path, made[1:], n_shards=1)
    with pytest.raises(
        errors.DissensusError, match=rf"val-000.tar: {made[0].stem} (is not what it was|could n)"
    ):
        examples.read(0, 1)
    (tmp_path / "val-000.tar").unlink()
    with pytest.raises(
        errors.UnreadableImage, match=r"val-000.tar: .* any more \(No such file or directory\)"
    ):
        examples.read(0, 1)


def test_another_image_of_the_same_size_in_its_place_is_told(tmp_path):
    other = bytearray(PNG)
    path = write_tar(tmp_path / "x.tar", TWO)
    examples = quiet(path)
    image = encoded(Image.new("L", (4, 3), 8), "PNG")
    assert len(image) == len(other)
    write_tar(path, [("a.png", image), *TWO[1:]])
    with pytest.raises(
        errors.ExamplesMismatch, match=r"x.tar: a is not what it was when the data was scanned"
    ):
        examples.read(0, 2)


# bad shards


def tar_bytes(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files:
            add(tar, name, data)
    return buffer.getvalue()


def damaged_header(files):
    data = bytearray(tar_bytes(files))
    data[2 * 512 + 150] ^= 0xFF  # in the checksum of the second header
    return bytes(data)


BIG = [("a.cls", b"0"), ("a.png", bytes(5000))]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar_bytes(BIG)[:3000], r"x.tar is truncated or damaged after a.png \(unexpected end of data\)"),
        (tar_bytes(TWO)[:2048], r"x.tar is truncated or damaged after a.cls \(no end mark at byte 2048\)"),
        (tar_bytes(TWO)[:2100], r"x.tar is truncated or damaged after a.cls \(no end mark at byte 2048\)"),
        (tar_bytes(TWO)[:100], r"x.tar is truncated or damaged after its first header \("),
        (damaged_header(TWO), r"x.tar is truncated or damaged after a.png \(a damaged header at byte 1024\)"),
        (b"", r"x.tar is truncated or damaged after its first header \(empty file\)"),
        (b"no tar file" * 99, r"x.tar is truncated or damaged after its first header"),
        (gzip.compress(tar_bytes(TWO)), r"x.tar is compressed, .*unpack it \(gunzip\) first"),
        (tar_bytes([]), r"x.tar holds no samples; expected KEY.jpg"),
        (tar_bytes([("readme.txt", b"?")]), r"x.tar holds no samples; expected KEY.jpg"),
        (tar_bytes(TWO[:3]), r"sample 'b' of .*x.tar has no label; expected .cls, .cls.txt or .json"),
        (tar_bytes(TWO[1:]), r"sample 'a' of .*x.tar has no image, expected one"),
        (tar_bytes([*TWO, ("a.jpg", PNG)]), r"sample 'a' of .*x.tar has 2 images \(.jpg, .png\)"),
        (tar_bytes([*TWO, TWO[0]]), r"x.tar holds a.png twice; keys must be distinct"),
        (
            tar_bytes([TWO[0], ("a.cls", b"ant")]),
            r"label 'ant' of sample 'a' of .* is no class number; pass cl",
        ),
        (tar_bytes([TWO[0], ("a.cls", b"-1")]), r"label '-1' of sample 'a' of .* is no class number"),
        (tar_bytes([TWO[0], ("a.cls", b" ")]), r"a.cls of .*x.tar must hold one class, .* got b' '"),
        (tar_bytes([TWO[0], ("a.cls", b"\xff")]), r"a.cls of .*x.tar must be UTF-8 text, got b'\\xff'"),
        (
            tar_bytes([TWO[0], ("a.json", b"{}")]),
            r"a.json of .*x.tar must be a JSON object with a field 'label'",
        ),
        (
            tar_bytes([TWO[0], ("a.json", b"[1")]),
            r"a.json of .*x.tar must be a JSON object with a field 'label'",
        ),
        (tar_bytes([TWO[0], ("a.json", b'{"label": [1]}')]), r"a.json of .*must hold one class"),
        (tar_bytes([TWO[0], ("a.json", json.dumps({"label": True}).encode())]), r"a.json of .*must hold one"),
    ],
)
def test_broken_shards(tmp_path, data, message):
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(errors.ArgumentError, match=message):
        open_examples(tmp_path / "x.tar")


def test_truncation_at_every_step_is_told(tmp_path, made):
    data = tar_bytes(sample_files(made[:3]))
    whole = len(data.rstrip(b"\0"))
    for size in range(0, whole + 512, 128):
        (tmp_path / "x.tar").write_bytes(data[:size])
        with pytest.raises(errors.ArgumentError, match=r"x.tar is truncated or damaged after"):
            quiet(tmp_path / "x.tar")


def test_links_are_no_samples(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "a.cls", b"0")
        add(tar, "a.png", b"", type=tarfile.SYMTYPE, linkname="b.png")
    with pytest.raises(errors.ArgumentError, match="x.tar holds a.png, a link; samples must be plain files"):
        quiet(tmp_path / "x.tar")


def test_names_that_are_none_of_the_classes(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.png", PNG), ("a.cls", b"wasp")])
    with pytest.raises(errors.ArgumentError, match="label 'wasp' of sample 'a' of .* is none of the classes"):
        quiet(path, classes=["ant", "bee"])
    write_tar(path, [("a.png", PNG), ("a.cls", b"2")])
    with pytest.raises(errors.ArgumentError, match="labels must be 0 … 1 for 2 classes, got 2 for example 0"):
        quiet(path, classes=["ant", "bee"])


def test_keys_must_be_distinct_over_shards(tmp_path):
    for name in ("x.tar", "y.tar"):
        write_tar(tmp_path / name, TWO)
    with pytest.raises(
        errors.ArgumentError, match=r"distinct over all shards.*'a' is in .*x.tar and .*y.tar: write one"
    ):
        quiet(tmp_path)


def test_shards_that_are_not_there(tmp_path, made):
    write_shards(tmp_path, made, n_shards=2)
    with pytest.raises(
        errors.ArgumentError, match=r"no such data: .*val-002.tar, which .*val-\{000..003\}.tar st"
    ):
        open_examples(f"{tmp_path}/val-{{000..003}}.tar")
    with pytest.raises(errors.ArgumentError, match=r"no such data: .*train-\*.tar, which"):
        open_examples(f"{tmp_path}/train-*.tar")
    with pytest.raises(errors.ArgumentError, match=r"braces must count upwards, got \{3..1\}"):
        open_examples(f"{tmp_path}/val-{{3..1}}.tar")
    with pytest.raises(errors.ArgumentError, match=r"names .*val-000.tar twice"):
        open_examples(f"{tmp_path}/val-{{000,000}}.tar")
    with pytest.raises(errors.ArgumentError, match="tar file not found: .*gone.tar"):
        quiet(tmp_path / "gone.tar")
    with pytest.raises(
        errors.ArgumentError, match="labels must not be given for the tar shards .*: it has its"
    ):
        open_examples(tmp_path, labels=[0, 1])
    with pytest.raises(
        errors.ArgumentError, match="id_column must not be given for the tar shards .*: only Hugg"
    ):
        open_examples(tmp_path, id_column="name")
    (tmp_path / "none").mkdir()
    with pytest.raises(errors.ArgumentError, match=r"no .tar files in .*none"):
        quiet(tmp_path / "none")
