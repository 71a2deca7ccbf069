"""Other data to learn from: parts of the training images, altered labels, foreign data sets made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .data import LabelledImages, stratified

if TYPE_CHECKING:
    from .data import DemoData

N_SHAPES = 6000


def subset(data: DemoData, name: str, seed: int) -> LabelledImages:
    """Return the labelled images of a recipe: `"train"`, or one of `SUBSETS`.

    Parameters
    ----------
    data
        The base model's training images and those it never sees.
    name
        A key of `SUBSETS`.
    seed
        Of the choice among images.
    """
    return SUBSETS[name](data, np.random.default_rng([seed, 7]))


def foreign(name: str, size: int, seed: int) -> LabelledImages:
    """Return a labelled data set that has nothing to do with the demo's, as (N, size, size) uint8 images."""
    return FOREIGN[name](size, np.random.default_rng([seed, 11]))


def _part(share: float) -> Callable[[DemoData, np.random.Generator], LabelledImages]:
    def take(data: DemoData, rng: np.random.Generator) -> LabelledImages:
        n = round(share * len(data.train))
        return data.train[stratified(data.train.labels, [n], rng)[0]]

    return take


def _other(data: DemoData, rng: np.random.Generator) -> LabelledImages:
    """As many images as the base model has, none of them among its own (or all there are)."""
    n = min(len(data.train), len(data.extra))
    return data.extra[stratified(data.extra.labels, [n], rng)[0]]


def _more(data: DemoData, rng: np.random.Generator) -> LabelledImages:
    """The base model's images and up to twice as many others."""
    n = min(2 * len(data.train), len(data.extra))
    others = data.extra[stratified(data.extra.labels, [n], rng)[0]]
    return LabelledImages.joined(data.train, others)


def _long_tail(data: DemoData, rng: np.random.Generator) -> LabelledImages:
    """Class c keeps 0.1 ** (c / (C - 1)) of its images: the last class a tenth."""
    share = 0.1 ** (data.train.labels / (data.n_classes - 1))
    return data.train[np.flatnonzero(rng.random(len(data.train)) < share)]


def _noisy(data: DemoData, rng: np.random.Generator) -> LabelledImages:
    """A fifth of the labels are drawn anew, by chance."""
    labels = data.train.labels.copy()
    wrong = rng.random(len(labels)) < 0.2
    labels[wrong] = rng.integers(0, data.n_classes, int(wrong.sum()))
    return LabelledImages(data.train.images, labels)


SUBSETS: dict[str, Callable[[DemoData, np.random.Generator], LabelledImages]] = {
    "train": lambda data, rng: data.train,
    "half": _part(1 / 2),
    "quarter": _part(1 / 4),
    "other": _other,
    "more": _more,
    "long-tail": _long_tail,
    "noisy": _noisy,
}
"""Training images by name; all but `"train"` differ from the base model's."""


def shapes(size: int, rng: np.random.Generator, n: int = N_SHAPES) -> LabelledImages:
    """Draw filled and hollow figures, crosses and gratings: ten classes of simple geometry with noise.

    Parameters
    ----------
    size
        Side of the images in pixels.
    rng
        Decides place, size, angle and brightness of each figure.
    n
        Number of images.
    """
    labels = np.arange(n) % len(_FIGURES)
    drawn = np.stack([_draw(_FIGURES[label], size, rng) for label in labels])
    return LabelledImages(np.rint(255 * drawn.clip(0, 1)).astype(np.uint8), labels)


def handwriting(size: int, rng: np.random.Generator) -> LabelledImages:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, enlarged and framed to `size`."""
    from dissensus.ingest import digits_examples

    source = digits_examples()
    small = np.asarray(source.read(0, len(source)))
    factor = max(1, size // small.shape[1])
    large = small.repeat(factor, 1).repeat(factor, 2)[:, :size, :size]
    before = (size - large.shape[1]) // 2
    after = size - large.shape[1] - before
    return LabelledImages(np.pad(large, ((0, 0), (before, after), (before, after))), source.labels)


FOREIGN: dict[str, Callable[[int, np.random.Generator], LabelledImages]] = {
    "shapes": shapes,
    "handwriting": handwriting,
}
"""Data sets to learn features from, by name."""

Figure = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]

_FIGURES: list[Figure] = [  # of x and y in the figure's own frame, where it reaches from -1 to 1
    lambda x, y: x**2 + y**2 < 1,
    lambda x, y: abs(x**2 + y**2 - 0.7) < 0.3,
    lambda x, y: np.maximum(abs(x), abs(y)) < 0.8,
    lambda x, y: abs(np.maximum(abs(x), abs(y)) - 0.75) < 0.2,
    lambda x, y: (y > -0.7) & (y < 1 - 2 * abs(x)),
    lambda x, y: (np.minimum(abs(x), abs(y)) < 0.25) & (np.maximum(abs(x), abs(y)) < 1),
    lambda x, y: (np.sin(6 * x) > 0) & (np.maximum(abs(x), abs(y)) < 1),
    lambda x, y: (np.sin(5 * x) * np.sin(5 * y) > 0) & (np.maximum(abs(x), abs(y)) < 1),
    lambda x, y: (abs(y) < 0.3) & (abs(x) < 1),
    lambda x, y: (x**2 + y**2 < 1) & (y > 0.1),
]


def _draw(figure: Figure, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    place, angle = rng.uniform(-0.25, 0.25, 2), rng.uniform(0, 2 * np.pi)
    stretch = rng.uniform(0.45, 0.85, 2)
    x, y = axis[None] - place[0], axis[:, None] - place[1]
    turned_x, turned_y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = figure(turned_x / stretch[0], turned_y / stretch[1])
    return rng.uniform(0.4, 1) * inside + rng.normal(0, 0.08, (size, size))
