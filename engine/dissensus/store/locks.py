"""Advisory locks that die with their holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dissensus.errors import WriterBusy

from .files import writing


class FileLock:
    """An exclusive advisory lock that dies with its holder.

    The file is removed on release; a waiter that locked a removed file notices and tries again.
    """

    def __init__(self, path: Path, busy: str) -> None:
        self._path = path
        with writing(path):
            self._fd = self._acquire(busy)

    def _acquire(self, busy: str) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(fd)
                raise WriterBusy(busy) from error
            if self._is_in_place(fd):
                return fd
            os.close(fd)

    def _is_in_place(self, fd: int) -> bool:
        """Whether the locked file is still the one of that name: another holder may have removed it."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self._path), os.fstat(fd))
        return False

    def release(self) -> None:
        """Remove the lock file, then let go; a second call does nothing."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if self._is_in_place(self._fd):
                os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1


@contextlib.contextmanager
def held(entry: Path) -> Iterator[bool]:
    """Hold a folder that nobody else holds; gives False where somebody does."""
    try:
        fd = os.open(entry, os.O_RDONLY | os.O_NONBLOCK)  # what is a pipe would wait
    except OSError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)
