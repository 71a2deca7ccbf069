"""Opening files: what a name stands for, and every way in which a file may be broken as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, DissensusError

FORMATS = {
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".txt": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json.gz": "json",
    ".jsonl.gz": "json",
}
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
SAVED = "a saved dataset"  # a folder that `datasets` has written, and the file that tells of its parts
SAVED_STATE = "state.json"
TABLES = ("parquet", "arrow", "csv", "tsv", SAVED)


def format_of(path: Path) -> str:
    """Name of a file's format, by its ending.

    Raises
    ------
    ArgumentError
        No such file, a folder, an empty file, or an ending that stands for no format.
    """
    if path.is_dir():
        return _format_of_folder(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error.strerror}") from error
    ending = _ending(path)
    if path.suffix.lower() in PACKED and ending not in FORMATS:
        raise ArgumentError(
            f"{path} is packed; unpack it, or pack it with gzip as "
            f"{', '.join(name for name in FORMATS if name.endswith('.gz'))}"
        )
    if ending not in FORMATS:
        raise ArgumentError(
            f"{path} has the ending {path.suffix!r}, which is no known format; known are {', '.join(FORMATS)}"
        )
    if size == 0:
        raise ArgumentError(f"{path} is empty (0 bytes)")
    return FORMATS[ending]


def _format_of_folder(path: Path) -> str:
    if (path / SAVED_STATE).exists():
        return SAVED
    with suppress(OSError):
        for one in sorted(path.iterdir()):
            if (one / SAVED_STATE).exists():
                raise ArgumentError(f"{path} is a folder of saved datasets; name one, such as {one}")
            if _ending(one) in FORMATS and one.is_file():
                raise ArgumentError(
                    f"{path} is a folder; name the files in it, such as {path}/*{_ending(one)}"
                )
    raise ArgumentError(f"{path} is a folder; name the files in it, such as {path}/*.npy")


def stem_of(path: Path) -> str:
    """File name without the ending that stands for its format; of a folder, all of its name."""
    if path.is_dir():
        return path.name or str(path)
    return path.name.removesuffix(path.name[len(path.name) - len(_ending(path)) :]) or str(path)


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


@contextmanager
def reading(path: Path, format_name: str) -> Iterator[None]:
    """Turn whatever a reader raises over a broken file into one clear error.

    Raises
    ------
    ArgumentError
        Naming the file, the format and the reader's reason.
    """
    try:
        yield
    except (DissensusError, MemoryError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:  # readers raise what they like: zip, pickle, Arrow and Rust errors among them
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise ArgumentError(f"{path} cannot be read as {format_name}: {reason}{remedy}") from error


def array_of(values: Any, what: str) -> NDArray[Any]:
    """Array of numbers or text from plain lists.

    Raises
    ------
    ArgumentError
        Rows of different lengths, or values that are neither numbers nor text.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"{what} must have rows of one length; they differ") from error
    if array.dtype.kind not in "fiubU" or array.ndim == 0:
        raise ArgumentError(
            f"{what} must hold numbers or class names; got {array.dtype} of shape {array.shape}"
        )
    return array


def id_texts(values: Any, what: str) -> list[str]:
    """Example ids of a file as text.

    Raises
    ------
    ArgumentError
        They are neither text nor whole numbers.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuUSO":
        raise ArgumentError(
            f"{what} must hold texts or whole numbers, one a row; got {array.dtype} {array.shape}"
        )
    plain = array.tolist()
    wrong = next((v for v in plain if isinstance(v, bool) or not isinstance(v, str | int | bytes)), None)
    if wrong is not None or None in plain:
        raise ArgumentError(f"{what} must hold texts or whole numbers in every row; got {wrong!r}")
    return [v.decode() if isinstance(v, bytes) else str(v) for v in plain]
