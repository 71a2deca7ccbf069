"""JSON that carries its own checksum: headers, commit records, notes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError, CorruptionError, DissensusError

from .files import crc32c
from .format import canonical_json
from .reading import read_whole

# The line of the checksum: two spaces deep is the outermost level, and no text holds a raw line break.
_LINE = re.compile(rb'\n  "crc32c": "([0-9a-f]{8})"(,?)(?=\n)')


def seal(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON that carries its own checksum under ``crc32c``.

    Raises
    ------
    ArgumentError
        It is not plain JSON.
    """
    try:
        body = canonical_json({k: v for k, v in document.items() if k != "crc32c"})
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata must be plain JSON (text, finite numbers, lists, mappings): {error}"
        ) from error
    return canonical_json({**document, "crc32c": f"{crc32c(body):08x}"})


def unseal(path: Path, what: str) -> dict[str, Any]:
    """Read sealed JSON; every byte counts.

    Raises
    ------
    CorruptionError
        It is missing, no JSON, or not what was sealed.
    NotReadable
    """
    return unseal_with_digest(path, what)[0]


def unseal_with_digest(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """Read sealed JSON, and the SHA-256 of the very bytes read.

    Raises
    ------
    CorruptionError
    """
    raw = read_whole(path, what)
    document = parse_object(raw, f"{what}: {path.name}")
    if not _is_sound(raw):
        raise CorruptionError(f"{what}: {path.name} fails its checksum")
    return document, hashlib.sha256(raw).hexdigest()


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """Mapping that JSON holds, no name twice in it: readers would differ in which value they take.

    Raises
    ------
    CorruptionError
        It is no JSON, no object, or names something twice.
    """
    try:
        document = _DECODER.decode(raw.decode())
    except (ValueError, RecursionError) as error:
        raise CorruptionError(f"{what} is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise CorruptionError(f"{what} is not valid JSON (no object)")
    return document


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is named twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once)  # once: making it is a fifth of reading a record


def _is_sound(raw: bytes) -> bool:
    """Whether the bytes without the checksum's line are those that were summed.

    Taking the line out is `seal` backwards; spelling the document anew took three times as long, of which the
    opening of a thousand models consists.
    """
    found = _LINE.search(raw)
    if found is None:
        return False
    head, tail = raw[: found.start()], raw[found.end() :]
    if not found[2] and head.endswith(b","):  # the last entry: the comma before it goes too
        head = head[:-1]
    return f"{crc32c(head + tail):08x}".encode() == found[1]


def sha256_of(path: Path) -> str:
    """SHA-256 of a small file in hexadecimal; empty where there is none."""
    try:
        return hashlib.sha256(read_whole(path, "")).hexdigest()
    except DissensusError:
        return ""
