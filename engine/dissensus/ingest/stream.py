"""The streaming loop: every model over every example, logits into the store batch by batch."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dissensus.errors import DissensusError, ModelExists, StoreFull
from dissensus.run.progress import Progress
from dissensus.store.fingerprint import require_same_fingerprint
from dissensus.store.writer import ModelWriter

from .checkpoints import one_line
from .checks import (
    check_examples,
    check_models,
    check_output,
    check_positive,
    check_writable,
    choose_device,
    wrong_class_count,
)
from .encode import encode_output
from .overlap import Backlog, look_ahead

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from dissensus.store.catalog import Store

    from .examples import ExampleSource
    from .models import ModelSource, Predictor

_AHEAD = 3  # one batch in the model's hands, two read or being read
_BEHIND = 2


@dataclass(frozen=True)
class ModelRun:
    """What became of one model.

    Attributes
    ----------
    model_id
        Name in the store.
    status
        "done"; "stored" if it was there before, from the same weights, preprocessing and examples; or
        "failed".
    error
        Why it failed, one line; None otherwise.
    seconds
        Wall time, loading included.
    examples_per_s
        Throughput of the streaming loop; 0 where nothing ran.
    """

    model_id: str
    status: str
    error: str | None = None
    seconds: float = 0.0
    examples_per_s: float = 0.0


@dataclass(frozen=True)
class InferReport:
    """What became of all models, in the order in which they were given.

    Attributes
    ----------
    rows
        One entry a model.
    """

    rows: list[ModelRun]

    @property
    def failed(self) -> list[ModelRun]:
        """The models that failed."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def done(self) -> list[ModelRun]:
        """The models that ran to their end."""
        return [row for row in self.rows if row.status == "done"]

    def to_arrow(self) -> pa.Table:
        """One row a model: model, status, seconds, examples_per_s, error (null where there is none)."""
        import pyarrow as pa

        columns = {name: [getattr(row, name) for row in self.rows] for name in ModelRun.__dataclass_fields__}
        columns["examples_per_s"] = [rate or None for rate in columns["examples_per_s"]]
        names = {"model_id": "model"}
        table = pa.table(
            {names.get(name, name): values for name, values in columns.items() if name != "error"}
        )
        return table.append_column("error", pa.array(columns["error"], pa.string()))

    @property
    def stored(self) -> list[ModelRun]:
        """The models that were in the store already."""
        return [row for row in self.rows if row.status == "stored"]


def infer(
    store: Store,
    models: ModelSource | Iterable[ModelSource],
    examples: ExampleSource,
    *,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    restart: bool = False,
    replace: bool = False,
    progress: bool = True,
) -> InferReport:
    """Run models over the store's examples and stream their logits into the store.

    One thread reads and prepares batches, the calling thread runs the model, one thread writes: at most three
    batches and two blocks of logits are held, whatever the number of examples. Ctrl-C, a kill or an error
    leaves what is written; the same call goes on from there, and with the same batch size and device the
    stored bytes equal those of an unbroken run. `batch_size` and `device` in the metadata are those of the
    last call; where it resumed, `resumed_at` is the first row it made.

    Parameters
    ----------
    store
        Made for these examples, see `create_from`.
    models
        One model source or several, with distinct ids; each is loaded when its turn comes.
    examples
        The source of the store's examples, in the store's order.
    batch_size
        Examples a batch. A resumed model begins at a multiple of it.
    device
        "cpu", "cuda", "cuda:1", …; by default CUDA where there is one.
    restart
        Drop what was staged of unfinished models instead of resuming; models in the store stay.
    replace
        Run models anew that are in the store from other weights or preprocessing, and let them take the place
        of those when they are whole; without it such a model fails.
    progress
        Show examples/s and the time left on stderr.

    Returns
    -------
    InferReport
        A model that fails does not stop the others: its row says why.

    Raises
    ------
    ArgumentError
        An argument breaks its rule.
    ExamplesMismatch
        The source's examples are not the store's: ids, labels or content differ.
    NotWritable
        The store cannot be written; nothing was loaded.

    Examples
    --------
    >>> import tempfile, numpy as np, dissensus as ds
    >>> from dissensus.ingest import CallableModel, digits_examples
    >>> digits = digits_examples()
    >>> store = ds.create_from(tempfile.mkdtemp() + "/digits.zoo", digits)
    >>> rows = CallableModel("rows", lambda images: images.mean(2)[:, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]])
    >>> ds.infer(store, rows, digits, progress=False).rows[0].status
    'done'
    """
    sources = check_models(models)
    check_positive("batch_size", batch_size)
    target = choose_device(device)
    check_examples(store, examples)
    check_writable(store)
    job = _Job(store, examples, batch_size, target, restart, replace, progress)
    rows: list[ModelRun] = []
    full: str | None = None
    for number, source in enumerate(sources, 1):
        if full:
            rows.append(ModelRun(source.model_id, "failed", f"not started: {full}"))
            continue
        run, is_full = job.run(source, f"model {number} of {len(sources)}: {source.model_id}")
        rows.append(run)
        full = run.error if is_full else None
    return InferReport(rows)


