"""Temperatures that were fitted before: checked, so that a selection need not fit them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from dissensus.errors import ArgumentError
from dissensus.kernels.temperatures import COLDEST, HOTTEST
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from .calibrated import Calibration
from .switches import Search

Fitted = Mapping[str, float] | Calibration


def checked_temperatures(
    given: Fitted, names: Sequence[str], calibrate: bool | None, search: Search
) -> dict[str, float]:
    """Temperature of each of these models, from a mapping or from what `calibrate` returned.

    Raises
    ------
    ArgumentError
        They are no numbers from 0.001 to 1000, some model has none, or another option contradicts them.
    """
    for wrong, message in (
        (calibrate is not None, f"calibrate={calibrate} contradicts temperatures=: leave one of them out"),
        (search.folds, "folds= fit temperatures without the fold reported on: leave out temperatures="),
    ):
        if wrong:
            raise ArgumentError(message)
    found = _mapping(given)
    lacking = [m for m in names if m not in found]
    if lacking:
        raise ArgumentError(
            f"temperatures have none for {', '.join(lacking[:5])} ({len(lacking)} of {len(names)} models): "
            "add them, or leave these models out (candidates=, exclude=)"
        )
    for name in names:
        if not _is_temperature(found[name]):
            raise ArgumentError(
                f"temperatures must be numbers from {COLDEST:g} to {HOTTEST:g}; that of {name} is "
                f"{found[name]!r:.40}"
            )
    return {name: float(found[name]) for name in names}


def refuse_reported(store: Store, given: Fitted | None, held: Rows, shared: bool) -> None:
    """Refuse temperatures that `calibrate` fitted on examples to be reported on.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(given, Calibration) or shared:
        return
    name = given.splits["select"]["name"]
    seen = len(np.intersect1d(store.rows(name, given.where), held))
    if seen:
        raise ArgumentError(
            f"temperatures were fitted on split {name!r}, {seen} of whose examples are reported on: "
            "fit them on others, or allow_same_split=True"
        )


def _mapping(given: Any) -> Mapping[str, Any]:
    if isinstance(given, Calibration):
        if given.method != "temperature":
            raise ArgumentError(
                f"temperatures of method {given.method!r} would be used without its factors and offsets: "
                "pass those of ds.calibrate(method='temperature')"
            )
        columns = (given.table[name].to_pylist() for name in ("model", "temperature"))
        return dict(zip(*columns, strict=True))
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"temperatures must map models to numbers, or be what ds.calibrate returns; got {given!r:.60}"
        )
    return given


def _is_temperature(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and COLDEST <= float(value) <= HOTTEST
