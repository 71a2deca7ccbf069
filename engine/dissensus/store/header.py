"""The store's own record: reading it in any version this library knows, and bringing it up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dissensus.errors import CorruptionError, IncompatibleFormat, NotAStore

from . import format as fmt
from .files import sync_folder, write_file, writing
from .identity import checked_path
from .reading import reading
from .sealed import seal, unseal

Header = dict[str, Any]


def _from_1(header: Header) -> Header:
    """Version 2 names the label set and the codec, and keeps added columns in a folder of their own."""
    return {"codec": "raw", "label_set": "original"} | header


UPGRADES: dict[int, Callable[[Header], Header]] = {1: _from_1}  # from this version to the next


def read_header(path: Path) -> tuple[Header, int]:
    """Header of a store in today's form, and the version it has on disk.

    Raises
    ------
    NotAStore, CorruptionError
    IncompatibleFormat
        Naming the version found and those this library reads.
    """
    with reading(path / fmt.STORE_JSON, f"store {path}"):
        found = (path / fmt.STORE_JSON).is_file()
    if not found:
        what = "does not exist" if not path.exists() else f"holds no {fmt.STORE_JSON}"
        raise NotAStore(
            f"{path} is not a Dissensus store: it {what}; "
            "make one with dissensus.create(...), `dissensus create` or `dissensus ingest`"
        )
    try:
        header = unseal(path / fmt.STORE_JSON, f"store {path}")
    except CorruptionError as error:
        raise CorruptionError(
            f"{error}; it cannot be rebuilt: bring this file back from a copy of the store"
        ) from error
    version: Any = header.get("format_version")
    known = isinstance(version, int) and fmt.OLDEST_VERSION <= version <= fmt.FORMAT_VERSION
    if not known or header.get("format") != fmt.FORMAT_NAME:
        raise IncompatibleFormat(
            f"{path} has format {header.get('format')!r} version {version!r}; this dissensus reads "
            f"{fmt.FORMAT_NAME!r} versions {fmt.OLDEST_VERSION} to {fmt.FORMAT_VERSION}: "
            "install a version that reads it"
        )
    if header.get("codec", "raw") not in fmt.CODECS:
        raise IncompatibleFormat(
            f"{path} keeps its logits with codec {header['codec']!r}; this dissensus reads "
            f"{', '.join(fmt.CODECS)}: install a version that reads it"
        )
    for step in range(version, fmt.FORMAT_VERSION):
        header = UPGRADES[step](header)
    return header, version


def require_known_version(record: dict[str, Any], what: str) -> None:
    """Refuse a record of a format this version does not read.

    Raises
    ------
    IncompatibleFormat
        Naming both versions.
    """
    version = record.get("format_version")
    if not isinstance(version, int) or not fmt.OLDEST_VERSION <= version <= fmt.FORMAT_VERSION:
        raise IncompatibleFormat(
            f"{what} has format version {version!r}; this dissensus reads versions "
            f"{fmt.OLDEST_VERSION} to {fmt.FORMAT_VERSION}: install a matching one"
        )


def require_fields(record: Header, fields: Sequence[str], what: str) -> None:
    """Refuse a commit record that is sound by itself but of another kind of thing.

    Raises
    ------
    CorruptionError
        Naming the fields it lacks.
    """
    lacking = [name for name in fields if name not in record]
    if lacking:
        raise CorruptionError(
            f"{what}: its commit record lacks {', '.join(lacking)}; it belongs to something else"
        )


def migrate(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Bring a store's record up to today's version, in one durable replacement; models are left as they are.

    Older stores can be read without this, but not written, so that no older program meets newer records.

    Parameters
    ----------
    path : str or Path
        Folder of the store.

    Returns
    -------
    tuple of int
        Version before and after.

    Raises
    ------
    NotAStore, CorruptionError, IncompatibleFormat, NotWritable, StoreFull
    """
    path = checked_path(path)
    header, before = read_header(path)
    if before < fmt.FORMAT_VERSION:
        write_file(path / fmt.STORE_JSON, seal(header | {"format_version": fmt.FORMAT_VERSION}))
        with writing(path):
            sync_folder(path)
    return before, fmt.FORMAT_VERSION
