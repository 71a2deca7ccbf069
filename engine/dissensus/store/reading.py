"""Reading files: whole and checked, or mapped; what is missing told from what cannot be read."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dissensus.errors import CorruptionError, DissensusError, NotReadable

from .buffers import AT_ONCE, own_buffer
from .files import crc32c

# the store made none of these
_OUT_OF_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO}


@contextlib.contextmanager
def reading(path: Path, what: str, name: str = "") -> Iterator[None]:
    """Translate the system's refusals while reading: damage told from what only cannot be read now.

    Parameters
    ----------
    path : Path
        The file.
    what, name : str
        Whose it is, and what it is called there; by default its last name.

    Raises
    ------
    CorruptionError
        It is missing, or something else than a file.
    NotReadable
        This user may not read it, or the device fails: what it holds is unknown.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, DissensusError):
            raise
        if error.errno in _OUT_OF_PLACE:
            raise CorruptionError(f"{what}: {name or path.name} cannot be read ({error.strerror})") from error
        raise NotReadable(
            error.errno,
            f"{what}: {path} cannot be read ({error.strerror}); check its permissions and the disk",
        ) from error


def open_sized(path: Path, n_bytes: int, what: str, name: str) -> int:
    """File descriptor of a file that must have this size; arguments and errors as of `reading`."""
    with reading(path, what, name):
        fd = open_for_reading(path)
        try:
            size = os.fstat(fd).st_size
            if size != n_bytes:
                raise CorruptionError(f"{what}: {name} has {size} bytes, not {n_bytes}")
        except BaseException:
            os.close(fd)
            raise
    return fd


def open_for_reading(path: Path) -> int:
    """File descriptor; the soft limit on their number is raised when it is reached.

    What is no file (a pipe, a device, a folder) is refused: a pipe would wait for a writer for ever.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        _raise_limit(error)
        return open_for_reading(path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ENXIO, "it is no file", str(path))
    return fd


def map_of(fd: int) -> mmap.mmap:
    """Map of an open file for reading; before Python 3.13 it takes a file descriptor of its own."""
    options: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    try:
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ, **options)
    except OSError as error:
        _raise_limit(error)
    return map_of(fd)


def open_map(path: Path) -> mmap.mmap:
    """Map a file for reading."""
    fd = open_for_reading(path)
    try:
        return map_of(fd)
    finally:
        os.close(fd)


def _raise_limit(error: OSError) -> None:
    """Allow as many open files as the system permits; raise the error where that is no remedy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if error.errno != errno.EMFILE or soft == hard:
        raise error
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def read_whole(path: Path, what: str, name: str = "") -> bytes:
    """Bytes of a file that must be there; arguments and errors as of `reading`."""
    with reading(path, what, name):
        fd = open_for_reading(path)
        try:
            return _rest(fd)
        finally:
            os.close(fd)


def _rest(fd: int) -> bytes:
    """All bytes from here on: a file object asks the system three more questions."""
    pieces = [os.read(fd, os.fstat(fd).st_size + 1)]
    while pieces[-1]:
        pieces.append(os.read(fd, AT_ONCE))
    return b"".join(pieces)


def read_checked(path: Path, expected: Mapping[str, Any], what: str, name: str = "") -> bytes:
    """Read a file whose size and checksum were recorded; refuse it damaged or missing, as `reading` does."""
    data = read_whole(path, what, name)
    _require_recorded(len(data), crc32c(data), expected, f"{what}: {name or path.name}")
    return data


def check_file(path: Path, expected: Mapping[str, Any], what: str, name: str = "") -> None:
    """Refuse what `read_checked` refuses, without keeping what is read: fresh memory costs more than that."""
    n_bytes, crc, piece = 0, 0, own_buffer(AT_ONCE).data
    with reading(path, what, name), open(open_for_reading(path), "rb", buffering=0) as file:
        while got := file.readinto(piece):
            n_bytes, crc = n_bytes + got, crc32c(piece[:got], crc)
    _require_recorded(n_bytes, crc, expected, f"{what}: {name or path.name}")


def _require_recorded(n_bytes: int, crc: int, expected: Mapping[str, Any], what: str) -> None:
    if n_bytes != expected["bytes"]:
        raise CorruptionError(f"{what} has {n_bytes} bytes, {expected['bytes']} were committed")
    if f"{crc:08x}" != expected["crc32c"]:
        raise CorruptionError(f"{what} fails its checksum")
