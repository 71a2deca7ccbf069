"""`infer`: many models over the store's examples, decoded once a round, logits streamed into the store."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dissensus.errors import StoreFull, WriterBusy

from .checks import (
    check_count,
    check_examples,
    check_models,
    check_positive,
    check_writable,
    choose_device,
)
from .execution import Execution
from .failures import Failure, is_out_of_memory, no_memory
from .job import Job
from .report import InferReport, ModelRun
from .resident import Resident
from .rounds import run_round
from .workers import refuse_unguarded

if TYPE_CHECKING:
    import torch

    from dissensus.store.catalog import Store

    from .examples import ExampleSource
    from .models import ModelSource

MOST_RESIDENT = 16
_ROOM = 0.5  # share of the free memory that loaded models leave to batches and activations
_LOOK_AGAIN_S = 1.0


def infer(
    store: Store,
    models: ModelSource | Iterable[ModelSource],
    examples: ExampleSource,
    *,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    resident: int = MOST_RESIDENT,
    workers: int = 0,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    restart: bool = False,
    replace: bool = False,
    wait: bool = True,
    progress: bool = True,
) -> InferReport:
    """Run models over the store's examples and stream their logits into the store.

    Models run in rounds: as many as memory allows are loaded, every batch is read and decoded once, prepared
    once for all that take the same preprocessing, and run through each. Reading, computing and writing
    overlap; a few batches are held, whatever the number of examples. Where memory does not suffice for a
    batch, a model goes on with half of it; where it does not suffice for one example, the model has another
    round to itself. Ctrl-C, a kill or an error leaves what is written; the same call goes on from there, and
    with the same batch size and device the stored bytes equal those of an unbroken run. `batch_size` and
    `device` in the metadata are those of the last call; where it resumed, `resumed_at` is the first row it
    made. Several processes may run the same call: each takes what no other is making.

    Parameters
    ----------
    store
        Made for these examples, see `create_from`.
    models
        One model source or several, with distinct ids; each is loaded when its round comes.
    examples
        The source of the store's examples, in the store's order.
    batch_size
        Examples a batch. A resumed model begins at a multiple of it.
    device
        "cpu", "cuda", "cuda:1", …; by default CUDA where there is one.
    resident
        Most models in memory at once; fewer where half of the free memory is taken.
    workers
        Processes that read and decode; 0 does it in threads of this process, which suffices where the model
        and not the decoding takes the time. A script that starts workers needs the usual
        ``if __name__ == "__main__":``.
    precision
        "float32" runs torch models in the precision of their weights; "bfloat16" and "float16" under
        autocast, which becomes part of the fingerprint.
    channels_last, compile
        Memory layout and `torch.compile` of torch models; recorded in the metadata.
    restart
        Drop what was staged of unfinished models instead of resuming; models in the store stay.
    replace
        Run models anew that are in the store from other weights or preprocessing, and let them take the place
        of those when they are whole; without it such a model fails.
    wait
        Wait for models that another process is making, and take over those that it leaves unfinished;
        without it they count as failed.
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
    check_positive("resident", resident)
    check_count("workers", workers)
    refuse_unguarded(workers)
    execution = Execution(precision, channels_last, compile)
    target = choose_device(device)
    check_examples(store, examples)
    check_writable(store)
    job = Job(store, examples, batch_size, target, restart, replace, progress, workers, execution)
    return _Queue(job, sources, resident, wait).run()


class _Queue:
    """The models of a call, taken a round at a time."""

    def __init__(self, job: Job, sources: list[ModelSource], resident: int, wait: bool) -> None:
        self._job, self._sources, self._most, self._wait = job, sources, resident, wait
        self._numbers = {source.model_id: number for number, source in enumerate(sources, 1)}
        self._waiting = deque(sources)
        self._alone: deque[ModelSource] = deque()  # too large beside others
        self._busy: list[ModelSource] = []
        self._rows: dict[str, ModelRun] = {}
        self._full: str | None = None

    def run(self) -> InferReport:
        """Run all; return their rows in the order in which they were given."""
        while self._waiting or self._alone or self._busy:
            if not (self._waiting or self._alone):
                time.sleep(_LOOK_AGAIN_S)
                self._waiting, self._busy = deque(self._busy), []
            self._round()
            if self._full is not None:
                self._give_up()
        return InferReport([self._rows[source.model_id] for source in self._sources])

    def _round(self) -> None:
        residents = self._load()
        if residents:
            run_round(self._job, residents, self._label(residents))
        for one in residents:
            if one.lacks_memory and len(residents) > 1:
                self._alone.append(one.source)
                continue
            self._rows[one.source.model_id] = one.result
            if one.is_full and one.failure is not None:
                self._full = one.failure.text
        residents.clear()
        gc.collect()  # models are full of cycles: their memory is needed for the next round
        self._job.lane.release()

    def _load(self) -> list[Resident]:
        """Load models until the round is full or memory is half taken."""
        queue, most = (self._waiting, self._most) if self._waiting else (self._alone, 1)
        free, residents = self._job.lane.free_bytes(), list[Resident]()
        with ExitStack() as opened:  # Ctrl-C while the next one loads
            while queue and len(residents) < most and self._full is None:
                if residents and self._job.lane.free_bytes() < _ROOM * free:
                    break
                source = queue.popleft()
                resident = self._open(source, bool(residents))
                if resident is not None:
                    residents.append(opened.enter_context(resident))
                elif queue and queue[0] is source:
                    break
            opened.pop_all()  # the round leaves them
        return residents

    def _open(self, source: ModelSource, beside: bool) -> Resident | None:
        """Load one model and open its writer; None where there is nothing to run, as its row then says.

        One that lacks memory beside others is the first to be loaded for the next round.
        """
        begun = time.perf_counter()
        try:
            predictor = self._job.load(source)
            writer = self._job.writer(source, predictor)
            if writer is not None:
                return Resident(self._job, source, predictor, writer, begun)
            status, error = "stored", None
        except WriterBusy as busy:
            if self._wait:
                self._busy.append(source)
                return None
            status, error = "failed", str(busy)
        except Exception as other:
            # only texts leave here: the error's traceback would keep the model in memory
            short = is_out_of_memory(other)
            if short and beside:
                self._waiting.appendleft(source)
                return None
            loading = f"to load model {source.model_id!r}"
            status, error = "failed", (no_memory(loading, other) if short else Failure.of(other)).text
            self._full = error if isinstance(other, StoreFull) else None
        self._rows[source.model_id] = ModelRun(source.model_id, status, error, time.perf_counter() - begun)
        return None

    def _label(self, residents: list[Resident]) -> str:
        n, first = len(self._sources), residents[0].source.model_id
        if len(residents) == 1:
            return f"model {self._numbers[first]} of {n}: {first}"
        return f"{len(residents)} models together, {len(self._rows)} of {n} done"

    def _give_up(self) -> None:
        """A full disk ends the run: what was not begun is told so."""
        for source in (*self._waiting, *self._alone, *self._busy):
            text = f"not started: {self._full}"
            self._rows[source.model_id] = ModelRun(source.model_id, "failed", text)
        for queue in (self._waiting, self._alone, self._busy):
            queue.clear()
