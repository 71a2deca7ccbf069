"""Part 2 of `ingest_speed.py`: many models over JPEG files, in one `infer` and as timm does it.

timm's way is a pass a model: its own dataset, loader and transforms (`create_dataset`, `create_loader`), the
network under `inference_mode`, logits to the host. They are kept in memory and not written, which flatters
it. Both sides load every model from its checkpoint inside the timed part; ours also makes the store.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dissensus as ds
from ingest_images import (
    Checkpoint,
    counted_decodes,
    make_checkpoints,
    make_images,
    open_images,
    preprocessing,
)

OURS, TIMM = "one infer of all models", "timm, a pass a model"
OURS_SCANNING = "one infer of all models, with the first look at the folder"
OURS_ONE = "infer of the first model alone"
NEAR = 1e-3  # of a row's range: logits nearer than that are a tie, which rounding decides
CHECKED = 100  # images on which decodes are counted and predictions must be equal, before any time is taken


@dataclass(frozen=True)
class Case:
    """Models and images of one comparison.

    Attributes
    ----------
    name : str
        In tables.
    architectures : tuple of str
        timm's names, taken in turn.
    side : int
        Pixels of a model's input.
    images : int
        JPEG files.
    of_models : float
        Share of the models asked for that run.
    """

    name: str
    architectures: tuple[str, ...]
    side: int
    images: int
    of_models: float = 1.0


SMALL = Case(
    "small models",
    (
        *("test_byobnet", "test_convnext", "test_convnext2", "test_convnext3", "test_mambaout"),
        *("test_efficientnet_gn", "test_efficientnet_ln", "lcnet_035", "lcnet_050", "lcnet_075"),
        *("mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv3_small_100"),
        *("mnasnet_small", "mobilenetv2_035", "tinynet_e"),
    ),
    side=96,
    images=600,
)
LARGER = Case(
    "larger models", ("resnet18", "resnet14t", "convnext_atto", "regnety_004"), 128, images=96, of_models=0.5
)


@dataclass(frozen=True)
class Setting:
    """How timm's loader is set.

    Attributes
    ----------
    workers : int
        Processes that decode.
    prefetcher : bool
        Whether whole batches are normalised where the model is, as timm's scripts do by default.
    """

    workers: int
    prefetcher: bool

    def __str__(self) -> str:
        return f"{self.workers} workers, {'with' if self.prefetcher else 'without'} prefetcher"


@dataclass(frozen=True)
class Contest:
    """One set of models and images for both sides.

    Attributes
    ----------
    root, images : Path
        A folder to write in, and the folder of images.
    models : list of Checkpoint
        The models.
    side, n_classes, batch_size
        Of inputs, outputs and batches.
    device : torch.device
        For both sides.
    workers : int or None
        Of `infer`; None lets it decide.
    """

    root: Path
    images: Path
    models: list[Checkpoint]
    side: int
    n_classes: int
    batch_size: int
    device: torch.device
    workers: int | None

    def infer(self, models: list[Checkpoint], examples: Any) -> np.ndarray:
        """Run `infer` into a new store; return predictions, (K, N)."""
        place = self.root / "s.zoo"
        shutil.rmtree(place, ignore_errors=True)
        store = ds.create_from(place, examples)
        sources = [model.source(self.side) for model in models]
        options: dict[str, Any] = {"batch_size": self.batch_size, "workers": self.workers, "progress": False}
        report = ds.infer(store, sources, examples, device=self.device, **options)
        if report.failed:
            raise SystemExit(f"infer failed: {report.failed[0]}")
        rows = dict(zip(store.model_ids, store.top1(), strict=True))
        return np.stack([rows[model.model_id] for model in models])

    def loader(self, images: Path, setting: Setting) -> Any:
        """Make timm's loader, as its scripts do."""
        from timm.data import create_dataset, create_loader

        dataset = create_dataset("", root=str(images))
        return create_loader(
            dataset,
            (3, self.side, self.side),
            self.batch_size,
            num_workers=setting.workers,
            use_prefetcher=setting.prefetcher,
            persistent_workers=False,
            pin_memory=self.device.type == "cuda",
            device=self.device,
            **preprocessing(),
        )

    @torch.inference_mode()
    def timm_pass(self, model: Checkpoint, images: Path, setting: Setting) -> np.ndarray:
        """Run one model as timm does; return logits, (N, C)."""
        network = model.build(self.n_classes).to(self.device)
        loader = self.loader(images, setting)
        logits = [network(batch.to(self.device)).cpu() for batch, _ in loader]
        return torch.cat(logits).numpy()

    def timm_passes(self, images: Path, setting: Setting) -> list[np.ndarray]:
        return [self.timm_pass(model, images, setting) for model in self.models]


