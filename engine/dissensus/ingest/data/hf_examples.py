"""Hugging Face data sets of images: which columns count, and decoding their rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnknownName

from .decoding import DecodedExamples, OnBadImage, check_on_bad_image, decoded
from .examples import checked_labels, row_ids
from .hf_files import hf_library, open_hf

if TYPE_CHECKING:
    from PIL.Image import Image


class HfExamples(DecodedExamples):
    """Examples of a Hugging Face data set with a column of images and one of labels.

    Rows stay in the mapped file and are decoded when their batch comes, from their bytes: as `ImageFolder`
    does it, EXIF orientation left alone (`datasets` itself turns such images, timm and torchvision do not).
    See `DecodedExamples` for its attributes.

    Parameters
    ----------
    data
        A folder of `save_to_disk`, a Parquet or Arrow file, a folder of or pattern for such, or a
        `datasets.Dataset`. `datasets` keeps an Arrow copy of Parquet files in its own cache.
    on_bad_image
        "stop" refuses images that cannot be decoded; "skip" leaves them out, with a warning; `skipped` keeps
        the list, and so does a store made for the source.
    image_column
        Column of images; by default the only one of type Image.
    label_column
        Column of classes; by default the only one of type ClassLabel, else the one called "label".
    id_column
        Column of distinct ids; by default row numbers, zero-padded.
    classes
        Class names, for labels that are numbers, or texts among these names; ClassLabel columns have them.
    progress
        Show the scan on stderr.

    Raises
    ------
    MissingDependency
        `datasets` is not installed.
    UnreadableImage
        Images cannot be decoded: how many, and the first rows.
    UnknownName
        There is no such column.
    ArgumentError
        There is no such data, it holds several parts, a column cannot be told or is of the wrong type, an id
        comes twice, or a label is out of range.

    Examples
    --------
    >>> from dissensus.ingest import HfExamples
    >>> examples = HfExamples("cifar100/test", label_column="fine_label")  # doctest: +SKIP
    """

    def __init__(
        self,
        data: Any,
        on_bad_image: OnBadImage = "stop",
        *,
        image_column: str | None = None,
        label_column: str | None = None,
        id_column: str | None = None,
        classes: Sequence[str] | None = None,
        progress: bool = True,
    ) -> None:
        check_on_bad_image(on_bad_image)
        dataset = open_hf(data).with_format(None)
        self._where = str(data) if isinstance(data, str | Path) else "the data set"
        self._column = _image_column(dataset, image_column)
        self._images = _undecoded(dataset, self._column)
        label = _label_column(dataset, label_column)
        names = row_ids(len(dataset)) if id_column is None else _texts(dataset, id_column)
        labels, own = _labels(dataset, label, classes)
        self._look(self._where, names, on_bad_image, progress)
        self.labels: NDArray[np.int64] = checked_labels(labels[self._kept], len(self), own)
        self.classes: list[str] = own or [str(c) for c in range(int(self.labels.max()) + 1)]

    def _load(self, item: int) -> tuple[str, Image]:
        entry = self._images[item][self._column]
        if not entry or (entry["bytes"] is None and entry["path"] is None):
            raise ValueError("no image")
        data = entry["bytes"]
        return decoded(Path(entry["path"]).read_bytes() if data is None else data)

    def _place(self, item: int) -> str:
        return f"row {item} of {self._where}"


def _image_column(dataset: Any, name: str | None) -> str:
    images = [n for n, feature in dataset.features.items() if type(feature).__name__ == "Image"]
    return _chosen(dataset, name, images, "image_column", "of type Image")


def _label_column(dataset: Any, name: str | None) -> str:
    labels = [n for n, feature in dataset.features.items() if type(feature).__name__ == "ClassLabel"]
    if not labels and "label" in dataset.features:
        labels = ["label"]
    return _chosen(dataset, name, labels, "label_column", "of type ClassLabel, nor one called 'label'")


def _chosen(dataset: Any, name: str | None, found: list[str], argument: str, kind: str) -> str:
    if name is not None:
        return _known(dataset, name)
    if len(found) == 1:
        return found[0]
    option = "--" + argument.replace("_", "-")
    if found:
        raise ArgumentError(f"{argument} must be told ({option}): {', '.join(found)} could be it")
    raise ArgumentError(
        f"there is no column {kind}; name one with {argument} ({option}): {', '.join(dataset.features)}"
    )


def _known(dataset: Any, name: str) -> str:
    if name not in dataset.features:
        raise UnknownName.of("column", name, dataset.features)
    return name


def _undecoded(dataset: Any, column: str) -> Any:
    """Return the column of images alone, its rows as bytes and path."""
    datasets = hf_library()
    try:
        return dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except Exception as error:  # Arrow's errors, or datasets' own
        raise ArgumentError(f"column {column!r} holds no images: {str(error).splitlines()[0]}") from error


def _values(dataset: Any, column: str) -> list[Any]:
    return list(dataset.select_columns([column])[:][column])


def _texts(dataset: Any, column: str) -> list[str]:
    values = _values(dataset, _known(dataset, column))
    wrong = next(
        (row for row, v in enumerate(values) if isinstance(v, bool) or not isinstance(v, int | str)), None
    )
    if wrong is not None:
        raise ArgumentError(
            f"id column {column!r} must hold texts or whole numbers, got {values[wrong]!r:.60} in row {wrong}"
        )
    return [str(value) for value in values]


def _labels(
    dataset: Any, column: str, classes: Sequence[str] | None
) -> tuple[NDArray[np.int64], list[str] | None]:
    """Return the class numbers of all rows, and the class names if there are any."""
    names = getattr(dataset.features[column], "names", None)
    if names is not None and classes is not None:
        raise ArgumentError(f"classes must not be given for column {column!r}: it has its own")
    known = [str(n) for n in names or classes or ()] or None
    values = _values(dataset, column)
    if values and all(isinstance(value, str) for value in values):
        return _numbered(values, known, column)
    wrong = next((row for row, v in enumerate(values) if isinstance(v, bool) or not isinstance(v, int)), None)
    if wrong is not None:
        raise ArgumentError(
            f"label column {column!r} must hold class numbers or names, got {values[wrong]!r:.60} in row "
            f"{wrong}"
        )
    return np.array(values, np.int64), known


def _numbered(values: list[str], known: list[str] | None, column: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the numbers of class names: among those known, else in their sorted order."""
    names = sorted(set(values)) if known is None else known
    number = {name: i for i, name in enumerate(names)}
    wrong = next((row for row, value in enumerate(values) if value not in number), None)
    if wrong is not None:
        raise ArgumentError(
            f"label {values[wrong]!r} in row {wrong} of column {column!r} is none of the classes"
        )
    return np.array([number[value] for value in values], np.int64), names
