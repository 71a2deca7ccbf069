"""Part 1 of `ingest_speed.py`: the same model over the same images, from the bare model to the store.

Four rungs run in turn, the two that the question is about in every turn, the others in every third. Each does
what the one before it does, and more:

- the model alone, on one batch that lies on the device;
- a bare loop: images are read and prepared ahead of the model as `infer` does it, logits go to the host, and
  nothing is kept of them;
- `infer`, whose writer takes the encoded rows and drops them: no checksum, no file, no sync, no commit;
- `infer` into a store.

Images are uint8 arrays in memory: nothing is decoded. The model is loaded before, for all of them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import dissensus as ds
from dissensus.ingest import ArrayExamples, StatedPreprocess, TorchModel
from dissensus.ingest.streaming.batches import Reading, read_ahead, spans_of
from dissensus.ingest.streaming.devices import lane_of
from dissensus.ingest.streaming.overlap import Backlog
from dissensus.ingest.zoo.execution import Execution
from ingest_images import MEAN, STD, random_network

ALONE = "the model alone, on resident tensors"
BARE = "bare loop, logits to the host"
DROPPED = "infer, rows encoded and dropped"
STORED = "infer into the store"
TINY = "one convolution and a classifier"


@dataclass(frozen=True)
class Case:
    """A model and the images it runs over.

    Attributes
    ----------
    architecture : str
        timm's name, or `TINY`.
    side : int
        Pixels of an image.
    examples : int
        Images, rounded up to whole batches.
    """

    architecture: str
    side: int
    examples: int


CASES = {
    "cpu": (Case("resnet10t", 112, 640), Case("mobilenetv3_small_100", 64, 2_048), Case(TINY, 64, 16_384)),
    "cuda": (
        Case("resnet50", 224, 16_384),
        Case("resnet10t", 112, 65_536),
        Case(TINY, 64, 131_072),
    ),
}
OTHERS_EVERY = 3  # turns
EXECUTIONS = {"cpu": Execution(), "cuda": Execution("bfloat16", channels_last=True)}


@dataclass(frozen=True)
class Loaded:
    """A model source whose model is loaded already, so that loading is in no time."""

    model_id: str
    predictor: Any
    metadata: Mapping[str, Any]

    def load(self, device: torch.device) -> Any:
        return self.predictor


class Dropping:
    """A store of which everything is real but the writers."""

    def __init__(self, store: ds.Store) -> None:
        self._store = store
        self.dropped: list[np.ndarray] = []  # predictions, by which the rows are known to have come

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def writer(self, model_id: str, **_: Any) -> DroppingWriter:
        return DroppingWriter(self.dropped)


class DroppingWriter:
    """What the loop needs of a writer."""

    position = 0

    def __init__(self, dropped: list[np.ndarray]) -> None:
        self._dropped = dropped

    def append(self, rows: Any, **_: Any) -> None:
        self._dropped.append(rows.top1)

    def describe(self, **_: Any) -> None:
        """Keep nothing."""

    def __enter__(self) -> DroppingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Commit nothing."""


