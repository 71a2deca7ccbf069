"""What kind of predictions an array holds: decided by all its rows, and refused where they contradict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, WrongClassCount
from dissensus.store import format as fmt

from .survey import Survey

LUCK = 0.02  # share of rows of logits that may look like probabilities by chance: two classes do at 0.01
MOST = 0.5  # share of rows from which on the others are mistakes rather than the rule
LUCKY_ROWS = 3  # of a small file
NO_SIGMOIDS = "give the scores before the sigmoid, or divide each row by its sum"
LOWEST_LOG = float(np.log(fmt.TINY))

Form = Literal["labels", "one-hot", "logits", "log-probabilities", "probabilities", "renormalised"]


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
    others = ("logits", "probabilities"), ("probabilities", "logits")
    if kind == "auto" and (hint, reading.kind) in others and reading.form != "log-probabilities":
        raise ArgumentError(
            f"a name in the file speaks of {hint}, but the numbers are {reading.kind} ({_figures(survey)}): "
            f"rename it, or say what they are with kind={reading.kind!r} (--kind {reading.kind})"
        )
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
            f"kind 'labels' needs one class a row; the file has {survey.n_classes} scores: leave "
            "kind (--kind) out to have the scores stored"
        )
    chosen = _natural(survey) if kind == "auto" else kind
    if chosen == "probabilities":
        return _probabilities(survey)
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


def _natural(survey: Survey) -> str:
    return "probabilities" if survey.n_sums == survey.n else "logits"


def _figures(survey: Survey) -> str:
    return (
        f"from {survey.lowest:.6g} to {survey.highest:.6g}, rows sum to {survey.least_sum:.6g} to "
        f"{survey.most_sum:.6g}"
    )


def _refuse_doubtful(survey: Survey) -> None:
    """Refuse numbers that are more likely something else than logits, unless the user says that they are."""
    luck = min(survey.n / 2, max(LUCKY_ROWS, LUCK * survey.n)) if survey.n_negative else 0
    if survey.n_sums > luck:
        _refuse_mixed(survey, "some rows are probabilities, but")
    if survey.is_like_classes:
        raise ArgumentError(
            f"all scores are whole numbers from 0 to {survey.n_classes - 1}, as classes and votes are; if "
            f"each column is a model give each an array of its own; {_either(survey)}"
        )
    if not survey.n_negative and survey.highest <= 1:
        raise ArgumentError(
            f"all scores lie in 0..1 but are no probabilities of one class ({_figures(survey)}); "
            f"{NO_SIGMOIDS}"
        )
    if survey.share_of_one_sum() > MOST:
        n = round(survey.share_of_one_sum() * survey.n)
        raise ArgumentError(
            f"{n} of {survey.n} rows are >= 0 and have nearly one sum ({_figures(survey)}), as percentages "
            f"and votes have; {_either(survey)}"
        )


def _either(survey: Survey) -> str:
    """What to pass for scores that may be shares of a whole, or logits."""
    scores = "if these are scores pass kind='logits' (--kind logits)" if survey.highest > 1 else NO_SIGMOIDS
    if survey.share_of_one_sum() < 1:
        return f"correct the other rows, or {scores}" if survey.share_of_one_sum() > MOST else scores
    return f"if these are shares of their sum pass kind='probabilities' (--kind probabilities), {scores}"


def _refuse_mixed(survey: Survey, begin: str) -> None:
    in_range = not survey.n_negative and survey.highest <= 1
    logits = NO_SIGMOIDS if in_range else "if these are logits pass kind='logits' (--kind logits)"
    raise ArgumentError(
        f"{begin} {survey.n - survey.n_sums} of {survey.n} rows are negative or do not sum to 1 within "
        f"{survey.tolerance:g}; {survey.worst}: correct these rows, or {logits}"
    )


def _probabilities(survey: Survey) -> Reading:
    if survey.n_sums < survey.n:
        if survey.highest > 1 and survey.share_of_one_sum() == 1:
            note = f"rows sum to {survey.least_sum:.6g} to {survey.most_sum:.6g}: divided by their sums"
            return Reading("probabilities", "renormalised", [note])
        _refuse_mixed(survey, "kind 'probabilities' was given, but")
    if survey.n_exact == survey.n:
        return Reading("probabilities", "probabilities")
    note = (
        f"{survey.n - survey.n_exact} of {survey.n} rows of probabilities were rounded, the worst sums to "
        f"{survey.worst_sum:.6g}: divided by their sums"
    )
    return Reading("probabilities", "renormalised", [note])


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
        turned = f"; with {n_classes} rows they seem transposed" if shape[0] == n_classes else ""
        raise WrongClassCount(
            f"predictions have {shape[1]} columns, the store needs one for each of its {n_classes} "
            f"classes{turned}"
        )
