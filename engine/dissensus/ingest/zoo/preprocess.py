"""timm's evaluation transform on batches: resized in threads, scaled and normalised as a whole."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from dissensus.errors import ArgumentError

from ..data.examples import eight_bits
from .timm_sources import DATA_KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ..data.examples import Images

_MAX_THREADS = 8
_NO_CROP_MODES = ("center", "squash")  # the modes in which timm leaves an image of the right size alone


class TimmPreprocess:
    """timm's own evaluation transform (`create_transform`) for whole batches.

    Grey images given to a colour model are repeated over the channels, colour images given to a one-channel
    model become grey as PIL does it.

    Parameters
    ----------
    config
        What `timm.data.resolve_model_data_config` says, see `data_config`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        from timm.data import create_transform

        self.config = dict(config)
        self._channels, *self._size = config["input_size"]
        self._transform = create_transform(**config, normalize=False)
        self._mean = torch.tensor(config["mean"]).view(-1, 1, 1)
        self._std = torch.tensor(config["std"]).view(-1, 1, 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimmPreprocess) and self.config == other.config

    def __hash__(self) -> int:
        return hash(self.describe())

    def describe(self) -> str:
        """Return the configuration as canonical JSON, for fingerprints."""
        return json.dumps({key: self.config[key] for key in DATA_KEYS}, sort_keys=True)

    def __call__(self, images: Images) -> torch.Tensor:
        """Return B decoded images as one (B, channels, H, W) float32 tensor."""
        if isinstance(images, np.ndarray):
            self._check(images)
            if self.only_normalises(images):
                pixels = torch.from_numpy(np.array(images))
                return self._normalised(pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2))
            images = [Image.fromarray(image) for image in images]
        with ThreadPoolExecutor(_threads()) as pool:  # Pillow lets go of the interpreter while it resizes
            return self._normalised(torch.stack(list(pool.map(self._pixels, images))))

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        """Return one image, resized and cropped, as (channels, H, W) uint8."""
        pixels: torch.Tensor = self._transform(
            eight_bits(image).convert("L" if self._channels == 1 else "RGB")
        )
        return pixels

    def only_normalises(self, images: NDArray[Any]) -> bool:
        """Whether these images need neither resizing, nor cropping, nor a change from colour to grey."""
        colour_to_grey = images.ndim == 4 and self._channels == 1
        same_size = list(images.shape[1:3]) == list(self._size)
        whole = self.config["crop_pct"] == 1.0 and self.config["crop_mode"] in _NO_CROP_MODES
        return same_size and whole and not colour_to_grey

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        # The same float32 operations in the same order as ToTensor and Normalize: equal to the last bit.
        tensor = pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        if tensor.shape[1] != self._channels:
            tensor = tensor.repeat(1, self._channels, 1, 1)
        return tensor.sub_(self._mean).div_(self._std)

    def _check(self, images: NDArray[Any]) -> None:
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ArgumentError(
                f"timm models take uint8 images (n, H, W) or (n, H, W, 3), got {images.dtype} of shape "
                f"{images.shape}; scale the array to 0 … 255, or use TorchModel with a preprocess of your own"
            )


def _threads() -> int:
    """One in a process that decodes, which has others beside it: ours and torch's are daemons."""
    return 1 if multiprocessing.current_process().daemon else min(_MAX_THREADS, os.cpu_count() or 1)


def data_config(model: nn.Module, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return timm's data configuration of a model, mean and std brought to its number of channels.

    Parameters
    ----------
    model
        A timm model; `pretrained_cfg` tells its preprocessing.
    overrides
        `input_size`, `mean`, `std`, `crop_pct`, `crop_mode`, `interpolation` to use instead.
    """
    from timm.data import resolve_model_data_config

    config: dict[str, Any] = {**resolve_model_data_config(model), **overrides}
    channels = int(getattr(model, "in_chans", None) or config["input_size"][0])
    config["input_size"] = (channels, *config["input_size"][1:])
    for key in ("mean", "std"):
        values = tuple(float(value) for value in config[key])
        if len(values) != channels:  # as timm's own scripts do for grey models of colour recipes
            values = (sum(values) / len(values),) * channels
        config[key] = values
    config["crop_pct"] = float(config["crop_pct"])
    return config
