"""Weights that minimise a convex loss over the simplex, with a certificate: a bound on what is still to gain.

Arrays in, arrays out. The bound is the Frank-Wolfe gap (Jaggi, ICML 2013, eq. 2): at any weights w with
gradient g, loss(w) - least loss <= w·g - min(g), since a convex loss lies above its tangent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
SLACK = 1e-13  # of the largest entry of the gradient: a direction that gains less gains nothing
MAX_NEWTON = 100
TINIEST = 2.0**-1022  # as `kernels.probabilities`, below which a probability of the truth is not counted


@dataclass(frozen=True)
class Optimum:
    """Weights and how good they are.

    Attributes
    ----------
    weights : (k,) float64
        At least 0, sum 1; exactly 0 where a member does not help.
    loss : float
        At these weights.
    gap : float
        The least loss of any weights is at most this much lower.
    """

    weights: F8
    loss: float
    gap: float


def least_quadratic(gram: F8, linear: F8, start: F8 | None = None) -> F8:
    """Weights on the simplex with the least w'Gw/2 - b'w, by active sets.

    Parameters
    ----------
    gram : (k, k) float64
        G, positive semidefinite.
    linear : (k,) float64
        b.
    start : (k,) float64, optional
        Weights to begin at; the best corner by default.

    Returns
    -------
    (k,) float64

    Notes
    -----
    On the members in use the minimum solves a linear system. Where it leaves the simplex, the step ends at
    the border and that member goes; where it does not, the member with the steepest descent comes in. The
    loss falls with each set, so that none comes twice (Lawson & Hanson 1974, ch. 23, with one equation more).
    """
    k = len(linear)
    w = np.eye(k)[np.argmin(np.diag(gram) / 2 - linear)] if start is None else start.copy()
    for _ in range(20 * k + 20):
        w = _on_face(gram, linear, w)
        slope = gram @ w - linear
        incoming = int(slope.argmin())
        if w @ slope - slope[incoming] <= SLACK * max(1.0, np.abs(slope).max()):
            break
        w = _towards(gram, linear, w, incoming)
    return w


def _towards(gram: F8, linear: F8, w: F8, corner: int) -> F8:
    """Least loss on the line to a corner: brings its member in."""
    direction = -w
    direction[corner] += 1
    bend = direction @ gram @ direction
    fall = -direction @ (gram @ w - linear)
    return w + min(1.0, fall / bend if bend > 0 else 1.0) * direction


def _on_face(gram: F8, linear: F8, w: F8) -> F8:
    """Least loss on the members in use, fewer where that would make a weight negative."""
    while True:
        used = np.flatnonzero(w > 0)
        best = _solved(gram[np.ix_(used, used)], linear[used])
        if (best >= 0).all():
            return _placed(best, used, len(w))
        falling = best < w[used]
        share = np.full(len(used), np.inf)
        share[falling] = w[used][falling] / (w[used][falling] - best[falling])
        moved = w[used] + min(1.0, share.min()) * (best - w[used])
        moved[share.argmin()] = 0.0
        w = _placed(np.maximum(moved, 0.0), used, len(w))


def _solved(gram: F8, linear: F8) -> F8:
    """Minimum where weights sum to 1 and may be negative; of least norm where there are several."""
    k = len(linear)
    system = np.zeros((k + 1, k + 1))
    system[:k, :k], system[k, :k], system[:k, k] = gram, 1.0, 1.0
    return np.asarray(np.linalg.lstsq(system, np.append(linear, 1.0), rcond=None)[0][:k])


def _placed(values: F8, used: NDArray[np.intp], k: int) -> F8:
    out = np.zeros(k)
    out[used] = values / values.sum()
    return out


def least_brier(gram: F8, linear: F8) -> F8:
    """Weights with the least Brier score w'Gw - 2w'b + 1 of a mixture of probabilities.

    Parameters
    ----------
    gram : (k, k) float64
        Mean over examples of the sum over classes of p_i p_j.
    linear : (k,) float64
        Mean probability of the truth.
    """
    return least_quadratic(gram, linear)


def least_nll(p_truth: F8, shares: F8 | None = None) -> F8:
    """Weights with the least mean -log of the mixture's probability of the truth.

    Parameters
    ----------
    p_truth : (k, n) float64
        Each member's probability of the truth.
    shares : (n,) float64, optional
        Share of each example in the mean; by default all the same.

    Notes
    -----
    Newton's method, each step a quadratic program: with r = p / mixture the gradient is -mean(r) and the
    Hessian mean(r r'). Zero weights come out as exact zeros, which EM reaches only in the limit.
    """
    v = _shares(p_truth, shares)
    p = np.maximum(p_truth, TINIEST)
    w = np.full(len(p), 1 / len(p))
    for _ in range(MAX_NEWTON):
        ratio = p / (w @ p)
        slope = -(ratio @ v)
        if w @ slope - slope.min() <= SLACK * max(1.0, np.abs(slope).max()):
            break
        hessian = (ratio * v) @ ratio.T
        aim = least_quadratic(hessian, hessian @ w - slope)
        moved = _downhill(p, v, w, aim, float(slope @ (aim - w)))
        if moved is None:
            break
        w = moved
    return w


def _shares(p_truth: F8, shares: F8 | None) -> F8:
    n = p_truth.shape[1]
    return np.full(n, 1 / n) if shares is None else shares


def _downhill(p: F8, v: F8, w: F8, aim: F8, fall: float) -> F8 | None:
    """Longest of the halved steps that lowers the loss enough; None where rounding leaves none."""
    now = -np.log(w @ p) @ v
    for halvings in range(40):
        step = 0.5**halvings
        moved = w + step * (aim - w)
        if -np.log(np.maximum(moved @ p, TINIEST)) @ v <= now + 1e-4 * step * fall:
            return np.asarray(moved)
    return None


def nll_optimum(p_truth: F8, w: F8, shares: F8 | None = None) -> Optimum:
    """NLL of a mixture, in nats, and its gap; see `least_nll`."""
    p, v = np.maximum(p_truth, TINIEST), _shares(p_truth, shares)
    mixture = w @ p
    slope = -((p / mixture) @ v)
    return Optimum(w, float(-np.log(mixture) @ v), max(0.0, float(w @ slope - slope.min())))


def brier_optimum(gram: F8, linear: F8, w: F8) -> Optimum:
    """Brier score of a mixture and its gap."""
    slope = 2 * (gram @ w - linear)
    loss = float(w @ gram @ w - 2 * w @ linear + 1)
    return Optimum(w, loss, max(0.0, float(w @ slope - slope.min())))
