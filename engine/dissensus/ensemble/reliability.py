"""How well probabilities are calibrated: of each example what the scores are made of, and the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels.probabilities import TINIEST
from dissensus.store.truth import Truth

from .weights import Weights

F8 = NDArray[np.float64]
BINS = 15


@dataclass(frozen=True)
class Forecasts:
    """What n forecasts are judged by.

    Attributes
    ----------
    confidence : (n,) float64
        Largest probability, of the lowest class on ties.
    right : (n,) bool
        Whether its class is a right one.
    loss : (n,) float64
        Negative log-likelihood, nats; of several right classes that of their probabilities together.
    brier : (n,) float64
        Sum over classes of (p - truth)^2, from 0 to 2; NaN where several classes are right.
    """

    confidence: F8
    right: NDArray[np.bool_]
    loss: F8
    brier: F8

    @classmethod
    def of(cls, scores: F8, truth: Truth) -> Forecasts:
        """Softmax of (n, C) scores, judged."""
        top: NDArray[np.intp] = scores.argmax(axis=1)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        of_truth = np.add.reduceat(p[_rows_of(truth), truth.classes], truth.offsets[:-1])
        brier = np.einsum("nc,nc->n", p, p) - 2 * of_truth + 1
        brier[np.diff(truth.offsets) > 1] = np.nan
        confidence = p[np.arange(len(p)), top]
        return cls(confidence, truth.correct(top), -np.log(np.maximum(of_truth, TINIEST)), brier)

    @classmethod
    def joined(cls, parts: list[Forecasts]) -> Forecasts:
        """Forecasts of all examples of several parts."""
        columns = ("confidence", "right", "loss", "brier")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))

    def scores(self, weights: Weights | None = None) -> dict[str, float]:
        """Return accuracy, ece, nll and brier: means over examples, which may be weighted."""
        weights = Weights.equal(len(self.right)) if weights is None else weights
        means = {
            name: float((values * weights.each).sum() / weights.total)
            for name, values in (("accuracy", self.right), ("nll", self.loss), ("brier", self.brier))
        }
        ece = calibration_error(self.confidence, self.right, weights)
        return {"accuracy": means["accuracy"], "ece": ece, "nll": means["nll"], "brier": means["brier"]}


def calibration_error(
    confidence: F8, right: NDArray[np.bool_], weights: Weights | None = None, bins: int = BINS
) -> float:
    """Expected calibration error of the first class, over bins of equal mass.

    Examples in the order of their confidence, equal ones as they stand, are cut into `bins` parts whose
    weights differ by at most one unit, an example that lies across a border being in both; the error is the
    mean over examples of |share right - mean confidence| of their part (Nguyen & O'Connor 2015; Nixon et al.
    2019, who call it adaptive).
    """
    each = np.ones(len(right), np.int64) if weights is None else weights.each
    order = np.argsort(confidence, kind="stable")
    ends = np.cumsum(each[order])
    total, gaps = int(ends[-1]), 0.0
    small, larger = divmod(total, min(bins, total))
    start = 0
    for k in range(min(bins, total)):
        stop = start + small + (k < larger)
        inside = np.minimum(ends, stop) - np.maximum(ends - each[order], start)
        part = np.flatnonzero(inside > 0)
        own, share = order[part], inside[part]
        gaps += abs(float(share @ right[own]) - float(share @ confidence[own]))
        start = stop
    return gaps / total


def _rows_of(truth: Truth) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(truth)), np.diff(truth.offsets))
