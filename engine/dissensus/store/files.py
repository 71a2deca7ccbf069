"""File primitives: durable writes, checksums, locks. Knows nothing of models."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import mmap
import os
import resource
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import crc32c as crc32c_package
from numpy.typing import NDArray

from dissensus.errors import (
    ArgumentError,
    CorruptionError,
    DissensusError,
    NotReadable,
    NotWritable,
    StoreFull,
    WriterBusy,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MISPLACED = {errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR}
GRAVE, MAKING, REPLACED = ".removed-", ".making-", ".replaced-"  # no folder of a model begins with a dot
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_LIBC = ctypes.CDLL(None, use_errno=True)
_START_WRITE = 2  # SYNC_FILE_RANGE_WRITE


def crc32c(data: bytes | NDArray[Any]) -> int:
    """Checksum (Castagnoli) of bytes or a contiguous array; other threads run meanwhile."""
    return int(crc32c_package.crc32c(data))


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


def open_for_reading(path: Path) -> int:
    """File descriptor; the soft limit on their number is raised when it is reached."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        _raise_limit(error)
    return open_for_reading(path)


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


def read_ahead(mapped: NDArray[Any]) -> None:
    """Let the system begin to read the pages of a map, unless they are in memory; does not wait for them.

    Asking for pages that are there costs a tenth of reading them, so the first one is looked at before.
    """
    begin = mapped.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    length = mapped.ctypes.data + mapped.nbytes - begin
    there = ctypes.c_ubyte()
    known = _LIBC.mincore(ctypes.c_void_p(begin), ctypes.c_size_t(1), ctypes.byref(there)) == 0
    if not (known and there.value & 1):
        _LIBC.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_WILLNEED)


def bury(folder: Path, place: Path) -> None:
    """Delete a folder: out of sight by one rename into `place`, then for good; earlier remains go too."""
    grave = place / f"{GRAVE}{folder.name}~{secrets.token_hex(8)}"
    with writing(folder):
        os.rename(folder, grave)
        sync_folder(folder.parent)
        for remains in place.glob(f"{GRAVE}{glob.escape(folder.name)}~*"):
            shutil.rmtree(remains, ignore_errors=True)


def take_over(new: Path, place: Path) -> Path:
    """Put a folder in the place of another, in one step; return where the other lies now.

    Where the system has no such call, by two renames: between them a reader finds nothing at `place`, and
    after a crash there `restore_replaced` puts the old one back.
    """
    if _rename_exchange(new, place):
        return new
    aside = new.parent / f"{REPLACED}{place.name}~{secrets.token_hex(8)}"
    os.rename(place, aside)
    try:
        os.rename(new, place)
    except BaseException:
        os.rename(aside, place)
        raise
    return aside


def restore_replaced(place: Path, staging: Path) -> None:
    """Undo the first half of a replacement killed between two renames; clear what a whole one left."""
    for aside in staging.glob(f"{REPLACED}{glob.escape(place.name)}~*"):
        if place.exists():
            bury(aside, staging)
        else:
            os.rename(aside, place)
            sync_folder(place.parent)


def _rename_exchange(one: Path, other: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE; False where the system or the file system lacks it."""
    call = getattr(_LIBC, "renameat2", None)
    if call is None:
        return False
    at_cwd, swap = -100, 2
    if call(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), swap) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextlib.contextmanager
def new_folder(path: Path, place: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name in `place`; a clean exit makes it durable and names it `path`.

    Raises
    ------
    FileExistsError
        Something is there already; of two processes that make one folder, one wins.
    """
    temporary = place / f"{MAKING}{path.name}~{secrets.token_hex(8)}"
    with writing(path):
        _clear_abandoned(path, place)
        temporary.mkdir(parents=True)
        held = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)  # tells a repair that somebody is at work here
            yield temporary
            for folder in (*(p for p in temporary.rglob("*") if p.is_dir()), temporary):
                sync_folder(folder)
            _take_place(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finally:
            os.close(held)


def _clear_abandoned(path: Path, place: Path) -> None:
    """Delete what killed makers of this folder left: nobody holds it any more."""
    for left in place.glob(f"{MAKING}{glob.escape(path.name)}~*"):
        with held(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def held(entry: Path) -> Iterator[bool]:
    """Hold a folder that nobody else holds; gives False where somebody does."""
    try:
        fd = os.open(entry, os.O_RDONLY)
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


def _take_place(temporary: Path, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
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
    call = getattr(_LIBC, "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(offset), ctypes.c_int64(length), _START_WRITE)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, data: bytes) -> dict[str, Any]:
    """Write a whole file durably (temporary name, fsync, rename); return its size and checksum."""
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_at(fd, data, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    return {"bytes": len(data), "crc32c": f"{crc32c(data):08x}"}


def read_whole(path: Path, what: str) -> bytes:
    """Bytes of a file that must be there.

    Raises
    ------
    CorruptionError
        It is missing.
    NotReadable
        This user may not read it, or the device fails: what it holds is unknown.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise CorruptionError(f"{what}: {path.name} cannot be read ({error.strerror})") from error
    except OSError as error:
        raise NotReadable(
            error.errno,
            f"{what}: {path} cannot be read ({error.strerror}); check its permissions and the disk",
        ) from error


def read_checked(path: Path, expected: Mapping[str, Any], what: str) -> bytes:
    """Read a file whose size and checksum were recorded; refuse it damaged or missing."""
    data = read_whole(path, what)
    if len(data) != expected["bytes"]:
        raise CorruptionError(
            f"{what}: {path.name} has {len(data)} bytes, {expected['bytes']} were committed"
        )
    if f"{crc32c(data):08x}" != expected["crc32c"]:
        raise CorruptionError(f"{what}: {path.name} fails its checksum")
    return data


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
