"""What the measures of two-member ensembles count, and the temperatures of the members."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, CalibrationWarning

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

# examples that the ensemble gets right; those of them that exactly one member gets right alone
ENSEMBLES = ("pair_right", "converted")


@dataclass(frozen=True)
class Calibration:
    """The examples on which a temperature of each member is fitted.

    Attributes
    ----------
    split : str
        Their name.
    rows : (n,) intp
        They themselves.
    """

    split: str
    rows: NDArray[np.intp]

    @classmethod
    def checked(cls, store: Store, calibrate: bool | str, statistics: Collection[str]) -> Self | None:
        """Check the argument `calibrate` of `pairwise`; None where nothing is fitted.

        Raises
        ------
        ArgumentError, UnknownName
        """
        if calibrate is False:
            return None
        if calibrate is not True and not isinstance(calibrate, str):
            raise ArgumentError(f"calibrate must be True, False or the name of a split; got {calibrate!r}")
        if {*ENSEMBLES}.isdisjoint(statistics):
            raise ArgumentError(
                "calibrate fits the members of ensembles; ask for pair_accuracy, improvement or "
                "conversion_rate with it, or leave it out"
            )
        split = "fit" if calibrate is True else calibrate
        return cls(split, store.rows(split))

    def notes(self, examples: NDArray[np.bool_] | None) -> dict[str, str | float]:
        """Where temperatures come from, and how many of the examples counted they were fitted on."""
        shared = len(self.rows) if examples is None else int(examples[self.rows].sum())
        return {"calibrated_on": self.split, "calibrated_on_counted": shared}


def ensemble_counts(
    store: Store,
    models: Sequence[StoredModel],
    rows: NDArray[np.intp],
    correct: NDArray[np.bool_],
    wanted: Collection[str],
    calibration: Calibration | None,
    progress: bool = False,
) -> Mapping[str, NDArray[Any]]:
    """Count `ENSEMBLES` for all pairs if one of them is wanted; arguments as in `ensemble.pair_hits`."""
    if {*ENSEMBLES}.isdisjoint(wanted):
        return {}
    from .pair_hits import pair_hits

    fitted = temperatures(store, models, calibration)
    return pair_hits(store, models, rows, fitted, correct, progress=progress)[0]


def temperatures(
    store: Store, models: Sequence[StoredModel], calibration: Calibration | None
) -> dict[str, float]:
    """Temperature of each model: the best one on the calibration's examples, 1 without."""
    return {m.model_id: 1.0 if calibration is None else _fitted(store, m, calibration) for m in models}


def _fitted(store: Store, model: StoredModel, calibration: Calibration) -> float:
    """Best temperature of a model; 1, with a warning, where there is none."""
    from dissensus.kernels.probabilities import codes_of
    from dissensus.kernels.temperatures import best_temperature

    truth = store.truth.take(calibration.rows)
    codes = codes_of(model.logits().take(calibration.rows))
    found = best_temperature(codes, truth.offsets, truth.classes)
    if found is None:
        warnings.warn(CalibrationWarning.of(model.model_id, len(calibration.rows)), stacklevel=2)
    return 1.0 if found is None else found
