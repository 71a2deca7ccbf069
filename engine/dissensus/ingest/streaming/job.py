"""One call of `infer`, its arguments checked: what every model of the run has in common."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, ModelExists, NoFeatures
from dissensus.store.fingerprint import complete, require_same_fingerprint
from dissensus.store.identity import checked_name
from dissensus.store.staging import model_lock

from ..zoo.execution import Execution
from .batches import own
from .checks import check_classes
from .devices import Host, lane_of

if TYPE_CHECKING:
    import torch

    from dissensus.store.catalog import Store
    from dissensus.store.locks import FileLock
    from dissensus.store.writer import ModelWriter

    from ..data.examples import ExampleSource, Images
    from ..zoo.embeddings import Watched
    from ..zoo.models import ModelSource, Predictor


MOST_RESIDENT = 16
_MOST_WORKERS = 12
_FEW = 2_000  # examples for which starting processes takes longer than it saves


def workers_for(examples: ExampleSource, devices: Sequence[torch.device]) -> int:
    """Return how many decode processes each device is best given.

    Where models run on the processors too, there is none to spare; a GPU waits for images otherwise.
    """
    on_host = any(device.type == "cpu" for device in devices)
    if on_host or len(examples) < _FEW or not getattr(examples, "decoding", False):
        return 0
    return min(max((os.cpu_count() or 1) - 1, 0) // len(devices), _MOST_WORKERS)


@dataclass(frozen=True)
class Job:
    """Store, data and settings of a run.

    Attributes
    ----------
    store, examples, device, batch_size, resident, workers, embeddings, restart, replace, wait, progress
        As of `infer`.
    execution
        How torch models are executed.
    tag
        Head of progress lines, where several processes write them.
    """

    store: Store
    examples: ExampleSource
    device: torch.device
    batch_size: int = 256
    resident: int = MOST_RESIDENT
    workers: int = 0
    execution: Execution = field(default_factory=Execution)
    embeddings: bool = False
    restart: bool = False
    replace: bool = False
    wait: bool = True
    progress: bool = True
    tag: str = ""

    @cached_property
    def lane(self) -> Host:
        """What moves batches to the device and rows back."""
        return lane_of(self.device)

    def lock(self, source: ModelSource) -> FileLock:
        """Take a model's lock, before it is loaded: loading is the dear part of finding a rival.

        Raises
        ------
        WriterBusy, NotWritable, ArgumentError
        """
        return model_lock(self.store.path, checked_name(source.model_id, "model_id"))

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

    @cached_property
    def _first_image(self) -> Images:
        return self.examples.read(0, 1)

    def sample(self, predictor: Predictor) -> Any:
        """Return a model's batch of the first example, on the device."""
        return self.lane.upload(predictor.prepare(own(self._first_image)))

    def watched(self, source: ModelSource, predictor: Predictor) -> Watched | None:
        """Return what takes a model's features as it runs; None where none are wanted, or there are none.

        A model without says so in a warning, and is stored without.
        """
        if not self.embeddings:
            return None
        from ..zoo.embeddings import watch

        try:
            return watch(predictor, self.sample(predictor), self.store.n_classes)
        except NoFeatures as error:
            warnings.warn(f"model {source.model_id!r} is stored without embeddings: {error}", stacklevel=2)
            return None

    def writer(
        self, source: ModelSource, predictor: Predictor, lock: FileLock | None = None, dim: int | None = None
    ) -> ModelWriter | None:
        """Open a writer for a model; None where it is in the store already, of the same origin.

        Parameters
        ----------
        source, predictor
            The model.
        lock
            Of the model where it is held already, see `lock`; the writer releases it.
        dim
            Number of its features, where they are kept.

        Raises
        ------
        WriterBusy, FingerprintMismatch, StoreFull, NotWritable
        """
        try:
            return self._open(source, predictor, dim, replace=False, lock=lock)
        except ModelExists:  # its lock is let go
            if self._is_stored(source.model_id, predictor, dim):
                return None
            return self._open(source, predictor, dim, replace=True, lock=None)

    def _open(
        self, source: ModelSource, predictor: Predictor, dim: int | None, replace: bool, lock: FileLock | None
    ) -> ModelWriter:
        return self.store.writer(
            source.model_id,
            fingerprint=self.fingerprint(predictor),
            metadata={**predictor.metadata, **self.execution.metadata, **source.metadata},
            kind=predictor.kind,
            restart=self.restart,
            replace=replace,
            embedding_dim=dim,
            lock=lock,
        )

    def fingerprint(self, predictor: Predictor) -> dict[str, str]:
        """What decides a model's numbers in this run."""
        own = self.execution.fingerprint
        return {**predictor.fingerprint, **own, "content": self.examples.fingerprint}

    def _is_stored(self, model_id: str, predictor: Predictor, dim: int | None) -> bool:
        """Whether the stored model is of this origin; one of another origin is refused unless replaced.

        Embeddings that are there but not asked for are no other origin.
        """
        stored = self.store.model(model_id)
        kept = stored.embedding_dim if dim is None else dim
        facts = self.store.dtype, self.store.examples_hash, predictor.kind
        there, given = stored.fingerprint, complete(self.fingerprint(predictor), *facts, kept)
        if self.replace and there != given:
            return False
        remedy = "replace it (replace=True, --replace), remove it first, or use another id"
        require_same_fingerprint(model_id, there, given, "stored", remedy)
        return True
