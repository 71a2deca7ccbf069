"""How much each example counts, as integers: weighted sums are then exact, whatever their order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.store.truth import Truth

WEIGHT_ONE = 2**32  # fixed-point 1.0, the mean weight
MOST_WHOLE = 2**53  # whole weights of a larger sum are scaled as others are


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of n examples, in units.

    Attributes
    ----------
    each : (n,) int64
        At least 0: whole weights as they are, others rint(weight / mean weight * 2**32).
    unit : float
        Their mean: 1 where all weigh 1, about 2**32 for weights that are not whole.
    """

    each: NDArray[np.int64]
    unit: float

    @classmethod
    def equal(cls, n: int) -> Weights:
        """Every example counts once."""
        return cls(np.ones(n, np.int64), 1)

    @classmethod
    def of(cls, values: Any, n: int) -> Weights:
        """Check weights; those that are not whole are scaled to a mean of 1.

        Parameters
        ----------
        values : (n,) array-like of float, or None
            At least 0, not all 0: frequencies, costs, or True and False for a slice. None: all the same.
        n : int
            Examples.

        Raises
        ------
        ArgumentError
        """
        if values is None:
            return cls.equal(n)
        given = np.asarray(values)
        if given.shape != (n,) or given.dtype.kind not in "biuf":
            raise ArgumentError(
                f"weights must be {n} numbers, one an example; got {given.dtype} of shape {given.shape}"
            )
        given = given.astype(np.float64)
        if not (np.isfinite(given).all() and (given >= 0).all() and given.any()):
            wrong = given[~(np.isfinite(given) & (given >= 0))]
            what = f"{len(wrong)} are not, the first is {wrong[0]:g}" if len(wrong) else "all are 0"
            raise ArgumentError(
                f"weights must be finite, at least 0 and not all 0 on the examples that take part; {what}: "
                "give 0 to leave one out"
            )
        whole = (given == np.rint(given)).all() and given.max() < MOST_WHOLE
        if whole and given.sum() < MOST_WHOLE:  # exact: sums that are equal stay so
            return cls(given.astype(np.int64), float(given.sum()) / n)
        given = np.ldexp(given, -np.frexp(given.max())[1])  # at most 1, exactly: no sum overflows
        scale = n * WEIGHT_ONE / math.fsum(given.tolist())
        return cls(np.rint(given * scale).astype(np.int64), WEIGHT_ONE)

    def balanced(self, truth: Truth) -> Weights:
        """Return weights under which every class that has any counts the same, its examples as before.

        Raises
        ------
        ArgumentError
            An example has several right classes: it belongs to no one class.
        """
        if not truth.is_single:
            raise ArgumentError(
                f"metric 'balanced_accuracy' needs one right class an example; labels {truth.name!r} have "
                "sets of them: choose metric='accuracy', or labels= with one"
            )
        of_class = np.zeros(int(truth.labels.max()) + 1, np.int64)
        np.add.at(of_class, truth.labels, self.each)
        share = len(truth) * WEIGHT_ONE / np.count_nonzero(of_class)  # of a class
        scaled = self.each * (share / np.maximum(of_class, 1)[truth.labels])
        return Weights(np.rint(scaled).astype(np.int64), WEIGHT_ONE)

    @cached_property
    def are_equal(self) -> bool:
        """Whether every example counts once. A mean of 1 does not say so."""
        return bool((self.each == self.unit).all())

    @property
    def total(self) -> int:
        """Sum of all."""
        return int(self.each.sum())
