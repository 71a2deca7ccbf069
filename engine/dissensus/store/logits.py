"""Logits of one committed model: stored without their row maximum, given back with it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import format as fmt
from .reading import read_checked
from .replaced import unless_replaced
from .shards import Shard
from .tables import numbers, read_arrow


class Logits(Shard):
    """Logits of one model as an array-like of shape (N, C); slices are float32 rows.

    The row maximum that was subtracted on storing is added back. `centred` gives the stored rows themselves,
    memory-mapped without a copy when they lie in one block. A block's checksum is verified on first touch.
    """

    name = fmt.SHARD

    def centred(self, start: int, stop: int) -> NDArray[Any]:
        """Stored rows start:stop, (stop - start, C), in the store's dtype: logit - row maximum, at most 0."""
        return self.stored(start, stop)

    @cached_property
    def _rowmax(self) -> NDArray[np.float32]:
        what = f"model {self._model_id!r}"
        with unless_replaced(self._folder, self._model_id, self._digest):
            derived = read_checked(self._folder / fmt.DERIVED, self._files[fmt.DERIVED], what)
        rowmax: NDArray[np.float32] = numbers(read_arrow(derived)["rowmax"])
        return rowmax

    def _values(self, stored: NDArray[Any], rows: Any) -> NDArray[np.float32]:
        values = super()._values(stored, rows)
        values += self._rowmax[rows, None]
        return values
