"""How well probabilities are calibrated: of each example what the scores are made of, and the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels.probabilities import TINIEST
from dissensus.store.truth import Truth

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

    @property
    def scores(self) -> dict[str, float]:
        """Return accuracy, ece, nll and brier."""
        return {
            "accuracy": float(self.right.mean()),
            "ece": calibration_error(self.confidence, self.right),
            "nll": float(self.loss.mean()),
            "brier": float(self.brier.mean()),
        }


def calibration_error(confidence: F8, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error of the first class, over bins of equal mass.

    Examples in the order of their confidence, equal ones as they stand, are cut into `bins` parts whose sizes
    differ by at most one; the error is the mean over examples of |share right - mean confidence| of their
    part (Nguyen & O'Connor 2015; Nixon et al. 2019, who call it adaptive).
    """
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    gaps = [len(part) * abs(right[part].mean() - confidence[part].mean()) for part in parts]
    return float(sum(gaps) / len(confidence))


def _rows_of(truth: Truth) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(truth)), np.diff(truth.offsets))
