"""What the demo learns from and is judged on: four disjoint, class-stratified, seeded parts of a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

if TYPE_CHECKING:
    from dissensus.ingest import ArrayExamples

SPLIT_SEED = 20211012

DIGITS_PARTS = (200, 648, 200)
"""Training, fit and extra images of digits; the other 749 are for the report."""

IDX_PARTS = (12_000, 5_000)
"""Training and fit images of an IDX folder; the rest of its training file is extra, its test file report."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes.

    Attributes
    ----------
    images
        (N, H, W) uint8.
    labels
        (N,) int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.intp]) -> LabelledImages:
        return LabelledImages(self.images[rows], self.labels[rows])

    @classmethod
    def joined(cls, first: LabelledImages, second: LabelledImages) -> LabelledImages:
        """Return both, the first one's rows first."""
        images = np.concatenate([first.images, second.images])
        return cls(images, np.concatenate([first.labels, second.labels]))


@dataclass(frozen=True)
class DemoData:
    """A data set cut for the demo; the store gets `fit` and `report` only.

    Attributes
    ----------
    name
        For folders and titles.
    classes
        Names of the C classes.
    train
        What the base model is trained on.
    extra
        Training images that the base model never sees.
    fit
        For calibration and selection of ensembles.
    report
        For the numbers that are reported.
    ids
        Names of the fit and report images, in this order.
    flips
        A mirrored image is as natural as the image.
    origin
        Arguments of `load` that give the same data again, in another process too.
    """

    name: str
    classes: tuple[str, ...]
    train: LabelledImages
    extra: LabelledImages
    fit: LabelledImages
    report: LabelledImages
    ids: tuple[str, ...]
    flips: bool
    origin: tuple[str, str | None]

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.train.images.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @cached_property
    def mean(self) -> float:
        """Mean of the training pixels in [0, 1]."""
        return float(self.train.images.mean() / 255)

    @cached_property
    def std(self) -> float:
        """Standard deviation of the training pixels in [0, 1]."""
        return float(self.train.images.std() / 255)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all images that models are trained on, and their labels."""
        digest = hashlib.sha256(repr((self.classes, self.flips)).encode())
        for part in (self.train, self.extra):
            digest.update(np.ascontiguousarray(part.images).tobytes())
            digest.update(part.labels.tobytes())
        return digest.hexdigest()

    def examples(self) -> ArrayExamples:
        """Return the fit and report images as the source that the store is made of and inference reads."""
        from dissensus.ingest import ArrayExamples

        both = LabelledImages.joined(self.fit, self.report)
        splits = ["fit"] * len(self.fit) + ["report"] * len(self.report)
        return ArrayExamples(both.images, both.labels, ids=self.ids, classes=self.classes, splits=splits)


def load(data: str | Path = "digits", path: str | Path | None = None) -> DemoData:
    """Return the data of a demo.

    Parameters
    ----------
    data
        `"digits"`, `"fashion-mnist"`, or the path of a folder with the four IDX files of the MNIST family.
    path
        Where the IDX files of `"fashion-mnist"` lie, if not where they are looked for.

    Raises
    ------
    ArgumentError
        The files are not there, or `path` is given with data that needs none.
    MissingDependency
        Digits come with scikit-learn, which is not installed.
    """
    if str(data) == "fashion-mnist":
        folder = find_fashion_mnist() if path is None else Path(path)
        return _from_idx(folder, "fashion-mnist", ("fashion-mnist", str(folder.absolute())))
    if path is not None:
        raise ArgumentError(
            f"path belongs to data='fashion-mnist', got path={str(path)!r} with data={str(data)!r}"
        )
    if str(data) == "digits":
        return _digits()
    if not Path(data).is_dir():
        raise ArgumentError(f"data must be digits, fashion-mnist or a folder of IDX files, got {str(data)!r}")
    folder = Path(data).absolute()
    return _from_idx(folder, folder.parent.name if folder.name == "raw" else folder.name, (str(folder), None))


def find_fashion_mnist(places: Sequence[Path] | None = None) -> Path:
    """Return the first folder that holds the four IDX files of Fashion-MNIST.

    Parameters
    ----------
    places
        Where to look; by default where Debian's package and torchvision put them.

    Raises
    ------
    ArgumentError
        None of the places has them; the remedies are named.
    """
    from dissensus.ingest.data.idx import find_idx

    places = _usual_places() if places is None else places
    for place in places:
        if len(find_idx(place)) == 2:
            return place
    raise ArgumentError(
        f"Fashion-MNIST was not found in {', '.join(map(str, places))}; install it with `apt-get install "
        'dataset-fashion-mnist`, or fetch it with `python -c "import torchvision; '
        "torchvision.datasets.FashionMNIST('data', download=True)\"`, or name its folder with --path"
    )


def stratified(
    labels: NDArray[np.int64], sizes: Sequence[int], rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Cut rows at random into disjoint parts of exact sizes, each with the classes in equal shares.

    Parameters
    ----------
    labels
        (N,) class of each row.
    sizes
        Rows of each part; what is left over belongs to no part.
    rng
        Decides which rows go where.

    Returns
    -------
    list of (size,) arrays
        Ascending row numbers of each part.
    """
    order = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):  # spread each class evenly over 0 … 1, then cut that line
        rows = order[labels[order] == label]
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    line = np.argsort(place, kind="stable")
    cuts = np.cumsum([0, *sizes])
    return [np.sort(line[start:stop]) for start, stop in pairwise(cuts)]