class Rungs:
    """One case, set up: each rung is a method that returns seconds.

    Parameters
    ----------
    root : Path
        Folder for the stores.
    case : Case
        Model and images.
    n_classes, batch_size : int
        Of the outputs and the batches.
    device : torch.device
        Where the model runs.
    """

    def __init__(self, root: Path, case: Case, n_classes: int, batch_size: int, device: torch.device) -> None:
        self._place, self._batch_size, self._device = root / "s.zoo", batch_size, device
        self._execution, self._lane = EXECUTIONS[device.type], lane_of(device)
        side = (3, case.side, case.side)
        self.n = -(-case.examples // batch_size) * batch_size
        self._examples = images_in_memory(self.n, case.side, n_classes)
        network = tiny_network(n_classes) if case.architecture == TINY else timm_network(case, n_classes)
        source = TorchModel("m", network, preprocess=StatedPreprocess(side, mean=MEAN, std=STD))
        predictor = source.load(device)
        self._source = Loaded("m", predictor, {})
        self._predictor = predictor.executed(self._execution)
        self._resident = torch.randn(batch_size, *side).to(device)
        self.busy_s = 0.0  # of the last `infer`, by its own clock on the device

    def alone(self) -> float:
        """Run the model on a batch that is there, as often as the images have batches."""
        start = time.perf_counter()
        for _ in range(self.n // self._batch_size):
            self._predictor(self._resident)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def bare(self, take: Callable[[np.ndarray], Any] = len) -> float:
        """Run the loop that keeps nothing; `take` is given each batch of float32 logits on the host."""
        start = time.perf_counter()
        reading = Reading(self._examples, (self._predictor.preparation,))
        spans = spans_of(0, self.n, self._batch_size)
        with (
            read_ahead(reading, spans, pinned=self._lane.pins) as batches,
            Backlog[Callable[[], Any]](lambda rows: take(rows()[0]), 2) as backlog,
        ):
            for _, (batch,) in batches:
                logits = self._predictor(self._lane.upload(batch)).float()
                backlog.put(self._lane.download([logits]))
        return time.perf_counter() - start

    def dropped(self) -> float:
        """Run `infer` with writers that write nothing."""
        return self._infer(Dropping(self._new_store()))

    def stored(self) -> float:
        """Run `infer`."""
        return self._infer(self._new_store())

    def _new_store(self) -> ds.Store:
        shutil.rmtree(self._place, ignore_errors=True)
        store = ds.create_from(self._place, self._examples)
        assert len(store.example_ids) == self.n  # read once a store, not once a model
        return store

    def _infer(self, store: Any) -> float:
        options: dict[str, Any] = {"batch_size": self._batch_size, "device": self._device, "progress": False}
        how = {"precision": self._execution.precision, "channels_last": self._execution.channels_last}
        start = time.perf_counter()
        (row,) = ds.infer(store, self._source, self._examples, **options, **how).rows
        seconds = time.perf_counter() - start
        if row.status != "done":
            raise SystemExit(f"infer failed: {row}")
        self.busy_s = self.n / row.examples_per_s
        return seconds

    def check(self) -> int:
        """Refuse rungs whose predictions differ; return how many classes were predicted."""
        found: list[np.ndarray] = []
        self.bare(lambda logits: found.append(logits.argmax(1)))
        dropping = Dropping(self._new_store())
        self._infer(dropping)
        self.stored()
        stored = ds.open(self._place).top1()[0]
        for name, parts in ((BARE, found), (DROPPED, dropping.dropped)):
            if not np.array_equal(np.concatenate(parts), stored):
                raise SystemExit(f"{name}: predictions are not those of the store")
        return len(np.unique(stored))


def images_in_memory(n: int, side: int, n_classes: int) -> ArrayExamples:
    """Blurred noise, grey or not: pixels that a network tells apart."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, side // 8, side // 8, 3), np.uint8)
    images = coarse.repeat(8, 1).repeat(8, 2)
    names = [str(number) for number in range(n_classes)]
    examples = ArrayExamples(images, np.arange(n) % n_classes, classes=names)
    assert examples.fingerprint  # computed once
    return examples


def timm_network(case: Case, n_classes: int) -> nn.Module:
    network: nn.Module = random_network(case.architecture, n_classes, case.side, seed=0)
    return network


def tiny_network(n_classes: int) -> nn.Module:
    """Return a network that costs less than preparing its images."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 8, stride=8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, n_classes),
    )


def climb(root: Path, case: Case, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Time the rungs in turn, in changing order, after their predictions were found equal.

    Returns
    -------
    dict
        The case, and seconds of all turns by rung, of all images and of one batch; `busy` is the model's
        share of the time of `infer`.
    """
    root.mkdir()
    rungs = Rungs(root, case, arguments.classes, arguments.batch_size, device)
    classes = rungs.check()
    short = Rungs(root, replace(case, examples=1), arguments.classes, arguments.batch_size, device)
    for job in (rungs.alone, short.bare, short.stored):  # once, so that what is made at a first call is there
        job()
    jobs = {ALONE: rungs.alone, BARE: rungs.bare, DROPPED: rungs.dropped, STORED: rungs.stored}
    turns: list[dict[str, float]] = []
    one_batch: dict[str, list[float]] = {BARE: [], STORED: []}
    busy = []
    for turn in range(arguments.repeats):
        names = order_of(turn)
        turns.append({name: jobs[name]() for name in names})
        busy.append(rungs.busy_s / turns[-1][STORED])
        one_batch[BARE].append(short.bare())
        one_batch[STORED].append(short.stored())
    return {
        "architecture": case.architecture,
        "side": case.side,
        "examples": rungs.n,
        "predicted_classes": classes,
        "turns": turns,
        "times_s": {name: [turn[name] for turn in turns if name in turn] for name in jobs},
        "one_batch_s": one_batch,
        "busy": busy,
    }


def order_of(turn: int) -> list[str]:
    """Rungs of a turn; the two that are compared are neighbours, and come first in turn."""
    pair = [BARE, STORED] if turn % 2 else [STORED, BARE]
    return pair if turn % OTHERS_EVERY else [DROPPED, *pair, ALONE]
