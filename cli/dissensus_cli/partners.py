"""The best partners of every model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.errors import ArgumentError

from .output import BINARY, FILE_WIDTH, PIPE_WIDTH, Sink, cell, output_options, screen_width, table_width
from .queries import Share, accurate, on_examples
from .question import Question, question_options

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 3  # partners of a model on the screen, where there is room


@click.command()
@click.option("--k", type=click.IntRange(min=1), default=20, show_default=True, help="Partners of a model.")
@click.option(
    "--by", default="error_consistency", show_default=True, help="Measure of right and wrong answers."
)
@click.option(
    "--ascending/--descending", default=None, help="Order of --by. [default: the more different first]"
)
@question_options("models", "calibrate", "device")
@click.option("--min-accuracy", type=Share(), default=0.0, help="Only models at least this accurate.")
@click.option(
    "--update",
    is_flag=True,
    help="Bring the file of --out up to date: only pairs with new models are computed.",
)
@output_options
def partners(
    k: int,
    by: str,
    ascending: bool | None,
    min_accuracy: float,
    update: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
    **asked: Any,
) -> None:
    """The best partners of every model: all pairs are computed, the first K of each model kept.

    Works for tens of thousands of models, whose matrix would not fit memory. The screen shows up to three
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
    question = Question.of(**asked)
    opened, split, where = question.store, question.split, question.where
    chosen = question.chosen | {"models": accurate(opened, min_accuracy, split, where)}
    how: dict[str, Any] = {"ascending": ascending, "previous": previous, "scheduler": question.scheduler}
    table = ds.partners(opened, by, k, progress=True, **how, **chosen)
    examples = on_examples(opened, len(opened.rows(split, where)), split, where)
    title = f"partners by {by.replace('_', ' ')} on {examples}"
    if sink.fmt == "table":
        table, shown = _on_screen(table, by, FILE_WIDTH if out else screen_width(PIPE_WIDTH))
        title += f"; the first {shown} of up to {k}, --format csv lists all" if k > shown else ""
    if previous is not None and table.equals(previous):
        click.echo(f"nothing new: {out} has all {len(opened.resolve(chosen['models'])):,} models", err=True)
    sink.table(table, title)


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


def _on_screen(table: pa.Table, by: str, room: int) -> tuple[pa.Table, int]:
    """One row a model, as many of its first partners side by side as find room, and how many these are."""
    found = _side_by_side(table, by)
    shown = SHOWN
    while shown > 1 and table_width(found) > room:
        found, shown = found.drop_columns([f"partner {shown}"]), shown - 1
    return found, shown


def _side_by_side(table: pa.Table, by: str) -> pa.Table:
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
