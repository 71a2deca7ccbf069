"""One model in memory: runs the batches it lacks, and survives or records what goes wrong with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from numpy.typing import NDArray

from dissensus.errors import StoreFull
from dissensus.store.encoding import Encoded

from ..zoo.models import leave_device
from .batches import own
from .checks import check_output
from .failures import Failure, is_out_of_memory, no_memory
from .report import ModelRun

if TYPE_CHECKING:
    from dissensus.store.writer import ModelWriter

    from ..zoo.embeddings import Watched
    from ..zoo.models import ModelSource, Predictor
    from .batches import Preparation, Span
    from .devices import Clock
    from .job import Job

Rows: TypeAlias = "Callable[[], tuple[Encoded, NDArray[Any] | None]]"  # and embeddings
Part: TypeAlias = "tuple[int, Rows, Clock]"
Again: TypeAlias = "Callable[[], Any]"


class _Left(Exception):
    """Ends a writer without a commit."""


class Resident:
    """A loaded model and its open writer, for one round.

    Parameters
    ----------
    job
        The run.
    source, predictor
        The model.
    writer
        Open; `Resident` closes it, and commits when every row is there.
    watched
        What takes its features, where they are kept.
    begun
        `time.perf_counter` when its loading began.

    Attributes
    ----------
    first
        Row with which it begins: the boundary of a batch at or before the writer's position.
    failure
        Why it does not go on; None while it does.
    is_full
        Whether the failure was a full disk, which ends the run for all.
    lacks_memory
        Whether a single example, or rows on their way to the store, were too much beside the other models.
    """

    def __init__(
        self,
        job: Job,
        source: ModelSource,
        predictor: Predictor,
        writer: ModelWriter,
        watched: Watched | None,
        begun: float,
    ) -> None:
        self.source, self._job, self._predictor, self._writer = source, job, predictor, writer
        self._features = None if watched is None else watched.features
        n, size = len(job.examples), job.batch_size
        self._safe = writer.position
        self.first = self._safe // size * size if self._safe < n else n
        self.failure: Failure | None = None
        self.is_full = self.lacks_memory = False
        self._limit = size
        self._lost = False
        self._n_run, self._run_s = 0, 0.0
        self._other_s = time.perf_counter() - begun
        self._sample: Any = None  # one example, as the model takes it
        self._lock = threading.Lock()

    @property
    def preparation(self) -> Preparation:
        """What makes its batches of images; equal for models that take the same batches."""
        preparation: Preparation = getattr(self._predictor, "preparation", self._predictor.prepare)
        return preparation

    def fail(self, error: BaseException | Failure) -> None:
        """Leave the round; the first failure is kept, and the rows written so far stay staged."""
        with self._lock:  # the writer's thread and the main thread may fail at once
            if self.failure is None:
                self.is_full = isinstance(error, StoreFull)
                self.failure = error if isinstance(error, Failure) else Failure.of(error)

    def run(self, span: Span, batch: Any, again: Again | None = None) -> Iterator[Part]:
        """Compute a batch; yield first row, rows to be waited for, and time of each part of it.

        Parameters
        ----------
        span
            Rows of the batch.
        batch
            On the device.
        again
            Makes the same batch anew, or tells why it cannot, where nobody else needs this one: the model is
            then given it without a copy, and may change it. Without it the batch stays as it is.
        """
        start, n = span[0], span[1] - span[0]
        if self._sample is None and hasattr(self._predictor, "module"):
            self._sample = own(batch[:1])
        at = 0
        while at < n and self.failure is None:
            size = min(self._limit, n - at)
            part = batch if size == n else batch[at : at + size]
            try:
                yield start + at, *self._compute(start + at, size, own(part) if again is None else part)
                at += size
            except Exception as error:
                self._give_way(error, size)
                if again is not None and self.failure is None:  # the model may have changed it by then
                    batch, again = again(), None
                    if isinstance(batch, Failure):
                        self.fail(batch)

    def _give_way(self, error: Exception, size: int) -> None:
        """Halve the batch where memory was short; leave the round where that is no remedy."""
        if not is_out_of_memory(error):
            self.fail(error)
            return
        if size == 1:
            self._lack_memory("to run one example through", error)
            return
        self._limit = size // 2
        error.__traceback__ = None  # its frames hold what the failed batch took
        self._job.lane.release()

    def _lack_memory(self, what_for: str, error: Exception) -> None:
        self.fail(no_memory(f"{what_for} model {self.source.model_id!r}", error))
        self.lacks_memory = not self.is_full

    def _compute(self, start: int, n: int, batch: Any) -> tuple[Rows, Clock]:
        store, lane = self._job.store, self._job.lane
        clock = lane.start()
        output = check_output(self._predictor(batch), self.source.model_id, n, store.n_classes)
        rows = self._encode(output, store.example_ids[start : start + n])
        clock.stop()
        return rows, clock

    def _encode(self, output: Any, ids: Any) -> Rows:
        """Turn output into stored rows: on a device at once, on the host by the writer's thread.

        On the host it took a model of small images as much time as six percent of its own; it waits there for
        nothing but a copy of what it may write into again.
        """
        from .encode import encode_here, encode_there, on_host, to_rows

        store, model_id, kind = self._job.store, self.source.model_id, self._predictor.kind
        taken = [] if self._features is None else [self._features.take().float()]
        if kind != "logits" or not self._job.lane.encodes(output):
            scores, brought = on_host(output, kind), self._job.lane.download(taken)
            named = store.dtype, model_id, ids, store.classes
            return lambda: (encode_here(scores, kind, *named), next(iter(brought()), None))
        there = encode_there(output, store.dtype)
        results = self._job.lane.download([*taken, *there.results])

        def finished() -> tuple[Encoded, NDArray[Any] | None]:
            arrays = results()
            features = arrays.pop(0) if taken else None
            return to_rows(arrays, there.logits, model_id, ids, store.classes), features

        return finished

    def write(self, start: int, rows: Rows, clock: Clock) -> None:
        """Append rows from `start` on, as far as they are not there already; errors end this model only."""
        if self._lost:  # what follows a lost block must not take its place
            return
        try:
            ready, features = rows()
            self._run_s += clock.seconds()
            self._n_run += len(ready)
            new = slice(max(self._safe - start, 0), None)
            self._writer.append(ready[new], embeddings=None if features is None else features[new])
        except Exception as error:
            self._lost = True
            if is_out_of_memory(error):  # a smaller batch comes too late for these rows
                self._lack_memory("to store rows of", error)
            else:
                self.fail(error)

    def __enter__(self) -> Self:
        if self._features is not None:
            self._features.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        begun = time.perf_counter()
        if self._features is not None:
            self._features.__exit__(kind, error, trace)
        try:
            with self._writer:  # closed whatever happens, its lock with it
                if kind is not None or self.failure is not None:
                    raise _Left
                self._describe()
        except _Left:
            pass
        except Exception as late:
            self.fail(late)
        self._other_s += time.perf_counter() - begun

    def leave(self) -> None:
        """Free the device of the model; once no model of the round runs any more, some may be one module."""
        leave_device(self._predictor)

    def _describe(self) -> None:
        """Tell how the rows that this run wrote were made; those before are an earlier run's."""
        resumed = {"resumed_at": self._safe} if self._safe else {}
        speed = {"examples_per_s": round(self._rate, 1)} if self._rate else {}
        self._writer.describe(batch_size=self._limit, **resumed, **speed, **self._costs())

    def _costs(self) -> dict[str, Any]:
        """What the model costs, as far as it is a torch module and did not tell when it was loaded."""
        if self._sample is None:
            return {}
        from ..zoo.activations import activation_bytes
        from ..zoo.costs import count_gmacs, weights_bytes

        sample, known = self._sample, self._predictor.metadata
        module: Any = getattr(self._predictor, "module", None)
        gmacs = None if "gmacs" in known else count_gmacs(module, sample)
        activations = activation_bytes(module, sample) if hasattr(module, "parameters") else None
        peak = None if activations is None else weights_bytes(module) + self._limit * activations
        costs = {"gmacs": gmacs, "peak_memory_bytes": peak}
        return {name: value for name, value in costs.items() if value is not None}

    @property
    def _rate(self) -> float:
        return self._n_run / self._run_s if self._run_s else 0.0

    @property
    def result(self) -> ModelRun:
        """The model's row in the report."""
        seconds = self._other_s + self._run_s
        if self.failure is not None:
            return ModelRun(self.source.model_id, "failed", self.failure.text, seconds)
        return ModelRun(self.source.model_id, "done", None, seconds, self._rate)
