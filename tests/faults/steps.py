"""The steps of the protocol: every system call that changes the disk, and what can happen at one of them."""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from dissensus.store import folders

Fault = Callable[[], None]

# Module and name of each call that changes the disk. A call that is not here is never killed: add new ones.
NAMES = ("pwrite", "fsync", "open", "mkdir", "rmdir", "rename", "replace", "unlink", "ftruncate")
CALLS = [*((os, name) for name in NAMES), (folders, "_rename_exchange")]
RENAMES = ("rename", "replace", "_rename_exchange")
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_room() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_error() -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class _Steps:
    """Counts steps and lets the fault happen at one of them."""

    def __init__(self, at: int, fault: Fault) -> None:
        self.count, self._at, self._fault = 0, at, fault

    def reach(self) -> None:
        self.count += 1
        if self.count == self._at:
            self._fault()

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Make a system call that is a step: before it, half-way of a write, after a rename."""

        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & FOR_WRITING:
                return real(*arguments, **options)
            self.reach()
            if name == "pwrite" and len(arguments[1]) > 1:
                return self._torn(real, *arguments)
            result = real(*arguments, **options)
            if name in RENAMES and self._fault is kill:  # an error means that nothing was renamed
                self.reach()
            return result

        return call

    def _torn(self, pwrite: Callable[..., int], fd: int, data: memoryview, offset: int) -> int:
        half = len(data) // 2
        pwrite(fd, data[:half], offset)
        self.reach()
        return half + pwrite(fd, data[half:], offset + half)


def at_step(step: int, fault: Fault, job: Callable[..., Any], *arguments: Any) -> int:
    """Do a job with a fault at one of its steps; return how many steps there were."""
    steps = _Steps(step, fault)
    for module, name in CALLS:
        setattr(module, name, steps.around(name, getattr(module, name)))
    job(*arguments)
    return steps.count


def with_short_writes(seed: int, job: Callable[..., Any], *arguments: Any) -> str:
    """Do a job while every write takes only some of the bytes it is given."""
    real, rng = os.pwrite, random.Random(seed)

    def short(fd: int, data: memoryview, offset: int) -> int:
        return real(fd, data[: rng.randint(1, len(data))], offset)

    os.pwrite = short  # type: ignore[assignment]
    job(*arguments)
    return "done"
