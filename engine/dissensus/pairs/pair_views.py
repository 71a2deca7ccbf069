"""What is known of a block of examples without its full rows: views of all models, margins, columns."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import pair_ensembles as kernel
from dissensus.kernels import probabilities
from dissensus.kernels import views as view_kernel
from dissensus.kernels.margins import Margin, margins
from dissensus.kernels.pair_rows import fill_columns

TRIED = 64  # models whose pairs are tried to learn which classes are missing
COLUMNS = 32  # classes that the examples of a block share at most, on average
SOME = 16  # models that one thread fills in at a time: a task takes as long as a model else
_STRIPE = 64  # examples that one thread tries at a time

Codes = NDArray[Any]


@dataclass(frozen=True)
class Tables:
    """Exponentials of M models, one table for each temperature there is.

    Attributes
    ----------
    values : (T, K) float64
        From `probabilities.exponentials`.
    of : (M,) int64
        Which of them is each model's.
    """

    values: NDArray[np.float64]
    of: NDArray[np.int64]

    @classmethod
    def at(cls, dtype: np.dtype[Any], temperatures: Sequence[float]) -> Tables:
        """Tables for codes of a dtype, and the temperature of each model."""
        distinct, of = np.unique(temperatures, return_inverse=True)
        return cls(np.array([probabilities.exponentials(dtype, t) for t in distinct.tolist()]), of)

    def __getitem__(self, model: int) -> probabilities.Table:
        """Table of a model."""
        table: probabilities.Table = self.values[self.of[model]]
        return table


@dataclass(frozen=True)
class Block:
    """A block of n examples of M models.

    Attributes
    ----------
    view : View
        From `view_of`.
    truth
        Offsets and classes of the right ones.
    codes : M (n, C) arrays
        The rows that the view was made from.
    tables : Tables
        The models' exponentials.
    ones : (n, M) uint8
        1 where the model alone is right.
    """

    view: kernel.View
    truth: kernel.Truth
    codes: Sequence[Codes]
    tables: Tables
    ones: NDArray[np.uint8]


def view_of(
    codes: Sequence[Codes],
    tables: Tables,
    offsets: NDArray[np.int64],
    classes: NDArray[np.int32],
) -> kernel.View:
    """View of a block of M (n, C) arrays of codes; the rest as for `views.fill_view`."""
    (n, n_classes), m = codes[0].shape, len(codes)
    ranks = n, view_kernel.ranks_of(n_classes), m
    view = kernel.View(
        np.empty(ranks, view_kernel.class_dtype(n_classes)),
        np.empty(ranks, np.uint32),
        np.empty((n, m), np.uint32),
        np.empty((len(classes), m), np.uint32),
        np.empty((n, m)),
    )
    p_truth = np.empty((0, m))
    for place, rows in enumerate(codes):
        view_kernel.fill_view(rows, tables[place], offsets, classes, place, *view[:4], p_truth, view.totals)
    return view


def margins_of(block: Block) -> Margin:
    """Lead, short, most and rival: see `margins.margins`."""
    narrow = np.empty((3, *block.ones.shape), np.int16)
    margin = narrow[0], narrow[1], narrow[2], np.empty(block.ones.shape, block.view.classes.dtype)
    margins(block.view.classes, block.view.q, block.view.right, *block.truth, *margin)
    return margin


def no_columns(block: Block) -> kernel.Columns:
    """Columns of a block whose examples share no classes."""
    n, m = block.ones.shape
    dtype = block.view.classes.dtype
    return kernel.Columns(np.zeros(n + 1, np.int64), np.empty(0, dtype), np.empty((m, 0), np.uint32))


def columns_of(block: Block, margin: Margin, anchors: int, pool: Executor) -> kernel.Columns:
    """Columns that close most of what the views of a block leave open.

    Which classes the pairs of an example lack, is learnt from the pairs of `TRIED` of the first `anchors`
    models with all: of 500 models a quarter of the pairs, after which one in 190 is open that was before.
    """
    none, n_classes = no_columns(block), block.codes[0].shape[1]
    if n_classes <= block.view.q.shape[1]:
        return none
    marks = np.zeros((len(block.ones), n_classes), np.int32)
    tried = np.arange(0, anchors, -(-anchors // TRIED))

    def mark(start: int) -> None:
        stop = min(start + _STRIPE, len(marks))
        kernel.mark_missing(start, stop, tried, margin, block.ones, block.view, none, block.truth, marks)

    list(pool.map(mark, range(0, len(marks), _STRIPE)))
    return _filled(block, *_most_missing(marks), pool)


def _most_missing(marks: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Examples and classes that are marked, by example; the most often marked ones if there are too many."""
    examples, classes = np.nonzero(marks)
    if len(classes) > (most := COLUMNS * len(marks)):
        kept = np.sort(np.argsort(-marks[examples, classes], kind="stable")[:most])
        examples, classes = examples[kept], classes[kept]
    return examples, classes


def _filled(
    block: Block, examples: NDArray[np.intp], classes: NDArray[np.intp], pool: Executor
) -> kernel.Columns:
    """Columns of some classes of some examples, with all models' values."""
    n, m = block.ones.shape
    starts = np.concatenate([[0], np.cumsum(np.bincount(examples, minlength=n))])
    narrow = classes.astype(block.view.classes.dtype)
    q = np.empty((m, len(classes)), np.uint32)

    def fill(start: int) -> None:
        for model in range(start, min(start + SOME, m)):
            totals = block.view.totals[:, model]
            fill_columns(block.codes[model], block.tables[model], totals, starts, narrow, q[model])

    if len(classes):
        list(pool.map(fill, range(0, m, SOME)))
    return kernel.Columns(starts, narrow, q)
