"""Predictions that exist already: import them, model by model."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Sink, output_options
from .queries import STORE

if TYPE_CHECKING:
    from dissensus import ImportReport

FILES = click.Path(path_type=Path)


@click.command("import")
@STORE
@click.argument("files", nargs=-1, required=True, type=FILES)
@click.option(
    "--kind",
    type=click.Choice(["auto", "logits", "probabilities", "labels"]),
    default="auto",
    show_default=True,
    help="What the numbers are; auto looks at all of them.",
)
@click.option("--model", help="Name of the model, if the files hold just one.  [default: the file's name]")
@click.option(
    "--name-from",
    type=click.Choice(["stem", "folder"]),
    default="stem",
    show_default=True,
    help="What models are called by: their file's name, or its folder's.",
)
@click.option("--id-column", help="Column or named array of the example ids.  [default: recognised]")
@click.option("--column", help="Column or named array of the predictions.  [default: recognised]")
@click.option(
    "--classes", type=FILES, help="Class names in the order that the files have them in, one a line."
)
@click.option(
    "--rows",
    help="Files without ids: 'store' (its order), 'sorted' (by id: numbers as numbers), or a file of ids.",
)
@click.option("--replace", is_flag=True, help="Put models in the place of others of the same name.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Fact kept with each model; repeatable.")
@output_options
def import_(
    store: Path,
    files: tuple[Path, ...],
    kind: str,
    model: str | None,
    name_from: str,
    id_column: str | None,
    column: str | None,
    classes: Path | None,
    rows: str | None,
    replace: bool,
    metadata: tuple[str, ...],
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Put predictions that exist in FILES into STORE: hard labels, probabilities or logits.

    FILES are .npy, .npz, .safetensors, .pt, Parquet, Arrow, CSV, TSV, .txt, JSON or JSON lines, or folders of
    `Dataset.save_to_disk`; the model is called by the file, or by its name in a file that holds several. Rows
    are matched by ids where the file has them; ids may have more or fewer folders than the store's. Of a
    file with the first classes only, as timm's inference.py writes, the first is kept as label.
    A file that cannot be stored does not stop the others; it is named on stderr and gives exit status 1. What
    looks wrong but can be stored is a warning. The same command again stores nothing twice.

    \b
    Examples:
      dissensus import my.zoo predictions/*.csv
      dissensus import my.zoo resnet.npy --rows sorted --metadata category=architecture
    """
    import dissensus as ds
    from dissensus.ingest import read_class_order

    sink = Sink(fmt, out, force)
    report = ds.import_predictions(
        ds.open(store),
        files,
        kind=kind,
        model_id=model,
        name_from=name_from,
        id_column=id_column,
        columns=column,
        classes=None if classes is None else read_class_order(classes),
        rows=rows,
        metadata=dict(_fact(text) for text in metadata),
        replace=replace,
    )
    _warn(report)
    shared = _shared_notes(report)
    done, stored, failed = len(report.done), len(report.stored), len(report.failed)
    models = "model" if done == 1 else "models"
    title = f"{store}: {done:,} {models} imported, {stored:,} there before, {failed:,} failed"
    records = [{k: v for k, v in row.items() if v is not None} for row in report.to_arrow().to_pylist()]
    sink.table(_on_screen(report, shared) if sink.fmt == "table" else report.to_arrow(), title, records)
    for row in report.failed:  # at the end, where they are read
        click.echo(f"Failed: {row.model}: {row.error}", err=True)
    sys.exit(1 if report.failed else 0)


def _fact(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; the value is JSON where it can be read so."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.UsageError(f"--metadata must be KEY=VALUE; got {text!r}")
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value


def _warn(report: ImportReport) -> None:
    """Say whole, on stderr, what looks wrong: a column of the table may be cut."""
    for row in report.rows:
        for doubt in row.suspicions:
            click.echo(f"Warning: {row.model}: {doubt}", err=True)


def _shared_notes(report: ImportReport) -> set[str]:
    """Say once, on stderr, how several files were read alike; return what was said."""
    counts = Counter(note for row in report.rows for note in row.notes if note not in row.suspicions)
    shared = {note: n for note, n in counts.items() if n > 1}
    for note, n in shared.items():
        click.echo(f"Note: {n:,} models: {note}", err=True)
    return set(shared)


def _on_screen(report: ImportReport, shared: set[str]) -> Any:
    """Table for people: what became of each model, and how it was read; the rest is on stderr."""
    import pyarrow as pa

    table = report.to_arrow().select(["model", "status", "kind", "accuracy"])
    texts = ["; ".join(n for n in row.notes if n not in {*row.suspicions, *shared}) for row in report.rows]
    return table.append_column("note", pa.array([text or None for text in texts])) if any(texts) else table
