"""Bagged selection (Caruana et al. 2004, section 2.3): searches in random subsets of the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Drawn:
    """One search of several: what it could choose from and what it chose.

    Attributes
    ----------
    candidates, members : frozenset of int
    """

    candidates: frozenset[int]
    members: frozenset[int]


def subsets(candidates: NDArray[np.intp], bags: int, fraction: float, seed: int) -> list[NDArray[np.intp]]:
    """Draw `bags` random subsets of a share of the candidates, at least one, ascending."""
    rng = np.random.default_rng(seed)
    size = max(1, round(fraction * len(candidates)))
    return [np.sort(rng.choice(candidates, size, replace=False)) for _ in range(bags)]


def stability(draws: list[Drawn], names: list[str]) -> pa.Table:
    """How often each model is chosen over several searches.

    Returns
    -------
    pyarrow.Table
        model, chosen and available (searches), share; those chosen at all, the most often first.
    """
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        chosen = sum(index in draw.members for draw in draws)
        available = sum(index in draw.candidates for draw in draws)
        rows.append(
            {"model": name, "chosen": chosen, "available": available, "share": _share(chosen, available)}
        )
    found = sorted((row for row in rows if row["chosen"]), key=lambda row: (-row["share"], -row["chosen"]))
    schema = {"model": pa.string(), "chosen": pa.int64(), "available": pa.int64(), "share": pa.float64()}
    return pa.Table.from_pylist(found, pa.schema(schema))


def _share(chosen: int, available: int) -> float:
    return chosen / available if available else 0.0
