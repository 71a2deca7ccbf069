"""The comparison of `infer` with timm's way: many models over JPEG files, as `ingest_peers.py` has both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contests import Comparison, Way, exactly

BATCH = 64


def contest(place: Path, models: int, images: int, classes: int, side: int) -> Any:
    import torch

    from ingest_images import make_checkpoints, make_images
    from ingest_peers import SMALL, Contest

    files = make_images(place / "images", images, classes)
    checkpoints = make_checkpoints(place / "models", SMALL.architectures, models, classes, side)
    return Contest(place, files, checkpoints, side, classes, BATCH, torch.device("cpu"), None)


def one_infer(given: Any) -> Callable[[], Any]:
    from ingest_images import open_images

    examples = open_images(given.images, given.n_classes)  # a new folder is looked at once
    return lambda: given.infer(given.models, examples)


def timm_passes(given: Any) -> Callable[[], Any]:
    from ingest_peers import Setting

    setting = Setting(0, False)  # its transforms in their own order, so that predictions are the same
    return lambda: given.timm_passes(given.images, setting)


def predictions(logits: Any) -> Any:
    return np.array([rows.argmax(axis=1) for rows in logits])


INFER = Comparison(
    "many models over image files",
    "How much time does one pass over the images save, beside timm's pass a model?",
    contest,
    small={"models": 2, "images": 6, "classes": 5, "side": 64},
    large={"models": 16, "images": 300, "classes": 100, "side": 96},
    ways={
        "one infer, into a store": Way(one_infer, once=True),
        "timm, a pass a model, nothing kept": Way(timm_passes, predictions, once=True, needs="timm"),
    },
    equal=exactly,
)
INGESTION = (INFER,)
