"""What the streaming loop asks of a model: a source that loads, and the predictor that it loads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from ..data.examples import Images


@runtime_checkable
class Predictor(Protocol):
    """A loaded model: `prepare` runs in a reader thread or process, the call itself in the main thread.

    A predictor may also have a `preparation`: a function that does what `prepare` does, that can be pickled
    without the model, and that equals those of models which take the same batches; they share them then. One
    with a `leave` is told when its round is over, to take off the device what somebody else keeps in memory.
    """

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What the logits depend on: digest of the weights, preprocessing, architecture."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is worth knowing later: parameters, family, input size, versions, device."""

    @property
    def kind(self) -> str:
        """`"logits"` or `"probabilities"`: the meaning of what the call returns."""

    @property
    def n_classes(self) -> int | None:
        """Number of classes where it is known before the first batch, else None."""

    def prepare(self, images: Images) -> Any:
        """Turn B decoded images into the batch that the call takes (on the host)."""

    def __call__(self, batch: Any) -> Any:
        """Return a (B, C) tensor or array for a prepared batch."""


def leave_device(predictor: Predictor) -> None:
    """Tell a predictor that it is not needed any more; what goes wrong in that concerns nobody."""
    with suppress(Exception):  # a device that failed refuses this too
        getattr(predictor, "leave", _nothing)()


def _nothing() -> None:
    pass


@runtime_checkable
class ModelSource(Protocol):
    """A model that can be loaded when its turn comes, and its name in the store."""

    @property
    def model_id(self) -> str:
        """The model's name in the store."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the user says about the model (category, training method, …)."""

    def load(self, device: torch.device) -> Predictor:
        """Build the model on `device`; raises ModelLoadError where that cannot be done."""


@dataclass(frozen=True)
class LazyModel:
    """A model that is built only when its turn comes: a zoo of hundreds costs the memory of one.

    Parameters
    ----------
    model_id
        name in the store; it replaces the id of the source that `loader` returns.
    loader
        called once, without arguments, when the model is about to run; returns a model source.
    metadata
        stored with the model, over what the loaded source says about itself.

    Examples
    --------
    As `zoo.py`, for ``dissensus ingest my.zoo python zoo:models``::

        from functools import partial

        from dissensus.ingest import LazyModel, StatedPreprocess, TorchModel

        def models():
            return [LazyModel(f"net-{seed}", partial(load, seed)) for seed in range(100)]

        def load(seed):
            prepare = StatedPreprocess((3, 224, 224), mean=(0.5,), std=(0.5,))
            return TorchModel(f"net-{seed}", my_network(f"seed{seed}.pt"), preprocess=prepare)
    """

    model_id: str
    loader: Callable[[], ModelSource]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def load(self, device: torch.device) -> Predictor:
        """Call the loader and load what it returns."""
        return self.loader().load(device)
