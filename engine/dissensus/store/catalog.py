"""The store as a whole: examples, classes, and the models that the directory listing shows."""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import (
    ArgumentError,
    CorruptionError,
    IncompatibleFormat,
    UnknownName,
    WrongClassCount,
)

from . import format as fmt
from .columns import Role, checked_columns, checked_splits, column_name, write_column
from .examples import SPLIT, Examples
from .files import bury, writing
from .header import read_header
from .reader import Logits, StoredModel
from .rows import WriterContext, plain_array
from .splits import Rows
from .tables import table_of_rows
from .truth import Truth
from .verify import VerifyReport, verify_store
from .writer import ModelWriter


class Store:
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

    def __init__(
        self, path: str | os.PathLike[str], *, damaged: str = "error", labels: str | None = None
    ) -> None:
        if damaged not in ("error", "skip"):
            raise ArgumentError(f"damaged must be 'error' or 'skip'; got {damaged!r}")
        self.path = Path(os.path.abspath(path))
        header, self.format_version = read_header(self.path)
        self._examples = Examples(self.path, header)
        self._label_set: str | None = None
        self.attributes: dict[str, Any] = header["attributes"]
        self.examples_hash: str = header["examples_hash"]
        self.geometry = fmt.Geometry(
            header["n_examples"], header["n_classes"], header["dtype"], header["block_rows"]
        )
        self.codec: str = header["codec"]
        self._damaged = damaged
        self._opened: dict[str, tuple[int, StoredModel]] = {}
        if labels is not None:
            self._label_set = self._examples.truth(labels).name

    def __repr__(self) -> str:
        shape = f"{self.n_examples} examples, {self.n_classes} classes"
        return f"Store({str(self.path)!r}: {len(self._folders())} models, {shape})"

    @property
    def n_examples(self) -> int:
        """Number of examples N."""
        return self.geometry.n_examples

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return self.geometry.n_classes

    @property
    def dtype(self) -> str:
        """Dtype of the stored logits: "float16" or "float32"."""
        return self.geometry.dtype

    @property
    def block_rows(self) -> int:
        """Rows of a block: what a writer makes safe at a time."""
        return self.geometry.block_rows

    def examples(self) -> pa.Table:
        """Examples in row order: example_id, label, split (null where none), metadata and added columns.

        A label set "real" added by `add_labels` is the column ``label_real``.
        """
        return self._examples.table()

    def class_table(self) -> pa.Table:
        """Classes in column order: class_id, name, and any further columns (groups)."""
        return self._examples.class_table

    @property
    def example_ids(self) -> list[str]:
        """Ids of the examples in row order."""
        return self._examples.ids

    @property
    def label_sets(self) -> list[str]:
        """Names of the label sets there are, the store's own first."""
        return self._examples.label_sets

    @property
    def truth(self) -> Truth:
        """Right answers that queries go by: sets of classes, see `under`."""
        return self._examples.truth(self._label_set)

    def under(self, labels: str | None) -> Store:
        """View the same store with another label set as the truth; None gives this one back.

        Examples whose set is empty are not counted by any query.

        Raises
        ------
        UnknownName
            Naming the label sets there are.
        """
        if labels is None:
            return self
        view = copy.copy(self)
        view._label_set = self._examples.truth(labels).name
        return view

    @property
    def labels(self) -> NDArray[np.int32]:
        """True classes, (N,) int32.

        Raises
        ------
        ArgumentError
            The truth is not one class for each example: use `truth`.
        """
        return self.truth.labels

    @property
    def classes(self) -> list[str]:
        """Names of the classes in column order."""
        return self._examples.classes

    @property
    def splits(self) -> NDArray[np.object_] | None:
        """Split of each example, (N,) of str or None; None where the store has no splits."""
        return self._examples.splits

    def rows(self, split: str | None) -> Rows:
        """Sorted row numbers of a split that the truth counts, (n,) intp.

        "all" (or None) is every example. A store without splits has "fit" and "report" too: seeded,
        class-stratified halves, the same under every label set.

        Raises
        ------
        UnknownName
            Naming the splits there are.
        """
        return self._examples.rows(split, self.truth)

    def add_labels(self, name: str, labels: Any, *, example_ids: Sequence[str] | None = None) -> None:
        """Add a label set, which queries can then go by (`under`, ``labels=``).

        Parameters
        ----------
        name : str
            What it is called.
        labels : (N,) int, or N collections of int
            Right classes of each example; an empty collection or None leaves it uncounted.
        example_ids : sequence of str, optional
            Ids of the entries given, which are put into the store's order; without them they must be in it.

        Raises
        ------
        ArgumentError, ExamplesMismatch, NotWritable, StoreFull
        """
        truth = Truth.of(column_name(name), labels, self.n_classes)
        if name == self._examples.label_set:
            raise ArgumentError(f"label set {name!r} is the store's own; choose another name")
        truth = truth.take(self._examples.order(len(truth), example_ids))
        self._write_column(name, "labels", truth.to_column())

    def add_columns(
        self, columns: Mapping[str, Any] | pa.Table, *, example_ids: Sequence[str] | None = None
    ) -> None:
        """Add metadata columns to the examples: groups, slices, or the split of a store that has none.

        Parameters
        ----------
        columns : mapping of str to sequence of length N, or pyarrow.Table
            The columns; one called "split" holds text or None.
        example_ids : sequence of str, optional
            Ids of the entries given, which are put into the store's order; without them they must be in it.

        Raises
        ------
        ArgumentError, ExamplesMismatch, NotWritable, StoreFull
        """
        given = (
            {name: columns[name] for name in columns.column_names}
            if isinstance(columns, pa.Table)
            else dict(columns)
        )
        splits = given.pop(SPLIT, None)
        if splits is not None and self.splits is not None:
            raise ArgumentError("the examples have splits already; results would no longer mean the same")
        arrays = checked_columns(
            given, len(next(iter(given.values()), ())), self.examples().column_names, "metadata"
        )
        if splits is not None:
            arrays[SPLIT] = checked_splits(splits, len(splits))
        order = None
        for name, values in arrays.items():
            order = self._examples.order(len(values), example_ids) if order is None else order
            self._write_column(name, "column", values.take(pa.array(order)))

    def _write_column(self, name: str, role: Role, values: pa.Array) -> None:
        self._require_current()
        write_column(self.path, name, role, self.example_ids, values, self.examples_hash)

    def remove_column(self, name: str) -> None:
        """Take an added column or label set away again.

        Raises
        ------
        UnknownName
            Naming those that were added.
        """
        added = {column.name: column for column in self._examples.added().values()}
        if name not in added:
            raise UnknownName.of("added column", str(name), added)
        bury(added[name].folder, self._staging())

    def _staging(self) -> Path:
        staging = self.path / fmt.STAGING
        with writing(staging):
            staging.mkdir(exist_ok=True)
        return staging

    def _require_current(self) -> None:
        """Refuse to write today's records into a store that an older program may still read."""
        if self.format_version < fmt.FORMAT_VERSION:
            raise IncompatibleFormat(
                f"{self.path} has format version {self.format_version}; it can be read, and written after "
                f"`dissensus migrate` has brought it to version {fmt.FORMAT_VERSION}"
            )

    def _folders(self) -> list[str]:
        with os.scandir(self.path / fmt.MODELS) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))

    def _open_folder(self, name: str) -> StoredModel:
        folder = self.path / fmt.MODELS / name
        try:
            stamp = os.stat(folder / fmt.COMMIT_JSON).st_mtime_ns
        except OSError:
            stamp = -1  # StoredModel names the missing record
        known = self._opened.get(name)
        if known is None or known[0] != stamp:
            model = StoredModel(folder, self.geometry, self.examples_hash)
            if self._damaged == "skip":
                model.check_small_files()
            known = self._opened[name] = (stamp, model)
        return known[1]

    def _catalog(self) -> dict[str, StoredModel]:
        """Every sound model by id, from the directory listing of this moment."""
        models: dict[str, StoredModel] = {}
        for name in self._folders():
            try:
                model = self._open_folder(name)
            except CorruptionError as error:
                if not (self.path / fmt.MODELS / name).exists():
                    continue  # removed since the listing
                if self._damaged == "error":
                    raise CorruptionError(f"{error}; open with damaged='skip' to work without it") from error
                warnings.warn(f"left out: {error}", stacklevel=3)
            else:
                models[model.model_id] = model
        return dict(sorted(models.items()))

    @property
    def model_ids(self) -> list[str]:
        """Ids of the models in the store, sorted."""
        return list(self._catalog())

    def model(self, model_id: str) -> StoredModel:
        """One model.

        Raises
        ------
        UnknownName
            Naming the nearest ids.
        """
        return self._open_folder(self._folder_of(model_id).name)

    def _folder_of(self, model_id: str) -> Path:
        if not isinstance(model_id, str):
            raise ArgumentError(f"a model id is a string; got {model_id!r}")
        folder = self.path / fmt.MODELS / fmt.folder_name(model_id)
        if folder.is_symlink() or not folder.is_dir():
            raise UnknownName.of("model", model_id, self.model_ids)
        return folder

    def resolve(self, models: Iterable[str] | None) -> list[str]:
        """Given model ids, checked to be there and distinct; all of them for None."""
        if models is None:
            return self.model_ids
        if isinstance(models, str) or not isinstance(models, Iterable):
            raise ArgumentError(f"models must be a list of model ids, got {models!r}; pass [{models!r}]")
        ids = [self.model(m).model_id for m in models]
        twice = sorted({m for m in ids if ids.count(m) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise ArgumentError(f"models names {', '.join(twice)} more than once; name each model once")
        return ids

    def logits(self, model_id: str) -> Logits:
        """Logits of one model: an (N, C) array-like whose slices are float32 rows.

        Raises
        ------
        UnknownName, LabelsOnly, CorruptionError
        """
        return self.model(model_id).logits()

    def top1(self, models: Sequence[str] | None = None) -> NDArray[np.int32]:
        """Predicted classes, (M, N) int32, of the given models (all by default, in `model_ids` order)."""
        ids = self.resolve(models)
        out = np.empty((len(ids), self.n_examples), np.int32)
        for row, model_id in zip(out, ids, strict=True):
            row[:] = self.model(model_id).column("top1")
        return out

    def correct(self, models: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """Whether each prediction is right, (M, N) bool; False where the truth does not count an example."""
        return self.truth.correct(self.top1(models))

    def models(self, *, split: str | None = None) -> pa.Table:
        """One row a model: model, kind, accuracy (on a split or on all), then all recorded metadata.

        Accuracy is over the examples that the truth counts; NaN where it counts none.
        """
        ids, chosen = self.model_ids, self.rows(split)
        right = self.correct(ids)[:, chosen]
        accuracy = right.mean(axis=1) if right.size else np.full(len(ids), np.nan)
        rows = [
            {"model": m, "kind": self.model(m).kind, "accuracy": float(a)} | self.model(m).metadata
            for m, a in zip(ids, accuracy, strict=True)
        ]
        return table_of_rows(rows, ("model", "kind", "accuracy"))

    def writer(
        self,
        model_id: str,
        *,
        fingerprint: Mapping[str, str],
        metadata: Mapping[str, Any] | None = None,
        kind: str = "logits",
        restart: bool = False,
        resumable: bool = True,
    ) -> ModelWriter:
        """Open a streaming writer; see `ModelWriter`."""
        self._require_current()
        context = WriterContext(self.path, self.geometry, self.example_ids, self.classes, self.examples_hash)
        return ModelWriter(
            context,
            model_id,
            fingerprint=fingerprint,
            metadata=metadata,
            kind=kind,
            restart=restart,
            resumable=resumable,
        )

    def add(
        self,
        model_id: str,
        *,
        logits: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        example_ids: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        restart: bool = False,
    ) -> None:
        """Store predictions that are in memory.

        Parameters
        ----------
        model_id : str
            Name in the store.
        logits, probabilities : (N, C) float, exactly one of the three
            Scores; probabilities must sum to 1 and are stored as their logarithm.
        predictions : (N,) int
            Hard labels: enough for pair statistics, not for calibration or ensembles of probabilities.
        example_ids : sequence of str, optional
            Ids of the rows given, which are put into the store's order; without them they must be in it.
        metadata : mapping, optional
            Plain JSON kept with the model.
        restart : bool
            Drop rows that an interrupted writer of this id left staged.

        Raises
        ------
        ArgumentError, ExamplesMismatch, WrongClassCount, NonFiniteLogits, ModelExists, WriterBusy
        """
        given = {"logits": logits, "probabilities": probabilities, "labels": predictions}
        kinds = [kind for kind, value in given.items() if value is not None]
        if len(kinds) != 1:
            raise ArgumentError(
                f"give exactly one of logits, probabilities, predictions; got {kinds or 'none'}"
            )
        values = plain_array(given[kinds[0]], kinds[0])
        shape = (self.n_examples,) if kinds[0] == "labels" else (self.n_examples, self.n_classes)
        order = self._examples.order(len(values), example_ids)
        if values.shape != shape and kinds[0] != "labels":
            raise WrongClassCount(
                f"{kinds[0]} of model {model_id!r} have shape {values.shape}, the store needs {shape}: "
                f"one column for each of its {self.n_classes} classes"
            )
        rows = np.ascontiguousarray(values[order])
        content = {"source": "array", "content": hashlib.sha256(rows.data).hexdigest()}
        options: dict[str, Any] = {
            "metadata": metadata,
            "kind": kinds[0],
            "resumable": False,
            "restart": restart,
        }
        with self.writer(model_id, fingerprint=content, **options) as w:
            for start in range(w.position, len(rows), self.block_rows):
                w.append(rows[start : start + self.block_rows])

    def remove(self, model_id: str) -> None:
        """Take a model out of the store: invisible at once, then deleted."""
        folder = self._folder_of(model_id)
        bury(folder, self._staging())

    def info(self) -> dict[str, Any]:
        """Facts about the store, as plain JSON."""
        splits = {} if self.splits is None else dict(sorted(Counter(s for s in self.splits if s).items()))
        kinds = Counter(model.kind for model in self._catalog().values())
        return {
            "path": str(self.path),
            "models": sum(kinds.values()),
            "kinds": dict(sorted(kinds.items())),
            "examples": self.n_examples,
            "classes": self.n_classes,
            "label_sets": self.label_sets,
            "splits": splits,
            "dtype": self.dtype,
            "codec": self.codec,
            "block_rows": self.block_rows,
            "size_bytes": sum(f["bytes"] for m in self._catalog().values() for f in m.files.values()),
            "unfinished": self.staged(),
            "format_version": self.format_version,
            "attributes": self.attributes,
        }

    def staged(self) -> list[str]:
        """Folders of models whose writing was not finished; the same ingest command resumes them."""
        staging = self.path / fmt.STAGING
        return sorted(p.name for p in staging.glob("*") if p.is_dir() and not p.name.startswith("."))

    def verify(self, *, quick: bool = False) -> VerifyReport:
        """Check every file of the store; see `VerifyReport`.

        Parameters
        ----------
        quick : bool
            Only sizes and small records, not the blocks of logits.
        """
        return verify_store(self.path, quick=quick)
