"""`infer`: many models over the store's examples, decoded once a round, logits streamed into the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

from ..zoo.execution import Execution
from ..zoo.outline import in_order_of_preparation
from .checks import (
    check_count,
    check_examples,
    check_models,
    check_positive,
    check_writable,
    choose_devices,
)
from .fleet import Work, run_fleet
from .job import MOST_RESIDENT, Job, workers_for
from .planning import check_room
from .report import InferReport, ModelRun
from .turns import Turns
from .workers import refuse_unguarded

if TYPE_CHECKING:
    import torch

    from dissensus.store.catalog import Store

    from ..data.examples import ExampleSource
    from ..zoo.models import ModelSource
    from .plan import IngestPlan


def infer(
    store: Store,
    models: ModelSource | Iterable[ModelSource],
    examples: ExampleSource,
    *,
    batch_size: int = 256,
    device: str | torch.device | Sequence[str | torch.device] | None = None,
    resident: int = MOST_RESIDENT,
    workers: int | None = 0,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    embeddings: bool = False,
    restart: bool = False,
    replace: bool = False,
    wait: bool = True,
    progress: bool = True,
    plan: IngestPlan | None = None,
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
        "cpu", "cuda", "cuda:1", …; by default CUDA where there is one. Several ("cuda:0,cuda:1", or a list)
        have a process each, which take the next model that nobody has taken.
    resident
        Most models in memory at once; fewer where half of the free memory is taken.
    workers
        Processes that read and decode, a device; 0 does it in threads of this process, which suffices where
        the model and not the decoding takes the time, and None decides. A script that starts workers needs
        the usual ``if __name__ == "__main__":``.
    precision
        "float32" runs torch models in the precision of their weights; "bfloat16" and "float16" under
        autocast, which becomes part of the fingerprint.
    channels_last, compile
        Memory layout and `torch.compile` of torch models; recorded in the metadata.
    embeddings
        Keep the features before the last layer of torch models too, see `Store.embeddings`; a model in which
        no such layer is found is stored without, with a warning.
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
    plan
        What `check_room` gave for the same arguments, where the caller has it already.

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
    StoreFull
        The disk cannot hold what would be written; nothing was loaded.

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
    if workers is not None:
        check_count("workers", workers)
    refuse_unguarded()
    execution = Execution(precision, channels_last, compile)
    if embeddings and compile:
        raise ArgumentError("embeddings cannot be taken from compiled models; leave one of the two out")
    targets = choose_devices(device)
    check_examples(store, examples)
    check_writable(store)
    planned: dict[str, Any] = {
        "batch_size": batch_size,
        "resident": min(resident, -(-len(sources) // len(targets))),
        "workers": workers_for(examples, targets) if workers is None else workers,
        "embeddings": embeddings,
        "restart": restart,
        "replace": replace,
    }
    layout = {"device": targets, "precision": precision, "channels_last": channels_last}
    if plan is None:
        plan = check_room(store, sources, examples, **layout, **planned)
    elif {*plan.outlines, *plan.stored} != {source.model_id for source in sources}:
        raise ArgumentError("plan was made for other models; pass what check_room gives for these, or none")
    options = {**planned, "execution": execution, "wait": wait, "progress": progress}
    ordered = in_order_of_preparation(sources, plan.outlines)
    rows = _run(store, ordered, examples, targets, options)
    return InferReport([rows[source.model_id] for source in sources])


def _run(
    store: Store,
    sources: list[ModelSource],
    examples: ExampleSource,
    devices: list[torch.device],
    options: Mapping[str, Any],
) -> dict[str, ModelRun]:
    """Run all, here or in a process a device; return what became of each."""
    if len(devices) > 1:
        return run_fleet(Work(store.path, sources, examples, options), [str(device) for device in devices])
    rows: dict[str, ModelRun] = {}
    waiting = iter(sources)
    Turns(
        Job(store, examples, devices[0], **options),
        len(sources),
        lambda: next(waiting, None),
        lambda row: rows.update({row.model_id: row}),
    ).run()
    return rows
