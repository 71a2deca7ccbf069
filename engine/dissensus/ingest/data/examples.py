"""Where examples come from: the protocol, arrays, and scikit-learn's digits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, MissingDependency

from .memory_maps import place_of

if TYPE_CHECKING:
    from PIL.Image import Image

Images: TypeAlias = "NDArray[Any] | list[Image]"

_HASH_BYTES = 16 << 20
_MAX_UNNAMED = 10_000  # more classes than that, or than examples, are taken for an error in the labels


@runtime_checkable
class ExampleSource(Protocol):
    """Labelled examples in a fixed order, read a batch at a time.

    `read(start, stop)` gives the images of these rows: a uint8 array (n, H, W) or (n, H, W, 3), a float array
    (n, …), or a list of PIL images. It holds no more than it returns, and may be called from several
    threads, and by unpickled copies of the source in other processes.

    Three attributes are used where a source has them: `decoding`, whether `read` decodes images, which takes
    a processor's time (False without it); `skipped`, why each image that was left out could not be read, by
    its id; `contents`, a digest of each image (bytes), by which a store tells which of them differ.
    """

    @property
    def ids(self) -> Sequence[str]:
        """One name per example; rows are matched by it."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of each example."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names; their order is the meaning of a label."""

    @property
    def splits(self) -> Sequence[str] | None:
        """One split name per example, or None."""

    @property
    def fingerprint(self) -> str:
        """The sha256 of the content (hex)."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Images:
        """Return the images of rows start … stop - 1."""


