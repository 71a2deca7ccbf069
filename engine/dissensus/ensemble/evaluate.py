"""Each example's right-or-wrong and log-likelihood under an ensemble, for reporting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .members import Scores
from .metrics import METRICS
from .selection import Selection
from .weights import Weights

# of each metric every example's contribution, larger is better: 1.0 where right, log-likelihood
Values = dict[str, NDArray[np.float64]]


def means(values: Values) -> dict[str, float]:
    """Each metric as people read it; NLL in nats."""
    return {
        name: float(each.mean() if METRICS[name].rises else -each.mean()) for name, each in values.items()
    }


def single(scores: Scores, candidate: int, judged: Sequence[str], weights: Weights | None = None) -> Values:
    """Values of each example under one model alone."""
    return steps(scores, [candidate], judged, weights)[0]


def standing(state: Selection, judged: Sequence[str]) -> Values:
    """Values of each example under an ensemble as it stands."""
    return {name: METRICS[name].values(state) for name in judged}


def joined(parts: Sequence[Values]) -> Values:
    """Values of all examples of several parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def steps(
    scores: Scores, chosen: Sequence[int], judged: Sequence[str], weights: Weights | None = None
) -> list[Values]:
    """Values of each example after each of the chosen candidates is added, in the order given."""
    state, out = Selection(scores, weights, recorded=()), []
    for candidate in chosen:
        state.add(candidate)
        out.append(standing(state, judged))
    return out
