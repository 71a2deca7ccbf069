"""Temperature scaling (Guo et al. 2017): one number a model, fitted by NLL on the selection split."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.store.catalog import Store
from dissensus.store.logits import Logits
from dissensus.store.truth import Truth

COLDEST, HOTTEST = 1e-3, 1e3  # temperatures beyond are no optimum but a divergence
TOLERANCE = 1e-9
MAX_STEPS = 60


class CalibrationWarning(UserWarning):
    """A model has no finite best temperature."""


def temperatures(store: Store, model_ids: Sequence[str], rows: NDArray[np.intp]) -> dict[str, float]:
    """Best temperature of each model on some rows.

    Parameters
    ----------
    store : Store
        Where the logits lie.
    model_ids : sequence of str
        Models with logits or probabilities.
    rows : (n,) intp
        Rows to fit on.

    Returns
    -------
    dict of str to float
        T minimising the NLL of softmax(logits / T); 1.0, with a `CalibrationWarning`, where there is none in
        [0.001, 1000] (a model that is always right, or no better than chance).

    Notes
    -----
    The NLL of one right class is convex in 1/T. That of several, -log of the sum of their probabilities, need
    not be: what is found is then a local minimum, provided that the NLL falls inwards from both ends.
    """
    truth = store.truth.take(rows)
    return {m: _fit(m, store.logits(m), rows, truth) for m in model_ids}


def _fit(model_id: str, logits: Logits, rows: NDArray[np.intp], truth: Truth) -> float:
    codes = kernel.codes_of(logits.take(rows))

    def slopes(inverse: float) -> tuple[float, float]:
        first, second = kernel.nll_slopes(codes, 1 / inverse, truth.offsets, truth.classes)
        return float(first.sum()), float(second.sum())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slopes(low)[0] >= 0 or slopes(high)[0] <= 0:
        warnings.warn(
            f"model {model_id!r} has no best temperature between {COLDEST:g} and {HOTTEST:g} on these "
            f"{len(rows)} examples (always right, or no better than chance); 1 is used",
            CalibrationWarning,
            stacklevel=4,
        )
        return 1.0
    inverse = 1.0
    for _ in range(MAX_STEPS):  # Newton inside a bracket that shrinks onto a change of the slope's sign
        slope, curvature = slopes(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else low
        new = step if low < step < high else (low * high) ** 0.5
        if abs(new - inverse) <= TOLERANCE * inverse:
            break
        inverse = new
    return 1 / inverse
