"""Temperature scaling (Guo et al. 2017): one number a model, fitted by NLL on the selection split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CalibrationWarning
from dissensus.kernels import probabilities as kernel
from dissensus.kernels.temperatures import best_temperature
from dissensus.store.catalog import Store

from .weights import Weights

__all__ = ["CalibrationWarning", "temperatures"]


def temperatures(
    store: Store, model_ids: Sequence[str], rows: NDArray[np.intp], weights: Weights | None = None
) -> dict[str, float]:
    """Best temperature of each model on some rows.

    Parameters
    ----------
    store : Store
        Where the logits lie.
    model_ids : sequence of str
        Models with logits or probabilities.
    rows : (n,) intp
        Rows to fit on.
    weights : Weights, optional
        What each of them counts; by default all the same.

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
    each = None if weights is None else weights.each
    return told(dict(zip(model_ids, fitted(store, model_ids, rows, each), strict=True)), len(rows))


def fitted(
    store: Store, model_ids: Sequence[str], rows: NDArray[np.intp], weights: NDArray[np.int64] | None = None
) -> list[float | None]:
    """Fit as `temperatures` does, in order; None where there is none."""
    truth = store.truth.take(rows)
    codes = (kernel.codes_of(store.logits(m).take(rows)) for m in model_ids)
    return [best_temperature(one, truth.offsets, truth.classes, weights) for one in codes]


def told(found: Mapping[str, float | None], n_examples: int) -> dict[str, float]:
    """Temperatures, 1.0 with a warning where there is none."""
    for model_id in (m for m, temperature in found.items() if temperature is None):
        warnings.warn(CalibrationWarning.of(model_id, n_examples), stacklevel=4)
    return {m: 1.0 if temperature is None else temperature for m, temperature in found.items()}
