"""One process a device, over one list of models: each takes the next that nobody has taken."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

from .failures import Failure
from .report import ModelRun

if TYPE_CHECKING:
    from ..data.examples import ExampleSource
    from ..zoo.models import ModelSource

_PASSES = 2  # what a dead process leaves is tried once more


@dataclass(frozen=True)
class Work:
    """What the processes of a fleet share; it is sent to each of them.

    Attributes
    ----------
    path
        Folder of the store.
    sources, examples
        Models and data.
    options
        Further arguments of `infer`.
    """

    path: Path
    sources: Sequence[ModelSource]
    examples: ExampleSource
    options: Mapping[str, Any]


class Counter:
    """Numbers that processes draw, each once."""

    def __init__(self, context: Any, stop: int) -> None:
        self._next, self._stop = context.Value("q", 0), stop

    def draw(self) -> int | None:
        """Return the next number, or None when all are drawn."""
        with self._next.get_lock():
            number = int(self._next.value)
            self._next.value = min(number + 1, self._stop)
        return number if number < self._stop else None


def run_fleet(work: Work, devices: Sequence[str]) -> dict[str, ModelRun]:
    """Run the models of a job in one process a device; return what became of each, by its id.

    Parameters
    ----------
    work
        The job.
    devices
        Of torch; one that is named twice has two processes.

    Raises
    ------
    ArgumentError
        Models or data cannot be sent to a process.
    """
    try:
        pickle.dumps(work)
    except Exception as error:  # pickle raises anything
        raise ArgumentError(
            f"several devices need processes of their own, to which a model or the data cannot be sent "
            f"({error}); use sources that load from files, or one device"
        ) from error
    rows: dict[str, ModelRun] = {}
    deaths: list[str] = []
    for _ in range(_PASSES):
        left = [source for source in work.sources if source.model_id not in rows]
        if left:
            rows |= _pass(Work(work.path, left, work.examples, work.options), devices, deaths)
    why = "; ".join(dict.fromkeys(deaths))
    lost = {s.model_id: ModelRun(s.model_id, "failed", why) for s in work.sources}
    return {**lost, **rows}


def told_apart(devices: Sequence[str]) -> list[str]:
    """Names of processes by their devices; those of one that is named twice are numbered."""
    several = {device for device in devices if devices.count(device) > 1}
    return [f"{one} #{i}" if one in several else one for i, one in enumerate(devices, 1)]


def _pass(work: Work, devices: Sequence[str], deaths: list[str]) -> dict[str, ModelRun]:
    """Run what is left; tell in `deaths` which processes ended before their work."""
    context = multiprocessing.get_context("spawn")  # zarr and CUDA have threads that do not survive a fork
    counter = Counter(context, len(work.sources))
    processes, ears = [], {}
    rows: dict[str, ModelRun] = {}
    try:
        shown = told_apart(devices)
        for device, tag in zip(devices[: len(work.sources)], shown, strict=False):
            ear, mouth = context.Pipe()
            processes.append(context.Process(target=_serve, args=(device, tag, counter, mouth)))
            processes[-1].start()
            mouth.close()  # the process has its own end: this one would hide its death
            with suppress(ConnectionError):  # not by arguments: their pipe outlives a process that died
                ear.send(work)
            ears[ear] = tag
        _listen(ears, rows, deaths)
    except BaseException:  # Ctrl-C: theirs too. One that is done would only be disturbed in ending
        for process in processes:
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGINT)
        raise
    finally:
        for process in processes:
            process.join()
    return rows


def _listen(ears: dict[Any, str], rows: dict[str, ModelRun], deaths: list[str]) -> None:
    """Collect rows until every process has said that it is done, or is gone."""
    while ears:
        for ear in wait(list(ears)):
            try:
                said = ear.recv()  # type: ignore[union-attr, call-arg]
            except EOFError:
                deaths.append(f"the process on {ears.pop(ear)} died; run the same command to go on")
                continue
            if isinstance(said, ModelRun):
                rows[said.model_id] = said
                continue
            device = ears.pop(ear)
            if isinstance(said, Failure):
                deaths.append(f"{device}: {said.text}")


def _serve(device: str, tag: str, counter: Counter, mouth: Connection) -> None:
    """Main function of a process: run models as long as there are any, tell what became of each."""
    import torch

    from dissensus.store.catalog import Store

    from .job import Job
    from .turns import Turns

    def draw() -> ModelSource | None:
        number = counter.draw()
        return None if number is None else work.sources[number]

    try:
        work: Work = mouth.recv()
        job = Job(Store(work.path), work.examples, torch.device(device), tag=tag, **work.options)
        Turns(job, len(work.sources), draw, mouth.send).run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        mouth.send(Failure.of(error))
    else:
        mouth.send(None)
