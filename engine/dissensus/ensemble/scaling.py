"""Vector scaling (Guo et al. 2017, section 4.2): a factor and an offset for each class, fitted by NLL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.store.truth import Truth

from .weights import Weights

F8 = NDArray[np.float64]
MAX_STEPS = 300
REMEMBERED = 10  # steps that the approximation of the curvature is made from
FLAT = 1e-6  # of the slope, in nats an example


@dataclass(frozen=True)
class Scaled:
    """Scores are log-probabilities times `factors` plus `offsets`.

    Attributes
    ----------
    factors, offsets : (C,) float64
    converged : bool
        Whether the slope came down to 1e-6 nats an example.
    """

    factors: F8
    offsets: F8
    converged: bool


def fit_vector(log_p: F8, truth: Truth, temperature: float, weights: Weights | None = None) -> Scaled:
    """Factors and offsets with the least mean NLL plus a penalty.

    Parameters
    ----------
    log_p : (n, C) float64
        Log-probabilities: of logits, a constant added to a row would change what factors mean.
    truth : Truth
        Right classes of the n examples.
    temperature : float
        Where to start, and what the penalty draws towards.
    weights : Weights, optional
        What each example counts in the mean; the penalty goes by their number. By default all the same.

    Notes
    -----
    The penalty is (|factors - 1/T|^2 + |offsets|^2) / 2n, a standard normal prior: without one, a class that
    no example has would get an offset of minus infinity, and with few examples a class the fit is noise. The
    loss is convex where one class is right; minimised by L-BFGS (Nocedal & Wright 2006, algorithm 7.4).
    """
    n, n_classes = log_p.shape
    each = np.ones(n) if weights is None else weights.each * (n / weights.total)
    centre = np.concatenate([np.full(n_classes, 1 / temperature), np.zeros(n_classes)])
    rows = np.repeat(np.arange(n), np.diff(truth.offsets))

    def loss(x: F8) -> tuple[float, F8]:
        scores = log_p * x[:n_classes] + x[n_classes:]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        own = p[rows, truth.classes]
        right = np.maximum(np.add.reduceat(own, truth.offsets[:-1]), 2.0**-1022)
        slope = p
        slope[rows, truth.classes] -= own / right[rows]
        slope *= each[:, None]
        away = x - centre
        gradient = np.concatenate([(slope * log_p).sum(axis=0), slope.sum(axis=0)])
        return float(-(np.log(right) * each).mean() + away @ away / (2 * n)), (gradient + away) / n

    x, converged = minimum(loss, centre)
    return Scaled(x[:n_classes], x[n_classes:], converged)


def minimum(loss: Callable[[F8], tuple[float, F8]], start: F8) -> tuple[F8, bool]:
    """Minimum of a smooth convex function by L-BFGS, and whether its slope is flat there."""
    x, (value, slope) = start, loss(start)
    moves: list[tuple[F8, F8]] = []
    for _ in range(MAX_STEPS):
        if np.abs(slope).max() <= FLAT:
            return x, True
        direction = -_curved(slope, moves)
        if direction @ slope >= 0:
            direction, moves = -slope, []
        step, fall = 1.0, float(direction @ slope)
        while step > 1e-12:
            new = x + step * direction
            new_value, new_slope = loss(new)
            if new_value <= value + 1e-4 * step * fall:
                break
            step /= 2
        else:
            break
        if (new - x) @ (new_slope - slope) > 0:
            moves = [*moves[1 - REMEMBERED :], (new - x, new_slope - slope)]
        x, value, slope = new, new_value, new_slope
    return x, bool(np.abs(slope).max() <= FLAT)


def _curved(slope: F8, moves: list[tuple[F8, F8]]) -> F8:
    """Inverse curvature, as the last moves show it, times the slope."""
    q, shares = slope.copy(), []
    for s, y in reversed(moves):
        share = (s @ q) / (y @ s)
        q -= share * y
        shares.append(share)
    if moves:
        s, y = moves[-1]
        q *= (s @ y) / (y @ y)
    for (s, y), share in zip(moves, reversed(shares), strict=True):
        q += (share - (y @ q) / (y @ s)) * s
    return q
