"""Whole folders, made, exchanged and removed in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from .files import LIBC, is_temporary, sync_folder, writing
from .locks import held

YOUNGEST_S = 60.0  # age below which a folder is taken to be in the making
GRAVE, MAKING, REPLACED = ".removed-", ".making-", ".replaced-"  # no folder of a model begins with a dot


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
    call = getattr(LIBC, "renameat2", None)
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
    """Delete what killed makers of this folder left."""
    for left in place.glob(f"{MAKING}{glob.escape(path.name)}~*"):
        clear_abandoned(left)


def clear_abandoned(entry: Path) -> bool:
    """Delete a removed or half-made folder that nobody holds; tell whether it was.

    One that is being made is held, but for the moment between its making and its locking: it must be older.
    """
    with contextlib.suppress(FileNotFoundError):
        if entry.name.startswith(MAKING) and time.time() - entry.stat().st_mtime < YOUNGEST_S:
            return False
    with held(entry) as free:
        if free:
            shutil.rmtree(entry, ignore_errors=True)
        return free


def clear_temporaries(folder: Path) -> list[str]:
    """Delete the files that killed writers left in a folder; return their names.

    A file in the making is held, but for the moment between its making and its locking: it must be older.
    """
    cleared = []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_temporary(entry.name))
    for name in names:
        with contextlib.suppress(FileNotFoundError), held(folder / name) as free:
            if free and time.time() - (folder / name).stat().st_mtime >= YOUNGEST_S:
                (folder / name).unlink()
                cleared.append(name)
    return cleared


def _take_place(temporary: Path, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
        raise
