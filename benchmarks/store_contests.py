"""Comparisons of writing and reading models (`store_peers.py`, `store_readers.py`), and of predictions."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import dissensus as ds
from contests import FLOOR, OWN, PEER, Comparison, Way, exactly
from store_peers import OURS, WAYS, Data
from store_peers import Way as Written
from store_readers import READ_FLOOR, READERS, Zoo, consume, make_zoo


@dataclass(frozen=True)
class Place:
    """Data, and a folder to write it below."""

    data: Data
    root: Path


def one_model(place: Path, examples: int, classes: int) -> Place:
    return Place(Data.of(examples, classes), place)


def written(way: Written) -> Callable[[Place], Callable[[], Any]]:
    """Set up in a folder of its own; the one before is taken away."""

    def prepare(place: Place) -> Callable[[], Any]:
        for old in place.root.iterdir():
            shutil.rmtree(old)
        os.sync()  # what others left to be written would be waited for by those that sync
        folder = Path(tempfile.mkdtemp(dir=place.root))
        opened = way.prepare(place.data, folder)

        def run() -> tuple[Written, Path, int]:
            way.write(opened, place.data, folder)
            return way, folder, place.data.rows.size

        return run

    return prepare


def read_back(found: tuple[Written, Path, int]) -> bytes:
    """What was written; the floor keeps derived columns behind the rows."""
    way, folder, size = found
    return bytes(np.asarray(way.read(folder)).reshape(-1)[:size].tobytes())


def same_bytes(name: str, found: Any, ours: Any) -> None:
    if found != ours:
        raise AssertionError(f"{name} does not give back what the store does")


def kind_of(name: str) -> str:
    return FLOOR if name.startswith("raw") else OWN if name.startswith(OURS) else PEER


WRITING = Comparison(
    "writing a model",
    "How close to a raw write does the store write a model, and how far ahead of other formats?",
    one_model,
    small={"examples": 60, "classes": 12},
    large={"examples": 50_000, "classes": 1_000},
    ways={
        name: Way(written(WAYS[name]), read_back, kind_of(name), WAYS[name].once, True, WAYS[name].needs)
        for name in sorted(WAYS, key=lambda name: name != OURS)
    },
    equal=same_bytes,
    scaled=tuple({"examples": n, "classes": 1_000} for n in (3_000, 12_000, 50_000)),
)


def some_models(place: Path, models: int, examples: int, classes: int) -> Zoo:
    return make_zoo(place, Data.of(examples, classes), models)


def read_all(open_zoo: Callable[[Zoo], Callable[[], Any]]) -> Callable[[Zoo], Callable[[], int]]:
    def prepare(zoo: Zoo) -> Callable[[], int]:
        blocks = open_zoo(zoo)
        return lambda: consume(blocks())

    return prepare


READING = Comparison(
    "reading all models",
    "How close to raw reads does the store read blocks of all models, and how far ahead of other formats?",
    some_models,
    small={"models": 3, "examples": 90, "classes": 12},
    large={"models": 8, "examples": 50_000, "classes": 1_000},
    ways={
        name: Way(
            read_all(READERS[name]),
            kind=FLOOR if name == READ_FLOOR else OWN if name.startswith(OURS) else PEER,
            fresh=True,
        )
        for name in sorted(READERS, key=lambda name: name != OURS)
    },
    equal=same_bytes,
)


@dataclass(frozen=True)
class Predicted:
    """Predicted classes of all models as a store, as a .npy file and as an array of zarr-python."""

    root: Path

    @property
    def labels(self) -> NDArray[Any]:
        return np.load(self.root / "labels.npy")


def predictions(place: Path, models: int, examples: int, classes: int) -> Predicted:
    """Write them, each format with the integers that the store has; the store's cache is made too."""
    import zarr

    labels, *top1 = np.random.default_rng(0).integers(0, classes, (models + 1, examples), np.int32)
    store = ds.create(place / "s.zoo", labels, classes=[str(c) for c in range(classes)])
    for number, row in enumerate(top1):
        store.add(f"m{number:05d}", predictions=row)
    kept = store.top1()
    np.save(place / "top1.npy", kept)
    np.save(place / "labels.npy", labels.astype(kept.dtype))
    zarr.create_array(place / "z", shape=kept.shape, dtype=kept.dtype)[:] = kept
    return Predicted(place)


def from_store(data: Predicted) -> tuple[NDArray[Any], NDArray[Any]]:
    store = ds.open(data.root / "s.zoo")
    return store.top1(), store.correct()


def from_npy(data: Predicted, mmap_mode: Literal["r"] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    top1 = np.load(data.root / "top1.npy", mmap_mode=mmap_mode)
    return top1, top1 == data.labels


def from_zarr(data: Predicted) -> tuple[NDArray[Any], NDArray[Any]]:
    import zarr

    top1 = np.asarray(zarr.open_array(data.root / "z", mode="r")[:])
    return top1, top1 == data.labels


def asked(way: Callable[[Predicted], Any]) -> Callable[[Predicted], Callable[[], Any]]:
    """Nothing is set up: opening the store or the file is part of the question."""
    return lambda data: partial(way, data)


PREDICTIONS = Comparison(
    "predictions of all models",
    "How long do predicted classes and correctness of all models take from the store's cache, checked "
    "against its models, beside files that nobody checks?",
    predictions,
    small={"models": 9, "examples": 90, "classes": 12},
    large={"models": 500, "examples": 50_000, "classes": 1_000},
    ways={
        "dissensus, from the cache": Way(asked(from_store)),
        "np.load, and labels": Way(asked(from_npy), kind=FLOOR),
        "np.load(mmap_mode='r'), and labels": Way(asked(partial(from_npy, mmap_mode="r")), kind=FLOOR),
        "zarr-python, and labels": Way(asked(from_zarr)),
    },
    equal=exactly,
)
STORAGE = (WRITING, READING, PREDICTIONS)
