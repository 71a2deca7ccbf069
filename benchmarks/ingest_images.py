"""The images and models that `ingest_peers.py` gives to `infer` and to timm: JPEG files and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image, ImageDraw, ImageFile

from dissensus.ingest import ImageFolder, TimmModel

SIZE = (500, 375)  # the commonest size of ImageNet's photographs, which have 110 kB on average
QUALITY = 90
NOISE = 0.4  # so that files have about that many bytes
SHAPES = 12
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP_PCT, INTERPOLATION = 0.875, "bicubic"
CALIBRATION = 32  # images by which a network's normalisation learns what it is given


@dataclass(frozen=True)
class Checkpoint:
    """A timm model with random weights, on disk.

    Attributes
    ----------
    architecture : str
        timm's name.
    path : Path
        Its weights.
    """

    architecture: str
    path: Path

    @property
    def model_id(self) -> str:
        return self.path.stem

    def source(self, side: int) -> TimmModel:
        """Return it as a model source with the preprocessing that all share."""
        config = {"input_size": (3, side, side), **preprocessing()}
        return TimmModel(self.architecture, checkpoint=self.path, model_id=self.model_id, data_config=config)

    def build(self, n_classes: int) -> Any:
        """Return the network, as timm's own scripts build it."""
        import timm

        return timm.create_model(
            self.architecture, num_classes=n_classes, checkpoint_path=str(self.path)
        ).eval()


def preprocessing() -> dict[str, Any]:
    """What timm's `create_transform` and `create_loader` are told, beside the size."""
    return {"mean": MEAN, "std": STD, "crop_pct": CROP_PCT, "interpolation": INTERPOLATION}


def class_names(n_classes: int) -> list[str]:
    return [f"{number:04d}" for number in range(n_classes)]


def make_images(root: Path, n_images: int, n_classes: int) -> Path:
    """Write JPEG files into class folders; the same ones whenever it is called."""
    rng = np.random.default_rng(0)
    for number, label in zip(range(n_images), _cycle(class_names(n_classes)), strict=False):
        (root / label).mkdir(parents=True, exist_ok=True)
        picture(rng).save(root / label / f"{number:06d}.jpg", quality=QUALITY)
    return root


def _cycle(names: Sequence[str]) -> Iterator[str]:
    return (names[number % len(names)] for number in count())


def picture(rng: np.random.Generator) -> Image.Image:
    """Draw shapes on a smooth background, under noise: a file of it is about as large as a photograph's."""
    width, height = SIZE
    image = _stretched(rng, 8, 6)
    pen = ImageDraw.Draw(image)
    for _ in range(SHAPES):
        x, y, radius = (int(rng.integers(low, high)) for low, high in ((0, width), (0, height), (8, 90)))
        draw = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        draw((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng))
    return Image.blend(image, _stretched(rng, width // 2, height // 2), NOISE)


def _stretched(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    return noise.resize(SIZE, Image.Resampling.BICUBIC)


def _colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(value) for value in rng.integers(0, 256, 3))


def open_images(root: Path, n_classes: int) -> ImageFolder:
    return ImageFolder(root, classes=class_names(n_classes), progress=False)


def make_checkpoints(
    folder: Path, architectures: Sequence[str], n_models: int, n_classes: int, side: int
) -> list[Checkpoint]:
    """Save networks with random weights, in turn of these architectures, each of its own seed."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for seed, architecture in zip(range(n_models), _cycle(architectures), strict=False):
        path = folder / f"{architecture}__{seed:02d}.safetensors"
        state = random_network(architecture, n_classes, side, seed).state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, path)
        made.append(Checkpoint(architecture, path))
    return made


def random_network(architecture: str, n_classes: int, side: int, seed: int) -> Any:
    """Return a timm network with random weights that tells images apart.

    Its normalisation is given the statistics of some images; with those that it begins with, what an image
    has in it is lost after some layers, and every image would be of the same class.
    """
    import timm
    import torch
    from torch import nn

    torch.manual_seed(seed)
    network = timm.create_model(architecture, num_classes=n_classes).train()
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        network(
            torch.rand(CALIBRATION, 3, side // 8, side // 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
        )
    return network.eval()


@contextmanager
def counted_decodes() -> Iterator[list[int]]:
    """Count how often Pillow decodes an image in this process; the list has the number afterwards."""
    found, numbers, decode = list[int](), count(), ImageFile.ImageFile.load_prepare

    def load_prepare(image: ImageFile.ImageFile) -> None:
        next(numbers)  # one step, in threads too
        decode(image)

    with mock.patch.object(ImageFile.ImageFile, "load_prepare", load_prepare):
        yield found
    found.append(next(numbers))
