"""Temperature scaling (Guo et al. 2017): one number a model, fitted by NLL on the selection split."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CalibrationWarning
from dissensus.kernels import probabilities as kernel
from dissensus.kernels.temperatures import best_temperature
from dissensus.store.catalog import Store
from dissensus.store.logits import Logits
from dissensus.store.truth import Truth

__all__ = ["CalibrationWarning", "temperatures"]


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
    found = best_temperature(codes, truth.offsets, truth.classes)
    if found is None:
        warnings.warn(CalibrationWarning.of(model_id, len(rows)), stacklevel=4)
    return 1.0 if found is None else found
