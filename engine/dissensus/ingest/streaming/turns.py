"""Which models run when: as many at a time as memory allows, those of rivals later, the largest alone."""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dissensus.errors import StoreFull, WriterBusy

from ..zoo.models import leave_device
from .failures import Failure, is_out_of_memory, no_memory
from .job import Job
from .report import ModelRun
from .resident import Resident
from .rounds import run_round

if TYPE_CHECKING:
    from ..zoo.models import ModelSource

ROOM = 0.5  # share of the free memory that loaded models leave to batches and activations
LOOK_AGAIN_S = 1.0
_LONGEST_PAUSE_S = 10.0


class Turns:
    """The models of a call, taken a round at a time.

    Parameters
    ----------
    job
        The run.
    n_models
        How many there are in all, for the progress line.
    draw
        Gives the next model, None when there is none.
    tell
        Told what became of each model drawn, once.
    """

    def __init__(
        self,
        job: Job,
        n_models: int,
        draw: Callable[[], ModelSource | None],
        tell: Callable[[ModelRun], None],
    ) -> None:
        self._job, self._n_models, self._draw, self._tell_on = job, n_models, draw, tell
        self._again: deque[ModelSource] = deque()  # drawn before, and to be looked at again
        self._alone: deque[ModelSource] = deque()  # too large beside others
        self._busy: list[ModelSource] = []
        self._n_told = 0
        self._pause_s = 0.0
        self._crowded = False  # whether a model found no memory beside others
        self._left = False  # whether models of a round may still take memory
        self._full: str | None = None

    def run(self) -> None:
        """Run all; a full disk ends the run, and what was not begun is told so."""
        while self._full is None:
            residents = self._load(self._next, self._job.resident) or self._load(self._next_alone, 1)
            if residents:
                self._round(residents)
            elif self._full is not None:  # found in opening what would have run
                break
            elif self._busy:
                self._wait()
                self._again.extend(self._busy)
                self._busy.clear()
            else:
                return
        while (source := self._next() or self._next_alone() or self._next_busy()) is not None:
            self._tell(ModelRun(source.model_id, "failed", f"not started: {self._full}"))

    def _wait(self) -> None:
        """Let rivals go on for a while, longer each time."""
        if self._job.progress and not self._pause_s:
            names = ", ".join(source.model_id for source in self._busy)
            print(f"waiting for what other processes are making: {names}", file=sys.stderr, flush=True)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) or LOOK_AGAIN_S
        time.sleep(self._pause_s)

    def _next(self) -> ModelSource | None:
        return self._again.popleft() if self._again else self._draw()

    def _next_alone(self) -> ModelSource | None:
        return self._alone.popleft() if self._alone else None

    def _next_busy(self) -> ModelSource | None:
        return self._busy.pop(0) if self._busy else None

    def _tell(self, row: ModelRun) -> None:
        self._n_told += 1
        self._tell_on(row)

    def _load(self, following: Callable[[], ModelSource | None], most: int) -> list[Resident]:
        """Load models until the round is full or memory is half taken."""
        free, residents = 0, list[Resident]()
        with ExitStack() as opened:  # Ctrl-C while the next one loads
            while len(residents) < most and self._full is None and not self._crowded:
                if residents and self._job.lane.free_bytes() < ROOM * free:
                    break
                source = following()
                if source is None:
                    break
                free = free or self._free_bytes()
                resident = self._open(source, bool(residents))
                if resident is not None:
                    opened.callback(resident.leave)
                    residents.append(opened.push(resident))
            opened.pop_all()  # the round leaves them
        self._crowded = False
        return residents

    def _free_bytes(self) -> int:
        """Give back what the last round left, and return the memory there is then."""
        if self._left:
            gc.collect()  # models are full of cycles; it takes a quarter of a second, so not after the last
            self._job.lane.release()
            self._left = False
        return self._job.lane.free_bytes()

    def _open(self, source: ModelSource, beside: bool) -> Resident | None:
        """Load one model and open its writer; None where there is nothing to run, as its row then says.

        One that lacks memory beside others ends their round's loading, and is the first of the next.
        """
        begun = time.perf_counter()
        try:
            resident = self._resident(source, begun)
            if resident is not None:
                return resident
            status, error = "stored", None
        except WriterBusy as busy:
            if self._job.wait:
                self._busy.append(source)
                return None
            status, error = "failed", str(busy)
        except Exception as other:
            # only texts leave here: the error's traceback would keep the model in memory
            short = is_out_of_memory(other)
            if short and beside:
                self._again.appendleft(source)
                self._crowded = True
                return None
            loading = f"to load model {source.model_id!r}"
            status, error = "failed", (no_memory(loading, other) if short else Failure.of(other)).text
            self._full = error if isinstance(other, StoreFull) else None
        self._left = True
        self._tell(ModelRun(source.model_id, status, error, time.perf_counter() - begun))
        return None

    def _resident(self, source: ModelSource, begun: float) -> Resident | None:
        """Lock a model, load it and open its writer; None where it is stored."""
        with ExitStack() as undo:
            lock = self._job.lock(source)
            undo.callback(lock.release)
            predictor = self._job.load(source)
            undo.callback(leave_device, predictor)
            watched = self._job.watched(source, predictor)
            writer = self._job.writer(source, predictor, lock, None if watched is None else watched.dim)
            if writer is None:
                return None
            undo.pop_all()  # the resident's now
            return Resident(self._job, source, predictor, writer, watched, begun)

    def _round(self, residents: list[Resident]) -> None:
        try:
            run_round(self._job, residents, self._label(residents))
        finally:
            for one in residents:
                one.leave()
        for one in residents:
            if one.lacks_memory and len(residents) > 1:
                self._alone.append(one.source)
                continue
            self._tell(one.result)
            if one.is_full and one.failure is not None:
                self._full = one.failure.text
        residents.clear()
        self._left = True

    def _label(self, residents: list[Resident]) -> str:
        n, first = len(residents), self._n_told + 1
        if self._job.tag:  # other processes have drawn models too: which ones these are, their names tell
            return f"{self._job.tag}: " + (residents[0].source.model_id if n == 1 else f"{n} models")
        if n == 1:
            return f"model {first} of {self._n_models}: {residents[0].source.model_id}"
        return f"models {first} to {self._n_told + n} of {self._n_models}"
