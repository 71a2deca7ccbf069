"""Weights of an ensemble's members: how often each was chosen, or those with the least convex loss."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.kernels.probabilities import ONE
from dissensus.store.truth import Truth

from .members import MemberScores, Scores
from .running import Running
from .selection import Selection
from .simplex import Optimum, brier_optimum, least_brier, least_nll, nll_optimum
from .weights import Weights

UNIT = (
    2**24
)  # optimal weights are multiples of 1 / UNIT: weighted sums of fixed-point probabilities stay exact
CERTAIN = 1e-6  # nats, or Brier score: a gap above is told
CONVEX = ("nll", "brier")


class WeightsWarning(UserWarning):
    """Weights are not proven to be the best."""


@dataclass(frozen=True)
class Certificate:
    """Proof that weights are the best of all: no others have a loss lower by more than `gap`.

    Attributes
    ----------
    metric : str
        Loss that is least, on the selection split.
    loss : float
        At the weights given.
    gap : float
        Frank-Wolfe duality gap.
    """

    metric: str
    loss: float
    gap: float


def counted(chosen: Sequence[int]) -> dict[int, int]:
    """How often each member was chosen, in the order first chosen."""
    return dict(Counter(chosen))


def optimal(
    scores: MemberScores, metric: str, examples: Weights | None = None
) -> tuple[dict[int, int], Certificate]:
    """Weights of all members of some scores with the least loss, as multiples of 1 / `UNIT`.

    Parameters
    ----------
    scores : MemberScores
        The members alone, on the selection rows.
    metric : {"nll", "brier"}
    examples : Weights, optional
        What each example counts; by default all the same.

    Returns
    -------
    dict of int to int
        Weight of each member that has any.
    Certificate
        Of these very weights, rounding included.
    """
    counted = Weights.equal(len(scores.truth)) if examples is None else examples
    shares = counted.each / counted.total
    if metric == "nll":
        found = _rounded(least_nll(scores.p_truth, shares))
        optimum = nll_optimum(scores.p_truth, found / found.sum(), shares)
    else:
        gram, linear = products(scores, shares)
        found = _rounded(least_brier(gram, linear))
        optimum = brier_optimum(gram, linear, found / found.sum())
    _tell(metric, optimum)
    weights = {m: int(w) for m, w in enumerate(found) if w}
    return weights, Certificate(metric, optimum.loss, optimum.gap)


@dataclass(frozen=True)
class Summed:
    """A sum of probabilities to be looked at only.

    Attributes
    ----------
    total : (n, C) int64
    truth : Truth
    """

    total: NDArray[np.int64]
    truth: Truth

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the largest entry, the lowest class on ties, is a right one: (n,) bool."""
        first: NDArray[np.intp] = self.total.argmax(axis=1)
        return self.truth.correct(first)


class Mixture(Selection):
    """Members with whole weights, as if each was chosen so often; to be looked at only."""

    repeated: Mapping[int, int]

    @property
    def size(self) -> int:
        """Sum of the weights."""
        return sum(self.repeated.values())

    @property
    def counts(self) -> NDArray[np.int64]:
        """Weight of each candidate: (M,) int64."""
        return np.array([self.repeated.get(m, 0) for m in range(len(self.scores.p_truth))], np.int64)


def mixed(scores: Scores, weights: Mapping[int, int], examples: Weights | None = None) -> Mixture:
    """Members with whole weights, on examples that may be weighted."""
    state = Mixture(scores, examples, recorded=())
    state.repeated = dict(weights)
    total = np.zeros((len(scores.truth), scores.n_classes), np.int64)
    for member, weight in weights.items():
        alone = scores.running()
        alone.add(member)
        total += weight * alone.total
        if state.has_nll:
            state.truth_sum += weight * scores.p_truth[member]
    state._running = cast(Running, Summed(total, scores.truth))
    return state


def check_convex(weights: str, metric: str, combine: str) -> None:
    """Refuse optimal weights where the loss is not convex in them."""
    if weights != "optimal":
        return
    if combine != "probabilities":
        raise ArgumentError(f"weights='optimal' needs combine='probabilities', got {combine!r}")
    if metric not in CONVEX:
        raise ArgumentError(
            f"weights='optimal' needs a loss that is convex in the weights, metric='nll' or 'brier'; "
            f"got metric={metric!r}"
        )


def products(
    scores: MemberScores, shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over examples of the sum over classes of p_i p_j, (k, k), and mean p_i of the truth, (k,).

    `shares`, (n,), are those of the examples in the mean.
    """
    k = len(scores.p_truth)
    gram = np.zeros((k, k))
    for block in scores.blocks():
        p = block.q / ONE
        weighted = p * shares[block.start : block.stop, None]
        gram += p.reshape(k, -1) @ weighted.reshape(k, -1).T
    return (gram + gram.T) / 2, scores.p_truth @ shares


def _rounded(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(weights * UNIT).astype(np.int64)


def _tell(metric: str, optimum: Optimum) -> None:
    if optimum.gap > CERTAIN:
        warnings.warn(
            f"weights with the least {metric} are proven only to within {optimum.gap:.2g}: others may do",
            WeightsWarning,
            stacklevel=4,
        )


def shares(weights: Mapping[int, int]) -> list[float]:
    """Weights that sum to 1."""
    total = sum(weights.values())
    return [w / total for w in weights.values()]
