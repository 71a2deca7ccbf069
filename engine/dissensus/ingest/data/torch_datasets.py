"""Any map-style dataset, such as torch's and torchvision's: `dataset[i]` is an image and its label."""

from __future__ import annotations

import hashlib
import operator
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError

from .decoding import DecodedExamples, OnBadImage, check_on_bad_image
from .examples import checked_labels, eight_bits, named, row_ids

if TYPE_CHECKING:
    from .examples import Images


class DatasetExamples(DecodedExamples):
    """Examples of a map-style dataset, which decodes them its own way.

    Every item is read once when the source is made, and hashed as it comes, decoded: a dataset whose items
    change (random transforms) is refused when they are read again. Items are asked for one at a time, since
    few datasets may be called from several threads; worker processes have a dataset each. See
    `DecodedExamples` for its attributes.

    Parameters
    ----------
    dataset
        Has a length, and `dataset[i]` is (image, label, …): a PIL image, an array (H, W) or (H, W, 3) of
        uint8, a uint8 tensor (3, H, W), (1, H, W) or (H, W), or floats of any one shape.
    labels
        (N,) class numbers; by default `dataset.targets`, checked against the items, else the items' own.
        Where they are given, items may be images alone.
    ids
        N distinct names; by default the row numbers, zero-padded.
    classes
        Class names; by default `dataset.classes`, else the label numbers.
    on_bad_image
        "stop" refuses items that cannot be read; "skip" leaves them out, with a warning; `skipped` keeps the
        list, and so does a store made for the source.
    reopen
        Function without arguments, importable by its name, that makes the dataset again: pickled copies call
        it, where otherwise they hold the dataset, with all that it has in memory.
    progress
        Show the first reading on stderr.

    Raises
    ------
    UnreadableImage
        Items raised an error: how many, and the first of them.
    ArgumentError
        The dataset is not map-style, an item is no image with a label, labels are out of range or differ
        from `targets`, or lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from dissensus.ingest import DatasetExamples
    >>> items = [(np.full((4, 4), 9, np.uint8), 0), (np.zeros((4, 4), np.uint8), 1)]
    >>> DatasetExamples(items, classes=["grey", "black"], progress=False).labels.tolist()
    [0, 1]
    """

    def __init__(
        self,
        dataset: Any,
        labels: ArrayLike | None = None,
        ids: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        *,
        on_bad_image: OnBadImage = "stop",
        reopen: Callable[[], Any] | None = None,
        progress: bool = True,
    ) -> None:
        check_on_bad_image(on_bad_image)
        self._dataset, self._reopen, self._one_at_a_time = dataset, reopen, threading.Lock()
        n = _length(dataset)
        names = row_ids(n) if ids is None else named("ids", ids, n)
        self._images_alone = labels is not None
        names_given = _class_names(getattr(dataset, "classes", None) if classes is None else classes)
        known = (
            _targets(dataset, n, names_given) if labels is None else checked_labels(labels, n, names_given)
        )
        self._known = known
        self._own: NDArray[np.int64] = np.full(n, -1)
        self._look(type(dataset).__name__, names, on_bad_image, progress)
        truth = self._own if self._known is None else self._known
        self.labels = checked_labels(truth[self._kept], len(self), names_given)
        self.classes: list[str] = names_given or [str(c) for c in range(int(self.labels.max()) + 1)]

    def read(self, start: int, stop: int) -> Images:
        """Return items start … stop - 1: a list of PIL images, or one array where the dataset gives arrays.

        Raises
        ------
        UnreadableImage, ExamplesMismatch
            As of `DecodedExamples.read`.
        ArgumentError
            Arrays of floats differ in shape.
        """
        return _batch(super().read(start, stop))

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_one_at_a_time": None}
        return state if self._reopen is None else {**state, "_dataset": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _one_at_a_time=threading.Lock())
        if self._reopen is not None:
            self._dataset = self._reopen()

    def _load(self, item: int) -> tuple[str, Any]:
        with self._one_at_a_time:
            entry = self._dataset[item]
        if not self._images_alone:
            entry = self._checked_entry(entry, item)
        image = _image(entry[0] if isinstance(entry, tuple | list) else entry, self._place(item))
        return _digest(image), image

    def _place(self, item: int) -> str:
        return f"item {item} of {type(self._dataset).__name__}"

    def _checked_entry(self, entry: Any, item: int) -> Any:
        """Return an item that is an image with a label, the label noted, or compared with what is known."""
        if not isinstance(entry, tuple | list) or len(entry) < 2:
            raise ArgumentError(
                f"{self._place(item)} must be (image, label), got {type(entry).__name__}; pass labels= for a "
                "dataset of images alone"
            )
        self._own[item] = label = _number(entry[1], self._place(item))
        if self._known is not None and label != self._known[item]:
            raise ArgumentError(
                f"{self._place(item)} has label {label}, but dataset.targets says {self._known[item]}; pass "
                "labels=, those that are meant"
            )
        return entry


