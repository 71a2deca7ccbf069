"""Models that take some numbers of examples only: batches are split and filled up for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class BatchLimits:
    """How many examples a model takes at once.

    Parameters
    ----------
    low
        At least this many; smaller batches are filled up with copies of their last example.
    high
        At most this many, None for any number; larger batches are split.
    """

    low: int = 1
    high: int | None = None

    def run(self, model: Callable[[Any], Any], batch: Any) -> Any:
        """Return the model's rows for a tensor or array of any number of examples."""
        n, size = len(batch), self.high or len(batch)
        if self.low <= n <= size:
            return model(batch)
        return _joined([self._run_part(model, batch[i : i + size]) for i in range(0, n, size)])

    def _run_part(self, model: Callable[[Any], Any], part: Any) -> Any:
        missing = self.low - len(part)
        if missing <= 0:
            return model(part)
        return model(_joined([part, *[part[-1:]] * missing]))[: len(part)]

    def describe(self) -> dict[str, int]:
        """Return what metadata says: nothing where any number goes."""
        if self.low == self.high:
            return {"fixed_batch": self.low}
        limits = {"smallest_batch": self.low if self.low > 1 else None, "largest_batch": self.high}
        return {name: limit for name, limit in limits.items() if limit is not None}


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)
