"""One round: the examples are decoded once, and every model in memory runs the batches it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from dissensus.errors import ArgumentError
from dissensus.run.progress import Progress

from .batches import Preparation, Reading, Span, own, read_ahead, spans_of
from .failures import Failure, is_out_of_memory
from .job import Job
from .overlap import Backlog
from .resident import Part, Resident
from .workers import refuse_unsendable

Task: TypeAlias = tuple[Resident, Part]

BEHIND = 2  # batches of every model that wait for the writer


def run_round(job: Job, residents: Sequence[Resident], label: str) -> None:
    """Run models together over the examples, each from where it stopped; commit those that reach the end.

    A model that fails leaves the round, the others go on; a full disk ends it for all; Ctrl-C leaves what is
    written of all of them.

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
            if not _stream(job, residents, label):
                _tell_full(residents, len(job.examples))
        except Exception as error:  # of reading: nobody has its batch
            _fail([r for r in residents if r.first < len(job.examples)], error)


@dataclass(frozen=True)
class _Group:
    """Models that take the same batches."""

    preparation: Preparation
    members: list[Resident]


def _grouped(residents: Sequence[Resident]) -> list[_Group]:
    """Models by equal preparation; one that cannot be hashed or compared has batches of its own."""
    groups: list[_Group] = []
    for resident in residents:
        own = resident.preparation
        same = next((group for group in groups if _is_same(group.preparation, own)), None)
        if same is None:
            groups.append(_Group(own, [resident]))
        else:
            same.members.append(resident)
    return groups


def _is_same(a: Preparation, b: Preparation) -> bool:
    try:
        return bool(a == b)
    except Exception:  # arrays among what is compared
        return False


def _sendable(job: Job, groups: Sequence[_Group]) -> list[_Group]:
    """Groups whose preparation a worker process can be given; the models of the others fail."""
    refuse_unsendable(job.workers, "the data", job.examples)
    sendable = []
    for group in groups:
        try:
            refuse_unsendable(job.workers, "the model's preprocessing", group.preparation)
            sendable.append(group)
        except ArgumentError as error:
            _fail(group.members, error)
    return sendable


def _stream(job: Job, residents: Sequence[Resident], label: str) -> bool:
    """Give every model the batches it lacks; return whether the last batch was reached."""
    n, groups = len(job.examples), _sendable(job, _grouped(residents))
    first = min((r.first for group in groups for r in group.members), default=n)
    reading = Reading(job.examples, [group.preparation for group in groups])
    spans = spans_of(first, n, job.batch_size)
    resumed = f" (resumed at {first})" if first else ""
    with (
        Progress(n - first, label + resumed, enabled=job.progress, lines=bool(job.tag)) as bar,
        read_ahead(reading, spans, job.workers, job.lane.pins) as batches,
        Backlog(_write, BEHIND * len(residents)) as backlog,
    ):
        for span, prepared in batches:
            for group, batch in zip(groups, prepared, strict=True):
                _run_batch(job, group.members, span, batch, backlog)
            bar.advance(span[1] - span[0], status=_status(residents))
            if span[1] < n and not _goes_on(residents, n):
                return False
    return True


def _run_batch(job: Job, members: Sequence[Resident], span: Span, batch: Any, backlog: Backlog[Task]) -> None:
    """Give a batch to every model of a group that lacks it."""
    lacking = [r for r in members if r.failure is None and span[0] >= r.first]
    there = _uploaded(job, batch) if lacking else None
    if isinstance(there, Failure):
        _fail(lacking, there)
        return
    for resident in lacking:
        again = partial(_made_anew, job, resident, span) if resident is lacking[-1] else None
        for part in resident.run(span, there, again):
            backlog.put((resident, part))


def _made_anew(job: Job, resident: Resident, span: Span) -> Any:
    """The same batch once more: a copy for every batch would cost more than one for each that fails."""
    try:
        return _uploaded(job, resident.preparation(own(job.examples.read(*span))))
    except Exception as error:
        return Failure.of(error)


def _uploaded(job: Job, batch: Any) -> Any:
    """Batch on the device; where it does not fit it stays here, and models move the part that they take."""
    try:
        return batch if isinstance(batch, Failure) else job.lane.upload(batch)
    except Exception as error:
        if not is_out_of_memory(error):
            return Failure.of(error)
    job.lane.release()
    return batch


def _goes_on(residents: Sequence[Resident], n: int) -> bool:
    return any(r.failure is None and r.first < n for r in residents) and not any(r.is_full for r in residents)


def _tell_full(residents: Sequence[Resident], n: int) -> None:
    """Where the disk was full, models that lack rows say so too."""
    full = next((r.failure for r in residents if r.is_full), None)
    if full is not None:
        _fail([r for r in residents if r.first < n], Failure(f"not finished: {full.text}"))


def _fail(residents: Sequence[Resident], error: Exception | Failure) -> None:
    for resident in residents:
        resident.fail(error)


def _write(task: Task) -> None:
    resident, part = task
    resident.write(*part)


def _status(residents: Sequence[Resident]) -> str:
    failed = sum(resident.failure is not None for resident in residents)
    return f"{failed} of {len(residents)} models failed" if failed else ""
