"""Which candidates a step may add: replacement, most members, most cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1 + 1e-9  # 0.1 + 0.2 is within a limit of 0.3


@dataclass(frozen=True)
class Limits:
    """What an ensemble may be made of.

    Attributes
    ----------
    candidates : (K,) intp
        Indices that may be chosen, ascending.
    replacement : bool
        Whether a member may be chosen again.
    max_members : int or None
        Most distinct members.
    costs : (P,) float64 or None
        Cost of every model of the pool, by index.
    max_cost : float or None
        Most that distinct members may cost together.
    """

    candidates: NDArray[np.intp]
    replacement: bool = True
    max_members: int | None = None
    costs: NDArray[np.float64] | None = None
    max_cost: float | None = None

    def cost(self, chosen: Iterable[int]) -> float:
        """Cost of the distinct members, the exact sum rounded once; 0 without costs."""
        return 0.0 if self.costs is None else math.fsum(self.costs[m] for m in {*chosen})

    def allows(self, chosen: Iterable[int]) -> bool:
        """Whether an ensemble of these members is within the limits."""
        members = {*chosen}
        few = self.max_members is None or len(members) <= self.max_members
        return few and (self.max_cost is None or self.cost(members) <= self.max_cost * ROUNDING)

    def after(self, chosen: Sequence[int]) -> NDArray[np.intp]:
        """Candidates that may come next, ascending."""
        used = np.isin(self.candidates, chosen)
        new = np.full(len(used), self.max_members is None or len({*chosen}) < self.max_members)
        if self.costs is not None and self.max_cost is not None:
            new &= self.cost(chosen) + self.costs[self.candidates] <= self.max_cost * ROUNDING
        return self.candidates[np.where(used, self.replacement, new)]
