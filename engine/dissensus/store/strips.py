"""One block of many models, a few rows at a time: read, used and forgotten while near the processor.

A block of all models does not fit the processor's caches, and what is read in one go is fetched from memory
again when it is used: half as long again as the reading. Checksums are of whole blocks and go on from strip
to strip, so that rows are used before their block is known to be whole: who uses them waits with the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .logits import Logits


def read_strips(
    logits: Sequence[Logits], block: int, step: int, memory: NDArray[Any]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Go through the rows of one block of every model; all of it is verified when the last strip is taken.

    Parameters
    ----------
    logits : sequence of Logits
        M models to read, whose blocks are not packed.
    block : int
        Number of the block.
    step : int
        Rows of a strip.
    memory : (>= M * step * C,) array
        Of the store's dtype or of as many bytes; each strip is read over the one before.

    Yields
    ------
    first : int
        First row, of all rows of the store.
    stored : (M, n, C) array
        Rows `first` to `first + n` as they are stored; only until the next strip is asked for.

    Raises
    ------
    CorruptionError, NotReadable
        After the strips that could be read: none of what they gave is to be relied on then.
    """
    size, n_classes = logits[0].block_rows, logits[0].shape[1]
    first, n_rows = block * size, min(size, len(logits[0]) - block * size)
    checksums = [0] * len(logits)
    for start in range(0, n_rows, step):
        n = min(step, n_rows - start)
        strip = memory[: len(logits) * n * n_classes].reshape(len(logits), n, n_classes)
        for m, (one, rows) in enumerate(zip(logits, _bytes_of(strip), strict=True)):
            checksums[m] = one.read_rows(block, start, rows, checksums[m])
        yield first + start, strip
    for one, crc in zip(logits, checksums, strict=True):
        one.settle(block, n_rows, crc)


def _bytes_of(strip: NDArray[Any]) -> list[memoryview]:
    """Memory of each model's rows."""
    flat = strip.reshape(-1).view(np.uint8).data
    size = strip[0].nbytes
    return [flat[start : start + size] for start in range(0, len(flat), size)]
