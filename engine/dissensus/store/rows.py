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
        self.columns = fmt.derived_dtype(kind)

    def make(self, block: NDArray[Any] | Encoded, first: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Derived records (n,) and stored logits (n, C), or None for hard labels, of rows from `first` on."""
        if self._kind == "labels":
            made: tuple[NDArray[Any], NDArray[Any] | None] = (self._from_labels(np.asarray(block)), None)
        else:
            rows = block if isinstance(block, Encoded) else self._encode(np.asarray(block), first)
            self._check_classes(rows.centred.shape)
            made = (self._from_scores(rows), rows.centred)
        n_after, n_examples = first + len(made[0]), self._geometry.n_examples
        if n_after > n_examples:
            raise ArgumentError(
                f"model {self._model_id!r}: {n_after} rows appended, the store has {n_examples} examples"
            )
        return made

    def _check_classes(self, shape: tuple[int, ...]) -> None:
        n_classes = self._geometry.n_classes
        if len(shape) != 2 or shape[1] != n_classes:
            raise WrongClassCount(
                f"model {self._model_id!r} gives an array of shape {shape}, the store needs "
                f"(rows, {n_classes}): one column for each of its {n_classes} classes"
            )

    def _encode(self, block: NDArray[Any], first: int) -> Encoded:
        self._check_classes(block.shape)
        logits = log_probabilities(block, self._model_id) if self._kind == "probabilities" else block
        return encode(
            logits,
            self._geometry.dtype,
            model_id=self._model_id,
            example_ids=self._context.example_ids[first : first + len(block)],
            class_names=self._context.classes,
        )

    def _from_scores(self, rows: Encoded) -> NDArray[Any]:
        records = np.zeros(len(rows), self.columns)
        for name in self.columns.names or ():
            records[name] = getattr(rows, name)
        return records

    def _from_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        what = f"predictions of model {self._model_id!r}"
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ArgumentError(
                f"{what} must be one integer class an example; got {labels.dtype} of shape {labels.shape}"
            )
        bad = np.flatnonzero((labels < 0) | (labels >= self._geometry.n_classes))
        if len(bad):
            raise ArgumentError(
                f"{what} must lie in 0..{self._geometry.n_classes - 1}; "
                f"row {bad[0]} holds {labels[bad[0]]} ({len(bad)} rows are off)"
            )
        records = np.zeros(len(labels), self.columns)
        records["top1"] = labels
        return records
