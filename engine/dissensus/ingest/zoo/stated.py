"""Preprocessing as the user states it, or as the input size of a model asks for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np

from dissensus.errors import ArgumentError, UnknownName

from ..data.examples import eight_bits

if TYPE_CHECKING:
    import torch

    from ..data.examples import Images
    from .preprocess import TimmPreprocess

InputSize: TypeAlias = "tuple[int | None, int | None, int | None]"
UNKNOWN: InputSize = (None, None, None)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
EXAMPLE = '{"input_size": [3, 224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'


@dataclass(frozen=True)
class StatedPreprocess:
    """timm's evaluation transform with a stated configuration; the keys are those of timm's data configs.

    Parameters
    ----------
    input_size
        (channels, height, width); None takes the size that the model states.
    mean, std
        What pixels in [0, 1] are normalised with, one a channel or one for all.
    interpolation
        Of resizing.
    crop_pct
        Part of the resized image's side that the central crop keeps.
    crop_mode
        "center" (resize the shorter side, cut the rest off), "squash" (resize both sides) or "border".

    Raises
    ------
    ArgumentError, UnknownName
        An entry breaks its rule.

    Examples
    --------
    >>> from dissensus.ingest import StatedPreprocess
    >>> StatedPreprocess((3, 224, 224), mean=(0.5,), std=(0.5,)).crop_mode
    'center'
    """

    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if self.input_size is not None:
            object.__setattr__(self, "input_size", _size(self.input_size))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _per_channel(name, getattr(self, name), self.input_size))
        if min(self.std) <= 0:
            raise ArgumentError(f"std must be above 0, got {list(self.std)}")
        for name, known in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES)):
            if getattr(self, name) not in known:
                raise UnknownName.of(f"{name} of preprocess", str(getattr(self, name)), known)
        if not (_is_number(self.crop_pct) and 0 < self.crop_pct <= 1):
            raise ArgumentError(f"crop_pct must be above 0 and at most 1, got {self.crop_pct!r}")

    @cached_property
    def _timm(self) -> TimmPreprocess:
        from .preprocess import TimmPreprocess

        if self.input_size is None:
            raise ArgumentError(f"preprocess must state input_size, [channels, height, width], as {EXAMPLE}")
        channels = self.input_size[0]
        spread = {name: _spread(getattr(self, name), channels) for name in ("mean", "std")}
        return TimmPreprocess({field.name: getattr(self, field.name) for field in fields(self)} | spread)

    def __call__(self, images: Images) -> torch.Tensor:
        """Return B decoded images as one (B, channels, H, W) float32 tensor."""
        return self._timm(images)


@dataclass(frozen=True)
class FittedPreprocess:
    """Pixels in [0, 1], brought to the size a model states: what is None stays as the images have it.

    Float arrays stay as they are. Images of another size are resized on their shorter side and cut at the
    centre, as `StatedPreprocess` does by default.

    Parameters
    ----------
    size
        (channels, height, width).
    """

    size: InputSize

    def __call__(self, images: Images) -> torch.Tensor:
        """Return B decoded images as one (B, channels, H, W) float32 tensor."""
        from .torch_models import images_to_tensor

        channels, height, width = self.size
        if isinstance(images, np.ndarray) and images.dtype != np.uint8:
            return images_to_tensor(images)
        if channels in (1, 3) and height is not None and width is not None:
            return StatedPreprocess((channels, height, width))(images)
        return images_to_tensor(_in_colours(images, channels))


def _in_colours(images: Images, channels: int | None) -> Images:
    """Return images as grey or colour ones where that is what the model takes."""
    if channels not in (1, 3):
        return images
    if isinstance(images, np.ndarray) and (images.ndim == 4) == (channels == 3):
        return images
    from PIL import Image

    pictures = [Image.fromarray(i) for i in images] if isinstance(images, np.ndarray) else images
    return [eight_bits(picture).convert("L" if channels == 1 else "RGB") for picture in pictures]


def read_preprocess(given: str | os.PathLike[str] | Mapping[str, Any]) -> StatedPreprocess:
    """Return the preprocessing that a JSON file, a JSON text or a mapping states.

    Parameters
    ----------
    given
        Keys of timm's data configs: `input_size`, `mean`, `std`, `interpolation`, `crop_pct`, `crop_mode`.

    Raises
    ------
    ArgumentError, UnknownName
        It is no JSON object, a key is unknown, or a value breaks its rule.

    Examples
    --------
    >>> from dissensus.ingest import read_preprocess
    >>> read_preprocess('{"input_size": [1, 28, 28], "mean": [0.5], "std": [0.25]}').input_size
    (1, 28, 28)
    """
    config = given if isinstance(given, Mapping) else _read(given)
    known = [field.name for field in fields(StatedPreprocess)]
    for key in config:
        if key not in known:
            raise UnknownName.of("entry of preprocess", str(key), known)
    return StatedPreprocess(**config)


def fit_preprocess(
    preprocess: Callable[[Images], Any] | None, size: InputSize = UNKNOWN
) -> Callable[[Images], Any]:
    """Return the preprocessing of a model that takes `size`: the user's, or the default.

    Raises
    ------
    ArgumentError
        The user states another size than the model takes, or neither states one.
    """
    from .torch_models import images_to_tensor

    if preprocess is None:
        return images_to_tensor if size == UNKNOWN else FittedPreprocess(size)
    if not isinstance(preprocess, StatedPreprocess):
        return preprocess
    if preprocess.input_size is None:
        if not is_whole(size):
            raise ArgumentError(
                "the model does not tell its input size: preprocess must state input_size, as "
                f"--preprocess '{EXAMPLE}'"
            )
        return replace(preprocess, input_size=size)
    if any(wanted not in (None, own) for wanted, own in zip(size, preprocess.input_size, strict=True)):
        raise ArgumentError(
            f"the model takes input of {told(size)} (channels x height x width), preprocess states "
            f"{told(preprocess.input_size)}; correct input_size of --preprocess, or leave it out"
        )
    return preprocess


def prepared_size(preprocess: object) -> tuple[int, int, int] | None:
    """Return the (channels, height, width) that a preprocessing makes, None where images keep their own."""
    if isinstance(preprocess, StatedPreprocess):
        return preprocess.input_size
    return preprocess.size if isinstance(preprocess, FittedPreprocess) and is_whole(preprocess.size) else None


def is_whole(size: InputSize) -> TypeGuard[tuple[int, int, int]]:
    """Whether no entry of a size is open."""
    return None not in size


def told(size: Sequence[int | None]) -> str:
    """Return a size for messages; what is open is "any"."""
    return "x".join("any" if n is None else str(n) for n in size)


def _read(given: str | os.PathLike[str]) -> dict[str, Any]:
    text = str(given)
    inline = text.lstrip().startswith("{")
    try:
        config = json.loads(text if inline else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(
            f"preprocess must be a JSON file or JSON such as {EXAMPLE}; {text}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ArgumentError(
            f"preprocess {text:.80} is not valid JSON ({error}); expected {EXAMPLE}"
        ) from error
    if not isinstance(config, dict):
        raise ArgumentError(f"preprocess must be a JSON object such as {EXAMPLE}, got {config!r:.80}")
    return config


def _size(value: Any) -> tuple[int, int, int]:
    entries = tuple(value) if isinstance(value, list | tuple) else ()
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in entries)
    if len(entries) != 3 or not whole or entries[0] not in (1, 3):
        raise ArgumentError(
            f"input_size must be [channels, height, width] with 1 or 3 channels, got {value!r:.60}"
        )
    return (entries[0], entries[1], entries[2])


def _per_channel(name: str, value: Any, size: tuple[int, int, int] | None) -> tuple[float, ...]:
    entries = tuple(value) if isinstance(value, list | tuple) else (value,)
    lengths = (1, 3) if size is None else (1, size[0])
    if not all(map(_is_number, entries)) or len(entries) not in lengths:
        raise ArgumentError(
            f"{name} must be one number, or one for each of {lengths[-1]} channels, got {value!r:.60}"
        )
    return tuple(map(float, entries))


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise ArgumentError(f"mean and std must have one entry for each of {channels} channels, got {values}")
    return values * channels if len(values) == 1 else values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
