"""Child processes that may be killed, forked from a clean one that has imported the library already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
# pyarrow imports pandas, where it is there, with the first array it makes: a third of a second in every child
CONTEXT.set_forkserver_preload(["__main__", "dissensus.store.create", "numcodecs", "pandas"])


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes
    ----------
    exitcode : int
        Of the process; minus the signal where one ended it.
    said : any
        What its job returned: the acknowledgement. None where it never got there.
    error : str
        Type of the exception that ended the job, or nothing.
    message, errno
        Its text and number.
    """

    exitcode: int
    said: Any = None
    error: str = ""
    message: str = ""
    errno: int | None = None

    @property
    def killed(self) -> bool:
        return self.exitcode == -signal.SIGKILL


class Child:
    """One running child."""

    def __init__(self, job: Callable[..., Any], *arguments: Any) -> None:
        self._reader, writer = CONTEXT.Pipe(duplex=False)
        self.process: BaseProcess = CONTEXT.Process(target=_work, args=(writer, job, arguments))
        self.process.start()
        writer.close()

    def kill(self) -> None:
        self.process.kill()

    def outcome(self) -> Outcome:
        """Wait for its end."""
        try:
            said = self._reader.recv()
        except EOFError:
            said = {}
        self.process.join()
        self._reader.close()
        ended = Outcome(self.process.exitcode or 0, **said)
        self.process.close()
        return ended


def run(job: Callable[..., Any], *arguments: Any) -> Outcome:
    """Do a job in a child and wait for its end."""
    return Child(job, *arguments).outcome()


def _end_with_parent() -> None:
    """A child that loops until it is told to stop must not outlive a suite that was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def watch_parent() -> None:
    """Begin to watch the suite that this child belongs to."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _work(pipe: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    watch_parent()
    try:
        said = {"said": job(*arguments)}
    except Exception as error:
        number = getattr(error, "errno", None)
        said = {"error": type(error).__name__, "message": str(error), "errno": number}
    pipe.send(said)
