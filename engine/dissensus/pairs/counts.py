"""The 2x2 table of every pair of models: who is right together, alone, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.run.devices import LOCAL, Backend

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """Which examples each model gets right, one bit each: what resampling examples or answers starts from.

    Attributes
    ----------
    packed : (M, W) uint64
        Correctness as `kernels.counts.pack` lays it out; 0 outside `chosen`.
    chosen : (W,) uint64
        The examples counted.
    """

    packed: NDArray[np.uint64]
    chosen: NDArray[np.uint64]

    @classmethod
    def of(cls, correct: NDArray[np.bool_], mask: NDArray[np.bool_] | None = None) -> Answers:
        """Pack an (M, N) bool matrix of correctness; see `PairCounts.from_correct`."""
        from dissensus.kernels.bits import pack

        if correct.ndim != 2 or correct.dtype != np.bool_:
            raise ArgumentError(
                f"correct must be an (M, N) bool array; got {correct.dtype} {correct.shape}: "
                "pass predictions == labels"
            )
        packed = pack(correct)
        chosen = pack(np.ones((1, correct.shape[1]), np.bool_) if mask is None else mask[None, :])[0]
        if mask is not None:
            packed &= chosen
        return cls(packed, chosen)

    @property
    def n(self) -> int:
        """Examples counted."""
        return int(np.bitwise_count(self.chosen).sum())

    def counts(self, backend: Backend = LOCAL) -> PairCounts:
        """Count all pairs."""
        both = backend.both_right(self.packed)
        return PairCounts(both, both.diagonal().copy(), self.n)


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Sufficient counts of every measure on correctness, exact and additive over disjoint sets of examples.

    Attributes
    ----------
    both_right : (M, M) int64
        Examples both models get right; its diagonal is `right`.
    right : (M,) int64
        Examples each model gets right.
    n : int
        Examples counted.

    Examples
    --------
    >>> counts = PairCounts.from_correct(np.array([[True, True, False, False], [True, False, True, False]]))
    >>> counts.n11[0, 1], counts.n10[0, 1], counts.n01[0, 1], counts.n00[0, 1]
    (np.int64(1), np.int64(1), np.int64(1), np.int64(1))
    """

    both_right: Counts
    right: Counts
    n: int

    @classmethod
    def from_correct(cls, correct: NDArray[np.bool_], mask: NDArray[np.bool_] | None = None) -> PairCounts:
        """Count all pairs of an (M, N) bool matrix of correctness, on the (N,) bool mask's examples if given.

        Raises
        ------
        ArgumentError
            Not two-dimensional or not bool: class labels taken for correctness would count as all right.
        """
        return Answers.of(correct, mask).counts()

    def __add__(self, other: PairCounts) -> PairCounts:
        """Counts of the same models over both sets of examples."""
        return PairCounts(self.both_right + other.both_right, self.right + other.right, self.n + other.n)

    @property
    def n11(self) -> Counts:
        """Both right, (M, M)."""
        return self.both_right

    @property
    def n10(self) -> Counts:
        """Only the row's model right, (M, M)."""
        return self.right[:, None] - self.both_right

    @property
    def n01(self) -> Counts:
        """Only the column's model right, (M, M)."""
        return self.right[None, :] - self.both_right

    @property
    def n00(self) -> Counts:
        """Both wrong, (M, M)."""
        return self.n - self.right[:, None] - self.right[None, :] + self.both_right

    def tables(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Cells n11, n10, n01, n00 of P listed pairs, (4, P) float64."""
        both, right_a, right_b = self.both_right[rows, columns], self.right[rows], self.right[columns]
        return np.array(
            [both, right_a - both, right_b - both, self.n - right_a - right_b + both], dtype=np.float64
        )

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of examples each model gets right, (M,); NaN where no example is counted."""
        return self.right / self.n if self.n else np.full(len(self.right), np.nan)
