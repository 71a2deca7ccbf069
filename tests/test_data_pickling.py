"""Sources in other processes and in several threads: what is sent is small, what is read is the same."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dissensus import errors
from dissensus.ingest import (
    ArrayExamples,
    DatasetExamples,
    HfExamples,
    ImageFolder,
    TarExamples,
    digits_examples,
    idx_examples,
    open_examples,
)
from dissensus.ingest.data.memory_maps import place_of
from dissensus.ingest.streaming.batches import Reading, read_ahead
from image_sets import TorchDataset, all_equal, arrays, hf_dataset, pictures, write_folder, write_shards
from test_ingest_examples import write_set

N, SIDE = 600, 40
PIXELS = N * SIDE * SIDE
MODULE = """
import numpy as np

class Data(list):
    pass

def dataset():
    pixels = np.random.default_rng(0).integers(0, 255, (60, 100, 100), np.uint8)
    return Data((image, i % 3) for i, image in enumerate(pixels))
"""


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 255, (N, SIDE, SIDE), np.uint8)


@pytest.fixture(scope="module")
def made():
    return pictures(48)


# arrays


def opened(pixels, tmp_path, how):
    """A view of an array in a file, opened or cut in one of several ways."""
    np.save(tmp_path / "x.npy", pixels)
    (tmp_path / "raw").write_bytes(b"head" * 5001 + pixels.tobytes())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    offset = {"mode": "r", "shape": pixels.shape, "dtype": np.uint8, "offset": 20004}
    return {
        "whole": lambda: mapped,
        "slice": lambda: mapped[100:580],
        "slice of a slice": lambda: mapped[100:][7:],
        "every second": lambda: mapped[1::2],
        "backwards": lambda: mapped[::-1],
        "inner": lambda: mapped[:, 3:20, 5:],
        "one channel": lambda: mapped[..., None],
        "transposed": lambda: mapped.transpose(0, 2, 1),
        "asarray": lambda: np.asarray(mapped)[5:],
        "other type": lambda: mapped.view(np.int8),
        "offset": lambda: np.memmap(tmp_path / "raw", **offset),
        "slice behind an offset": lambda: np.memmap(tmp_path / "raw", **offset)[33:],
        "writable": lambda: np.load(tmp_path / "x.npy", mmap_mode="r+"),
    }[how]()


HOW = (
    *(
        "whole",
        "slice",
        "slice of a slice",
        "every second",
        "backwards",
        "inner",
        "one channel",
        "transposed",
    ),
    *("asarray", "other type", "offset", "slice behind an offset", "writable"),
)


@pytest.mark.parametrize("how", HOW)
def test_mapped_arrays_are_sent_by_their_place(tmp_path, pixels, how):
    images = opened(pixels, tmp_path, how)
    examples = ArrayExamples(images, np.arange(len(images)) % 3)
    assert not examples.decoding
    sent = pickle.dumps(examples)
    assert len(sent) < 20_000 < PIXELS
    copy = pickle.loads(sent)
    assert np.array_equal(copy.read(0, N), examples.read(0, N))
    assert copy.read(0, 2).dtype == examples.read(0, 2).dtype
    assert copy.fingerprint == examples.fingerprint
    again = pickle.dumps(copy)  # a copy of a copy
    assert len(again) < 20_000
    assert np.array_equal(pickle.loads(again).read(3, 9), examples.read(3, 9))


def test_what_is_in_memory_is_sent_whole(tmp_path, pixels):
    np.save(tmp_path / "x.npy", pixels)
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")  # changes stay in memory: the file has others
    changed[0, 0, 0] ^= 1
    for images in (pixels, changed, np.array(changed)):
        examples = ArrayExamples(images, np.arange(N) % 3)
        assert len(pickle.dumps(examples)) > PIXELS
        assert np.array_equal(pickle.loads(pickle.dumps(examples)).read(0, N), images)
    assert place_of(pixels) is None


def test_a_mapped_file_that_is_gone_or_shorter(tmp_path, pixels):
    np.save(tmp_path / "x.npy", pixels)
    sent = pickle.dumps(ArrayExamples(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(N) % 3))
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(data[:-1])
    with pytest.raises(errors.ArgumentError, match=r"x.npy cannot be opened again: .*restore the file"):
        pickle.loads(sent)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(errors.ArgumentError, match=r"x.npy cannot be opened again: .*No such file"):
        pickle.loads(sent)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_opened_again(tmp_path, packed, monkeypatch):
    write_set(tmp_path / "d", packed)
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(idx_examples("d"))
    assert b"idx3" in sent
    monkeypatch.chdir("/")
    assert np.array_equal(pickle.loads(sent).read(0, 6), idx_examples(tmp_path / "d").read(0, 6))


# all sources, in spawned processes and in threads


def fold(tmp_path, made):
    return ImageFolder(write_folder(tmp_path / "val", made), progress=False)


def tars(tmp_path, made):
    return TarExamples(write_shards(tmp_path / "tars", made), progress=False)


def saved(tmp_path, made):
    pytest.importorskip("datasets").disable_progress_bars()
    hf_dataset(made).save_to_disk(tmp_path / "saved")
    return HfExamples(tmp_path / "saved", progress=False)


def dataset(tmp_path, made):
    return DatasetExamples(TorchDataset(made), progress=False)


def mapped(tmp_path, made):
    np.save(
        tmp_path / "x.npy",
        np.stack([np.resize(p, (30, 30)) for p in arrays(fold(tmp_path, made).read(0, 48))]),
    )
    return ArrayExamples(np.load(tmp_path / "x.npy", mmap_mode="r"), [p.label for p in made])


def digits(tmp_path, made):
    return digits_examples()


SOURCES = (fold, tars, saved, dataset, mapped, digits)


def read_there(source, start, stop):
    return arrays(source.read(start, stop)), source.ids[start:stop], source.fingerprint


@pytest.fixture(scope="module")
def pool():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.mark.parametrize("make", SOURCES)
def test_sources_read_the_same_in_spawned_processes(tmp_path, made, pool, make):
    source = make(tmp_path, made)
    for start, stop in ((0, 48), (5, 9)):
        images, ids, fingerprint = pool.apply(read_there, (source, start, stop))
        assert all_equal(images, source.read(start, stop))
        assert (ids, fingerprint) == (source.ids[start:stop], source.fingerprint)


@pytest.mark.parametrize("make", SOURCES)
def test_sources_read_the_same_in_several_threads(tmp_path, made, make):
    source = make(tmp_path, made)
    spans = [(start, start + 7) for start in range(0, 41, 3)]
    expected = [arrays(source.read(*span)) for span in spans]
    with ThreadPoolExecutor(8) as threads:
        for images, own in zip(
            threads.map(lambda span: source.read(*span), spans * 4), expected * 4, strict=True
        ):
            assert all_equal(images, own)


@pytest.mark.parametrize("make", [fold, tars, saved])
def test_sources_of_files_are_sent_without_the_images(tmp_path, made, make):
    many = [p._replace(stem=f"{p.stem}-{k}") for k in range(10) for p in made]
    source = make(tmp_path, sorted(many))
    assert len(pickle.dumps(source)) < 40_000 < sum(len(p.data) for p in many) / 10


def test_errors_of_a_worker_name_the_file(tmp_path, made, pool):
    source = fold(tmp_path, made)
    (tmp_path / "val" / source.ids[2]).write_bytes(b"text")
    with pytest.raises(
        errors.UnreadableImage, match=f"{source.ids[2]} could not be decoded any more .not an image"
    ):
        pool.apply(read_there, (source, 0, 5))


def test_one_thread_a_worker(tmp_path, made):
    source = fold(tmp_path, made)
    source.threads = 1
    assert pickle.loads(pickle.dumps(source)).threads == 1
    assert all_equal(source.read(0, 48), fold(tmp_path, made).read(0, 48))


# datasets made again by name


def test_datasets_by_name_are_made_again_by_the_worker(tmp_path, monkeypatch, pool):
    (tmp_path / "remade_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    source = open_examples("python:remade_data:dataset")
    assert len(pickle.dumps(source)) < 10_000 < 60 * 100 * 100
    copy = pickle.loads(pickle.dumps(source))
    assert copy._dataset is not source._dataset
    assert np.array_equal(copy.read(10, 20), source.read(10, 20))
    assert copy.fingerprint == source.fingerprint
    with multiprocessing.get_context("spawn").Pool(1) as fresh:  # it gets this process's path
        assert all_equal(fresh.apply(read_there, (source, 3, 6))[0], source.read(3, 6))


def test_a_dataset_made_again_that_is_another_is_told(tmp_path, monkeypatch):
    (tmp_path / "unsteady_data.py").write_text(MODULE.replace("default_rng(0)", "default_rng()"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unsteady_data", raising=False)
    copy = pickle.loads(pickle.dumps(open_examples("python:unsteady_data:dataset")))
    with pytest.raises(errors.ExamplesMismatch, match="item 4 of Data is not what it was"):
        copy.read(4, 5)


def test_tensors_in_memory_are_sent_with_the_dataset():
    pixels = torch.arange(20 * 3 * 8 * 8, dtype=torch.uint8).view(20, 3, 8, 8)
    source = DatasetExamples(
        torch.utils.data.TensorDataset(pixels, torch.zeros(20, dtype=int)), progress=False
    )
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(0, 20), source.read(0, 20))


class Threaded:
    """A source whose images tell in how many threads it would decode them."""

    threads = 8

    def read(self, start, stop):
        return np.full((stop - start, 2, 2), self.threads)


def test_a_worker_decodes_in_one_thread():
    source = Threaded()
    for workers, threads in ((0, 8), (1, 1)):
        with read_ahead(Reading(source, (np.asarray,)), [(0, 3)], workers) as batches:
            ((span, (images,)),) = batches
        assert (span, images.tolist()) == ((0, 3), [[[threads] * 2] * 2] * 3)
    assert source.threads == 8
