"""What all rows of a file have in common, gathered block by block before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import NonFiniteLogits
from dissensus.store.format import SUM_TOLERANCE

ROUNDED = 2e-2  # where they were kept with 16 bits: 1,000 roundings add up
MOST_OFF = 0.5  # however many classes were rounded: less than half of a distribution says nothing
MOST_DECIMALS = 6
LARGEST = 2**31  # class numbers are kept as int32


def tolerance(n_classes: int, decimals: int) -> float:
    """How far from 1 rows of probabilities may sum that were rounded to so many decimals."""
    return max(ROUNDED, min(MOST_OFF, n_classes * 0.5 * 10.0**-decimals))


class Survey:
    """Facts about predictions.

    Parameters
    ----------
    n_classes : int
        Number of classes C of the store.
    ids : sequence of str
        Ids of the rows, for messages; without them rows are named by their number.

    Attributes
    ----------
    n, n_exact, n_logs, n_one_hot, n_negative : int
        Rows; those that sum to 1 within 1e-3, are log-probabilities, are one 1 among zeros, have a
        negative number.
    decimals : int
        All numbers are multiples of 10**-decimals; `MOST_DECIMALS` where they are of no larger unit.
    worst_sum, worst_row : float, int
        Sum of the row that is farthest from 1, and its place.
    negative_row : int
        Place of the first row with a negative number; -1 where there is none.
    least_sum, most_sum : float
        Of all rows.
    lowest, highest : float
        Of all numbers.
    is_single, is_bool, is_whole : bool
        One number a row; true or false; class numbers without a fraction.
    is_like_classes : bool
        Whether all scores are whole numbers that a class may have.
    broken : tuple of int, int, float or None
        Place of the first NaN, infinity or number larger than float32 holds, and what it is.
    """

    def __init__(self, n_classes: int, ids: Sequence[str] = ()) -> None:
        self.n_classes, self._ids = n_classes, ids
        self.n = self.n_exact = self.n_logs = self.n_one_hot = self.n_negative = self.decimals = 0
        self.worst_sum, self.worst_row, self.negative_row = 1.0, -1, -1
        self.lowest, self.highest = float("inf"), float("-inf")
        self.least_sum, self.most_sum = float("inf"), float("-inf")
        self.is_single, self.is_bool = True, False
        self.is_whole = self.is_like_classes = True
        self.broken: tuple[int, int, float] | None = None
        self._positive_sums: list[NDArray[np.float64]] = []  # 8 bytes a row; ids take many times that
        self._n_sums = np.zeros(MOST_DECIMALS + 1, np.int64)
        self._tolerances = np.array([tolerance(n_classes, d) for d in range(MOST_DECIMALS + 1)])
        self._digest = hashlib.sha256()

    @property
    def tolerance(self) -> float:
        """How far from 1 the sum of a row of probabilities may be."""
        return float(self._tolerances[self.decimals])

    @property
    def worst(self) -> str:
        """Which row is farthest from probabilities, and why: by its sum, else by what is negative in it."""
        if abs(self.worst_sum - 1) <= self.tolerance and self.negative_row >= 0:
            return f"{self._named(self.negative_row)} has a negative value"
        return f"the worst, {self._named(self.worst_row)}, sums to {self.worst_sum:.6g}"

    def _named(self, row: int) -> str:
        return f"row of {self._ids[row]!r}" if len(self._ids) else f"row {row}"

    @property
    def n_sums(self) -> int:
        """Rows that are probabilities."""
        return int(self._n_sums[self.decimals])

    def share_of_one_sum(self) -> float:
        """Share of the rows that are not negative and have nearly one sum: 100, or a number of votes."""
        sums = np.concatenate([*self._positive_sums, np.empty(0)])
        middle = float(np.median(sums)) if len(sums) else 0.0
        if middle <= 0:
            return 0.0
        rounding = self.n_classes * 0.5 * 10.0**-self.decimals if self.decimals < MOST_DECIMALS else 0
        reach = max(ROUNDED * middle, min(rounding, middle / 20)) + 1e-9
        return float((np.abs(sums - middle) <= reach).sum() / self.n)

    @property
    def content(self) -> str:
        """SHA-256 of all rows so far, as the numbers that are stored."""
        return self._digest.hexdigest()

    def add(self, block: NDArray[Any]) -> None:
        """Take in the next rows, (n,) or (n, C), in the store's order."""
        self.is_single = block.ndim == 1
        self.is_bool |= block.dtype.kind == "b"
        self._find_broken(block)
        if self.is_single:
            self._add_labels(block)
        else:
            self._add_scores(block.astype(np.float64))
            self._add_decimals(block)
        self._hash(block)
        self.n += len(block)

    def _find_broken(self, block: NDArray[Any]) -> None:
        if self.broken is not None or block.dtype.kind != "f":
            return
        with np.errstate(over="ignore"):  # float32 decides what is stored of scores
            sound = np.isfinite(block.astype(block.dtype if self.is_single else np.float32, copy=False))
        if not sound.all():
            row, *column = (int(i) for i in np.argwhere(~sound)[0])
            self.broken = self.n + row, column[0] if column else -1, float(block[(row, *column)])

    def _hash(self, block: NDArray[Any]) -> None:
        is_labels = self.is_single and self.is_whole
        with np.errstate(over="ignore", invalid="ignore"):  # float32 decides what is stored
            self._digest.update(np.ascontiguousarray(block, "<i8" if is_labels else "<f4").data)

    def _add_labels(self, block: NDArray[Any]) -> None:
        self._add_range(block)
        self.is_whole &= self.lowest >= -LARGEST and self.highest < LARGEST
        if block.dtype.kind == "f":
            self.is_whole &= bool((np.isfinite(block) & (np.floor(block) == block)).all())

    def _add_range(self, block: NDArray[Any]) -> None:
        self.lowest = min(self.lowest, float(np.fmin.reduce(block, axis=None)))
        self.highest = max(self.highest, float(np.fmax.reduce(block, axis=None)))

    def _add_scores(self, x: NDArray[np.float64]) -> None:
        self._add_range(x)
        with np.errstate(over="ignore", invalid="ignore"):
            sums, lse = x.sum(axis=1), np.log(np.exp(x).sum(axis=1))
        if self.is_like_classes:
            self.is_like_classes = bool(((x >= 0) & (x < self.n_classes) & (x == np.floor(x))).all())
        self.n_logs += int(((x <= 0).all(axis=1) & (np.abs(lse) <= ROUNDED)).sum())
        self.n_one_hot += int((((x == 0) | (x == 1)).all(axis=1) & (sums == 1)).sum())
        negative = np.flatnonzero((x < 0).any(axis=1))
        if self.negative_row < 0 and len(negative):
            self.negative_row = self.n + int(negative[0])
        self.n_negative += len(negative)
        self._add_sums(sums, np.asarray((x >= 0).all(axis=1)))

    def _add_sums(self, sums: NDArray[np.float64], positive: NDArray[np.bool_]) -> None:
        self.least_sum = min(self.least_sum, float(np.fmin.reduce(sums)))
        self.most_sum = max(self.most_sum, float(np.fmax.reduce(sums)))
        self._positive_sums.append(sums[positive])
        off = np.abs(sums - 1)
        self.n_exact += int((positive & (off <= SUM_TOLERANCE)).sum())
        slack = 1e-9  # sums are no exact decimals
        self._n_sums += np.array([(positive & (off <= most + slack)).sum() for most in self._tolerances])
        off = np.where(np.isnan(off), -1, off)
        worst = int(off.argmax())
        if off[worst] > abs(self.worst_sum - 1):
            self.worst_sum, self.worst_row = float(sums[worst]), self.n + worst

    def _add_decimals(self, block: NDArray[Any]) -> None:
        """Go on to more decimals until all numbers of the block have no more."""
        while self.decimals < MOST_DECIMALS and not _has_decimals(block, self.decimals):
            self.decimals += 1


def _has_decimals(block: NDArray[Any], decimals: int) -> bool:
    """Whether all numbers are what rounding to so many decimals gives in their dtype."""
    if block.dtype.kind != "f":
        return True
    return all(
        bool((np.round(part.astype(np.float64), decimals).astype(block.dtype) == part).all())
        for part in (block[:8], block[8:])  # the first rows settle it nearly always
    )


def require_finite(survey: Survey, file: str, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse NaN and infinities; the logarithm of a probability of 0 is none.

    Raises
    ------
    NonFiniteLogits
        Naming file, value, example and class.
    """
    if survey.broken is None or (not survey.is_single and survey.n_logs == survey.n):
        return
    row, column, value = survey.broken
    place = f"example {ids[row]!r}" + (f", class {classes[column]!r}" if column >= 0 else "")
    if np.isfinite(value):
        raise NonFiniteLogits(
            f"{file} gave {value:.6g} for {place}; predictions are kept as float32, which holds no number "
            "beyond 3.4e38: correct this row, or divide all by one number"
        )
    raise NonFiniteLogits(f"{file} gave {value} for {place}; predictions must be finite: correct this row")
