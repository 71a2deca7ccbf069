"""One call of `infer`, its arguments checked: what every model of the run has in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, ModelExists
from dissensus.store.fingerprint import require_same_fingerprint

from .checks import check_classes
from .devices import Host, lane_of
from .execution import Execution

if TYPE_CHECKING:
    import torch

    from dissensus.store.catalog import Store
    from dissensus.store.writer import ModelWriter

    from .examples import ExampleSource
    from .models import ModelSource, Predictor


@dataclass(frozen=True)
class Job:
    """Store, data and settings of a run.

    Attributes
    ----------
    store, examples, batch_size, device, restart, replace, progress, workers
        As of `infer`.
    execution
        How torch models are executed.
    """

    store: Store
    examples: ExampleSource
    batch_size: int
    device: torch.device
    restart: bool = False
    replace: bool = False
    progress: bool = True
    workers: int = 0
    execution: Execution = field(default_factory=Execution)

    @cached_property
    def lane(self) -> Host:
        """What moves batches to the device and rows back."""
        return lane_of(self.device)

    def load(self, source: ModelSource) -> Predictor:
        """Load a model and set it up as the run asks for.

        Raises
        ------
        ModelLoadError, WrongClassCount
        ArgumentError
            It decides itself how it is executed, and the run asks for something else than the default.
        """
        predictor = source.load(self.device)
        check_classes(source.model_id, predictor, self.store)
        if self.execution == Execution():
            return predictor
        if not hasattr(predictor, "executed"):
            raise ArgumentError(
                f"model {source.model_id!r} is no torch module and decides itself how it is executed; leave "
                "precision, channels_last and compile out for it"
            )
        executed: Predictor = predictor.executed(self.execution)
        return executed

    def writer(self, source: ModelSource, predictor: Predictor) -> ModelWriter | None:
        """Open a writer for a model; None where it is in the store already, of the same origin.

        Raises
        ------
        WriterBusy, FingerprintMismatch, StoreFull, NotWritable
        """
        try:
            return self._open(source, predictor, replace=False)
        except ModelExists:
            if self._is_stored(source.model_id, predictor):
                return None
            return self._open(source, predictor, replace=True)

    def _open(self, source: ModelSource, predictor: Predictor, replace: bool) -> ModelWriter:
        return self.store.writer(
            source.model_id,
            fingerprint=self.fingerprint(predictor),
            metadata={**predictor.metadata, **self.execution.metadata, **source.metadata},
            kind=predictor.kind,
            restart=self.restart,
            replace=replace,
        )

    def fingerprint(self, predictor: Predictor) -> dict[str, str]:
        """What decides a model's numbers in this run."""
        own = self.execution.fingerprint
        return {**predictor.fingerprint, **own, "content": self.examples.fingerprint}

    def _is_stored(self, model_id: str, predictor: Predictor) -> bool:
        """Whether the stored model is of this origin; one of another origin is refused unless replaced."""
        there = self.store.model(model_id).fingerprint
        own = {"examples": self.store.examples_hash, "dtype": self.store.dtype, "kind": predictor.kind}
        given: dict[str, Any] = {**self.fingerprint(predictor), **own}
        if self.replace and there != given:
            return False
        remedy = "replace it (replace=True, --replace), remove it first, or use another id"
        require_same_fingerprint(model_id, there, given, "stored", remedy)
        return True
