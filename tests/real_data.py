"""Real predictions beside the project: `$DISSENSUS_SHARED/data`, or `../shared/data` from its root."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("ResNet50", "SimCLR", "DINO", "ViT")


def folder(name: str) -> Path:
    """A folder of the real data; skips the test where it is absent."""
    shared = Path(os.environ.get("DISSENSUS_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / name
    if not path.is_dir():
        pytest.skip(
            f"real data {name} not found below {shared}; set DISSENSUS_SHARED to the folder that holds data/"
        )
    return path


def cifar10(test_set: str = "original") -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, predicted classes (30, N) and labels (N,) of CIFAR-10's test set or "v6" (CIFAR-10.1)."""
    path = folder("cifar10-thirty-models")
    files = sorted((path / test_set).glob("*.json"))
    predictions = np.array([json.loads(file.read_text()) for file in files])
    return [file.stem for file in files], predictions, np.load(path / f"{test_set}-labels.npy")


def imagenet() -> tuple[list[str], dict[str, dict[str, int]], dict[str, int]]:
    """Example ids, predicted class by id of each of the four models, and label by id."""
    path = folder("imagenet-val-four-frameworks")
    labels = _column(path / "labels.csv", "label")
    return sorted(labels), {m: _column(path / f"{m}.csv", "predicted_class") for m in FRAMEWORKS}, labels


def imagenet_real() -> dict[str, list[int]]:
    """ReaL's right classes by example id, none where an image is not to be counted."""
    path = folder("imagenet-val-four-frameworks")
    sets = json.loads((path / "real-labels.jsonl").read_text())
    return dict(zip(sorted(_column(path / "labels.csv", "label")), sets, strict=True))


def _column(path: Path, name: str) -> dict[str, int]:
    with path.open(newline="") as file:
        return {row["file_name"]: int(row[name]) for row in csv.DictReader(file)}
