"""What lies where in one tar file of samples: headers are read, image data is passed over."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dissensus.errors import ArgumentError

from .listing import IMAGE_SUFFIXES

_IMAGES = frozenset(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
_LABELS = ("cls", "cls.txt", "json")  # the first that a sample has counts
_NAME = re.compile(r"((?:.*/)?[^./][^/.]*)\.([^/]+)", re.DOTALL)  # WebDataset's: up to the first dot
_BLOCK = 512


class Part(NamedTuple):
    """One file in a tar file: where its bytes begin, and how many they are."""

    start: int
    size: int


class Sample(NamedTuple):
    """One sample of a tar file: its key, where its image lies, and its class as written."""

    key: str
    image: Part
    label: str


def index_tar(path: Path) -> list[Sample]:
    """Return the samples of a tar file in their order.

    Raises
    ------
    ArgumentError
        The file is missing, compressed, damaged or truncated; it holds no samples; a file comes twice; a
        sample lacks its image or its label, or has two images.
    """
    if not path.is_file():
        raise ArgumentError(f"tar file not found: {path}")
    found: dict[str, dict[str, Part]] = {}
    with path.open("rb") as file:
        for name, part in _files(path, file):
            match = _NAME.fullmatch(name)
            ending = match[2].lower() if match else ""
            if match is None or not (ending in _IMAGES or ending in _LABELS):
                continue
            parts = found.setdefault(match[1], {})
            if ending in parts:
                raise ArgumentError(
                    f"{path} holds {name} twice; keys must be distinct: write the shard again"
                )
            parts[ending] = part
        if not found:
            raise ArgumentError(f"{path} holds no samples; expected KEY.jpg (or any image) beside KEY.cls")
        return [_sample(path, file, key, parts) for key, parts in found.items()]


def _sample(path: Path, file: BinaryIO, key: str, parts: dict[str, Part]) -> Sample:
    images = sorted(_IMAGES & parts.keys())
    if len(images) != 1:
        what = f"{len(images)} images (.{', .'.join(images)})" if images else "no image"
        raise ArgumentError(
            f"sample {key!r} of {path} has {what}, expected one (.jpg, .png, …); a key ends at the first dot "
            "of the file name"
        )
    ending = next((ending for ending in _LABELS if ending in parts), None)
    if ending is None:
        raise ArgumentError(
            f"sample {key!r} of {path} has no label; expected .cls, .cls.txt or .json beside it"
        )
    data = os.pread(file.fileno(), parts[ending].size, parts[ending].start)
    return Sample(key, parts[images[0]], _label(data, ending, f"{key}.{ending} of {path}"))


def _label(data: bytes, ending: str, what: str) -> str:
    """Return a class as text from the bytes of a label file."""
    try:
        value = json.loads(data)["label"] if ending == "json" else data.decode().strip()
    except (ValueError, KeyError, TypeError) as error:
        rule = "a JSON object with a field 'label'" if ending == "json" else "UTF-8 text"
        raise ArgumentError(f"{what} must be {rule}, got {data[:60]!r}") from error
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ArgumentError(f"{what} must hold one class, a number or a name, got {data[:60]!r}")
    return str(value)


def _files(path: Path, file: BinaryIO) -> Iterator[tuple[str, Part]]:
    """Give the plain files of a tar file; whatever ends it but its end mark is told."""
    last = "its first header"
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all headers
                last = member.name
                if member.isreg() and not member.issparse():
                    yield member.name, Part(member.offset_data, member.size)
                elif not member.isdir():
                    raise ArgumentError(f"{path} holds {last}, a link; samples must be plain files")
            end = tar.offset
    except tarfile.TarError as error:
        raise ArgumentError(_broken(path, file, last, str(error))) from error
    mark = os.pread(file.fileno(), _BLOCK, end)
    if mark != bytes(_BLOCK):
        fault = "a damaged header" if len(mark) == _BLOCK else "no end mark"
        raise ArgumentError(_broken(path, file, last, f"{fault} at byte {end}"))


def _broken(path: Path, file: BinaryIO, last: str, fault: str) -> str:
    if os.pread(file.fileno(), 2, 0) == b"\x1f\x8b":
        return f"{path} is compressed, so that no image can be reached by its place; unpack it (gunzip) first"
    return f"{path} is truncated or damaged after {last} ({fault}); fetch or write it again"
