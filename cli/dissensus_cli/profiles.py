"""Examples by who gets them right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options
from .queries import LABELS, STORE, WHERE, accurate, on_examples

if TYPE_CHECKING:
    import pyarrow as pa

TOP = 20
ALPHA = 0.05
ORDERS = {  # what --by sorts by, and which end comes first
    "discrimination": ("discrimination", "ascending"),
    "difficulty": ("difficulty", "descending"),
    "slope": ("slope", "ascending"),
    "example": (None, None),
}
ONLY = {
    "stronger-wrong": "stronger models get wrong what weaker ones get right (discrimination below 0)",
    "nobody": "no model gets right",
    "everybody": "all models get right",
    "weak": "only models below median accuracy get right",
    "category": "only models of one category get right",
}


@click.command()
@STORE
@click.option("--only", type=click.Choice(list(ONLY)), help="Only such examples; see below.")
@click.option(
    "--by",
    type=click.Choice(list(ORDERS)),
    default="discrimination",
    show_default=True,
    help="What to sort by: lowest discrimination or slope, or highest difficulty, first; or example.",
)
@click.option("--top", type=click.IntRange(min=1), help=f"Examples to list.  [default: {TOP}]")
@click.option("--all", "everything", is_flag=True, help="List every example.")
@click.option("--category", help="Metadata of the models.  [default: category, else family]")
@click.option("--model", "models", multiple=True, help="Only these models; repeatable.")
@click.option(
    "--min-accuracy", type=click.FloatRange(0, 1), default=0.0, help="Only models at least this accurate."
)
@click.option("--split", help="Only examples of this split.")
@WHERE
@LABELS
@output_options
def profiles(
    store: Path,
    only: str | None,
    by: str,
    top: int | None,
    everything: bool,
    category: str | None,
    models: tuple[str, ...],
    min_accuracy: float,
    split: str | None,
    where: str | None,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """How being right on each example moves with the accuracy of the model.

    Difficulty is the share of models that get it wrong; discrimination the correlation, over models, of being
    right on it and accuracy on all other examples. Below 0, stronger models get wrong what weaker ones get
    right: often a wrong label, or a class that changed its meaning. q is the share of false discoveries among
    the examples up to this one.

    --only: stronger-wrong, nobody, everybody, weak (none of at least median accuracy gets it right), category
    (all that get it right are of one category). Hard labels are enough.

    \b
    Examples:
      dissensus profiles demo-digits/digits.zoo --top 10
      dissensus profiles demo-digits/digits.zoo --only category --by difficulty
      dissensus profiles demo-digits/digits.zoo --all --out profiles.parquet --force
    """
    import dissensus as ds

    if everything and top is not None:
        raise click.UsageError("--all lists every example, --top some of them: pass one")
    if models and min_accuracy > 0:
        raise click.UsageError("--model names models, --min-accuracy chooses them: pass one")
    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    chosen = list(models) or accurate(opened, min_accuracy, split, where)
    table = ds.profiles(opened, models=chosen, split=split, where=where, category=category)
    found = ordered(_only(table, only), by)
    shown = found if everything else found.slice(0, top or TOP)
    part = (
        f"{shown.num_rows:,} of {found.num_rows:,}"
        if shown.num_rows < found.num_rows
        else f"{found.num_rows:,}"
    )
    noun = "example" if found.num_rows == 1 else "examples"
    what = f" that {ONLY[only]}" if only else ""
    of = on_examples(opened, table.num_rows, split, where)
    title = f"{part} {noun}{what}, by {by}; of all {of}\n{summary(table)}"
    sink.table(shown, title)


def _only(table: pa.Table, only: str | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    if only is None:
        return table
    kept = {
        "stronger-wrong": lambda: pc.less(table["discrimination"], 0.0),
        "nobody": lambda: pc.equal(table["difficulty"], 1.0),
        "everybody": lambda: pc.equal(table["difficulty"], 0.0),
        "weak": lambda: table["only_weak"],
        "category": lambda: pc.is_valid(table["only_category"]),
    }[only]()
    return table.filter(pc.fill_null(kept, pa.scalar(False)))


def ordered(table: pa.Table, by: str) -> pa.Table:
    """Rows sorted, those without a value last, equal ones in the order of the examples."""
    column, order = ORDERS[by]
    if column is None:
        return table
    import numpy as np
    import pyarrow as pa

    values = np.array(table[column].to_pylist(), np.float64)  # None becomes NaN, which is last
    return table.take(pa.array(np.argsort(values if order == "ascending" else -values, kind="stable")))


def summary(table: pa.Table) -> str:
    """How many examples there are of each kind."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = {only: _only(table, only).num_rows for only in ONLY}
    sure = pc.and_(pc.less(table["discrimination"], 0.0), pc.less_equal(table["q_value"], ALPHA))
    certain = pc.sum(pc.cast(pc.fill_null(sure, False), pa.int64())).as_py() or 0
    return (
        f"right: everybody {counts['everybody']:,}, nobody {counts['nobody']:,}, only weak models "
        f"{counts['weak']:,}, only one category {counts['category']:,}; stronger models wrong "
        f"{counts['stronger-wrong']:,}, beyond chance (q <= {ALPHA:g}) {certain:,}"
    )
