"""Any `torch.nn.Module` as a model source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dissensus.errors import ArgumentError, ModelLoadError

from ..data.examples import grey_or_rgb
from .callables import check_kind
from .canonical import text_digest
from .costs import count_outputs, example_of, module_costs
from .digests import describe_callable, module_digest, versions
from .module_predictor import ModulePredictor, TensorBatch
from .outline import Outline, count_module, describe_preparation
from .stated import fit_preprocess, prepared_size

if TYPE_CHECKING:
    from ..data.examples import Images


@dataclass(frozen=True)
class TorchModel:
    """Any torch module as a model source.

    Loading moves the module to the device of the run and sets it to evaluation mode, in place; after its
    round it goes back to where it was.

    Parameters
    ----------
    model_id
        name in the store.
    module
        (B, …) tensor -> (B, C) logits.
    preprocess
        B decoded images (see `ExampleSource.read`) -> (B, …) tensor. By default uint8 images become
        float32 (B, channels, H, W) in [0, 1], and float arrays become float32 as they are. `read_preprocess`
        makes one from timm's terms.
    metadata
        stored with the model.
    weights
        text that stands for the weights in the fingerprint; by default a digest of all parameters and buffers
        and of the plain attributes (numbers, texts, arrays, functions) of every submodule.
    kind
        what the module returns, `"logits"` or `"probabilities"`.

    Raises
    ------
    ArgumentError
        `kind` is neither of the two.

    Examples
    --------
    >>> import torch
    >>> from dissensus.ingest import TorchModel
    >>> TorchModel("linear", torch.nn.Linear(64, 10), metadata={"category": "linear"}).model_id
    'linear'
    """

    model_id: str
    module: nn.Module
    _: KW_ONLY
    preprocess: Callable[[Images], torch.Tensor] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    kind: str = "logits"

    def __post_init__(self) -> None:
        check_kind(self.kind)

    def load(self, device: torch.device) -> ModulePredictor:
        """Move the module to `device` in evaluation mode and take its fingerprint."""
        if not isinstance(self.module, nn.Module):
            raise ModelLoadError(
                f"model {self.model_id!r}: module must be a torch.nn.Module, got "
                f"{type(self.module).__name__}; wrap a function in CallableModel"
            )
        preprocess = fit_preprocess(self.preprocess)
        fingerprint = {
            "architecture": f"{type(self.module).__module__}.{type(self.module).__qualname__}",
            "structure": text_digest(repr(self.module)),
            "weights": self.weights or module_digest(self.module, f"model {self.model_id!r}"),
            "preprocessing": describe_callable(preprocess, self.weights is not None),
        }
        home = _place(self.module)
        try:
            module = self.module.to(device).eval()
        except Exception:  # a part of it may be there
            if home is not None:
                self.module.to(home)
            raise
        size = prepared_size(preprocess)
        metadata = {
            **module_metadata(module, device, size),
            "source": "torch",
            **self.metadata,
        }
        metadata.setdefault("architecture", type(module).__qualname__)
        n_classes = _count_outputs(module, size)  # a wrong number is found before others are loaded
        return ModulePredictor(
            module, device, preprocess, fingerprint, metadata, n_classes, kind=self.kind, home=home
        )

    def outline(self, counted: bool = True) -> Outline:
        """Return what the module in memory tells; counting runs it on one example of the stated size."""
        preprocess = fit_preprocess(self.preprocess)
        size = prepared_size(preprocess)
        with _evaluating(self.module):
            counts = count_module(self.module, size if counted else None)
            n_outputs = _count_outputs(self.module, size if counted else None)
        return Outline(
            self.model_id,
            f"torch {type(self.module).__qualname__}",
            f"torch {type(self.module).__qualname__}",
            input_size=size,
            preparation_text=describe_preparation(preprocess),
            preparation=TensorBatch(preprocess),
            n_outputs=n_outputs,
            **counts,
        )


def _count_outputs(module: nn.Module, size: Sequence[int] | None) -> int | None:
    return None if size is None else count_outputs(module, example_of(module, size))


def _place(module: nn.Module) -> torch.device | None:
    """Return where a module is; None of one without values, which cannot come back."""
    first = next((tensor for tensor in (*module.parameters(), *module.buffers())), None)
    return None if first is None or first.is_meta else first.device


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode for a while."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def images_to_tensor(images: Images) -> torch.Tensor:
    """Return B decoded images as one float32 tensor.

    uint8 becomes [0, 1] with channels first; floats stay as they are.

    Raises
    ------
    ArgumentError
        the images differ in size or mode, so that they make no batch.
    """
    array = stack_images(images)
    tensor = torch.from_numpy(np.require(array, requirements="W"))  # torch refuses read-only arrays
    if tensor.dtype != torch.uint8:
        return tensor.to(torch.float32)
    if tensor.ndim == 3:
        tensor = tensor[:, None]
    elif tensor.ndim == 4:
        tensor = tensor.permute(0, 3, 1, 2).contiguous()
    return tensor.to(torch.float32).div_(255)


def stack_images(images: Images) -> np.ndarray[Any, Any]:
    """Return B decoded images as one array; PIL images must agree in size and mode (grey or RGB)."""
    if isinstance(images, np.ndarray):
        return images
    images = [grey_or_rgb(image) for image in images]
    shapes = sorted({(image.size, image.mode) for image in images})
    if len(shapes) > 1:
        raise ArgumentError(
            f"images differ in size or mode ({shapes[0]} and {shapes[1]}) and make no batch; "
            "pass preprocess=, a function that brings them to one size"
        )
    return np.stack([np.asarray(image) for image in images])


def module_metadata(
    module: nn.Module, device: torch.device, input_size: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return what every torch model records: its costs (see `module_costs`), precision, device, versions."""
    first = next(module.parameters(), None)
    return {
        **module_costs(module, input_size),
        "precision": "float32" if first is None else str(first.dtype).removeprefix("torch."),
        "device": device_name(device),
        **versions("torch"),
    }


def device_name(device: torch.device) -> str:
    """Return the name of a device for metadata."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
