"""Logits in, stored rows out: row maximum subtracted in float32, then rounded to the store's dtype.

Float16 of (logit - row maximum) is finest near the maximum, where decisions fall, and softmax does not
change. What lies below the maximum stays below it, at least by float16's smallest step of 2**-24: the argmax
of a stored row is that of its float32 logits, ties included, which plain float16 does not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, NonFiniteLogits

from .buffers import own_buffer
from .format import FLOOR, STEP, SUM_TOLERANCE, TINY, TOP_FROM, TOP_K
from .ranking import BATCH, first_classes


@dataclass(frozen=True)
class Encoded:
    """Rows ready to be stored.

    Attributes
    ----------
    centred : (n, C) float16 or float32
        Logits minus their row maximum, clamped at -65504; 0 only where a logit equals the maximum.
    top1 : (n,) int32
        Index of the largest float32 logit, the lowest on ties.
    rowmax : (n,) float32
        Row maximum.
    lse : (n,) float64
        Log-sum-exp of the original logits.
    top_classes : (n, 8) int32, optional
        Classes of the largest float32 logits in order, the lowest first of equal ones; None of few classes.
    top_values : (n, 9) float32, optional
        Their logits minus the row maximum as a float32 store keeps them, and that of the next class.
    """

    centred: NDArray[Any]
    top1: NDArray[np.int32]
    rowmax: NDArray[np.float32]
    lse: NDArray[np.float64]
    top_classes: NDArray[np.int32] | None = None
    top_values: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.top1)

    def __getitem__(self, rows: slice) -> Encoded:
        parts = {name: part[rows] for name, part in vars(self).items() if part is not None}
        return Encoded(**parts)


def check_finite(
    logits: NDArray[Any], model_id: str, example_ids: Sequence[str], class_names: Sequence[str]
) -> None:
    """Refuse NaN and infinities, naming the first example and class they stand at.

    Raises
    ------
    NonFiniteLogits
        With model, example, class and the number of rows affected.
    """
    finite = np.isfinite(logits)
    if finite.all():
        return
    bad = np.argwhere(~finite)
    row, column = (int(i) for i in bad[0])
    raise NonFiniteLogits(
        f"model {model_id!r} gave {logits[row, column]} for example {example_ids[row]!r}, "
        f"class {class_names[column]!r} ({len(np.unique(bad[:, 0]))} of {len(logits)} rows of the block); "
        "logits must be finite: check the weights, the preprocessing and the precision it ran in"
    )


def encode(
    logits: ArrayLike, dtype: str, *, model_id: str, example_ids: Sequence[str], class_names: Sequence[str]
) -> Encoded:
    """Turn logits into stored rows.

    Parameters
    ----------
    logits : (n, C) float
        Finite logits; taken as float32.
    dtype : {"float16", "float32"}
        Dtype of the store.
    model_id, example_ids, class_names
        Names for the error message; ids of these n examples and of the C classes.

    Returns
    -------
    Encoded

    Raises
    ------
    NonFiniteLogits
        NaN or infinity; also a value too large for float32.
    """
    with np.errstate(over="ignore"):  # an overflow becomes an infinity, which is then named
        x = np.asarray(logits).astype(np.float32, order="C", copy=False)
    n, n_classes = x.shape
    rows = Encoded(np.empty((n, n_classes), dtype), np.empty(n, "i4"), np.empty(n, "f4"), np.empty(n, "f8"))
    if n_classes >= TOP_FROM:
        view = {"top_classes": np.empty((n, TOP_K), "i4"), "top_values": np.empty((n, TOP_K + 1), "f4")}
        rows = replace(rows, **view)
    step = max(1, BATCH // n_classes)
    for here in (slice(start, start + step) for start in range(0, n, step)):
        if not np.isfinite(x[here]).all():
            check_finite(x, model_id, example_ids, class_names)
        for name, part in vars(_encoded(x[here])).items():
            if part is not None:
                getattr(rows, name)[here] = part
    return rows


def _encoded(x: NDArray[np.float32]) -> Encoded:
    """Float32 rows of so few finite logits that all that is made of them stays in the cache.

    They hold until the thread's next call. Whole blocks, or new memory for each batch, take three times as
    long: the system hands it out page by page.
    """
    buffer = own_buffer(12 * x.size)
    wide = buffer[: 8 * x.size].view(np.float64).reshape(x.shape)
    fine = buffer[8 * x.size : 12 * x.size].view(np.float32).reshape(x.shape)
    rowmax = x.max(axis=1)
    with np.errstate(over="ignore"):  # a span beyond float32 is clamped just below
        narrowed(np.subtract(x, rowmax[:, None], out=fine), "float32", out=fine)
    np.subtract(x, rowmax[:, None], out=wide, dtype=np.float64)  # float32 would cost lse half its digits
    lse = rowmax + np.log(np.exp(wide, out=wide).sum(axis=1))
    if x.shape[1] < TOP_FROM:
        return Encoded(fine, x.argmax(axis=1).astype(np.int32), rowmax, lse)
    first = first_classes(x, TOP_K + 1)
    values: NDArray[np.float32] = np.take_along_axis(fine, first, axis=1)
    return Encoded(fine, first[:, 0], rowmax, lse, first[:, :TOP_K], values)


def narrowed(centred: NDArray[Any], dtype: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Centred rows in the store's dtype: clamped at -65504, losers kept below the maximum by a step.

    `out` may be the rows themselves.
    """
    if centred.dtype == dtype and centred.dtype == np.float16:
        return centred
    is_maximum = centred >= 0
    kept: NDArray[Any] = np.clip(centred, np.float32(FLOOR), np.float32(-STEP), out=out)
    np.copyto(kept, 0, where=is_maximum)
    return kept.astype(dtype, copy=False)


def log_probabilities(
    probabilities: ArrayLike, model_id: str, example_ids: Sequence[str]
) -> NDArray[np.float32]:
    """Logits of given probabilities: log(max(p, 2**-126)).

    Parameters
    ----------
    probabilities : (n, C) float
        Rows that sum to 1.
    model_id, example_ids
        Names for the error message.

    Raises
    ------
    ArgumentError
        A value is negative or NaN, or a row does not sum to 1 within 1e-3.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    wrong = ~((p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1.0) <= SUM_TOLERANCE))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ArgumentError(
            f"probabilities of model {model_id!r} must be >= 0 and sum to 1; those of {example_ids[row]!r} "
            f"sum to {p[row].sum():.6g} ({int(wrong.sum())} of {len(p)} rows are off); "
            "if these are logits pass logits="
        )
    return np.log(np.maximum(p, TINY)).astype(np.float32)
