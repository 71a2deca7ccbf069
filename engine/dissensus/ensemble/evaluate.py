"""Each example's right-or-wrong and log-likelihood under an ensemble, for reporting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels.probabilities import TINIEST

from .members import Scores
from .search import Selection

# "accuracy": 1.0 where right; "nll": log-likelihood, not of votes; larger is better
Values = dict[str, NDArray[np.float64]]


def means(values: Values) -> dict[str, float]:
    """Accuracy, and NLL in nats."""
    return {name: float(-each.mean() if name == "nll" else each.mean()) for name, each in values.items()}


def single(scores: Scores, candidate: int) -> Values:
    """Values of each example under one model alone."""
    return steps(scores, [candidate])[0]


def weighted(scores: Scores, weights: Mapping[int, int]) -> Values:
    """Values of each example under members with whole weights."""
    total = np.zeros((len(scores.truth), scores.n_classes), np.int64)
    truth_sum = np.zeros(scores.p_truth.shape[1])
    for member, weight in weights.items():
        alone = np.zeros_like(total)
        scores.add_to(alone, member)
        total += weight * alone
        truth_sum += weight * scores.p_truth[member]
    values = {"accuracy": scores.truth.correct(total.argmax(axis=1)).astype(np.float64)}
    if "nll" in scores.metrics:
        values["nll"] = np.log(np.maximum(truth_sum / sum(weights.values()), TINIEST))
    return values


def joined(parts: Sequence[Values]) -> Values:
    """Values of all examples of several parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def steps(scores: Scores, chosen: Sequence[int]) -> list[Values]:
    """Values of each example after each of the chosen candidates is added, in the order given."""
    state, out = Selection(scores), []
    for candidate in chosen:
        state.add(candidate)
        values = {"accuracy": state.right.astype(np.float64)}
        if state.has_nll:
            values["nll"] = np.log(np.maximum(state.truth_sum / len(state.chosen), TINIEST))
        out.append(values)
    return out
