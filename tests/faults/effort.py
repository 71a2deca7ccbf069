"""How many of the possible cases are tried, and what an earlier run has tried of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .kept import Kept

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How many of the possible cases are tried.

    Attributes
    ----------
    full : bool
        All of them; otherwise a seeded sample.
    seed : int
        Seed of the sample.
    kept : Kept
        Figures of an earlier run that was broken off.
    """

    full: bool = False
    seed: int = 0
    kept: Kept = field(default_factory=Kept)

    def bare(self) -> Effort:
        """The same for other processes, which keep nothing."""
        return Effort(self.full, self.seed)

    def pick(self, cases: Sequence[T], at_most: int) -> list[T]:
        """All cases, or a sample of them in their order that holds the first and the last."""
        if self.full or len(cases) <= at_most:
            return list(cases)
        inner = random.Random(self.seed).sample(range(1, len(cases) - 1), at_most - 2)
        return [cases[i] for i in sorted({0, len(cases) - 1, *inner})]

    def number(self, bounded: int, full: int) -> int:
        """How often to try what has no list of cases."""
        return full if self.full else bounded
