"""Predictions that exist in files, put into a store model by model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError
from dissensus.run.progress import Progress
from dissensus.store import format as fmt

from ..streaming.checks import check_writable
from .align import class_places, ids_of_rows
from .arrange import Arrangement
from .find import Unreadable, find_models
from .job import Job
from .report import ImportReport, ImportRow
from .source import Entry, Wanted
from .suspicions import Known

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

    Files are .npy, .npz, .safetensors, .pt, Parquet, Arrow, CSV, TSV, .txt, JSON or JSON lines, or folders of
    `Dataset.save_to_disk`. Nothing that they hold is run: of pickled objects only numbers, texts and arrays
    are read. A model is called by its file, or by its name in a file that holds several. Rows are matched by
    ids where the file has them; ids may have more or fewer folders than the store's. Classes that a file
    names beside its numbers, also where it counts from 1, are taken by name. All rows are looked at before
    any is written, and a model is stored whole or not at all. The same call again stores nothing twice.

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
    arrangement = Arrangement(store, class_places(classes, store.classes), rows, ids_of_rows(rows, ids))
    job = Job(store, kind, arrangement, dict(metadata or {}), replace, Known(store))
    check_writable(store)
    _ = store.model_ids  # what is damaged is said before anything is stored
    found = find_models(
        paths, Wanted(ids, store.classes, id_column, columns, rows is not None), model_id, name_from
    )
    return ImportReport(_run_all(job, found, progress))


def _run_all(job: Job, found: Sequence[Entry | Unreadable], progress: bool) -> list[ImportRow]:
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
