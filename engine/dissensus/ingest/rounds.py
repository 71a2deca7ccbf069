"""One round: the examples are decoded once, and every model in memory runs the batches it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from dissensus.run.progress import Progress

from .batches import Reading, Span, check_workers, read_ahead, spans_of
from .failures import Failure
from .job import Job
from .overlap import Backlog
from .resident import Part, Resident

Task: TypeAlias = tuple[Resident, Part]

BEHIND = 2  # batches of every model that wait for the writer


def run_round(job: Job, residents: Sequence[Resident], label: str) -> None:
    """Run models together over the examples, each from where it stopped; commit those that reach the end.

    A model that fails leaves the round, the others go on; Ctrl-C leaves what is written of all of them.

    Parameters
    ----------
    job
        The run.
    residents
        Models in memory; afterwards `Resident.result` says what became of each.
    label
        Head of the progress line.
    """
    with ExitStack() as stack:
        for resident in residents:
            stack.enter_context(resident)
        try:
            _stream(job, residents, label)
        except Exception as error:  # of reading: nobody has its batch
            for resident in residents:
                resident.fail(error)


def _stream(job: Job, residents: Sequence[Resident], label: str) -> None:
    n = len(job.examples)
    first = min(resident.first for resident in residents)
    reading = Reading(job.examples, tuple(dict.fromkeys(r.preparation for r in residents)))
    check_workers(reading, job.workers)
    spans = spans_of(first, n, job.batch_size)
    resumed = f" (resumed at {first})" if first else ""
    with (
        Progress(n - first, label + resumed, enabled=job.progress, lines=bool(job.tag)) as bar,
        read_ahead(reading, spans, job.workers, job.lane.pins) as batches,
        Backlog(_write, BEHIND * len(residents)) as backlog,
    ):
        for span, prepared in batches:
            by_preparation = dict(zip(reading.preparations, prepared, strict=True))
            running = _run_batch(job, residents, span, by_preparation, backlog)
            bar.advance(span[1] - span[0], status=_status(residents))
            if not running:
                return


def _run_batch(
    job: Job, residents: Sequence[Resident], span: Span, batches: dict[Any, Any], backlog: Backlog[Task]
) -> bool:
    """Give a batch to every model that lacks it; return whether any goes on."""
    uploaded: dict[Any, Any] = {}
    for resident in residents:
        if resident.failure is not None or span[0] < resident.first:
            continue
        key = resident.preparation
        if isinstance(batches[key], Failure):
            resident.fail(batches[key])
            continue
        if key not in uploaded:
            uploaded[key] = job.lane.upload(batches[key])
        for part in resident.run(span, uploaded[key], len(residents) > 1):
            backlog.put((resident, part))
    return any(r.failure is None for r in residents) and not any(r.is_full for r in residents)


def _write(task: Task) -> None:
    resident, part = task
    resident.write(*part)


def _status(residents: Sequence[Resident]) -> str:
    failed = sum(resident.failure is not None for resident in residents)
    return f"{failed} of {len(residents)} models failed" if failed else ""
