"""Image classifiers of Hugging Face transformers as model sources."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dissensus.errors import ArgumentError, DissensusError, MissingDependency, ModelLoadError

from ..data.examples import eight_bits
from .canonical import canonical_text, text_digest
from .checkpoints import one_line
from .digests import describe_callable, state_digest, versions
from .module_predictor import ModulePredictor
from .stated import EXAMPLE, fit_preprocess, prepared_size
from .torch_models import module_metadata

if TYPE_CHECKING:
    from ..data.examples import Images
    from .outline import Outline

_VOLATILE = ("transformers_version", "_name_or_path", "id2label", "label2id", "dtype", "torch_dtype")
_TRIED = ((96, 96), (128, 80))  # sizes of images that tell whether a processor has a size of its own


@dataclass(frozen=True)
class HfModel:
    """An image classifier saved by transformers, with its own image processor.

    Parameters
    ----------
    name
        folder of `save_pretrained` (config.json, weights, preprocessor_config.json), or a name on the hub,
        which needs a network or its cache.
    model_id
        name in the store; by default the folder's, or the name on the hub.
    preprocess
        B decoded images -> (B, channels, H, W), see `read_preprocess`, instead of the model's own processor.
    metadata
        stored with the model.
    """

    name: str | Path
    _: KW_ONLY
    model_id: str = ""
    preprocess: Callable[[Images], Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path, text = Path(self.name), str(self.name)
        if not path.is_dir() and (text.count("/") > 1 or text[:1] in ("/", ".", "~", "")):
            raise ArgumentError(f"no such model folder: {self.name!r}")
        if not self.model_id:
            object.__setattr__(self, "model_id", path.resolve().name if path.is_dir() else text)

    def load(self, device: torch.device) -> ModulePredictor:
        """Load model and processor, and move the model to `device`.

        Raises
        ------
        MissingDependency
            transformers is not installed.
        ModelLoadError
            The folder lacks something, or weights are missing and would be random.
        """
        model, processor = _load(self)
        channels = int(getattr(model.config, "num_channels", None) or 3)
        own = fit_preprocess(self.preprocess)
        preprocess = HfPreprocess(type(processor), _config_text(processor), channels) if processor else own
        logits = Logits(model.to(device))
        metadata = {
            "source": "hf",
            "architecture": type(model).__name__,
            "family": model.config.model_type,
            **module_metadata(logits, device, _size(preprocess)),
            **versions("transformers"),
            **self.metadata,
        }
        config = {k: v for k, v in model.config.to_dict().items() if k not in _VOLATILE}
        fingerprint = {
            "architecture": type(model).__name__,
            "config": text_digest(canonical_text(config)),
            "weights": state_digest(model.state_dict()),
            "preprocessing": describe_callable(preprocess),
        }
        names = _class_names(model.config)
        n_classes = int(model.config.num_labels)
        return ModulePredictor(
            logits, device, preprocess, fingerprint, metadata, n_classes, class_names=names
        )

    def outline(self, counted: bool = True) -> Outline:
        """Return what a folder's configurations tell, without transformers; nothing of a name on the hub."""
        from .hf_outline import outline_hf

        return outline_hf(self)


class Logits(nn.Module):
    """A model of transformers that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (B, C) logits."""
        logits: torch.Tensor = self.model(pixel_values=batch.to(next(self.model.parameters()).dtype)).logits
        return logits


@dataclass(frozen=True)
class HfPreprocess:
    """An image processor of transformers, for whole batches.

    Parameters
    ----------
    kind
        Class of the processor.
    config
        Its settings as canonical JSON.
    channels
        Of the model: grey images are repeated for 3, colour images become grey for 1.
    """

    kind: type
    config: str
    channels: int

    @cached_property
    def _processor(self) -> Any:
        return self.kind.from_dict(json.loads(self.config))  # type: ignore[attr-defined]

    def __call__(self, images: Images) -> torch.Tensor:
        """Return B decoded images as one (B, channels, H, W) float tensor."""
        from PIL import Image

        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8:
                raise ArgumentError(
                    f"image processors of transformers take uint8 images, got {images.dtype}; scale the "
                    "array to 0 … 255, or pass preprocess="
                )
            images = [Image.fromarray(image) for image in images]
        mode = "L" if self.channels == 1 else "RGB"
        pictures = [eight_bits(image).convert(mode) for image in images]
        batch: torch.Tensor = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
        return batch


def _load(source: HfModel) -> tuple[Any, Any]:
    """Return the model, and its processor unless the user has a preprocessing of their own."""
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise MissingDependency(
            f"{source.name} needs transformers; install it: pip install 'dissensus[hf]'"
        ) from error
    with _translated(f"{source.name} cannot be loaded as an image classifier of transformers"):
        model, found = AutoModelForImageClassification.from_pretrained(
            str(source.name), output_loading_info=True
        )
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        raise ModelLoadError(
            f"{source.name} has no weights for {', '.join(missing[:3])}{', …' if missing[3:] else ''}: they "
            "would be random; save the model after it was trained for classification"
        )
    if source.preprocess is not None:
        return model.eval(), None
    what = f"{source.name} has no image processor that can be loaded"
    with _translated(what, f"save one beside the model, or pass preprocess=, as --preprocess '{EXAMPLE}'"):
        return model.eval(), AutoImageProcessor.from_pretrained(str(source.name))


@contextmanager
def _translated(what: str, remedy: str = "") -> Iterator[None]:
    """Turn what transformers raises into one line; keep its reports and progress bars off the screen."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    except DissensusError:
        raise
    except Exception as error:  # transformers and the hub have many types
        raise ModelLoadError(f"{what}: {one_line(error)}{f'; {remedy}' if remedy else ''}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _config_text(processor: Any) -> str:
    return json.dumps(processor.to_dict(), sort_keys=True)


def _class_names(config: Any) -> list[str] | None:
    """Return the names in a configuration; LABEL_0, … are none."""
    names = [str(config.id2label.get(i, f"LABEL_{i}")) for i in range(int(config.num_labels))]
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def _size(preprocess: Callable[[Images], Any]) -> tuple[int, ...] | None:
    """Return the shape of one prepared example, None where it depends on the image."""
    if not isinstance(preprocess, HfPreprocess):
        return prepared_size(preprocess)
    shapes = {tuple(preprocess(np.zeros((1, *size, 3), np.uint8)).shape[1:]) for size in _TRIED}
    return shapes.pop() if len(shapes) == 1 else None
