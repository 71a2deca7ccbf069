"""What models cost, by any number recorded of them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.store.catalog import Store

SECONDS, RATE = "seconds", "examples_per_s"  # seconds an example, where its inverse was measured


def costs_of(store: Store, cost: str, names: Sequence[str]) -> NDArray[np.float64]:
    """Cost of each of these models: (len(names),) float64.

    Raises
    ------
    ArgumentError
        Some model has no such number, or a negative one; what is recorded of all of them is named.
    """
    facts = [store.model(m).metadata for m in names]
    found = [_cost(fact, cost) for fact in facts]
    missing = [m for m, value in zip(names, found, strict=True) if value is None]
    if missing:
        known = sorted(
            set.intersection(*({k for k in _with_seconds(f) if _cost(f, k) is not None} for f in facts))
        )
        some = (
            f"of {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''} ({len(missing)} of {len(names)})"
        )
        near = difflib.get_close_matches(cost, {k for f in facts for k in f if _cost(f, k) is not None}, 1)
        hint = f" (did you mean {near[0]}?)" if near and near[0] != cost else ""
        raise ArgumentError(
            f"cost={cost!r} is not recorded {some}{hint}; recorded of all: {', '.join(known) or 'nothing'}; "
            "choose one of these, or leave those models out (exclude=, --exclude)"
        )
    return np.array(found, np.float64)


def _cost(facts: Mapping[str, Any], cost: str) -> float | None:
    """Number at least 0 by that name; None where there is none."""
    value: Any = facts.get(cost)
    if value is None and cost == SECONDS and _number(facts.get(RATE)):
        return 1 / float(facts[RATE])
    return float(value) if value == 0 or _number(value) else None


def _number(value: Any) -> bool:
    """Whether it is a number above 0, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _with_seconds(facts: Mapping[str, Any]) -> list[str]:
    return [*facts, *([SECONDS] if RATE in facts else [])]
