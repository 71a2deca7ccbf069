"""Predictions that exist in files, put into a store model by model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, DissensusError, StoreFull
from dissensus.run.progress import Progress
from dissensus.store import format as fmt

from ..streaming.checks import check_writable
from ..zoo.checkpoints import one_line
from .align import (
    Aligned,
    Order,
    class_places,
    ids_of_rows,
    order_of,
    order_without_ids,
)
from .detect import Reading, check_shape, decide
from .find import Unreadable, find_models
from .report import ImportReport, ImportRow
from .source import Entry, Source, Wanted
from .stored import is_described_otherwise, is_stored, own_keys
from .survey import Survey, require_finite
from .suspicions import Known, suspicions

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

KINDS = ("auto", *fmt.KINDS)


def import_predictions(
    store: Store,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    kind: str = "auto",
    model_id: str | None = None,
    id_column: str | None = None,
    columns: str | Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    rows: str | os.PathLike[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    replace: bool = False,
    name_from: str = "stem",
    progress: bool = True,
) -> ImportReport:
    """Store predictions that exist in files: hard labels, probabilities or logits, without running a model.

    Files are .npy, .npz, .safetensors, .pt, Parquet, Arrow, CSV, TSV, JSON or JSON lines. A model is called
    by its file, or by its name in a file that holds several. Rows are matched by ids where the file has
    them. All rows are looked at before any is written, and a model is stored whole or not at all. The same
    call again stores nothing twice.

    Parameters
    ----------
    store
        Opened by `dissensus.open`.
    paths
        One file or several.
    kind
        "logits", "probabilities" or "labels"; "auto" goes by the numbers, and refuses those that may be
        several, such as percentages, votes and sigmoids. Rounded "probabilities", and with this word also
        shares of another sum than 1, are divided by their sums. What contradicts the numbers is refused.
    model_id
        Name of the model, if the files hold just one.
    id_column
        Column (or named array) of the example ids, where it is not recognised.
    columns
        Column (or named array) of the predictions, the prefix of numbered score columns, or one column a
        class in the store's order.
    classes
        Class names in the order of the file's columns or class numbers; the store's order by default.
    rows
        For files without ids: "store" (their rows are in the store's order, which is taken for granted with a
        note by default), "sorted" (in the order of the sorted ids), or a text file with one id a line.
    metadata
        Plain JSON kept with each model; where the file came from is written by the importer.
    replace
        Put models in the place of others of the same id; also where only the metadata differ.
    name_from
        What a model is called by: its file's name ("stem") or the name of the file's "folder".
    progress
        Show progress on stderr.

    Returns
    -------
    ImportReport
        A file that cannot be stored does not stop the others: its row says why.

    Raises
    ------
    ArgumentError
        An argument breaks its rule, or two files give one model id.
    NotWritable
        The store cannot be written.
    CorruptionError
        A model of the store is damaged.

    Examples
    --------
    >>> import tempfile, numpy as np, dissensus as ds
    >>> folder = tempfile.mkdtemp()
    >>> store = ds.create(folder + "/my.zoo", [0, 1, 1], classes=["cat", "dog"])
    >>> np.save(folder + "/resnet.npy", np.array([0, 1, 0]))
    >>> row = ds.import_predictions(store, folder + "/resnet.npy", rows="store", progress=False).rows[0]
    >>> row.model, row.status, row.kind, round(row.accuracy, 3)
    ('resnet', 'done', 'labels', 0.667)
    """
    if kind not in KINDS:
        raise ArgumentError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    ids = store.example_ids
    job = _Job(
        store,
        kind,
        class_places(classes, store.classes),
        rows,
        ids_of_rows(rows, ids),
        dict(metadata or {}),
        replace,
        Known(store),
    )
    check_writable(store)
    _ = store.model_ids  # what is damaged is said before anything is stored
    found = find_models(
        paths, Wanted(ids, store.classes, id_column, columns, rows is not None), model_id, name_from
    )
    return ImportReport(_run_all(job, found, progress))


def _run_all(job: _Job, found: Sequence[Entry | Unreadable], progress: bool) -> list[ImportRow]:
    rows: list[ImportRow] = []
    full: str | None = None
    with Progress(len(found), "import", enabled=progress) as bar:
        for entry in found:
            if full or isinstance(entry, Unreadable):
                error = f"not started: {full}" if full or not isinstance(entry, Unreadable) else entry.error
                row = ImportRow(entry.model_id, str(entry.file), "failed", error=error)
            else:
                row, is_full = job.run(entry, bar)
                full = row.error if is_full else None
            rows.append(row)
            bar.advance(1, status=f"{row.model}: {row.status}")
    return rows


@dataclass(frozen=True)
class _Job:
    """One call of `import_predictions`, its arguments checked."""

    store: Store
    kind: str
    places: NDArray[np.intp] | None
    rows: str | os.PathLike[str] | None
    row_ids: list[str] | None
    metadata: dict[str, Any]
    replace: bool
    known: Known

    def run(self, entry: Entry, bar: Progress) -> tuple[ImportRow, bool]:
        """Import one model; return its row in the report, and whether the store is full."""
        start = time.perf_counter()
        try:
            row = self._run(entry, bar, start)
        except Exception as error:
            known = isinstance(error, DissensusError)
            text = str(error) if known else f"{type(error).__name__}: {one_line(error)}"
            if isinstance(error, ValueError | KeyError) and entry.file.name not in text:
                text = f"{entry.file.name}: {text}"
            seconds = time.perf_counter() - start
            failed = ImportRow(entry.model_id, str(entry.file), "failed", error=text, seconds=seconds)
            return failed, isinstance(error, StoreFull)
        return row, False

    def _run(self, entry: Entry, bar: Progress, start: float) -> ImportRow:
        source = entry.load()
        check_shape(source.shape, source.dtype, self.store.n_classes)
        notes = [*source.facts.notes, *own_keys(self.metadata)]
        aligned = self._aligned(source, entry.file, notes)
        survey = self._survey(aligned, source, f"{entry.model_id}: reading", bar)
        require_finite(survey, entry.file.name, self.store.example_ids, self.store.classes)
        reading = decide(survey, self.kind, source.facts.hint)
        notes += reading.notes
        content = {"source": "import", "content": survey.content, "form": reading.form}
        status = self._store(entry, source, aligned, reading, content, notes, bar)
        doubts, accuracy = self._judge(entry.model_id, source)
        return ImportRow(
            entry.model_id,
            str(entry.file),
            status,
            kind=reading.kind,
            accuracy=accuracy,
            notes=[*notes, *doubts],
            suspicions=doubts,
            seconds=time.perf_counter() - start,
        )

    def _store(
        self,
        entry: Entry,
        source: Source,
        aligned: Aligned,
        reading: Reading,
        content: Mapping[str, str],
        notes: list[str],
        bar: Progress,
    ) -> str:
        """Write the model unless it is there with this content; return its status."""
        if is_stored(self.store, entry.model_id, content, reading.kind, self.replace):
            changed = is_described_otherwise(self.store.model(entry.model_id), self.metadata)
            if not (changed and self.replace):
                said = "metadata not changed: replace the model with replace=True (--replace)"
                notes += [said] if changed else []
                return "stored"
        metadata = self._describe(source, entry.file, notes)
        self._write(entry.model_id, aligned, reading, content, metadata, bar)
        return "done"

    def _aligned(self, source: Source, file: Path, notes: list[str]) -> Aligned:
        order = self._order(source, file, notes)
        rows, ids = self.store.block_rows, self.store.example_ids
        return Aligned(source, order, self._places(source, file, notes), self.store.classes, rows, ids)

    def _places(self, source: Source, file: Path, notes: list[str]) -> NDArray[np.intp] | None:
        """Place in the store of each class: as the user says, else as the file does; None for the store's."""
        given, classes = source.facts.classes, self.store.classes
        if given is None or source.dtype.kind in "OU" or given == classes:
            return self.places
        if self.places is not None:
            notes.append("the file's own list of classes is not used: classes= (--classes) says their order")
            return self.places
        if given == [str(number) for number in range(len(given))]:  # columns that are merely numbered
            if {*given} == {*classes}:
                raise ArgumentError(
                    f"the list of classes in {file.name} may be names of the store's classes, which are "
                    "called by other numbers than their own, or their numbers: give the store's names in the "
                    "file's order with classes= (--classes FILE)"
                )
            return None
        places = class_places(given, classes, f"the list of classes in {file.name}")
        notes.append(f"classes put from the order of the file, {given[0]!r} first, into the store's")
        return places

    def _order(self, source: Source, file: Path, notes: list[str]) -> Order:
        given, ids = source.facts.ids, self.store.example_ids
        guessed = source.facts.guessed
        if given is not None and self.rows is not None and guessed and list(given) != list(ids):
            notes.append(f"column {guessed!r} is not taken for the ids: rows= (--rows) says how rows lie")
            given = None
        if given is not None:
            if self.rows is not None:
                raise ArgumentError(f"rows must not be given for {file.name}: it has ids of its own")
            if len(given) != source.shape[0]:
                raise ArgumentError(
                    f"{file.name} has {len(given)} ids for {source.shape[0]} rows of predictions"
                )
            return order_of(given, ids, file.name, guessed)
        order = order_without_ids(source.shape[0], ids, self.row_ids, file.name)
        if self.rows is None:
            notes.append("no ids in the file: its rows are taken in the store's order")
        if self.rows == "sorted" and self.row_ids != sorted(ids):
            notes.append("rows are taken in the order of the ids as numbers, 2 before 10")
        return order

    def _survey(self, aligned: Aligned, source: Source, label: str, bar: Progress) -> Survey:
        survey = Survey(self.store.n_classes, self.store.example_ids)
        for block in aligned.blocks():
            survey.add(block)
            bar.advance(0, status=f"{label} {survey.n:,} of {source.shape[0]:,} rows")
        return survey

    def _describe(self, source: Source, file: Path, notes: list[str]) -> dict[str, Any]:
        own = {"source": "import", "file": file.name, "format": source.facts.format, "kind_given": self.kind}
        return {**self.metadata, **own, **({"notes": notes} if notes else {})}

    def _write(
        self,
        model_id: str,
        aligned: Aligned,
        reading: Reading,
        content: Mapping[str, str],
        metadata: Mapping[str, Any],
        bar: Progress,
    ) -> None:
        options: dict[str, Any] = {"replace": True} if self.replace else {}
        with self.store.writer(
            model_id,
            fingerprint=content,
            metadata=metadata,
            kind=reading.kind,
            resumable=False,
            restart=self.replace,
            **options,
        ) as writer:
            done = writer.position  # a killed import goes on there
            for block in aligned.blocks(done):
                writer.append(reading.convert(block))
                done += len(block)
                bar.advance(0, status=f"{model_id}: {done:,} of {self.store.n_examples:,} rows stored")

    def _judge(self, model_id: str, source: Source) -> tuple[list[str], float]:
        """What looks wrong about a stored model, and its accuracy."""
        predicted, truth = self.store.model(model_id).column("top1"), self.store.truth
        has_order = source.facts.ids is not None or self.rows is not None
        doubts = suspicions(predicted, truth, self.store.classes, has_order, source.facts.is_weak)
        twin = self.known.same_as(model_id)
        counted = truth.counted
        accuracy = float(truth.correct(predicted)[counted].mean()) if counted.any() else float("nan")
        if accuracy == 1 and twin and (self.store.model(model_id).kind == "labels" or "predictions" in twin):
            twin = None  # two that are right everywhere are no copies for that
        return [*doubts, *([twin] if twin else [])], accuracy