class ArrayExamples:
    """Examples in an array, which may be a `np.memmap`: rows are read when their batch comes.

    Parameters
    ----------
    images
        uint8 (N, H, W) grey or (N, H, W, 3) colour, or numbers of any other shape (N, …).
    labels
        (N,) integers, 0 … C - 1.
    ids
        N distinct names; by default the row numbers, zero-padded.
    classes
        C names; by default "0" … up to the largest label.
    splits
        N split names.
    reopen
        Function without arguments that returns `images`, for pickled copies: not needed where these are in
        memory (then a copy is pickled) or part of a named file (then its place is).

    Raises
    ------
    ArgumentError
        lengths differ, a label is out of range, an id comes twice, or the shape is no image's.

    Examples
    --------
    >>> import numpy as np
    >>> from dissensus.ingest import ArrayExamples
    >>> ArrayExamples(np.zeros((3, 8, 8), np.uint8), [0, 1, 1]).ids
    ['0', '1', '2']
    """

    decoding = False

    def __init__(
        self,
        images: NDArray[Any],
        labels: ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        reopen: Callable[[], NDArray[Any]] | None = None,
    ) -> None:
        self._reopen = reopen
        self._images = _checked_images(images)
        self.labels: NDArray[np.int64] = checked_labels(labels, len(images), classes)
        n_classes = int(self.labels.max()) + 1
        self.ids: list[str] = row_ids(len(images)) if ids is None else named("ids", ids, len(images))
        self.classes: list[str] = list(classes) if classes is not None else [str(c) for c in range(n_classes)]
        self.splits: list[str] | None = None if splits is None else named("splits", splits, len(images))
        refuse_doubles(self.ids)

    def __len__(self) -> int:
        return len(self._images)

    def __getstate__(self) -> dict[str, Any]:
        reopen = self._reopen or place_of(self._images)
        return self.__dict__ if reopen is None else {**self.__dict__, "_images": None, "_reopen": reopen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._images is None:
            self._images = _checked_images(self._reopen())

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows start … stop - 1, read-only: what a model does in place must not reach the array."""
        view = np.asarray(self._images[start:stop])
        rows = view.astype(view.dtype.newbyteorder("="), copy=False)  # IDX and .npy files may be big-endian
        rows.flags.writeable = False
        return rows

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of dtype, shape and bytes, read in pieces; computed on first use."""
        images = self._images
        digest = hashlib.sha256(f"{images.dtype.str}{images.shape}".encode())
        rows = max(1, _HASH_BYTES // max(1, images[:1].nbytes))
        for start in range(0, len(images), rows):
            digest.update(np.ascontiguousarray(images[start : start + rows]).tobytes())
        return digest.hexdigest()


def grey_or_rgb(image: Image) -> Image:
    """Return a grey or RGB image as it is, 16-bit grey as grey, any other (palette, CMYK, …) as RGB."""
    image = eight_bits(image)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def eight_bits(image: Image) -> Image:
    """Return a 16-bit grey image scaled to 8 bits (Pillow itself cuts values at 255), others as they are."""
    if not image.mode.startswith("I"):
        return image
    from PIL import Image as Pillow

    values = np.asarray(image).clip(0, 65535)
    return Pillow.fromarray(np.rint(values / 257).astype(np.uint8))


def own_copy(images: Images) -> Images:
    """Return images whose arrays the caller may change: a copy where they are read-only."""
    return np.require(images, requirements="W") if isinstance(images, np.ndarray) else images


def refuse_doubles(ids: Sequence[str]) -> None:
    """Refuse ids of which one comes twice: rows are matched by them."""
    if len(set(ids)) != len(ids):
        raise ArgumentError(f"ids must be distinct; {_first_double(ids)!r} comes more than once")


def row_ids(n: int, prefix: str = "") -> list[str]:
    """Return n row numbers as names, zero-padded so that they sort as numbers do."""
    width = len(str(max(n - 1, 0)))
    return [f"{prefix}{i:0{width}d}" for i in range(n)]


def checked_labels(labels: ArrayLike, n: int, classes: Sequence[str] | None) -> NDArray[np.int64]:
    """Return labels as (n,) int64 after checking length, type and range.

    Raises
    ------
    ArgumentError
        one of the three is wrong; the first offending example is named.
    """
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ArgumentError(f"labels must have shape ({n},), one for each image, got {array.shape}")
    if n == 0:
        raise ArgumentError("images must hold at least one example, got none")
    if not np.issubdtype(array.dtype, np.integer):
        raise ArgumentError(f"labels must be integers (class indices from 0), got dtype {array.dtype}")
    limit = len(classes) if classes is not None else None
    bad = np.flatnonzero((array < 0) | (array >= limit if limit is not None else False))
    if bad.size:
        rule = "0 or more" if limit is None else f"0 … {limit - 1} for {limit} classes"
        raise ArgumentError(f"labels must be {rule}, got {array[bad[0]]} for example {bad[0]}")
    if limit is None:
        _refuse_wild(array)
    return array.astype(np.int64)


def _refuse_wild(labels: NDArray[Any]) -> None:
    """Refuse labels that would make more classes than anyone means: names are made for each of them."""
    n, largest = len(labels), int(labels.max())
    if largest >= max(_MAX_UNNAMED, n):
        raise ArgumentError(
            f"label {largest} of example {labels.argmax()} would make {largest + 1:,} classes for {n:,} "
            "examples; if that is meant, pass classes=, the names of all classes"
        )


def digits_examples() -> ArrayExamples:
    """Return scikit-learn's digits: 1,797 grey images of 8 x 8 pixels in ten classes, nothing to download.

    The sixteen steps of the original are scaled to uint8: round(value * 255 / 16).

    Raises
    ------
    MissingDependency
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        message = "the digits images come with scikit-learn; install it: pip install 'dissensus[demo]'"
        raise MissingDependency(message) from error
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return ArrayExamples(
        images, digits.target, ids=row_ids(len(images), "digit-"), classes=[str(c) for c in range(10)]
    )


def _checked_images(images: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(images, np.ndarray) or images.ndim < 2:
        shape = getattr(images, "shape", type(images).__name__)
        raise ArgumentError(
            f"images must be an array of at least two dimensions, examples first; got {shape}"
        )
    if not (np.issubdtype(images.dtype, np.integer) or np.issubdtype(images.dtype, np.floating)):
        raise ArgumentError(f"images must be numbers (uint8 pixels or floats), got dtype {images.dtype}")
    if images.ndim == 4 and images.shape[3] == 1:
        return images[..., 0]
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] != 3:
        raise ArgumentError(f"uint8 images must be (N, H, W) or (N, H, W, 3), got shape {images.shape}")
    return images


def named(argument: str, names: Sequence[str], n: int) -> list[str]:
    """Return one name an image, checked to be as many."""
    if len(names) != n:
        raise ArgumentError(f"{argument} must have one entry for each of the {n} images, got {len(names)}")
    return [str(name) for name in names]


def _first_double(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    return next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
