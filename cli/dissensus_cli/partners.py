"""The best partners of every model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.errors import ArgumentError

from .output import BINARY, Sink, cell, output_options
from .queries import LABELS, STORE, WHERE, accurate, on_examples

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 3  # partners of a model that the screen has room for


@click.command()
@STORE
@click.option("--k", type=click.IntRange(min=1), default=20, show_default=True, help="Partners of a model.")
@click.option(
    "--by", default="error_consistency", show_default=True, help="Measure of right and wrong answers."
)
@click.option(
    "--ascending/--descending", default=None, help="Order of --by. [default: the more different first]"
)
@click.option("--split", help="Only examples of this split.")
@WHERE
@LABELS
@click.option(
    "--min-accuracy", type=click.FloatRange(0, 1), default=0.0, help="Only models at least this accurate."
)
@click.option(
    "--update",
    is_flag=True,
    help="Bring the file of --out up to date: only pairs with new models are computed.",
)
@output_options
def partners(
    store: Path,
    k: int,
    by: str,
    ascending: bool | None,
    split: str | None,
    where: str | None,
    labels: str | None,
    min_accuracy: float,
    update: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """The best partners of every model: all pairs are computed, the first K of each model kept.

    Works for tens of thousands of models, whose matrix would not fit memory. The screen shows the first three
    of each; CSV, JSON, Parquet and Arrow files hold all. --update computes the rows of new models only; where
    models were removed or replaced since, it starts anew and says so. Measures: `dissensus matrix --help`.

    \b
    Examples:
      dissensus partners demo-digits/digits.zoo
      dissensus partners demo-digits/digits.zoo --k 5 --by error_inconsistency --format json
      dissensus partners demo-digits/digits.zoo --out partners.parquet
      dissensus partners demo-digits/digits.zoo --out partners.parquet --update
    """
    import dissensus as ds

    if update and out is None:
        raise click.UsageError("--update goes with --out FILE")
    sink = Sink(fmt, out, force or update)
    if update and sink.fmt not in BINARY:
        raise ArgumentError(f"--update needs a file that keeps what it was made of: .{' or .'.join(BINARY)}")
    previous = None if out is None or not update else _previous(out, sink.fmt)
    opened = ds.open(store).under(labels)
    chosen = accurate(opened, min_accuracy, split, where)
    table = ds.partners(
        opened,
        by,
        k,
        ascending=ascending,
        models=chosen,
        split=split,
        where=where,
        previous=previous,
        progress=True,
    )
    examples = on_examples(opened, len(opened.rows(split, where)), split, where)
    shown = f"; the first {SHOWN} of up to {k}, --format csv lists all" if k > SHOWN else ""
    title = f"partners by {by.replace('_', ' ')} on {examples}{shown}"
    sink.table(_on_screen(table, by) if sink.fmt == "table" else table, title)


def _previous(out: Path, fmt: str) -> pa.Table | None:
    """What the file holds that is to be brought up to date; None where there is none yet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not out.exists():
        return None
    try:
        if fmt == "parquet":
            return pq.read_table(out)
        with pa.memory_map(str(out)) as file:
            return pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid as error:
        raise ArgumentError(f"--out {out} is no {fmt} file: {error}") from error


def _on_screen(table: pa.Table, by: str) -> pa.Table:
    """One row a model, its first partners side by side."""
    import pyarrow as pa

    rows: dict[str, dict[str, str | float]] = {}
    for row in table.select(["model", "rank", "partner", "accuracy", by]).to_pylist():
        found = rows.setdefault(row["model"], {"model": row["model"], "accuracy": row["accuracy"]})
        if row["rank"] <= SHOWN:
            found[f"partner {row['rank']}"] = f"{cell(row[by])} {row['partner']}"
    names = ["model", "accuracy", *(f"partner {i}" for i in range(1, SHOWN + 1))]
    kinds = {"accuracy": pa.float64()}
    return pa.table(
        {n: pa.array([r.get(n) for r in rows.values()], kinds.get(n, pa.string())) for n in names}
    )