@dataclass(frozen=True)
class _Job:
    """One call of `infer`, its arguments checked."""

    store: Store
    examples: ExampleSource
    batch_size: int
    device: torch.device
    restart: bool
    replace: bool
    progress: bool

    def run(self, source: ModelSource, label: str) -> tuple[ModelRun, bool]:
        """Run one model; return its row in the report, and whether the store is full."""
        start = time.perf_counter()
        try:
            status, rate = self._run(source, label)
        except Exception as error:
            # Only texts leave here: the error's traceback would keep the model in memory.
            known = isinstance(error, DissensusError)
            text = str(error) if known else f"{type(error).__name__}: {one_line(error)}"
            seconds = time.perf_counter() - start
            return ModelRun(source.model_id, "failed", text, seconds), isinstance(error, StoreFull)
        finally:
            _release(self.device)
        return ModelRun(source.model_id, status, None, time.perf_counter() - start, rate), False

    def _run(self, source: ModelSource, label: str) -> tuple[str, float]:
        predictor = source.load(self.device)
        self._check_classes(source.model_id, predictor)
        try:
            writer = self._writer(source, predictor, replace=False)
        except ModelExists:
            if self._is_stored(source.model_id, predictor):
                return "stored", 0.0
            writer = self._writer(source, predictor, replace=True)
        with writer:
            safe = writer.position
            rate = self._stream(writer, predictor, label)
            self._describe(writer, safe, rate)
        return "done", rate

    def _writer(self, source: ModelSource, predictor: Predictor, replace: bool) -> ModelWriter:
        return self.store.writer(
            source.model_id,
            fingerprint=self._fingerprint(predictor),
            metadata={**predictor.metadata, **source.metadata},
            kind=predictor.kind,
            restart=self.restart,
            replace=replace,
        )

    def _describe(self, writer: ModelWriter, safe: int, rate: float) -> None:
        """Tell how the rows from `safe` on were made; those before are an earlier call's."""
        resumed = {"resumed_at": safe} if safe else {}
        speed = {"examples_per_s": round(rate, 1)} if rate else {}
        writer.describe(batch_size=self.batch_size, **resumed, **speed)

    def _check_classes(self, model_id: str, predictor: Predictor) -> None:
        if predictor.n_classes not in (None, self.store.n_classes):
            raise wrong_class_count(model_id, predictor.n_classes or 0, self.store.n_classes)

    def _fingerprint(self, predictor: Predictor) -> dict[str, str]:
        return {**predictor.fingerprint, "content": self.examples.fingerprint}

    def _is_stored(self, model_id: str, predictor: Predictor) -> bool:
        """Whether the stored model is of this origin; one of another origin is refused unless replaced."""
        there = self.store.model(model_id).fingerprint
        own = {"examples": self.store.examples_hash, "dtype": self.store.dtype, "kind": predictor.kind}
        given = {**self._fingerprint(predictor), **own}
        if self.replace and there != given:
            return False
        remedy = "replace it (replace=True, --replace), remove it first, or use another id"
        require_same_fingerprint(model_id, there, given, "stored", remedy)
        return True

    def _stream(self, writer: ModelWriter, predictor: Predictor, label: str) -> float:
        """Run every batch from the boundary at or before the writer's position; return examples/s."""
        n, size = len(self.examples), self.batch_size
        safe = writer.position
        first = safe // size * size if safe < n else n
        spans = [(start, min(start + size, n)) for start in range(first, n, size)]
        begun = time.perf_counter()

        def read(span: tuple[int, int]) -> Any:
            return predictor.prepare(self.examples.read(*span))

        resumed = f" (resumed at {first})" if first else ""
        with Progress(n - first, label + resumed, enabled=self.progress) as bar:
            with look_ahead(read, spans, _AHEAD) as batches, Backlog(writer.append, _BEHIND) as backlog:
                for (start, stop), batch in batches:
                    output = check_output(
                        predictor(batch), writer.model_id, stop - start, self.store.n_classes
                    )
                    rows = encode_output(output, predictor.kind, self.store, writer.model_id, start)
                    backlog.put(rows[max(safe - start, 0) :])
                    bar.advance(stop - start)
        return (n - first) / (time.perf_counter() - begun)


def _release(device: torch.device) -> None:
    """Give the model's memory back before the next one is loaded."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
