"""One door for the command line: what the user names as data becomes an example source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, DissensusError

from .decoding import OnBadImage, check_on_bad_image
from .examples import ArrayExamples, ExampleSource, digits_examples
from .folders import ImageFolder
from .hf_examples import HfExamples
from .hf_files import HF_SUFFIXES, is_hf
from .idx import find_idx, idx_examples, is_idx
from .patterns import expand, is_pattern
from .tars import TarExamples
from .torch_datasets import DatasetExamples

_PYTHON = "python:"
_KINDS = (
    "'digits', a folder of class sub-folders, tar shards (a file, a folder or a pattern such as "
    "'val-{000..009}.tar'), a Hugging Face data set on disk (save_to_disk, .parquet, .arrow), a folder or "
    "file of IDX data, an .npy array with labels, or python:MODULE:FUNCTION"
)


def open_examples(
    spec: str | Path,
    labels: str | Path | ArrayLike | None = None,
    on_bad_image: OnBadImage = "stop",
    classes: Sequence[str] | None = None,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
) -> ExampleSource:
    """Return the example source that a name or path stands for.

    Parameters
    ----------
    spec
        "digits" (scikit-learn's); a folder of class sub-folders with images; WebDataset shards: a tar file,
        a folder of them, or a pattern (`val-{000..009}.tar`, `val-*.tar`); a Hugging Face data set: a folder
        of `save_to_disk`, Parquet or Arrow files; a folder or file of IDX data (its test part, where there is
        one); an `.npy` file of images; or "python:module:function", a function without arguments that returns
        a map-style dataset or an example source.
    labels
        Labels of an `.npy` file, of a single IDX file or of a dataset: a path, or the labels themselves.
    on_bad_image
        "stop" or "skip": what to do with images that cannot be decoded.
    classes
        Class names in the order of the labels: for data that lacks some of the models' classes, or has label
        numbers only.
    image_column, label_column, id_column
        Columns of Hugging Face data, see `HfExamples`.

    Raises
    ------
    ArgumentError
        There is no such data, it cannot be read, or labels, classes or columns are missing, or given where
        the data has its own.
    UnreadableImage
        Images cannot be decoded, and `on_bad_image` is "stop".
    MissingDependency
        The data needs an optional package.
    """
    check_on_bad_image(on_bad_image)
    columns = {"image_column": image_column, "label_column": label_column, "id_column": id_column}
    request = _Request(labels, on_bad_image, classes, columns)
    try:
        if str(spec) == "digits":
            request.allow("digits")
            return digits_examples()
        if str(spec).startswith(_PYTHON):
            return _from_function(str(spec), request)
        if is_pattern(str(spec)):
            return _from_pattern(str(spec), request)
        return _from_path(Path(spec), request)
    except DissensusError:
        raise
    except OSError as error:
        raise ArgumentError(f"{error.filename or spec} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Request:
    """What was asked for beside the data."""

    labels: str | Path | ArrayLike | None
    on_bad_image: OnBadImage
    classes: Sequence[str] | None
    columns: Mapping[str, Any]

    def allow(self, what: str, *names: str) -> None:
        """Refuse arguments that were given and mean nothing for this kind of data."""
        for name in ("labels", "classes"):
            if getattr(self, name) is not None and name not in names:
                raise ArgumentError(f"{name} must not be given for {what}: it has its own")
        column = next((name for name, value in self.columns.items() if value is not None), None)
        if column is not None and "columns" not in names:
            raise ArgumentError(f"{column} must not be given for {what}: only Hugging Face data have columns")


def _from_path(path: Path, request: _Request) -> ExampleSource:
    if not path.exists():
        raise ArgumentError(f"no such data: {path}; expected {_KINDS}")
    if path.suffix == ".npy":
        return _from_npy(path, request)
    if find_idx(path) if path.is_dir() else is_idx(path):
        request.allow(f"the IDX data {path}", "labels", "classes")
        return idx_examples(path, request.labels, classes=request.classes)
    if is_hf(path):
        return _from_hf(path, request)
    if path.suffix == ".tar" or _holds_tars(path):
        return _from_tars(path, request)
    if path.is_dir():
        request.allow(f"the image folder {path}", "classes")
        return ImageFolder(path, request.on_bad_image, classes=request.classes)
    raise ArgumentError(f"{path} is no data that can be read; expected {_KINDS}")


def _from_pattern(spec: str, request: _Request) -> ExampleSource:
    suffixes = {path.suffix for path in expand(spec)}
    if suffixes == {".tar"}:
        return _from_tars(spec, request)
    if suffixes <= set(HF_SUFFIXES):
        return _from_hf(spec, request)
    raise ArgumentError(
        f"{spec} names {', '.join(sorted(suffixes))} files; a pattern names tar or Parquet files"
    )


def _from_tars(spec: str | Path, request: _Request) -> TarExamples:
    request.allow(f"the tar shards {spec}", "classes")
    return TarExamples(spec, request.on_bad_image, classes=request.classes)


def _from_hf(spec: str | Path, request: _Request) -> HfExamples:
    request.allow(f"the Hugging Face data {spec}", "classes", "columns")
    return HfExamples(spec, request.on_bad_image, classes=request.classes, **request.columns)


def _from_npy(path: Path, request: _Request) -> ArrayExamples:
    request.allow(f"the array {path}", "labels", "classes")
    truth = _truth(request.labels)
    if truth is None:
        raise ArgumentError(f"{path} holds images only; pass labels=, an .npy file of class indices")
    return ArrayExamples(_load(path), truth, classes=request.classes)


def _from_function(spec: str, request: _Request) -> ExampleSource:
    function = _function(spec)
    made = function()
    if isinstance(made, ExampleSource):
        request.allow(f"{spec}, which returned an example source")
        if request.on_bad_image == "skip":
            raise ArgumentError(f"on_bad_image='skip' must not be given for {spec}: its source decides that")
        return made
    request.allow(f"the dataset of {spec}", "labels", "classes")
    return DatasetExamples(
        made,
        _truth(request.labels),
        classes=request.classes,
        on_bad_image=request.on_bad_image,
        reopen=function,
    )


def _function(spec: str) -> Callable[[], Any]:
    """Import the function that `python:module:function` names."""
    module, colon, name = spec.removeprefix(_PYTHON).partition(":")
    if not (module and colon and name):
        raise ArgumentError(f"{spec} must be python:MODULE:FUNCTION, such as python:my_data:validation")
    try:
        function = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ArgumentError(f"{spec}: {error}; it must be importable from here (PYTHONPATH)") from error
    except AttributeError as error:
        raise ArgumentError(f"{spec}: module {module} has no function {name}") from error
    if not callable(function):
        raise ArgumentError(f"{spec} must name a function, got {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _holds_tars(path: Path) -> bool:
    """Whether a folder holds tar files and no sub-folders, which would be classes."""
    if not path.is_dir():
        return False
    entries = list(path.iterdir())
    return any(e.suffix == ".tar" for e in entries) and not any(e.is_dir() for e in entries)


def _truth(labels: str | Path | ArrayLike | None) -> ArrayLike | None:
    return _load(Path(labels)) if isinstance(labels, str | Path) else labels


def _load(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise ArgumentError(f"file not found: {path}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArgumentError(f"{path} cannot be read as an .npy array: {error}") from error
    return array
