"""The demo's data: splits, subsets, foreign images, and where IDX files are looked for."""

from __future__ import annotations

import gzip
import struct
from itertools import combinations

import numpy as np
import pytest

from dissensus.demo import data as demo_data
from dissensus.demo.data import DIGITS_PARTS, LabelledImages, find_fashion_mnist, load, stratified
from dissensus.demo.other import FOREIGN, SUBSETS, foreign, subset
from dissensus.errors import ArgumentError


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def idx_bytes(array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_family(folder, rng, n_train=340, n_test=60, classes=4):
    """Write a folder of the MNIST family; one of its four files compressed."""
    folder.mkdir(parents=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (n, 28, 28))
        labels = np.arange(n) % classes
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        packed = gzip.compress(idx_bytes(labels)) if part == "train" else idx_bytes(labels)
        (folder / f"{part}-labels-idx1-ubyte{'.gz' if part == 'train' else ''}").write_bytes(packed)
    return folder


def rows_of(images):
    return {image.tobytes() for image in images}


def test_digits_parts_have_their_sizes_and_are_disjoint(digits):
    parts = [digits.train, digits.fit, digits.extra, digits.report]
    assert [len(part) for part in parts] == [*DIGITS_PARTS, 1797 - sum(DIGITS_PARTS)]
    assert all(not rows_of(a.images) & rows_of(b.images) for a, b in combinations(parts, 2))


def test_digits_parts_keep_the_shares_of_the_classes(digits):
    parts = [digits.train, digits.fit, digits.extra, digits.report]
    whole = sum(np.bincount(part.labels, minlength=10) for part in parts)
    for part in parts:
        expected = whole * len(part) / 1797
        assert abs(np.bincount(part.labels, minlength=10) - expected).max() <= 1.5


def test_the_cut_is_seeded(digits):
    again = load("digits")
    assert again.ids == digits.ids
    assert again.fingerprint == digits.fingerprint
    assert (again.train.images == digits.train.images).all()


def test_store_examples_are_fit_and_report_only(digits):
    examples = digits.examples()
    assert len(examples) == len(digits.fit) + len(digits.report)
    assert list(examples.splits) == ["fit"] * len(digits.fit) + ["report"] * len(digits.report)
    learned = rows_of(digits.train.images) | rows_of(digits.extra.images)
    assert not rows_of(examples.read(0, len(examples))) & learned
    assert (examples.labels == np.concatenate([digits.fit.labels, digits.report.labels])).all()


def test_stratified_parts_are_exact_and_leave_no_class_out():
    labels = np.array([0] * 90 + [1] * 9 + [2] * 3)
    first, second = stratified(labels, [34, 34], np.random.default_rng(5))
    assert len(first) == len(second) == 34
    assert not set(first) & set(second)
    assert np.bincount(labels[first]).tolist() == [30, 3, 1]


@pytest.mark.parametrize("name", SUBSETS)
def test_subsets_are_labelled_images_of_the_data(digits, name):
    images = subset(digits, name, seed=3)
    known = rows_of(digits.train.images) | rows_of(digits.extra.images)
    assert rows_of(images.images) <= known
    assert len(images.images) == len(images.labels) > 0
    again = subset(digits, name, seed=3)
    assert (again.labels == images.labels).all()


def test_subsets_differ_from_the_training_images_as_they_say(digits):
    n = len(digits.train)
    assert len(subset(digits, "half", 0)) == n // 2
    assert len(subset(digits, "quarter", 0)) == n // 4
    assert not rows_of(subset(digits, "other", 0).images) & rows_of(digits.train.images)
    assert len(subset(digits, "more", 0)) == n + len(digits.extra)
    tail = np.bincount(subset(digits, "long-tail", 0).labels, minlength=10)
    assert tail[0] == np.bincount(digits.train.labels)[0] > 2 * tail[9]
    wrong = (subset(digits, "noisy", 0).labels != digits.train.labels).mean()
    assert 0.1 < wrong < 0.27  # a tenth of the redrawn labels are right by chance


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("size", [8, 28])
def test_foreign_images_fit_the_networks(name, size):
    images = foreign(name, size, seed=0)
    assert images.images.dtype == np.uint8
    assert images.images.shape[1:] == (size, size)
    assert set(images.labels.tolist()) == set(range(10))
    assert images.images.std(axis=(1, 2)).min() > 0


def test_idx_folder_of_the_family(tmp_path, rng):
    folder = write_family(tmp_path / "kuzushiji", rng)
    images = load(folder)
    assert images.name == "kuzushiji"
    assert (len(images.train), len(images.fit), len(images.extra), len(images.report)) == (120, 50, 170, 60)
    assert images.classes == ("0", "1", "2", "3")
    assert not images.flips
    assert images.ids[0].startswith("train-")
    assert images.ids[-1] == "test-59"
    assert load(*images.origin).fingerprint == images.fingerprint


def test_fashion_mnist_by_path_knows_its_classes_and_flips(tmp_path, rng):
    folder = write_family(tmp_path / "somewhere", rng, classes=10)
    images = load("fashion-mnist", folder)
    assert images.classes[0] == "T-shirt/top"
    assert images.flips
    assert load(*images.origin).fingerprint == images.fingerprint


def test_torchvision_folder_is_found(tmp_path, rng, monkeypatch):
    write_family(tmp_path / "data" / "FashionMNIST" / "raw", rng, classes=10)
    monkeypatch.chdir(tmp_path)
    places = [place for place in demo_data._usual_places() if not place.is_absolute()]
    found = find_fashion_mnist(places)
    assert found.parts[-3:] == ("data", "FashionMNIST", "raw")
    assert load(found).name == "FashionMNIST"


def test_torch_home_is_looked_into(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert tmp_path / "FashionMNIST" / "raw" in demo_data._usual_places()


def test_missing_fashion_mnist_names_the_remedies(tmp_path):
    with pytest.raises(ArgumentError, match=r"apt-get install dataset-fashion-mnist.*torchvision.*--path"):
        find_fashion_mnist([tmp_path / "nowhere"])


def test_incomplete_idx_folder_is_refused(tmp_path, rng):
    folder = write_family(tmp_path / "half", rng)
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(ArgumentError, match="test"):
        load(folder)


def test_unknown_data_is_refused():
    with pytest.raises(ArgumentError, match="digits, fashion-mnist or a folder of IDX files, got 'cifar'"):
        load("cifar")


def test_path_without_use_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="path belongs to data='fashion-mnist'"):
        load("digits", tmp_path)


def test_joined_images_keep_their_order(digits):
    both = LabelledImages.joined(digits.train, digits.extra)
    assert len(both) == len(digits.train) + len(digits.extra)
    assert (both.images[len(digits.train)] == digits.extra.images[0]).all()
