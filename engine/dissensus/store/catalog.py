"""The store as a whole: what its models predicted, and how predictions get in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, UnknownName, WrongClassCount

from . import format as fmt
from .blocks import Block, read_blocks
from .embeddings import Embeddings
from .inventory import Inventory
from .labelled_arrays import ids_of, in_class_order
from .locks import FileLock
from .logits import Logits
from .models import again
from .reader import StoredModel
from .rows import WriterContext, plain_array
from .splits import Rows
from .tables import table_of_rows
from .topk import check_k, topk
from .writer import ModelWriter

if TYPE_CHECKING:
    import xarray


class Store(Inventory):
    """A prediction store: one labelled set of examples and every logit that models gave for it.

    Use `dissensus.open` or `dissensus.create`.

    Parameters
    ----------
    path : str or Path
        Folder of the store.
    damaged : {"error", "skip"}
        What to do with a model whose files are damaged: refuse every query (default), or leave it out
        with a warning.
    labels : str, optional
        Label set that every query goes by; the store's own by default. See `under`.
    """

    def __repr__(self) -> str:
        shape = f"{self.n_examples} examples, {self.n_classes} classes"
        return f"Store({str(self.path)!r}: {len(self._models)} models, {shape})"

    def logits(self, model_id: str) -> Logits:
        """Logits of one model: an (N, C) array-like whose slices are float32 rows.

        Raises
        ------
        UnknownName, LabelsOnly, CorruptionError
        """
        return self.model(model_id).logits()

    def embeddings(self, model_id: str) -> Embeddings:
        """Embeddings of one model: an (N, D) array-like whose slices are float32 rows.

        Raises
        ------
        UnknownName
            There is no such model, or it was stored without; those that have some are named.
        CorruptionError
        """
        model = self.model(model_id)
        if model.embedding_dim is None:
            having = [m for m, one in self._models.all().items() if one.embedding_dim is not None]
            some = ", ".join(having[:12]) + (f", … ({len(having)} in all)" if len(having) > 12 else "")
            raise UnknownName(
                f"model {model_id!r} was stored without embeddings; "
                f"models with embeddings: {some or 'none'}. Replace it by one that is stored with them"
            )
        return model.embeddings()

    @again
    def top1(self, models: Sequence[str] | None = None) -> NDArray[Any]:
        """Predicted classes, (M, N) int16 or int32, of the given models (all by default, as `model_ids`).

        Read-only. Of many models they come from a cache beside them, which is checked row by row.
        """
        return self.top1_of(self._chosen(models))

    def top1_of(self, models: Sequence[StoredModel]) -> NDArray[Any]:
        """Predicted classes of opened models; see `top1`."""
        return self._top1.matrix(models, len(self._models))

    def top1_blocks(self, models: Sequence[StoredModel], step: int) -> Iterator[NDArray[Any]]:
        """Predicted classes of opened models, some at a time: (up to step, N) each."""
        return self._top1.blocks(models, step)

    @again
    def topk(self, model_id: str, k: int) -> NDArray[np.int32]:
        """First k classes of every example by one model, (N, k) int32, the likeliest first.

        Of equal logits the lower class comes first. Models of 32 classes or more keep their first 8 ranks as
        the float32 logits gave them, before rounding to the store's dtype; other ranks, and those of models
        stored without that view, come from the stored logits. There the first rank is exact too, and further
        ones but for logits that round to the same number, which are taken for equal.

        Raises
        ------
        ArgumentError
            k is no whole number from 1 to the number of classes.
        UnknownName, CorruptionError
        LabelsOnly
            The model was stored with hard labels, which rank nothing.
        """
        return topk(self.model(model_id), k)

    def blocks(self, models: Sequence[str] | None = None, rows: Rows | None = None) -> Iterator[Block]:
        """Read rows of many models block by block, the next ones meanwhile: see `Block`.

        Parameters
        ----------
        models : sequence of str, optional
            Models with logits or probabilities; all by default.
        rows : (n,) intp, optional
            Sorted row numbers; all by default.

        Raises
        ------
        UnknownName, LabelsOnly, CorruptionError
        """
        chosen = [model.logits() for model in self._chosen(models)]
        return read_blocks(chosen, np.arange(self.n_examples) if rows is None else self._checked(rows))

    def _checked(self, rows: Any) -> Rows:
        """Refuse row numbers that are not ascending ones of the store."""
        numbers = np.asarray(rows)
        whole = numbers.ndim == 1 and (numbers.dtype.kind in "iu" or not len(numbers))
        ascending = whole and (np.diff(numbers) > 0).all()
        if not ascending or (len(numbers) and not 0 <= numbers[0] <= numbers[-1] < self.n_examples):
            raise ArgumentError(
                f"rows must be ascending, distinct numbers in 0..{self.n_examples - 1}; got {rows!r:.60}: "
                "pass numpy.flatnonzero(mask) for a mask"
            )
        return numbers.astype(np.intp)

    @again
    def to_xarray(self, models: Sequence[str] | None = None) -> xarray.Dataset:
        """Lazy xarray view over model, example and class; no logit is read before it is computed.

        Parameters
        ----------
        models : sequence of str, optional
            Models in the order wanted; all by default.

        Returns
        -------
        xarray.Dataset
            ``logits`` (model, example, class) float32, a dask array of one chunk a block, NaN for models with
            hard labels only; ``top1`` and ``correct`` (model, example), the latter with NaN where the truth
            does not count an example; ids, split and labels as coordinates.

        Raises
        ------
        MissingDependency
            xarray is not installed.
        """
        from .views import dataset

        return dataset(self, self._chosen(models))

    @again
    def correct(self, models: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """Whether each prediction is right, (M, N) bool; False where the truth does not count an example."""
        return self.truth.correct(self.top1(models))

    @again
    def models(
        self, *, split: str | None = None, where: str | None = None, top_k: int | None = None
    ) -> pa.Table:
        """One row a model: model, kind, accuracy (on a split or on all), then all recorded metadata.

        Accuracy is over the examples that the truth counts; NaN where it counts none. Where some models have
        embeddings, `embedding_dim` follows the accuracy: their number of features, null for the others.

        Parameters
        ----------
        split : str, optional
            Split to count on; all examples by default.
        where : str, optional
            Only examples for which this expression holds; see `Store.where`.
        top_k : int, optional
            Add the share of counted examples with a right class among the first `top_k`, as
            ``top<k>_accuracy`` (in place of metadata of that name): null for models with hard labels only.

        Raises
        ------
        ArgumentError
            `top_k` is no whole number from 1 to the number of classes.
        UnknownName, CorruptionError
        """
        if top_k is not None:
            check_k(top_k, self.n_classes, "top_k")
        models, chosen = self._chosen(None), self.rows(split, where)
        right = self.truth.correct(self.top1_of(models))[:, chosen]
        accuracy = right.mean(axis=1) if right.size else np.full(len(models), np.nan)
        rows = [
            {"model": model.model_id, "kind": model.kind, "accuracy": float(a)}
            | ({} if model.embedding_dim is None else {fmt.EMBEDDING_DIM: model.embedding_dim})
            | model.metadata
            for model, a in zip(models, accuracy, strict=True)
        ]
        first = ["model", "kind", "accuracy"]
        if top_k is not None:
            first.append(f"top{top_k}_accuracy")
            for model, row in zip(models, rows, strict=True):
                row[first[-1]] = self._topk_accuracy(model, top_k, chosen)
        dim = [fmt.EMBEDDING_DIM] if any(fmt.EMBEDDING_DIM in row for row in rows) else []
        return table_of_rows(rows, [*first, *dim])

    def _topk_accuracy(self, model: StoredModel, k: int, rows: Rows) -> float | None:
        """Share of rows with a right class among the first k; None for hard labels."""
        if model.kind == "labels":
            return None
        right = self.truth.correct(topk(model, k).T)[:, rows]
        return float(right.any(axis=0).mean()) if len(rows) else float("nan")

    def writer(
        self,
        model_id: str,
        *,
        fingerprint: Mapping[str, str],
        metadata: Mapping[str, Any] | None = None,
        kind: str = "logits",
        restart: bool = False,
        resumable: bool = True,
        replace: bool = False,
        copied: Mapping[str, Any] | None = None,
        embedding_dim: int | None = None,
        lock: FileLock | None = None,
    ) -> ModelWriter:
        """Open a streaming writer; see `ModelWriter`."""
        self.require_current()
        context = WriterContext(self.path, self.geometry, self.example_ids, self.classes, self.examples_hash)
        return ModelWriter(
            context,
            model_id,
            fingerprint=fingerprint,
            metadata=metadata,
            kind=kind,
            restart=restart,
            resumable=resumable,
            replace=replace,
            copied=copied,
            embedding_dim=embedding_dim,
            lock=lock,
        )

    def add(
        self,
        model_id: str,
        *,
        logits: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        example_ids: Sequence[str] | None = None,
        embeddings: ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        restart: bool = False,
        replace: bool = False,
    ) -> None:
        """Store predictions that are in memory.

        Parameters
        ----------
        model_id : str
            Name in the store.
        logits, probabilities : (N, C) float, exactly one of the three
            Scores; probabilities must sum to 1 and are stored as their logarithm. Columns of a data frame
            (pandas, polars, Arrow, xarray) that are called as the classes are are put into the store's order,
            those called otherwise are refused; so are rows that its index names. Where classes or examples
            are called 0, 1, … in another order, a table that is numbered like that is refused.
        predictions : (N,) int
            Hard labels: enough for pair statistics, not for calibration or ensembles of probabilities.
        example_ids : sequence of str, optional
            Ids of the rows given, which are put into the store's order; without them they must be in it.
        embeddings : (N, D) float, optional
            Features of the same rows, kept beside them; D may differ from model to model.
        metadata : mapping, optional
            Plain JSON kept with the model.
        restart : bool
            Drop rows that an interrupted writer of this id left staged.
        replace : bool
            Take the place of a model of this id, which stays visible until this one is whole.

        Raises
        ------
        ArgumentError, ExamplesMismatch, WrongClassCount, NonFiniteLogits, NonFiniteEmbeddings, ModelExists,
        WriterBusy
        """
        given = {"logits": logits, "probabilities": probabilities, "labels": predictions}
        kinds = [kind for kind, value in given.items() if value is not None]
        if len(kinds) != 1:
            raise ArgumentError(
                f"give exactly one of logits, probabilities, predictions; got {kinds or 'none'}"
            )
        named = given[kinds[0]]
        if example_ids is None:
            example_ids = ids_of(named, self.example_ids, kinds[0])
        if kinds[0] != "labels":
            named = in_class_order(named, self.classes, kinds[0])
        values = plain_array(named, kinds[0])
        shape = (self.n_examples,) if kinds[0] == "labels" else (self.n_examples, self.n_classes)
        order = self._examples.order(len(values), example_ids)
        if values.shape != shape and kinds[0] != "labels":
            raise WrongClassCount(
                f"{kinds[0]} of model {model_id!r} have shape {values.shape}, the store needs {shape}: "
                f"one column for each of its {self.n_classes} classes"
            )
        rows = np.ascontiguousarray(values[order])
        features = self._features(model_id, embeddings, order)
        content = {"source": "array", "content": hashlib.sha256(rows.data).hexdigest()}
        if features is not None:
            content["embeddings"] = hashlib.sha256(features.data).hexdigest()
        options: dict[str, Any] = {
            "embedding_dim": None if features is None else features.shape[1],
            "metadata": metadata,
            "kind": kinds[0],
            "resumable": False,
            "restart": restart,
            "replace": replace,
        }
        with self.writer(model_id, fingerprint=content, **options) as w:
            for start in range(w.position, len(rows), self.block_rows):
                block = slice(start, start + self.block_rows)
                w.append(rows[block], embeddings=None if features is None else features[block])

    def _features(
        self, model_id: str, embeddings: ArrayLike | None, order: NDArray[np.intp]
    ) -> NDArray[Any] | None:
        """Embeddings given with a model in memory, in the store's order."""
        if embeddings is None:
            return None
        what = f"embeddings of model {model_id!r}"
        values = plain_array(embeddings, what)
        if values.ndim != 2 or len(values) != self.n_examples or not values.shape[1]:
            raise ArgumentError(
                f"{what} have shape {values.shape}, the store needs ({self.n_examples}, D): one row of D "
                "features for each example"
            )
        return np.ascontiguousarray(values[order])
