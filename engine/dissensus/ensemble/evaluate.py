"""Each example's right-or-wrong and log-likelihood under an ensemble, for reporting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .members import Scores
from .metrics import METRICS
from .selection import Selection

# of each metric every example's contribution, larger is better: 1.0 where right, log-likelihood
Values = dict[str, NDArray[np.float64]]


def means(values: Values) -> dict[str, float]:
    """Each metric as people read it; NLL in nats."""
    return {
        name: float(each.mean() if METRICS[name].rises else -each.mean()) for name, each in values.items()
    }


def steps(scores: Scores, chosen: Sequence[int], judged: Sequence[str]) -> list[Values]:
    """Values of each example after each of the chosen candidates is added, in the order given."""
    state, out = Selection(scores, recorded=()), []
    for candidate in chosen:
        state.add(candidate)
        out.append({name: METRICS[name].values(state) for name in judged})
    return out
