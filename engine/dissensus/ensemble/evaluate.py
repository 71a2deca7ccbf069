"""Each example's right-or-wrong and log-likelihood under an ensemble, for reporting."""

from __future__ import annotations

from collections.abc import Sequence

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
