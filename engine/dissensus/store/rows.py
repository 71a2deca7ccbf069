"""Given blocks of predictions, checked and turned into the records a model is stored as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, WrongClassCount

from . import format as fmt
from .encoding import Encoded, encode, log_probabilities
from .labelled_arrays import in_class_order, require_in_order
from .topk import with_view


@dataclass(frozen=True)
class WriterContext:
    """What a writer needs to know of its store.

    Attributes
    ----------
    root : Path
        Folder of the store.
    geometry : Geometry
        Shape and blocks of a model's logits.
    example_ids, classes : sequence of str
        Names of rows and columns.
    examples_hash : str
        Identity of the example set, part of every fingerprint.
    """

    root: Path
    geometry: fmt.Geometry
    example_ids: Sequence[str]
    classes: Sequence[str]
    examples_hash: str


def plain_array(values: Any, what: str) -> NDArray[Any]:
    """Array of real numbers with at least one dimension.

    Raises
    ------
    ArgumentError
        Text, complex numbers, ragged lists, masked entries, a single number.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ArgumentError(f"{what} must have no masked entries; fill them or leave the model out")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"{what} must be an array, all rows of one length: {error}") from error
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise ArgumentError(
            f"{what} must be an array of real numbers; got {array.dtype} of shape {array.shape}"
        )
    return array


class RowMaker:
    """Turns what `ModelWriter.append` is given into derived records and stored logits.

    Parameters
    ----------
    context : WriterContext
        The store's facts.
    model_id, kind : str
        The model being written.
    """

    def __init__(self, context: WriterContext, model_id: str, kind: str) -> None:
        self._context, self._geometry = context, context.geometry
        self._model_id, self._kind = model_id, kind
        self.columns = fmt.record_dtype(kind, context.geometry.n_classes)

    def make(self, block: NDArray[Any] | Encoded, first: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Derived records (n,) and stored logits (n, C), or None for hard labels, of rows from `first` on."""
        if not isinstance(block, Encoded):
            following = self._context.example_ids[first : first + len(block)]
            require_in_order(block, following, f"rows of model {self._model_id!r}")
            if self._kind != "labels":
                block = in_class_order(block, self._context.classes, self._kind)
            block = plain_array(block, f"rows of model {self._model_id!r}")
        self._check_room(first + len(block))
        if self._kind == "labels":
            return self._from_labels(np.asarray(block), first), None
        if isinstance(block, Encoded):
            self._check_encoded(block)
            rows = with_view(block, block.centred)
        else:
            rows = self._encode(np.asarray(block), first)
        return self._from_scores(rows), rows.centred

    def _check_room(self, n_after: int) -> None:
        if n_after > self._geometry.n_examples:
            raise ArgumentError(
                f"model {self._model_id!r}: {n_after} rows appended, "
                f"the store has {self._geometry.n_examples} examples"
            )

    def _check_classes(self, shape: tuple[int, ...]) -> None:
        n_classes = self._geometry.n_classes
        if len(shape) != 2 or shape[1] != n_classes:
            raise WrongClassCount(
                f"model {self._model_id!r} gives an array of shape {shape}, the store needs "
                f"(rows, {n_classes}): one column for each of its {n_classes} classes"
            )

    def _encode(self, block: NDArray[Any], first: int) -> Encoded:
        self._check_classes(block.shape)
        ids = self._context.example_ids[first : first + len(block)]
        is_p = self._kind == "probabilities"
        logits = log_probabilities(block, self._model_id, ids) if is_p else block
        names = {"example_ids": ids, "class_names": self._context.classes}
        return encode(logits, self._geometry.dtype, model_id=self._model_id, **names)

    def _check_encoded(self, rows: Encoded) -> None:
        """Refuse encoded rows that no encoding for this store has made, by all but their logits."""
        self._check_classes(rows.centred.shape)
        n, dtype = len(rows.centred), self._geometry.dtype
        if rows.centred.dtype != dtype or {len(rows.top1), len(rows.rowmax), len(rows.lse)} != {n}:
            raise ArgumentError(
                f"encoded rows of model {self._model_id!r} must be {n} of {dtype} throughout; got "
                f"{rows.centred.dtype} with {len(rows.top1)}, {len(rows.rowmax)} and {len(rows.lse)} values: "
                "make them with encode(logits, store.dtype)"
            )
        self._check_view(rows)
        top1, numbers = np.asarray(rows.top1), np.isfinite(rows.rowmax) & np.isfinite(rows.lse)
        if not numbers.all() or (n and not 0 <= top1.min() <= top1.max() < self._geometry.n_classes):
            raise ArgumentError(
                f"encoded rows of model {self._model_id!r} must have finite numbers and classes in "
                f"0..{self._geometry.n_classes - 1}; make them with encode(logits, store.dtype)"
            )

    def _check_view(self, rows: Encoded) -> None:
        """Refuse a top-K view of other rows than these; one that is left out is made of the logits."""
        classes, values = rows.top_classes, rows.top_values
        if classes is None and values is None:
            return
        shapes = tuple(None if part is None else part.shape for part in (classes, values))
        if shapes != ((len(rows), fmt.TOP_K), (len(rows), fmt.TOP_K + 1)) or not np.array_equal(
            np.asarray(classes)[:, 0], rows.top1
        ):
            raise ArgumentError(
                f"encoded rows of model {self._model_id!r} must have {fmt.TOP_K} top classes, top1 first, "
                f"and {fmt.TOP_K + 1} values each; got shapes {shapes[0]} and {shapes[1]}: make them with "
                "encode(logits, store.dtype), or leave both out"
            )

    def _from_scores(self, rows: Encoded) -> NDArray[Any]:
        records = np.zeros(len(rows), self.columns)
        for name in self.columns.names or ():
            records[name] = getattr(rows, name)
        return records

    def _from_labels(self, labels: NDArray[Any], first: int) -> NDArray[Any]:
        what = f"predictions of model {self._model_id!r}"
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ArgumentError(
                f"{what} must be one integer class an example; got {labels.dtype} of shape {labels.shape}"
            )
        bad = np.flatnonzero((labels < 0) | (labels >= self._geometry.n_classes))
        if len(bad):
            raise ArgumentError(
                f"{what} must lie in 0..{self._geometry.n_classes - 1}; "
                f"that of {self._context.example_ids[first + bad[0]]!r} is {labels[bad[0]]} "
                f"({len(bad)} are off)"
            )
        records = np.zeros(len(labels), self.columns)
        records["top1"] = labels
        return records