def compare(root: Path, case: Case, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Compare both sides in turn; the run ends where predictions differ.

    Returns
    -------
    dict
        The case, counts of decodes, timm's settings with the time of a pass, times of all turns in seconds.
    """
    root.mkdir()
    n_classes, n_models = arguments.classes, max(round(case.of_models * arguments.models), 1)
    contest = Contest(
        root,
        make_images(root / "images", case.images, n_classes),
        make_checkpoints(root / "models", case.architectures, n_models, n_classes, case.side),
        case.side,
        n_classes,
        arguments.batch_size,
        device,
        arguments.workers,
    )
    files = list(contest.images.rglob("*.jpg"))
    decodes = check(contest, make_images(root / "checked", min(CHECKED, case.images), n_classes))
    settings = tune(contest, arguments.timm_workers)
    best = min(settings, key=settings.__getitem__)
    times, near_ties, classes = race(contest, best, arguments.peer_repeats)
    return {
        "name": case.name,
        "models": [model.model_id for model in contest.models],
        "side": case.side,
        "images": case.images,
        "image_size": "x".join(map(str, _size(files[0]))),
        "image_bytes": round(float(np.mean([file.stat().st_size for file in files]))),
        "decodes": decodes,
        "timm_pass_s": {str(setting): seconds for setting, seconds in settings.items()},
        "timm": str(best),
        "decoding": decoding_share(contest),
        "times_s": times,
        "near_ties": near_ties,
        "predicted_classes": classes,
    }


def _size(file: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(file) as image:
        return image.size


def check(contest: Contest, images: Path) -> dict[str, int]:
    """Count decodes of both sides over some images, and refuse predictions that differ."""
    examples = open_images(images, contest.n_classes)
    order = contest.loader(images, Setting(0, False)).dataset.filenames()
    if [str(name) for name in order] != list(examples.ids):
        raise SystemExit("timm reads the images in another order")
    with counted_decodes() as ours:  # in this process
        found = replace(contest, workers=0).infer(contest.models, examples)
    with counted_decodes() as theirs:
        logits = contest.timm_passes(images, Setting(0, False))
    require_equal(contest, found, logits, ties=False)
    return {"images": len(examples), OURS: ours[0], TIMM: theirs[0]}


def require_equal(contest: Contest, found: np.ndarray, logits: list[np.ndarray], *, ties: bool = True) -> int:
    """Refuse predictions that differ; return how many near ties were decided otherwise.

    Parameters
    ----------
    found : (K, N) int
        Predictions of `infer`.
    logits : K arrays (N, C)
        timm's.
    ties : bool
        Whether near ties may differ: timm's prefetcher normalises in another order of operations.
    """
    n_ties = 0
    for model, ours, rows in zip(contest.models, found, logits, strict=True):
        differ = np.flatnonzero(rows.argmax(1) != ours)
        gaps = rows[differ].max(1) - rows[differ, ours[differ]]
        if np.any(gaps > NEAR * np.ptp(rows[differ], axis=1)) or (len(differ) and not ties):
            raise SystemExit(f"{model.model_id}: {len(differ)} of {len(rows)} predictions are not timm's")
        n_ties += len(differ)
    return n_ties


def tune(contest: Contest, workers: list[int]) -> dict[Setting, float]:
    """Time a pass of the first model in each setting; one before it is not counted."""
    settings = [Setting(count, prefetcher) for count in workers for prefetcher in (True, False)]
    contest.timm_pass(contest.models[0], contest.images, settings[0])
    return {s: timed(lambda: contest.timm_pass(contest.models[0], contest.images, s))[0] for s in settings}  # noqa: B023


def decoding_share(contest: Contest) -> dict[str, float]:
    """Time of a pass of the first and the last model in this process, and of the loader alone, in seconds."""
    alone = Setting(0, True)
    seconds = {"loader": timed(lambda: sum(1 for _ in contest.loader(contest.images, alone)))[0]}
    for place, model in (("first", contest.models[0]), ("last", contest.models[-1])):
        seconds[place] = timed(lambda: contest.timm_pass(model, contest.images, alone))[0]  # noqa: B023
    return seconds


def race(contest: Contest, setting: Setting, repeats: int) -> tuple[dict[str, list[float]], int, list[int]]:
    """Run all sides in turn, in changing order; return their times, near ties, predicted classes a model."""
    times: dict[str, list[float]] = {name: [] for name in (OURS, OURS_SCANNING, OURS_ONE, TIMM)}
    near_ties, found = 0, np.empty((0, 0), int)
    for turn in range(repeats):
        logits: list[np.ndarray] = []
        for side in (OURS, TIMM) if turn % 2 == 0 else (TIMM, OURS):
            if side == TIMM:
                seconds, logits = timed(lambda: contest.timm_passes(contest.images, setting))
                times[TIMM].append(seconds)
                continue
            scan, examples = timed(lambda: open_images(contest.images, contest.n_classes))
            seconds, found = timed(lambda: contest.infer(contest.models, examples))  # noqa: B023
            times[OURS].append(seconds)
            times[OURS_SCANNING].append(scan + seconds)
            times[OURS_ONE].append(timed(lambda: contest.infer(contest.models[:1], examples))[0])  # noqa: B023
        near_ties = max(near_ties, require_equal(contest, found, logits))
    return times, near_ties, [len(np.unique(row)) for row in found]


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = job()
    return time.perf_counter() - start, result
