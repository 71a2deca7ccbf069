"""The store as a whole: examples, classes, and the models that the directory listing shows."""

from __future__ import annotations

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
    NotAStore,
    UnknownName,
    WrongClassCount,
)

from . import format as fmt
from .examples import Examples
from .files import GRAVE, bury, unseal, writing
from .reader import Logits, StoredModel
from .rows import WriterContext, plain_array
from .splits import Rows
from .tables import table_of_rows
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
    """

    def __init__(self, path: str | os.PathLike[str], *, damaged: str = "error") -> None:
        if damaged not in ("error", "skip"):
            raise ArgumentError(f"damaged must be 'error' or 'skip'; got {damaged!r}")
        self.path = Path(os.path.abspath(path))
        if not (self.path / fmt.STORE_JSON).is_file():
            what = "does not exist" if not self.path.exists() else f"holds no {fmt.STORE_JSON}"
            raise NotAStore(
                f"{self.path} is not a Dissensus store: it {what}; "
                "make one with dissensus.create(...) or `dissensus ingest`"
            )
        header = unseal(self.path / fmt.STORE_JSON, f"store {self.path}")
        self._check_version(header)
        self._examples = Examples(self.path, header["files"])
        self.attributes: dict[str, Any] = header["attributes"]
        self.examples_hash: str = header["examples_hash"]
        self.geometry = fmt.Geometry(
            header["n_examples"], header["n_classes"], header["dtype"], header["block_rows"]
        )
        self._damaged = damaged
        self._opened: dict[str, tuple[int, StoredModel]] = {}

    def _check_version(self, header: Mapping[str, Any]) -> None:
        if header.get("format") != fmt.FORMAT_NAME or header.get("format_version") != fmt.FORMAT_VERSION:
            raise IncompatibleFormat(
                f"{self.path} has format {header.get('format')!r} version {header.get('format_version')!r}; "
                f"this dissensus reads {fmt.FORMAT_NAME!r} version {fmt.FORMAT_VERSION}: install that one"
            )

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
        """Examples in row order: example_id, label, split (null where none), and any metadata columns."""
        return self._examples.table

    @property
    def example_ids(self) -> list[str]:
        """Ids of the examples in row order."""
        return self._examples.ids

    @property
    def labels(self) -> NDArray[np.int32]:
        """True classes, (N,) int32."""
        return self._examples.labels

    @property
    def classes(self) -> list[str]:
        """Names of the classes in column order."""
        return self._examples.classes

    @property
    def splits(self) -> NDArray[np.object_] | None:
        """Split of each example, (N,) of str or None; None where the store has no splits."""
        return self._examples.splits

    def rows(self, split: str | None) -> Rows:
        """Sorted row numbers of a split, (n,) intp.

        "all" (or None) is every example. A store without splits has "fit" and "report" too: seeded,
        class-stratified halves.

        Raises
        ------
        UnknownName
            Naming the splits there are.
        """
        return self._examples.rows(split)

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
        """Whether each prediction is right, (M, N) bool."""
        right: NDArray[np.bool_] = self.top1(models) == self.labels
        return right

    def models(self, *, split: str | None = None) -> pa.Table:
        """One row a model: model, kind, accuracy (on a split or on all), then all recorded metadata."""
        ids, chosen = self.model_ids, self.rows(split)
        accuracy = self.correct(ids)[:, chosen].mean(axis=1) if ids else np.empty(0)
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
        staging = self.path / fmt.STAGING
        with writing(staging):
            staging.mkdir(exist_ok=True)
        bury(folder, staging)

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
            "splits": splits,
            "dtype": self.dtype,
            "block_rows": self.block_rows,
            "size_bytes": sum(f["bytes"] for m in self._catalog().values() for f in m.files.values()),
            "unfinished": self.staged(),
            "format_version": fmt.FORMAT_VERSION,
            "attributes": self.attributes,
        }

    def staged(self) -> list[str]:
        """Folders of models whose writing was not finished; the same ingest command resumes them."""
        staging = self.path / fmt.STAGING
        return sorted(p.name for p in staging.glob("*") if p.is_dir() and not p.name.startswith(GRAVE))

    def verify(self, *, quick: bool = False) -> VerifyReport:
        """Check every file of the store; see `VerifyReport`.

        Parameters
        ----------
        quick : bool
            Only sizes and small records, not the blocks of logits.
        """
        return verify_store(self.path, quick=quick)
