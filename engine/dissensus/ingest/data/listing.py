"""Which image files lie in the class sub-folders of a folder, and which label each has."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


def list_images(root: Path, classes: Sequence[str] | None = None) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the class names of an image folder, and (label, path relative to the root) of every image.

    Parameters
    ----------
    root
        Holds one sub-folder a class.
    classes
        All class names in the order of their labels; by default the sub-folders in timm's order.

    Raises
    ------
    ArgumentError
        A folder is missing, empty or unreadable, is none of `classes`, or a file name is no text.
    """
    folders = _class_folders(root)
    names = folders if classes is None else list(classes)
    unknown = [name for name in folders if name not in set(names)]
    if unknown:
        raise ArgumentError(
            f"classes must name every class folder of {root}; {len(unknown)} missing, first {unknown[0]!r}"
        )
    label = {name: number for number, name in enumerate(names)}
    return names, [
        (label[n], file) for n in sorted(folders, key=label.__getitem__) for file in _files(root, n)
    ]


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return timm's key for sorting class folders (2 before 10, letter case aside), then the name itself."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _class_folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise ArgumentError(f"image folder not found: {root}")
    folders, files = [], 0
    for entry in _entries(str(root)):
        if _is_folder(entry):
            folders.append(entry.name)
        files += not _is_folder(entry) and _is_image(entry.name)
    if not folders:
        state = "has no class sub-folders" if any(root.iterdir()) else "is empty"
        raise ArgumentError(f"image folder {root} {state}; expected {root}/<class>/<image>")
    if files:
        warnings.warn(f"ignored: {files} images that lie in {root} itself, in no class folder", stacklevel=5)
    return sorted(folders, key=natural_key)


def _files(root: Path, name: str) -> list[str]:
    found = sorted(Path(path).relative_to(root).as_posix() for path in _walk(str(root / name), ()))
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ArgumentError(f"class folder {root / name} holds no images ({suffixes}); fill or remove it")
    odd = next((file for file in found if not _is_text(file)), None)
    if odd is not None:
        raise ArgumentError(
            f"file names must be UTF-8, since they are the ids of examples; rename {root / odd!r}"
        )
    return found


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """Give the image files below a folder; a link to a folder that holds it is not followed again."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if _is_folder(entry):
            yield from _walk(entry.path, (*above, real))
        elif _is_image(entry.name):
            yield entry.path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ArgumentError(f"folder {folder} cannot be read: {error.strerror}; make it readable") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; a link that leads nowhere, or to itself, is an unreadable file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
