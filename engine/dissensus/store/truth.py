"""What the right answers are: one class an example, or a set of them; an empty set is not counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from .tables import numbers

Labels = NDArray[np.int32]
MOST_UNNAMED = 100_000  # classes; a larger label is taken for a mistake


@dataclass(frozen=True, eq=False)
class Truth:
    """Right answers of N examples, as sets of classes laid end to end.

    Attributes
    ----------
    name : str
        Name of the label set in the store.
    offsets : (N + 1,) int64
        Example n's classes are ``classes[offsets[n]:offsets[n + 1]]``.
    classes : (K,) int32
        Classes that count as right, ascending within an example.

    Examples
    --------
    >>> truth = Truth.of("real", [[3], [], [1, 0]], n_classes=4)
    >>> truth.counted.tolist(), truth.correct(np.array([[3, 3, 0], [2, 0, 1]])).tolist()
    ([True, False, True], [[True, False, True], [False, False, True]])
    """

    name: str
    offsets: NDArray[np.int64]
    classes: Labels

    @classmethod
    def of(cls, name: str, labels: Any, n_classes: int) -> Truth:
        """Check labels given as (N,) integers or N collections of them (None or an empty one: not counted).

        Raises
        ------
        ArgumentError
            None at all, another kind of value, or a class outside 0..n_classes - 1.
        """
        sizes, values = _laid_out(labels, f"labels {name!r}")
        if not len(sizes):
            raise ArgumentError(f"labels {name!r} must be a non-empty list, one entry an example; got none")
        rows = np.repeat(np.arange(len(sizes)), sizes)
        bad = np.flatnonzero((values < 0) | (values >= n_classes))
        if len(bad):
            raise ArgumentError(
                f"labels must lie in 0..{n_classes - 1} (classes), row {rows[bad[0]]} holds "
                f"{values[bad[0]]} ({len(np.unique(rows[bad]))} rows are off)"
            )
        order = np.lexsort((values, rows))
        rows, values = rows[order], values[order]
        fresh = np.ones(len(values), bool)
        fresh[1:] = (rows[1:] != rows[:-1]) | (values[1:] != values[:-1])  # a class named twice is one
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[fresh], minlength=len(sizes)))])
        return cls(name, offsets.astype(np.int64), values[fresh].astype(np.int32))

    @classmethod
    def from_column(cls, name: str, column: pa.ChunkedArray) -> Truth:
        """Truth of a stored column, int32 or list of int32."""
        array = column.combine_chunks()
        if pa.types.is_integer(array.type):
            labels = numbers(array)
            return cls(name, np.arange(len(labels) + 1), labels)
        return cls(name, numbers(array.offsets).astype(np.int64), numbers(array.flatten()))

    def to_column(self) -> pa.Array:
        """Arrow column: int32 where every example has one class, else lists of int32."""
        if self.is_single:
            return pa.array(self.classes, pa.int32())
        return pa.ListArray.from_arrays(
            pa.array(self.offsets, pa.int32()), pa.array(self.classes, pa.int32())
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of right classes of each example, (N,)."""
        return np.diff(self.offsets)

    @cached_property
    def is_single(self) -> bool:
        """Whether every example has exactly one right class."""
        return bool((self.sizes == 1).all())

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Examples that have a right answer, (N,) bool."""
        return self.sizes > 0

    @property
    def labels(self) -> Labels:
        """The right class of each example, (N,) int32.

        Raises
        ------
        ArgumentError
            Some examples have none or several.
        """
        if not self.is_single:
            raise ArgumentError(
                f"labels {self.name!r} are sets of classes, not one class an example; use store.truth"
            )
        return self.classes

    @cached_property
    def first(self) -> Labels:
        """Lowest right class of each example, (N,) int32; -1 where there is none."""
        out = np.full(len(self), -1, np.int32)
        out[self.counted] = self.classes[self.offsets[:-1][self.counted]]
        return out

    def correct(self, predicted: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each predicted class is a right one, (..., N) bool; False where none is."""
        first = self.first
        if predicted.dtype == np.int16 and first.max(initial=0) <= np.iinfo(np.int16).max:
            first = first.astype(np.int16)  # compared in one dtype twice as quickly
        right: NDArray[np.bool_] = predicted == first
        for place in range(1, int(self.sizes.max(initial=0))):
            rows = np.flatnonzero(self.sizes > place)
            right[..., rows] |= predicted[..., rows] == self.classes[self.offsets[rows] + place]
        return right

    def take(self, rows: NDArray[np.intp]) -> Truth:
        """Truth of some examples, in the order given."""
        sizes = self.sizes[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        return Truth(self.name, offsets, self.classes[np.repeat(self.offsets[rows], sizes) + within])


def n_classes_of(labels: Any) -> int:
    """Number of classes of labels that come without names: one more than the largest.

    Raises
    ------
    ArgumentError
        A label so large that it is taken for a mistake.
    """
    sizes, values = _laid_out(labels, "labels")
    largest = int(values.max(initial=-1))
    if largest > max(MOST_UNNAMED, len(sizes)):
        raise ArgumentError(
            f"labels reach {largest}, more classes than there are {len(sizes)} examples; "
            "pass classes= with all names"
        )
    return largest + 1


def _laid_out(labels: Any, what: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Size of each entry, and all classes in one row."""
    if isinstance(labels, pa.Array | pa.ChunkedArray):
        labels = labels.to_pylist()
    if isinstance(labels, str | bytes) or not hasattr(labels, "__len__"):
        raise ArgumentError(f"{what} must be a list, one entry an example; got {labels!r:.60}")
    is_plain = isinstance(labels, np.ndarray) and labels.dtype != object
    if is_plain or not any(_is_collection(entry) or entry is None for entry in labels):
        array = np.asarray(labels)
        if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
            raise ArgumentError(
                f"{what} must be integer classes, or lists of them; got {array.dtype} of shape {array.shape}"
            )
        return np.ones(len(array), np.int64), array.astype(np.int64)
    sets = [_classes(entry, row, what) for row, entry in enumerate(labels)]
    flat = [c for one in sets for c in one]
    return np.array([len(one) for one in sets], np.int64), np.array(flat, np.int64)


def _is_collection(entry: Any) -> bool:
    return isinstance(entry, list | tuple | set | frozenset) or (
        isinstance(entry, np.ndarray) and entry.ndim == 1
    )


def _classes(entry: Any, row: int, what: str) -> Sequence[int]:
    classes = [] if entry is None else list(entry) if _is_collection(entry) else [entry]
    wrong = next((c for c in classes if isinstance(c, bool) or not isinstance(c, int | np.integer)), None)
    if wrong is not None:
        raise ArgumentError(f"{what}: row {row} holds {wrong!r}, which is no class number")
    return [int(c) for c in classes]
