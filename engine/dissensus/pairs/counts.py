"""The 2x2 table of every pair of models: who is right together, alone, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

Counts = NDArray[np.int64]


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
        from dissensus.kernels.counts import both_right, pack

        if correct.ndim != 2 or correct.dtype != np.bool_:
            raise ArgumentError(
                f"correct must be an (M, N) bool array; got {correct.dtype} {correct.shape}: "
                "pass predictions == labels"
            )
        packed = pack(correct)
        if mask is not None:
            packed &= pack(mask[None, :])
        both = both_right(packed)
        return cls(both, both.diagonal().copy(), correct.shape[1] if mask is None else int(mask.sum()))

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

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of examples each model gets right, (M,); NaN where no example is counted."""
        return self.right / self.n if self.n else np.full(len(self.right), np.nan)
