"""Processes that decode: batches come from them in order, and any of them may die.

Each has a pipe of its own and shares no lock or queue, so that one that is killed takes nothing along, and
one whose parent is killed reads the end of its pipe and ends. torch's DataLoader was tried: its handler of
SIGCHLD raises in whatever the main thread is doing, so that a killed worker ended a model in mid-pass.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import pickle
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, DecodeWorkerDied

from .failures import Failure
from .overlap import look_ahead
from .worker_process import Raised, work

if TYPE_CHECKING:
    from .batches import Reading, Span

IN_HAND = 2  # spans that a worker has in hand: one that it reads, and the next
_DEATHS = 3  # at one span, until it is no accident
_DEATH = (EOFError, OSError)  # of a pipe, or of the memory of a tensor that was on its way
_END_S = 5.0
_SPAWN = multiprocessing.get_context("spawn")


def refuse_unguarded() -> None:
    """Refuse a run that a process of ours begins while it imports the script that started it.

    Raises
    ------
    ArgumentError
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ArgumentError(
            "processes that decode or run models import this script, which must not start the run again: put "
            'what it does under `if __name__ == "__main__":`, or pass workers=0 (threads) and one device'
        )


def refuse_unsendable(workers: int, what: str, value: Any) -> None:
    """Refuse what worker processes could not be given.

    Raises
    ------
    ArgumentError
    """
    try:
        if workers:
            pickle.Pickler(_Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:  # pickle raises anything
        raise ArgumentError(
            f"workers={workers} decode in processes of their own, to which {what} cannot be sent "
            f"({Failure.of(error).text}); define the function in a module, or pass workers=0 (threads)"
        ) from error


@contextmanager
def read_in_processes(
    reading: Reading,
    spans: Sequence[Span],
    workers: int,
    ahead: int,
    finish: Callable[[list[Any]], list[Any]],
) -> Iterator[Iterator[tuple[Span, list[Any]]]]:
    """Read spans in worker processes, ahead of the consumer.

    Parameters
    ----------
    reading, spans, workers
        See `read_ahead`; at least one worker.
    ahead
        Batches here that the consumer has not taken; every worker has up to two more.
    finish
        Applied to the batches of a span, in the thread that fetches them.

    Returns
    -------
    context manager of an iterator of (span, batches)
        Leaving it ends the processes, whatever they do.

    Raises
    ------
    DecodeWorkerDied
        While iterating: workers died again and again at the same span.
    """
    team = _Team(reading, spans, workers)
    try:
        with look_ahead(lambda span: finish(team.take(span)), spans, ahead) as batches:
            try:
                yield batches
            finally:
                team.stop()  # before the thread that waits for one of them
    finally:
        team.close()


class _Team:
    """Worker processes, of which the k-th reads every n-th span."""

    def __init__(self, reading: Reading, spans: Sequence[Span], workers: int) -> None:
        self._reading, self._spans, self._n = reading, spans, min(workers, len(spans))
        self._workers: list[_Worker | None] = [None] * self._n
        self._taken = 0
        self._stopped = False
        self._lock = threading.Lock()  # between starting a worker and stopping all
        multiprocessing.util.get_temp_dir()  # theirs then: a killed worker could not remove its own

    def take(self, span: Span) -> list[Any]:
        """Return the batches of the next span; start what is not there, or not any more."""
        if not self._taken:
            self._start_all()
        number, answers = self._taken, self._answers(span)
        self._taken += 1
        self._feed(self._workers[number % self._n], number + self._n)
        if isinstance(answers[0], Raised):
            raise answers[0].error
        return answers

    def _start_all(self) -> None:
        for place in range(self._n):
            with suppress(*_DEATH):  # told when its first span is missed
                self._feed(self._start(place), place)

    def _answers(self, span: Span) -> list[Any]:
        """Return what the worker of the next span answers, or another one after its death."""
        place, deaths = self._taken % self._n, 0
        while True:
            try:
                return self._receive(place, span)
            except _DEATH as error:
                if self._stopped:
                    raise
                deaths += 1
                self._tell_death(place, span, deaths, error)

    def _receive(self, place: int, span: Span) -> list[Any]:
        worker = self._workers[place]
        if worker is None:  # one span only, until it is here: a later one may be what kills
            worker = self._start(place)
            worker.send(self._taken, span)
        answers = [worker.connection.recv()]
        if not isinstance(answers[0], Raised):
            answers += [worker.connection.recv() for _ in self._reading.preparations[1:]]
        worker.in_hand.popleft()
        return answers

    def _feed(self, worker: _Worker | None, first: int) -> None:
        """Keep a worker busy with its spans from `first` on."""
        for number in range(first, min(first + IN_HAND * self._n, len(self._spans)), self._n):
            if worker is not None and number not in worker.in_hand:
                worker.send(number, self._spans[number])

    def _start(self, place: int) -> _Worker:
        with self._lock:
            if self._stopped:
                raise EOFError("stopped")
            worker = self._workers[place] = _Worker()
        worker.connection.send(self._reading)
        return worker

    def _tell_death(self, place: int, span: Span, deaths: int, error: Exception) -> None:
        worker, self._workers[place] = self._workers[place], None
        how = [str(error)] if worker is None else [worker.end(), str(error)]
        where = (
            f"a decode worker died at examples {span[0]} to {span[1] - 1} ({', '.join(filter(None, how))})"
        )
        if deaths >= _DEATHS:
            self.stop()
            raise DecodeWorkerDied(
                f"{where}, {deaths} times in a row; see whether memory or /dev/shm is short or an image "
                "crashes its decoder, or decode in threads with workers=0 (--workers 0). Workers import the "
                'script that starts them: a file, with `if __name__ == "__main__":` around its work'
            ) from error
        warnings.warn(f"{where}; another goes on from there", stacklevel=2)

    def stop(self) -> None:
        """End all processes at once: they hold nothing that would be lost."""
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                if worker is not None:
                    worker.process.kill()

    def close(self) -> None:
        """Wait for the ended processes and close their pipes."""
        for worker in self._workers:
            if worker is not None:
                worker.end()


class _Worker:
    """A process and this end of its pipe."""

    def __init__(self) -> None:
        self.in_hand: deque[int] = deque()
        self.connection, there = _SPAWN.Pipe()
        # what is read comes by the pipe: multiprocessing waits forever if a process ends before it takes all
        self.process = _SPAWN.Process(target=work, args=(there,), daemon=True)
        resource_tracker.ensure_running()  # it would unblock the signal
        # a Ctrl-C is for the process that runs the models, which then ends the workers
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            there.close()

    def send(self, number: int, span: Span) -> None:
        """Hand over a span; that a worker died is found where its answer is missed."""
        self.in_hand.append(number)
        try:
            self.connection.send(span)
        except OSError:
            self.in_hand.pop()

    def end(self) -> str:
        """Wait for a process that is ending, close the pipe and tell how it ended."""
        self.process.join(_END_S)
        code = self.process.exitcode
        self.process.kill()
        self.process.join()
        self.connection.close()
        if code is None:
            return "it does not answer"
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


class _Nowhere:
    """A file that keeps nothing: large arrays are pickled for the refusal, not for their bytes."""

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes
