"""What the tests of model sources share: images, a small network, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dissensus.ingest import ModelSource, Predictor

CPU = torch.device("cpu")
DISSENSUS = Path(sys.executable).with_name("dissensus")
CLASSES = ["ant", "bee", "cat"]


def network(n_classes=3, channels=3, seed=0):
    """A convolution, its mean over the image, and a linear layer: any size of image goes."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, n_classes),
    ).eval()


def colour(n=3, height=12, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def scaled(images):
    """Colour images in [0, 1], channels first."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255


def run(source, images):
    predictor = source.load(CPU)
    assert isinstance(source, ModelSource)
    assert isinstance(predictor, Predictor)
    return predictor, torch.as_tensor(predictor(predictor.prepare(images)))


def image_folder(path, n=3, classes=CLASSES):
    """Class folders with images of several sizes, grey and colour, JPEG and PNG."""
    for label, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(n):
            image = Image.fromarray(colour(1, 20 + 7 * i, 24, seed=10 * label + i)[0])
            image.convert("L" if i % 2 else "RGB").save(path / name / f"{i}.{'png' if i % 2 else 'jpg'}")
    return path


def ingest(*args, status=0, cwd=None):
    """Run `dissensus ingest`; return what it printed."""
    command = [DISSENSUS, "ingest", *map(str, args)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == status, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done
