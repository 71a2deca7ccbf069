"""File primitives: durable writes, checksums, locks. Knows nothing of models."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crc32c as crc32c_package
from numpy.typing import NDArray

from dissensus.errors import (
    ArgumentError,
    DissensusError,
    NotWritable,
    StoreFull,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MISPLACED = {errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
LIBC = ctypes.CDLL(None, use_errno=True)
_BULK = 256 << 20  # bytes; two processors save in 2 GB what loading takes, and a process often goes on
_START_WRITE = 2  # SYNC_FILE_RANGE_WRITE
TEMPORARY = ".tmp"  # how the names of files in the making end; they begin with a dot


_checksum: Callable[[Any, int], int] = crc32c_package.crc32c


def crc32c(data: bytes | memoryview | NDArray[Any], after: int = 0) -> int:
    """Checksum (Castagnoli) of bytes or a contiguous array, going on from that of what is before them.

    Other threads run meanwhile.
    """
    return int(_checksum(data, after))


def expect_bulk(n_bytes: int) -> None:
    """Have so many bytes checked at 60 GB/s instead of 30, unless that would not pay.

    The faster code (AVX-512) takes 30 ms to load, the other one: a command that reads only records, labels
    and predictions never loads it.
    """
    global _checksum
    if n_bytes >= _BULK:
        from awscrt import checksums

        _checksum = checksums.crc32c


def crc_bytes(crc: int) -> bytes:
    """Four little-endian bytes, as Zarr's crc32c codec appends them."""
    return crc.to_bytes(4, "little")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate the system's refusals while writing into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DissensusError | FileExistsError):
            raise
        if error.errno in _FULL:
            raise StoreFull(
                f"no room left on the device while writing {path} ({error.strerror}); "
                "nothing committed was touched: free some space and run the same command to go on"
            ) from error
        if error.errno in _REFUSED:
            raise NotWritable(
                f"cannot write {path}: {error.strerror}; "
                "choose a place you may write to or change its permissions"
            ) from error
        if error.errno in _MISPLACED:
            raise ArgumentError(
                f"cannot write {path}: {os.strerror(error.errno or 0)}; choose another place"
            ) from error
        raise


def write_at(fd: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of `data`; a short write goes on, never ends silently."""
    view = memoryview(data).cast("B")
    while len(view):
        done = os.pwrite(fd, view, offset)
        if done == 0:
            raise OSError(errno.ENOSPC, "write returned 0 bytes")
        view, offset = view[done:], offset + done


def start_writing(fd: int, offset: int, length: int) -> None:
    """Let the system begin to bring written bytes to the disk, so that a later fsync has less to wait for.

    A hint only (Linux's sync_file_range): what is durable is decided by fsync.
    """
    call = getattr(LIBC, "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(offset), ctypes.c_int64(length), _START_WRITE)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one in the making, or what a killed writer left of it."""
    return name.startswith(".") and name.endswith(TEMPORARY)


class NewFile:
    """A file in the making, written from its start to its end.

    Attributes
    ----------
    n_bytes : int
        Written so far.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._crc, self.n_bytes = fd, 0, 0

    def append(self, data: bytes | memoryview) -> None:
        """Write all of `data` after what is there."""
        write_at(self._fd, data, self.n_bytes)
        self._crc = crc32c(data, self._crc)
        self.n_bytes += memoryview(data).nbytes

    def record(self) -> dict[str, Any]:
        """Size and checksum of what was written."""
        return {"bytes": self.n_bytes, "crc32c": f"{self._crc:08x}"}


@contextlib.contextmanager
def new_file(path: Path, *, durable: bool = True) -> Iterator[NewFile]:
    """Make a file under a temporary name; at the end of the block it is synced and gets its own.

    Where the block ends with an error, nothing is left. What is not `durable` is not synced: a cache, whose
    checksum tells.
    """
    # a name of its own: of two writers of one file, none changes what the other has put in place
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
    with writing(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # until it has its name: tells a sweep that somebody is at work
            yield NewFile(fd)
            if durable:
                os.fsync(fd)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)


def write_file(path: Path, data: bytes, *, durable: bool = True) -> dict[str, Any]:
    """Write a whole file, see `new_file`; return its size and checksum."""
    with new_file(path, durable=durable) as file:
        file.append(data)
    return file.record()
