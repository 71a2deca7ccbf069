"""Memory that blocks are read into, used again: fresh pages cost as much as the reading itself."""

from __future__ import annotations

import sys
import threading

import numpy as np
from numpy.typing import NDArray

Buffer = NDArray[np.uint8]

AT_ONCE = 2 << 20  # bytes to read and sum at a time: more leave the cache, fewer cost calls

_OWN = threading.local()
_UNUSED = 2  # references to a buffer that nobody holds: the list's and that of the count


class Buffers:
    """Buffers of one size, each free again when the last view of it is gone.

    Parameters
    ----------
    n_bytes : int
        Size of each.
    budget_bytes : int
        Size of all together, at most.
    """

    def __init__(self, n_bytes: int, budget_bytes: int) -> None:
        self._n_bytes, self._most = n_bytes, budget_bytes // max(n_bytes, 1)
        self._made: list[Buffer] = []
        self._lock = threading.Lock()

    def take(self) -> Buffer | None:
        """Return a buffer that nothing refers to, or None where all are held."""
        with self._lock:
            for place in range(len(self._made)):
                if sys.getrefcount(self._made[place]) == _UNUSED:
                    self._made.append(self._made.pop(place))  # the one given out longest ago comes first
                    return self._made[-1]
            if len(self._made) == self._most:
                return None
            self._made.append(np.empty(self._n_bytes, np.uint8))
            return self._made[-1]


def own_buffer(n_bytes: int) -> Buffer:
    """Return this thread's own buffer of at least so many bytes, which the next call gives out again."""
    buffer: Buffer | None = getattr(_OWN, "bytes", None)
    if buffer is None or len(buffer) < n_bytes:
        buffer = _OWN.bytes = np.empty(n_bytes, np.uint8)
    return buffer