def _digits() -> DemoData:
    from dissensus.ingest import digits_examples

    everything, source = _read(digits_examples())
    rest = len(source) - sum(DIGITS_PARTS)
    parts = stratified(source.labels, [*DIGITS_PARTS, rest], np.random.default_rng(SPLIT_SEED))
    train, fit, extra, report = (everything[rows] for rows in parts)
    ids = tuple(source.ids[row] for row in (*parts[1], *parts[3]))
    classes = tuple(source.classes)
    return DemoData("digits", classes, train, extra, fit, report, ids, flips=False, origin=("digits", None))


def _from_idx(folder: Path, name: str, origin: tuple[str, str | None]) -> DemoData:
    from dissensus.ingest import idx_examples
    from dissensus.ingest.data.idx import FASHION_CLASSES

    known = FASHION_CLASSES if name == "fashion-mnist" else None
    training, report = (
        _read(idx_examples(folder, which=which, classes=known)) for which in ("train", "test")
    )
    n_train, n_fit = _scaled(IDX_PARTS, len(training[0]))
    sizes = [n_train, n_fit, len(training[0]) - n_train - n_fit]
    parts = stratified(training[0].labels, sizes, np.random.default_rng(SPLIT_SEED))
    train, fit, extra = (training[0][rows] for rows in parts)
    ids = (*(training[1].ids[row] for row in parts[1]), *report[1].ids)
    classes = max(training[1].classes, report[1].classes, key=len)  # where unnamed, up to the largest label
    flips = classes == list(FASHION_CLASSES)
    return DemoData(name, tuple(classes), train, extra, fit, report[0], ids, flips, origin)


def _read(source: ArrayExamples) -> tuple[LabelledImages, ArrayExamples]:
    return LabelledImages(np.asarray(source.read(0, len(source))), source.labels), source


def _scaled(parts: tuple[int, int], n: int) -> tuple[int, int]:
    """Keep half of a small training file for fit and extra."""
    share = min(1.0, n / 2 / sum(parts))
    return int(parts[0] * share), int(parts[1] * share)


def _usual_places() -> list[Path]:
    torch_home = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser()
    roots = [Path("data"), Path("~/data").expanduser(), torch_home, torch_home / "data"]
    return [Path("/usr/share/datasets/fashion-mnist"), *(root / "FashionMNIST" / "raw" for root in roots)]
