"""Any function from a batch of images to an array as a model source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

from ..data.examples import own_copy
from .digests import describe_callable, object_digest
from .outline import Outline, describe_preparation

if TYPE_CHECKING:
    import torch

    from ..data.examples import Images

KINDS = ("logits", "probabilities")


@dataclass(frozen=True)
class OwnImages:
    """Images as the source reads them, then a function's own preprocessing; arrays are copies.

    Attributes
    ----------
    preprocess
        Function of the images, or None.
    """

    preprocess: Callable[[Images], Any] | None

    def __call__(self, images: Images) -> Any:
        """Return the batch of these images."""
        own = own_copy(images)
        return own if self.preprocess is None else self.preprocess(own)


@dataclass(frozen=True)
class CallablePredictor:
    """A function with its preprocessing; see `Predictor`."""

    function: Callable[[Any], Any]
    preprocess: Callable[[Images], Any] | None
    fingerprint: Mapping[str, str]
    metadata: Mapping[str, Any]
    kind: str = "logits"
    n_classes: int | None = None

    @property
    def preparation(self) -> OwnImages:
        """What makes batches of images; equal for functions with the same preprocessing."""
        return OwnImages(self.preprocess)

    def prepare(self, images: Images) -> Any:
        """Return the preprocessed batch, or the images; arrays are copies, which the function may change."""
        return self.preparation(images)

    def __call__(self, batch: Any) -> Any:
        """Return the function's (B, C) output for a prepared batch."""
        return self.function(batch)


@dataclass(frozen=True)
class CallableModel:
    """Any function batch -> (B, C) array as a model source.

    Parameters
    ----------
    model_id
        name in the store.
    function
        takes a batch of images as the example source reads them (or what `preprocess` makes of them), returns
        a (B, C) array or tensor of logits or probabilities. It runs on whatever device it chooses.
    kind
        `"logits"`, or `"probabilities"`, which are stored as log(max(p, 2**-126)).
    metadata
        stored with the model.
    preprocess
        run in the reader thread, beside the function.
    fingerprint
        text that names the version of the weights. By default a digest of the function's code, of its
        defaults and of what it closes over (of class name and state, if it is no plain function); what it
        reads from module globals or files does not enter.
    n_classes
        checked before anything is written, where given.

    Raises
    ------
    ArgumentError
        `kind` is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from dissensus.ingest import CallableModel
    >>> CallableModel("darkness", lambda images: np.eye(10)[images.mean((1, 2)).astype(int) % 10]).kind
    'logits'
    """

    model_id: str
    function: Callable[[Any], Any]
    _: KW_ONLY
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "logits"
    preprocess: Callable[[Images], Any] | None = None
    fingerprint: str | None = None
    n_classes: int | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)

    def load(self, device: torch.device) -> CallablePredictor:
        """Take the fingerprint; the function itself decides where it runs."""
        fingerprint = {
            "architecture": getattr(self.function, "__qualname__", type(self.function).__qualname__),
            "weights": self.fingerprint or object_digest(self.function, f"model {self.model_id!r}"),
            "preprocessing": _describe(self.preprocess, self.fingerprint is not None),
        }
        metadata = {"source": "callable", **self.metadata}
        return CallablePredictor(
            self.function, self.preprocess, fingerprint, metadata, self.kind, self.n_classes
        )

    def outline(self, counted: bool = True) -> Outline:
        """Return which batches the function takes; nothing is known of its size."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return Outline(
            self.model_id,
            f"callable {name}",
            f"callable {name}",
            preparation_text=describe_preparation(self.preprocess),
            preparation=OwnImages(self.preprocess),
        )


def check_kind(kind: object) -> None:
    """Refuse what no model returns."""
    if kind not in KINDS:
        raise ArgumentError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")


def _describe(preprocess: Callable[[Images], Any] | None, version_given: bool) -> str:
    return "none" if preprocess is None else describe_callable(preprocess, version_given)
