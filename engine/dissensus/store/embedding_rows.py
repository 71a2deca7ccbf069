"""Given blocks of embeddings, checked and rounded to the store's dtype: values as they are, no row maximum.

A model's features may lie beyond float16 at a single place, which is no reason to lose its logits: such a
value is stored as 65504 or -65504, with a warning. NaN and infinities are refused, as in logits.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, NonFiniteEmbeddings

from .format import EMBEDDING_LIMIT
from .rows import WriterContext, plain_array


def checked_dim(embedding_dim: Any) -> int | None:
    """Number of features of a model's embeddings, None for a model without.

    Raises
    ------
    ArgumentError
        It is no whole number from 1 on.
    """
    if embedding_dim is None:
        return None
    try:
        dim = 0 if isinstance(embedding_dim, bool) else operator.index(embedding_dim)
    except TypeError:
        dim = 0
    if dim < 1:
        raise ArgumentError(
            f"embedding_dim must be a number of features, 1 or more, or None; got {embedding_dim!r:.60}"
        )
    return dim


class EmbeddingMaker:
    """Turns what `ModelWriter.append` is given as embeddings into stored rows.

    Parameters
    ----------
    context : WriterContext
        The store's facts.
    model_id : str
        The model being written.
    dim : int or None
        Its number of features; None for a model without embeddings.
    """

    def __init__(self, context: WriterContext, model_id: str, dim: int | None) -> None:
        self._context, self._model_id, self._dim = context, model_id, dim
        self._warned = False

    def make(self, given: Any, n_rows: int, first: int) -> list[NDArray[Any]]:
        """Stored rows (n, D) in a list, from row `first` on; an empty list for a model without embeddings.

        Raises
        ------
        ArgumentError, NonFiniteEmbeddings
        """
        if (given is None) != (self._dim is None):
            raise ArgumentError(self._out_of_place())
        if given is None or self._dim is None:
            return []
        rows = plain_array(given, f"embeddings of model {self._model_id!r}")
        if rows.shape != (n_rows, self._dim):
            raise ArgumentError(
                f"embeddings of model {self._model_id!r} have shape {rows.shape}, these rows need "
                f"({n_rows}, {self._dim}): one row of {self._dim} features for each row of predictions"
            )
        return [self._stored(rows, self._context.example_ids[first : first + n_rows])]

    def _out_of_place(self) -> str:
        if self._dim is None:
            return (
                f"model {self._model_id!r} is written without embeddings; open its writer with "
                "embedding_dim, the number of features, to store them"
            )
        return (
            f"model {self._model_id!r} is written with {self._dim} features a row; "
            "give embeddings with every block, append(block, embeddings=rows)"
        )

    def _stored(self, rows: NDArray[Any], ids: Sequence[str]) -> NDArray[Any]:
        dtype = np.dtype(self._context.geometry.dtype)
        with np.errstate(over="ignore"):  # an overflow becomes an infinity, which is then named
            x = rows if rows.dtype == dtype else rows.astype(np.float32, copy=False)
        self._check_finite(x, ids)
        if x.dtype != dtype:
            beyond = np.abs(x) > EMBEDDING_LIMIT
            if beyond.any():
                self._warn(x, beyond, ids)
                x = np.clip(x, -EMBEDDING_LIMIT, EMBEDDING_LIMIT)
        stored: NDArray[Any] = x.astype(dtype, copy=False)
        return stored

    def _check_finite(self, x: NDArray[Any], ids: Sequence[str]) -> None:
        finite = np.isfinite(x)
        if finite.all():
            return
        bad = np.argwhere(~finite)
        row, feature = (int(i) for i in bad[0])
        raise NonFiniteEmbeddings(
            f"model {self._model_id!r} gave {x[row, feature]} for example {ids[row]!r}, feature {feature} of "
            f"its embedding ({len(np.unique(bad[:, 0]))} of {len(x)} rows of the block); embeddings must be "
            "finite: check the weights, the preprocessing and the precision it ran in, or leave them out"
        )

    def _warn(self, x: NDArray[Any], beyond: NDArray[np.bool_], ids: Sequence[str]) -> None:
        """Say once a writer that values are clamped, and where the first one stands."""
        if self._warned:
            return
        row, feature = (int(i) for i in np.argwhere(beyond)[0])
        warnings.warn(
            f"model {self._model_id!r}: features beyond float16 are stored as ±65504, first "
            f"{x[row, feature]:.6g} of example {ids[row]!r}, feature {feature}; a store made with "
            "dtype='float32' keeps them",
            stacklevel=5,
        )
        self._warned = True
