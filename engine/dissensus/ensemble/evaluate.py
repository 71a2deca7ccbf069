"""Each example's right-or-wrong and log-likelihood under an ensemble, for reporting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels.probabilities import TINIEST
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from .members import MemberScores
from .search import Selection

Values = dict[
    str, NDArray[np.float64]
]  # "accuracy": 1.0 where right; "nll": log-likelihood; larger is better


def means(values: Values) -> dict[str, float]:
    """Accuracy and NLL in nats."""
    return {"accuracy": float(values["accuracy"].mean()), "nll": float(-values["nll"].mean())}


class Evaluation:
    """Ensembles of given models on given rows.

    Parameters
    ----------
    store : Store
        Where the logits lie.
    models : sequence of str
        Every model that will be asked for.
    rows : (n,) intp
        Sorted rows of the store.
    temperatures : mapping of str to float
        Temperature of each model.
    """

    def __init__(
        self, store: Store, models: Sequence[str], rows: Rows, temperatures: Mapping[str, float]
    ) -> None:
        self._models = list(models)
        self._scores = MemberScores(store, self._models, rows, temperatures)

    def steps(self, chosen: Sequence[str]) -> list[Values]:
        """Values after each member is added, in the order given."""
        state = Selection(self._scores)
        out = []
        for member in chosen:
            state.add(self._models.index(member))
            p = np.maximum(state.truth_sum / len(state.chosen), TINIEST)
            right = (state.total.argmax(axis=1) == self._scores.labels).astype(np.float64)
            out.append({"accuracy": right, "nll": np.log(p)})
        return out
