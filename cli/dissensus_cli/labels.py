"""Stores from label files: create one, and annotate it with further labels and columns."""

from __future__ import annotations

from pathlib import Path

import click

from .queries import STORE

FILE = click.Path(path_type=Path)


@click.command()
@STORE
@click.option("--labels", required=True, type=FILE, help="Labels: .npy, CSV, TSV, Parquet, Arrow or JSON.")
@click.option("--label-set", default="original", show_default=True, help="What these labels are called.")
@click.option("--id-column", help="Column of the example ids.  [default: recognised, else the row numbers]")
@click.option("--label-column", help="Column of the labels.  [default: recognised]")
@click.option("--split-column", help="Column of the splits.  [default: 'split' where there is one]")
@click.option(
    "--metadata", multiple=True, type=FILE, help="Table of further columns, matched by id; repeatable."
)
@click.option("--classes", type=FILE, help="Class names: text, one a line, or a table with groups.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16", show_default=True)
@click.option("--codec", type=click.Choice(["raw", "archive"]), default="raw", show_default=True)
def create(
    store: Path,
    labels: Path,
    label_set: str,
    id_column: str | None,
    label_column: str | None,
    split_column: str | None,
    metadata: tuple[Path, ...],
    classes: Path | None,
    dtype: str,
    codec: str,
) -> None:
    """Make an empty STORE for the examples of a label file.

    A label is a class number, a class name, or a set of them (a list, or text with ; or | between); an empty
    one leaves its example uncounted. The file's other columns are kept as columns of the examples. The same
    command again finds the store there and equal, and does nothing.

    \b
    Examples:
      dissensus create my.zoo --labels labels.csv --classes names.txt
      dissensus create my.zoo --labels labels.npy --dtype float32
    """
    from dissensus.ingest import create_from_files

    is_there = store.exists()
    made, notes = create_from_files(
        store,
        labels,
        label_set=label_set,
        id_column=id_column,
        label_column=label_column,
        split_column=split_column,
        metadata=metadata,
        classes=classes,
        dtype=dtype,
        codec=codec,
    )
    for note in notes:
        click.echo(f"Note: {note}", err=True)
    done = f"{store} is there already and equal" if is_there else f"made {store}"
    click.echo(f"{done}: {made.n_examples:,} examples, {made.n_classes:,} classes")


@click.command()
@STORE
@click.option("--labels", multiple=True, metavar="NAME=FILE", help="Further labels of this name; repeatable.")
@click.option("--columns", multiple=True, type=FILE, help="Table of further columns or splits; repeatable.")
@click.option("--id-column", help="Column of the example ids.  [default: recognised]")
@click.option("--label-column", help="Column of the labels.  [default: recognised]")
@click.option(
    "--rows",
    help="Files without ids: 'store' (its order), 'sorted' (by id: numbers as numbers), or a file of ids.",
)
@click.option(
    "--remove", multiple=True, metavar="NAME", help="Take added labels or a column away; repeatable."
)
def annotate(
    store: Path,
    labels: tuple[str, ...],
    columns: tuple[Path, ...],
    id_column: str | None,
    label_column: str | None,
    rows: str | None,
    remove: tuple[str, ...],
) -> None:
    """Add label sets and columns to the examples of STORE, or take added ones away.

    Queries can go by any label set. A column called "split" gives splits to a store that has none.

    \b
    Examples:
      dissensus annotate my.zoo --labels real=real-labels.jsonl --rows sorted
      dissensus annotate my.zoo --columns groups.csv
      dissensus annotate my.zoo --remove real
    """
    import dissensus as ds
    from dissensus.ingest import annotate_from_files

    if not (labels or columns or remove):
        raise click.UsageError("nothing to do: pass --labels NAME=FILE, --columns FILE or --remove NAME")
    if (id_column or rows) and not (labels or columns):
        raise click.UsageError("--id-column and --rows go with --labels or --columns")
    if label_column and not labels:
        raise click.UsageError("--label-column goes with --labels")
    opened = ds.open(store)
    named = [_named(text) for text in labels]
    done = annotate_from_files(
        opened, named, columns, remove=remove, id_column=id_column, label_column=label_column, rows=rows
    )
    for line in done:
        click.echo(line)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise click.UsageError(f"--labels must be NAME=FILE; got {text!r}")
    return name, Path(path)
