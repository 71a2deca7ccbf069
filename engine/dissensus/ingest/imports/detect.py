"""What kind of predictions an array holds: decided by all its rows, and refused where they contradict."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, WrongClassCount
from dissensus.store import format as fmt

TOLERANCE = 1e-3  # of the sum of a row of probabilities: what the store itself asks for
NARROW_TOLERANCE = 2e-2  # where they were rounded to 16 bits: 1,000 roundings add up
MOST = 0.5  # share of rows from which on the others are mistakes rather than the rule
LOWEST_LOG = float(np.log(fmt.TINY))

Form = Literal["labels", "one-hot", "logits", "log-probabilities", "probabilities", "renormalised"]


class Survey:
    """Facts about predictions, gathered block by block before anything is written.

    Parameters
    ----------
    n_classes : int
        Number of classes C of the store.
    narrow : bool
        Whether the numbers were kept with 16 bits.

    Attributes
    ----------
    n, n_sums, n_logs, n_one_hot, n_hundreds : int
        Rows; those that are probabilities, log-probabilities, one 1 among zeros, percentages.
    worst_sum, worst_row : float, int
        Sum of the row that is farthest from 1, and its place.
    n_negative : int
        Rows with a negative number.
    lowest, highest : float
        Of class numbers.
    is_single, is_bool, is_whole : bool
        One number a row; true or false; class numbers without a fraction.
    is_like_classes : bool
        Whether all scores are whole numbers that a class may have.
    """

    def __init__(self, n_classes: int, narrow: bool) -> None:
        self.n_classes, self.tolerance = n_classes, NARROW_TOLERANCE if narrow else TOLERANCE
        self.n = self.n_sums = self.n_logs = self.n_one_hot = self.n_negative = self.n_hundreds = 0
        self.worst_sum, self.worst_row = 1.0, -1
        self.lowest, self.highest = float("inf"), float("-inf")
        self.is_single, self.is_bool = True, False
        self.is_whole = self.is_like_classes = True
        self._digest = hashlib.sha256()

    def add(self, block: NDArray[Any]) -> None:
        """Take in the next rows, (n,) or (n, C), in the store's order."""
        self.is_single = block.ndim == 1
        self.is_bool |= block.dtype.kind == "b"
        if self.is_single:
            self._add_labels(block)
        else:
            self._add_scores(block.astype(np.float64))
        self._hash(block)
        self.n += len(block)

    @property
    def content(self) -> str:
        """SHA-256 of all rows so far, as the numbers that are stored."""
        return self._digest.hexdigest()

    def _hash(self, block: NDArray[Any]) -> None:
        is_labels = self.is_single and self.is_whole
        with np.errstate(over="ignore", invalid="ignore"):  # float32 decides what is stored
            self._digest.update(np.ascontiguousarray(block, "<i8" if is_labels else "<f4").data)

    def _add_labels(self, block: NDArray[Any]) -> None:
        if block.dtype.kind == "f":
            self.is_whole &= bool((np.isfinite(block) & (np.floor(block) == block)).all())
        self.lowest = min(self.lowest, float(np.fmin.reduce(block)))
        self.highest = max(self.highest, float(np.fmax.reduce(block)))

    def _add_scores(self, x: NDArray[np.float64]) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            sums, lse = x.sum(axis=1), np.log(np.exp(x).sum(axis=1))
        if self.is_like_classes:
            self.is_like_classes = bool(((x >= 0) & (x < self.n_classes) & (x == np.floor(x))).all())
        positive = (x >= 0).all(axis=1)
        off = np.abs(sums - 1)
        self.n_sums += int((positive & (off <= self.tolerance)).sum())
        self.n_hundreds += int((positive & (np.abs(sums - 100) <= 100 * self.tolerance)).sum())
        self.n_logs += int(((x <= 0).all(axis=1) & (np.abs(lse) <= self.tolerance)).sum())
        self.n_one_hot += int((((x == 0) | (x == 1)).all(axis=1) & (sums == 1)).sum())
        self.n_negative += int((x < 0).any(axis=1).sum())
        off = np.where(np.isnan(off), -1, off)
        worst = int(off.argmax())
        if off[worst] > abs(self.worst_sum - 1):
            self.worst_sum, self.worst_row = float(sums[worst]), self.n + worst


@dataclass(frozen=True)
class Reading:
    """How predictions are taken.

    Attributes
    ----------
    kind
        What the store is given: "logits", "probabilities" or "labels".
    form
        What the file holds.
    notes
        What the user should know.
    """

    kind: str
    form: Form
    notes: list[str] = field(default_factory=list)

    def convert(self, block: NDArray[Any]) -> NDArray[Any]:
        """Rows of the file, (n,) or (n, C), as rows for the store."""
        if self.form == "labels":
            return block.astype(np.int64)
        if self.form == "one-hot":
            return np.asarray(block.argmax(axis=1))
        if self.form == "renormalised":
            wide = block.astype(np.float64)
            return np.asarray(wide / wide.sum(axis=1, keepdims=True))
        if self.form == "log-probabilities":  # the logarithm of 0 is raised as probabilities of 0 are
            return np.asarray(np.where(np.isneginf(block), block.dtype.type(LOWEST_LOG), block))
        return block


