"""The predictor that all torch models share: a module on its device, and what makes its batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dissensus.errors import ArgumentError

from ..data.examples import own_copy
from .checkpoints import one_line
from .execution import Execution
from .stated import EXAMPLE

if TYPE_CHECKING:
    from ..data.examples import Images

_REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)
_OF_SHAPE = re.compile(r"channel|shape|size|dimension|height|width|match", re.IGNORECASE)


@dataclass(frozen=True)
class TensorBatch:
    """Decoded images -> one tensor on the host.

    Attributes
    ----------
    preprocess
        What brings the images into shape.
    """

    preprocess: Callable[[Images], Any]

    def __call__(self, images: Images) -> torch.Tensor:
        """Return the batch of these images."""
        batch = self.preprocess(own_copy(images))  # torch refuses read-only arrays
        if isinstance(batch, np.ndarray):
            return torch.from_numpy(np.require(batch, requirements="W"))
        tensor: torch.Tensor = batch
        return tensor


@dataclass(frozen=True)
class ModulePredictor:
    """A module in evaluation mode on its device, with its preprocessing.

    Parameters
    ----------
    module
        in evaluation mode, on `device`; takes a (B, …) tensor, returns (B, C).
    device
        where batches are moved to.
    preprocess
        B decoded images -> (B, …) tensor on the host.
    fingerprint, metadata, n_classes, kind
        see `Predictor`.
    execution
        precision and layout.
    class_names
        what the model itself calls its outputs, in their order, where it tells.
    home
        device to which a module that somebody else keeps goes back after its round.
    """

    module: Callable[[torch.Tensor], Any]
    device: torch.device
    preprocess: Callable[[Images], torch.Tensor]
    fingerprint: Mapping[str, str]
    metadata: Mapping[str, Any]
    n_classes: int | None = None
    kind: str = "logits"
    class_names: Sequence[str] | None = None
    execution: Execution = field(default_factory=Execution)
    home: torch.device | None = None

    def leave(self) -> None:
        """Give the device back the memory of a module that is kept: the next round needs it."""
        if self.home not in (None, self.device) and isinstance(self.module, nn.Module):
            self.module.to(self.home)

    @property
    def preparation(self) -> TensorBatch:
        """What makes batches of images; equal for models with the same preprocessing."""
        return TensorBatch(self.preprocess)

    def prepare(self, images: Images) -> torch.Tensor:
        """Return the preprocessed batch as a tensor on the host."""
        return self.preparation(images)

    def executed(self, execution: Execution) -> ModulePredictor:
        """Return the same model, executed in another way."""
        return replace(self, module=execution.arrange(self.module), execution=execution)

    def __call__(self, batch: torch.Tensor) -> Any:
        """Return the module's output for a prepared batch, without autograd.

        Raises
        ------
        ArgumentError
            The module does not take a batch of this shape; both it and the module's own words are told.
        """
        try:
            with torch.inference_mode(), self.execution.casting(self.device):
                return self.module(self.execution.arrange_batch(batch.to(self.device, non_blocking=True)))
        except _REFUSALS as error:
            if isinstance(error, torch.OutOfMemoryError) or not _OF_SHAPE.search(str(error)):
                raise
            raise ArgumentError(
                f"the model failed on a batch of shape {tuple(batch.shape)}{_first_layer(self.module)}: "
                f"{_reason(error)}; if it takes another number of channels or "
                f"another size, say so with preprocess=, as --preprocess '{EXAMPLE}'"
            ) from error


def _reason(error: Exception) -> str:
    """Return what went wrong on one line; of TorchScript's long text the last line, which has the cause."""
    lines = str(error).strip().splitlines()
    if "TorchScript interpreter" in (lines or [""])[0]:
        return one_line(RuntimeError(lines[-1]))
    return f"{type(error).__name__}: {one_line(error)}"


def _first_layer(module: object) -> str:
    """Return what the first convolution takes, for messages."""
    layers = module.modules() if isinstance(module, nn.Module) else ()
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    return "" if first is None else f" (its first convolution takes {first.in_channels} channels)"