def _length(dataset: Any) -> int:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ArgumentError(
            f"dataset must be map-style (have a length and dataset[i]), got {type(dataset).__name__}; read "
            "an iterable one into a list first"
        )
    return len(dataset)


def _class_names(classes: Any) -> list[str] | None:
    """Return class names as texts; torchvision's ImageNet has a tuple of synonyms for each."""
    if classes is None:
        return None
    return [", ".join(name) if isinstance(name, tuple) else str(name) for name in classes]


def _targets(dataset: Any, n: int, classes: Sequence[str] | None) -> NDArray[np.int64] | None:
    targets = getattr(dataset, "targets", None)
    if targets is None:
        return None
    try:
        return checked_labels(targets, n, classes)
    except ArgumentError as error:
        raise ArgumentError(f"dataset.targets cannot be the labels: {error}; pass labels=") from error


def _number(label: Any, place: str) -> int:
    try:
        number = operator.index(label.item() if hasattr(label, "item") else label)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"{label!r:.60}"
        raise ArgumentError(f"{place} must have one class number as its label, got {what}") from error
    return number


def _image(value: Any, place: str) -> Any:
    """Return a PIL image (8 bits), uint8 pixels (H, W) or (H, W, 3), or floats of any shape."""
    if hasattr(value, "getbands"):
        value.load()
        return eight_bits(value)
    is_tensor = hasattr(value, "detach")
    pixels = value.detach().cpu().numpy() if is_tensor else value
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "uif" or not pixels.ndim:
        raise ArgumentError(
            f"{place} must be a PIL image, an array or a tensor of numbers, got {type(value).__name__}"
        )
    if pixels.dtype != np.uint8:
        return pixels
    if is_tensor and pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if pixels.ndim != 2 and pixels.shape[2:] != (3,):
        raise ArgumentError(f"{place} must be grey or have three colours, got shape {value.shape}")
    return pixels


def _digest(image: Any) -> str:
    """Return the sha256 of pixels, and of what says how to read them."""
    if isinstance(image, np.ndarray):
        digest = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()
    digest = hashlib.sha256(f"{image.mode}{image.size}{image.getpalette()}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _batch(images: Any) -> Images:
    """Return arrays of one shape as one array, PIL images as they are, pixels of several sizes as those."""
    arrays = [image for image in images if isinstance(image, np.ndarray)]
    shapes = {(image.shape, image.dtype.str) for image in arrays}
    if len(arrays) == len(images) and len(shapes) == 1:
        return np.stack(arrays)
    if any(image.dtype != np.uint8 for image in arrays):
        raise ArgumentError(
            f"items that are no uint8 pixels must have one shape and type, got {sorted(shapes)}"
        )
    from PIL import Image

    return [Image.fromarray(image) if isinstance(image, np.ndarray) else image for image in images]