def decide(survey: Survey, kind: str, hint: str | None) -> Reading:
    """Kind of predictions that all rows speak for.

    Parameters
    ----------
    survey : Survey
        Of all rows.
    kind : {"auto", "logits", "probabilities", "labels"}
        What the user says they are.
    hint : str or None
        What a name in the file says they are.

    Raises
    ------
    ArgumentError
        The rows contradict what the user said, or each other.
    """
    reading = _labels(survey, kind) if survey.is_single else _scores(survey, kind)
    if kind == "auto" and hint in ("logits", "probabilities") and hint != reading.kind:
        if reading.form == "log-probabilities":
            return reading
        text = f"a name in the file speaks of {hint}, but the numbers are {reading.form}"
        return Reading(reading.kind, reading.form, [*reading.notes, f"{text}: stored as {reading.kind}"])
    return reading


def _labels(survey: Survey, kind: str) -> Reading:
    if kind not in ("auto", "labels"):
        raise ArgumentError(
            f"kind {kind!r} needs one column for each of the {survey.n_classes} classes; the file has one "
            "number a row: pass kind='labels' (--kind labels) if these are classes"
        )
    if survey.is_bool:
        raise ArgumentError(
            "predictions are true or false; classes are needed: give 0 or 1, or the class names"
        )
    if not survey.is_whole:
        raise ArgumentError(
            f"one number a row that is no class ({survey.lowest:.6g} to {survey.highest:.6g}); name the "
            "column of predicted classes with columns= (--column), or give one score for each class"
        )
    if survey.lowest >= 1 and survey.highest == survey.n_classes:
        raise ArgumentError(
            f"predicted classes run from {survey.lowest:.0f} to {survey.highest:.0f}, the store's from 0 to "
            f"{survey.n_classes - 1}; subtract 1"
        )
    return Reading("labels", "labels")


def _scores(survey: Survey, kind: str) -> Reading:
    if survey.n_one_hot == survey.n and kind in ("auto", "labels"):
        return Reading("labels", "one-hot", ["every row is one 1 among zeros: stored as labels"])
    if kind == "labels":
        raise ArgumentError(
            f"kind 'labels' needs one class a row; the file has {survey.n_classes} scores: pass "
            f"kind={_natural(survey)!r} (--kind {_natural(survey)})"
        )
    chosen = _natural(survey) if kind == "auto" else kind
    if chosen == "probabilities":
        return _probabilities(survey, kind)
    if survey.n_sums == survey.n:
        raise ArgumentError(
            f"kind 'logits' was given, but all {survey.n} rows are >= 0 and sum to 1: these are "
            "probabilities; pass kind='probabilities' (--kind probabilities)"
        )
    if kind == "auto":
        _refuse_doubtful(survey)
    if survey.n_logs == survey.n:
        return Reading(
            "logits", "log-probabilities", ["log-probabilities: stored as logits, which they are too"]
        )
    return Reading("logits", "logits")


def _refuse_doubtful(survey: Survey) -> None:
    """Refuse numbers that are more likely something else than logits, unless the user says that they are."""
    if survey.is_like_classes:
        raise ArgumentError(
            f"all scores are whole numbers from 0 to {survey.n_classes - 1}, as classes are; if these are "
            "scores pass "
            "kind='logits' (--kind logits), if each column is a model give each a file or an array of its own"
        )
    if survey.n_hundreds == survey.n:
        raise ArgumentError("all rows are >= 0 and sum to 100: divide them by 100 to have probabilities")


def _natural(survey: Survey) -> str:
    return "probabilities" if survey.n_sums > MOST * survey.n else "logits"


def _probabilities(survey: Survey, kind: str) -> Reading:
    n_off = survey.n - survey.n_sums
    if n_off:
        figures = (
            f"{n_off} of {survey.n} rows are negative or do not sum to 1 within {survey.tolerance:g}; the "
            f"worst, row {survey.worst_row}, sums to {survey.worst_sum:.6g}"
        )
        if survey.n_sums <= MOST * survey.n:
            what = "these look like logits: pass kind='logits' (--kind logits)"
        else:
            what = "correct these rows; if they are no probabilities pass kind='logits' (--kind logits)"
        begin = (
            "kind 'probabilities' was given, but" if kind != "auto" else "most rows are probabilities, but"
        )
        raise ArgumentError(f"{begin} {figures}; {what}")
    if abs(survey.worst_sum - 1) > TOLERANCE:
        return Reading(
            "probabilities",
            "renormalised",
            [
                f"probabilities rounded to 16 bits sum to {survey.worst_sum:.4f} at worst: divided by their "
                "sums"
            ],
        )
    return Reading("probabilities", "probabilities")


def check_shape(shape: tuple[int, ...], dtype: np.dtype[Any], n_classes: int) -> None:
    """Refuse what cannot be predictions for these classes.

    Raises
    ------
    ArgumentError
        No rows, more than two dimensions, or neither numbers nor names.
    WrongClassCount
        Another number of columns than the store has classes.
    """
    if len(shape) not in (1, 2) or dtype.kind not in "fiubOU":
        raise ArgumentError(
            f"predictions must be classes (N,) or scores (N, {n_classes}); got {dtype} of shape {shape}"
        )
    if not shape[0]:
        raise ArgumentError(f"predictions must have one row an example; got none, shape {shape}")
    if len(shape) == 2 and dtype.kind in "OU":
        raise ArgumentError(f"scores must be numbers; got text of shape {shape}")
    if len(shape) == 2 and shape[1] not in (1, n_classes):
        raise WrongClassCount(
            f"predictions have {shape[1]} columns, the store needs one for each of its {n_classes} classes"
        )
