"""Files and folders that appear under their name only when they are whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dissensus.errors import ArgumentError
from dissensus.store.files import sync_folder, writing
from dissensus.store.identity import checked_path


@contextlib.contextmanager
def fresh_file(out: Path, replace: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `out`; what lies there afterwards is synced and takes that name.

    Files and folders alike. After an error nothing is left.

    Raises
    ------
    ArgumentError
        There is something of this name already, and it is not to be replaced; or there is no such folder.
    StoreFull, NotWritable
    """
    out = require_free(out, replace)
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    try:
        with writing(out):
            yield temporary
            for path in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
                sync_file(path)
            require_free(out, replace)
            os.replace(temporary, out)
            sync_folder(out.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def require_free(out: str | os.PathLike[str], replace: bool = False) -> Path:
    """Refuse a name that is taken, or in no folder; give its absolute path.

    Raises
    ------
    ArgumentError
    """
    path = checked_path(out)
    if os.path.lexists(path) and not replace:
        raise ArgumentError(f"{out} exists already: choose another name or remove it")
    if not path.parent.is_dir():
        raise ArgumentError(f"{out}: there is no folder {path.parent}; make it first")
    return path


def sync_file(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
