"""Linear probes: how well classes can be read off features, for any choice of these from sums made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.store.truth import Truth

Features = NDArray[np.float32]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
PENALTIES = (1.0, 0.1, 0.01, 0.001)  # of a standardised feature; the strongest first: it is kept on ties
HELD = 5  # one example in so many tells which penalty is best
BLOCK = 4096  # examples whose features are held in float64 at a time


class LinearProbe:
    """Ridge regression of the right classes on standardised features; the class of the largest value is said.

    Its penalty is chosen on every fifth example of the fitting ones. All probes on some of the features come
    from the same sums of products, so that each costs the solution of one small system.

    Parameters
    ----------
    fit, report : (n, D) and (m, D) float32
        Features of the examples fitted on, and of those judged on.
    truth : Truth
        Right classes of the n examples; several of an example share its weight.
    n_classes : int
        Number of classes C.

    Attributes
    ----------
    n_features : int
        D.

    Notes
    -----
    Equals scikit-learn's `RidgeClassifier(alpha=penalty * n)` on features scaled by `StandardScaler`, up to
    its rounding. Gontijo-Lopes et al. 2021 use logistic regression (L-BFGS), which has no closed form.
    """

    def __init__(self, fit: Features, report: Features, truth: Truth, n_classes: int) -> None:
        self.n_features = fit.shape[1]
        mean = fit.mean(axis=0, dtype=np.float64)
        spread = fit.std(axis=0, dtype=np.float64)
        self._constant = spread <= 1e-6 * np.maximum(1e-6, np.abs(mean))
        spread[self._constant] = np.inf
        self._fit, self._report = ((x - mean) / spread for x in (fit, report))
        self._targets = _targets(truth, n_classes)
        self._truth = truth
        held = np.arange(len(fit)) % HELD == HELD - 1
        self._held = np.flatnonzero(held)
        self._kept = np.flatnonzero(~held)
        part, rest = (_sums(self._fit, self._targets, rows) for rows in (self._kept, self._held))
        self._of_part, self._of_all = part, (part[0] + rest[0], part[1] + rest[1])

    @property
    def covarying(self) -> Floats:
        """Mean squared correlation of each feature with all others, (D,); infinite for constant ones."""
        squared = (self._of_all[0] / len(self._fit)) ** 2
        mean = (squared.sum(axis=0) - np.diag(squared)) / max(self.n_features - 1, 1)
        return np.where(self._constant, np.inf, mean)

    def top1(self, features: Indices) -> Indices:
        """Classes said of the judged examples by a probe on some features, (m,)."""
        weights = _solved(self._of_all, features, self.penalty(features) * len(self._fit))
        return self._said(self._report, features, weights)

    def penalty(self, features: Indices) -> float:
        """The penalty that gets most of every fifth example right, fitted on the others."""
        if not len(self._held):
            return PENALTIES[0]
        truth, part = self._truth.take(self._held), self._fit[self._held]
        hits = [
            truth.correct(
                self._said(part, features, _solved(self._of_part, features, p * len(self._kept)))
            ).sum()
            for p in PENALTIES
        ]
        return PENALTIES[int(np.argmax(hits))]

    def _said(self, rows: Floats, features: Indices, weights: Floats) -> Indices:
        said: Indices = (rows[:, features] @ weights + self._targets.mean(axis=0)).argmax(axis=1)
        return said


def _targets(truth: Truth, n_classes: int) -> Floats:
    """1 at the right class of each example, shared by several, (n, C)."""
    targets = np.zeros((len(truth), n_classes))
    rows = np.repeat(np.arange(len(truth)), truth.sizes)
    targets[rows, truth.classes] = 1 / truth.sizes[rows]
    return targets


def _sums(x: Floats, targets: Floats, rows: Indices) -> tuple[Floats, Floats]:
    """Products of features with each other, (D, D), and with the targets less their mean, (D, C)."""
    gram, cross = np.zeros((x.shape[1],) * 2), np.zeros((x.shape[1], targets.shape[1]))
    mean = targets.mean(axis=0)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        gram += x[some].T @ x[some]
        cross += x[some].T @ (targets[some] - mean)
    return gram, cross


def _solved(sums: tuple[Floats, Floats], features: Indices, penalty: float) -> Floats:
    """Weights of some features, (d, C)."""
    gram = sums[0][np.ix_(features, features)]
    gram[np.diag_indices(len(features))] += penalty
    return np.asarray(np.linalg.solve(gram, sums[1][features]), np.float64)


def mixed(sides: tuple[int, int], share: float, size: int, rng: np.random.Generator) -> Indices:
    """`size` features drawn from two models' side by side, a share of them from the second, (size,)."""
    second = round(share * size)
    drawn = [rng.permutation(n)[:k] for n, k in zip(sides, (size - second, second), strict=True)]
    return np.concatenate([drawn[0], sides[0] + drawn[1]])


def steps(n_features: int, most: int = 8, multiple: int = 256) -> Sequence[int]:
    """Numbers of features to look at: multiples of 256 where there are many, up to all of them."""
    step = -(-n_features // most)
    if step > multiple // 2:
        step = -(-step // multiple) * multiple
    return [*range(step, n_features, step), n_features]
