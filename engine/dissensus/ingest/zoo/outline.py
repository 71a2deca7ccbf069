"""What can be known of a model before it is loaded: its size, its cost, and which batches it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .canonical import canonical_digest
from .stated import StatedPreprocess, prepared_size

if TYPE_CHECKING:
    from torch import nn

    from ..data.examples import Images
    from .models import ModelSource

S = TypeVar("S")
UNKNOWN = "unknown"  # source and family of a model that tells nothing


@dataclass(frozen=True)
class Outline:
    """A model source as it is before loading; what is not known is None.

    Attributes
    ----------
    model_id
        Name in the store.
    source
        Where it comes from: "timm resnet18", "onnx", …
    family
        Models of a family take about as long for the same multiply-accumulates.
    params, weights_bytes
        Number of parameters; bytes of all weights, of the file where the model was not counted.
    gmacs
        Multiply-accumulates of one example in units of 1e9.
    activation_bytes
        Most memory that one example takes during a pass, beside weights and input.
    embedding_dim
        Number of features before the classifier.
    n_outputs
        How many classes it tells apart, before any class map.
    input_size
        Shape of one prepared example: (channels, height, width).
    preparation_text
        What is done to the images. Models with equal texts share batches.
    preparation
        The function itself, to be tried without the model.
    """

    model_id: str
    source: str = UNKNOWN
    family: str = UNKNOWN
    params: int | None = None
    weights_bytes: int | None = None
    gmacs: float | None = None
    activation_bytes: int | None = None
    embedding_dim: int | None = None
    n_outputs: int | None = None
    input_size: tuple[int, ...] | None = None
    preparation_text: str | None = None
    preparation: Callable[[Images], Any] | None = None

    @property
    def input_bytes(self) -> int | None:
        """Bytes of one prepared example in float32."""
        if self.input_size is None:
            return None
        n_bytes = 4
        for n in self.input_size:
            n_bytes *= n
        return n_bytes


def outline_of(source: ModelSource, counted: bool = True) -> Outline:
    """Return what a source tells of itself before it is loaded.

    Parameters
    ----------
    source
        Any; one without a method `outline`, or whose `outline` fails, is of unknown size.
    counted
        Count parameters, operations and activations too, which builds the model without its weights; without
        it only files and configurations are looked at.
    """
    tell: Callable[..., Outline] | None = getattr(source, "outline", None)
    if tell is None:
        return Outline(source.model_id)
    try:
        return tell(counted=counted)
    except Exception:  # what is wrong with a model is said when its turn comes
        return Outline(source.model_id)


def in_order_of_preparation(sources: Iterable[S], outlines: Mapping[str, Outline]) -> list[S]:
    """Return model sources so that those sharing a preprocessing follow each other, and share their rounds.

    The order is otherwise as given: groups by their first model, models within a group as they come; those of
    unknown preprocessing are last.

    Parameters
    ----------
    sources
        Model sources.
    outlines
        By model id; a source without one counts as unknown.

    Examples
    --------
    >>> from dissensus.ingest import CallableModel
    >>> from dissensus.ingest.zoo.outline import Outline, in_order_of_preparation
    >>> models = [CallableModel(name, len) for name in "abc"]
    >>> texts = {name: Outline(name, preparation_text=text) for name, text in zip("abc", "xyx")}
    >>> [model.model_id for model in in_order_of_preparation(models, texts)]
    ['a', 'c', 'b']
    """
    groups: dict[str | None, list[S]] = {}
    for source in sources:
        outline = outlines.get(source.model_id)  # type: ignore[attr-defined]
        groups.setdefault(outline.preparation_text if outline else None, []).append(source)
    unknown = groups.pop(None, [])
    return [source for group in (*groups.values(), unknown) for source in group]


def describe_preparation(preprocess: Callable[[Images], Any] | None) -> str:
    """Return a text that is the same for preprocessings which a run takes for equal, and for no others."""
    if preprocess is None:
        return "images as they are"
    if isinstance(preprocess, StatedPreprocess) and preprocess.input_size is not None:
        return f"{tell_config(vars(preprocess))}, as stated"  # a run takes timm's own for another
    name = getattr(preprocess, "__qualname__", type(preprocess).__qualname__)
    try:
        own = hash(preprocess)
    except TypeError:  # a run compares it: by value where it is a record, else it is equal to itself only
        is_record = hasattr(preprocess, "__dataclass_fields__")
        return f"{name} #{canonical_digest(preprocess)[:12] if is_record else _number(id(preprocess))}"
    return repr(preprocess) if hasattr(preprocess, "__dataclass_fields__") else f"{name} #{_number(own)}"


def _number(value: int) -> str:
    return f"{value & 0xFFFFFFFFFFFF:012x}"


def tell_config(config: Mapping[str, Any]) -> str:
    """Return a configuration of timm's evaluation transform as text, to the last digit."""
    size = "x".join(map(str, config["input_size"]))
    mean, std = (" ".join(str(float(value)) for value in config[key]) for key in ("mean", "std"))
    mode = "" if config["crop_mode"] == "center" else f" {config['crop_mode']}"
    return f"{size}, {config['interpolation']}, crop {config['crop_pct']}{mode}, mean {mean}, std {std}"


def outline_of_file(
    model_id: str,
    source: str,
    files: Sequence[Path],
    preprocess: Callable[[Images], Any] | None,
    prepare: Callable[[Any], Callable[[Images], Any]],
) -> Outline:
    """Return the outline of a model in files: their size, and its preprocessing where the user states it.

    Parameters
    ----------
    model_id, source
        See `Outline`.
    files
        All that hold weights.
    preprocess
        The user's; without one, or without an input size in it, it depends on what the model states.
    prepare
        What the model's predictor makes its `preparation` of.
    """
    size = prepared_size(preprocess)
    is_fixed = preprocess is not None and (size is not None or not isinstance(preprocess, StatedPreprocess))
    return Outline(
        model_id,
        source,
        source,
        weights_bytes=sum(file.stat().st_size for file in files),
        input_size=size,
        preparation_text=describe_preparation(preprocess) if is_fixed else None,
        preparation=prepare(preprocess) if is_fixed else None,
    )


def count_module(module: nn.Module, input_size: Sequence[int] | None) -> dict[str, Any]:
    """Return `params`, `weights_bytes`, `gmacs` and `activation_bytes` of a module, as far as they are known.

    Parameters
    ----------
    module
        On any device; on "meta" nothing is computed.
    input_size
        Shape of one example, None where it is not known: operations and activations are left out then.
    """
    import torch

    from .activations import activation_bytes
    from .costs import count_gmacs, weights_bytes

    tensors = list(module.parameters())
    known: dict[str, Any] = {
        "params": sum(tensor.numel() for tensor in tensors),
        "weights_bytes": weights_bytes(module),
    }
    if input_size is None:
        return known
    first = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    batch = torch.zeros(1, *input_size, dtype=first.dtype, device=first.device)
    return known | {
        "gmacs": count_gmacs(module, batch),
        "activation_bytes": activation_bytes(module, batch),
    }
