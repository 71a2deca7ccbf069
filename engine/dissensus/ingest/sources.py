"""One door for the command line: what the user names as data becomes an example source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, DissensusError

from .examples import ArrayExamples, ExampleSource, digits_examples
from .folders import ImageFolder
from .idx import find_idx, idx_examples, is_idx

_KINDS = "'digits', a folder of class sub-folders, a folder or file of IDX data, or an .npy array with labels"


def open_examples(
    spec: str | Path,
    labels: str | Path | ArrayLike | None = None,
    on_bad_image: Literal["stop", "skip"] = "stop",
    classes: Sequence[str] | None = None,
) -> ExampleSource:
    """Return the example source that a name or path stands for.

    Parameters
    ----------
    spec
        "digits" (scikit-learn's), a folder of class sub-folders with images, a folder or file of IDX data
        (its test part, where there is one), or an `.npy` file of images.
    labels
        Labels of an `.npy` file or of a single IDX file: a path, or the labels themselves.
    on_bad_image
        "stop" or "skip"; only image folders can have bad images.
    classes
        Class names in the order of the labels: for data that lacks some of the models' classes, or has label
        numbers only.

    Raises
    ------
    ArgumentError
        There is no such data, it cannot be read, or labels or classes are missing, or given where the data
        has its own.
    UnreadableImage
        Images of a folder cannot be decoded, and `on_bad_image` is "stop".
    """
    if str(spec) == "digits":
        _refuse("labels", "digits", labels)
        _refuse("classes", "digits", classes)
        return digits_examples()
    try:
        return _from_path(Path(spec), labels, on_bad_image, classes)
    except DissensusError:
        raise
    except OSError as error:
        raise ArgumentError(f"{error.filename or spec} cannot be read: {error.strerror or error}") from error


def _from_path(
    path: Path,
    labels: str | Path | ArrayLike | None,
    on_bad_image: Literal["stop", "skip"],
    classes: Sequence[str] | None,
) -> ExampleSource:
    if not path.exists():
        raise ArgumentError(f"no such data: {path}; expected {_KINDS}")
    if path.is_dir() and not find_idx(path):
        _refuse("labels", f"the image folder {path}", labels)
        return ImageFolder(path, on_bad_image, classes=classes)
    if path.suffix == ".npy":
        return _from_npy(path, labels, classes)
    if path.is_dir() or is_idx(path):
        return idx_examples(path, labels, classes=classes)
    raise ArgumentError(f"{path} is no data that can be read; expected {_KINDS}")


def _from_npy(
    path: Path, labels: str | Path | ArrayLike | None, classes: Sequence[str] | None
) -> ArrayExamples:
    if labels is None:
        raise ArgumentError(f"{path} holds images only; pass labels=, an .npy file of class indices")
    truth = _load(Path(labels)) if isinstance(labels, str | Path) else labels
    return ArrayExamples(_load(path), truth, classes=classes)


def _load(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise ArgumentError(f"file not found: {path}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArgumentError(f"{path} cannot be read as an .npy array: {error}") from error
    return array


def _refuse(argument: str, what: str, value: object) -> None:
    if value is not None:
        raise ArgumentError(f"{argument} must not be given for {what}: it has its own")
