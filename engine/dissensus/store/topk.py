"""The top-K view: the first classes of every example, ranked by the float32 logits before they were rounded.

Ranks are those of a stable sort: the larger logit first, of equal ones the lower class. A model stored with
the view (`topk.arrow`) answers its first K ranks from it; all others follow from the stored logits, where
those that round to one number are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from . import format as fmt
from .encoding import Encoded
from .ranking import top_classes
from .tables import numbers, read_arrow

if TYPE_CHECKING:
    from .reader import StoredModel

VIEW_FIELDS = {
    "classes": (
        fmt.TOP_COLUMNS[0],
        "classes of the largest logits, before rounding; of equal ones the lowest",
    ),
    "values": (
        fmt.TOP_COLUMNS[1],
        "their logits minus the row maximum in float32, and that of the next class",
    ),
}


def read_view(data: bytes) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Classes (N, 8) and values (N, 9) of the bytes of a `topk.arrow`, read-only."""
    table = read_arrow(data)
    classes, values = (numbers(table[name].combine_chunks().flatten()) for name in VIEW_FIELDS)
    return classes.reshape(-1, fmt.TOP_K), values.reshape(-1, fmt.TOP_K + 1)


def with_view(rows: Encoded, values: NDArray[Any]) -> Encoded:
    """Return rows with the view of these values, unless they have one or there are too few classes."""
    if values.shape[1] < fmt.TOP_FROM or rows.top_classes is not None:
        return rows
    first = top_classes(values, fmt.TOP_K + 1)
    held = np.take_along_axis(values, first, axis=1).astype(np.float32)
    return replace(rows, top_classes=first[:, : fmt.TOP_K], top_values=held)


def check_k(k: int, n_classes: int, name: str) -> None:
    """Refuse a number of ranks that the store's classes do not have.

    Raises
    ------
    ArgumentError
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= n_classes:
        raise ArgumentError(
            f"{name} must be a whole number in 1..{n_classes}, the store's classes; got {k!r}"
        )


def topk(model: StoredModel, k: int) -> NDArray[np.int32]:
    """First classes of every example of a model; see `Store.topk`."""
    check_k(k, model.geometry.n_classes, "k")
    logits, view = model.logits(), model.view()
    if view is not None and k <= fmt.TOP_K:
        return view[0][:, :k]
    out = np.empty((model.geometry.n_examples, k), np.int32)
    for start, rows in _blocks(model.geometry):
        values = np.array(logits.centred(start, rows), np.float32)
        if view is not None:  # ranks beyond the view go on behind it: all that is stored is at most 0
            np.put_along_axis(values, view[0][start:rows], np.arange(fmt.TOP_K, 0, -1.0), axis=1)
        out[start:rows] = top_classes(values, int(k))
    return out


def _blocks(geometry: fmt.Geometry) -> Iterator[tuple[int, int]]:
    return (geometry.rows(block) for block in range(geometry.n_blocks))
