"""Which models make different mistakes: pairs and matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dissensus.errors import ArgumentError

from .output import Sink, output_options, screen_width
from .pair_intervals import Asked, interval_options, readable
from .queries import LABELS, SCHEDULER, STORE, under

if TYPE_CHECKING:
    from dissensus import Pairs, Store
    from dissensus.pairs import Measure

DEFAULT = ("error_inconsistency", "error_consistency")
NEEDS = {
    "counts": "of right and wrong answers",
    "labels": "of predicted classes",
    "probabilities": "of probabilities (softmax) and logits; not for models with hard labels only",
}


class Measured(click.Command):
    """A command whose help lists the measures there are, from the table that declares them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the measures by what they need."""
        from dissensus.pairs import MEASURES

        super().format_options(ctx, formatter)
        for needs, title in NEEDS.items():
            rows = [(m.name, _told(m)) for m in MEASURES.values() if m.needs == needs]
            with formatter.section(f"Measures {title}"):
                formatter.write_dl(rows)


def _told(measure: Measure) -> str:
    """A measure in a line of help: what it is, its direction, whether the order of the two models matters."""
    order = "" if measure.symmetric else ", first model to second"
    return f"{measure.summary} [{measure.more_different} = more different{order}]"


@click.command()
@STORE
@click.option(
    "--measure",
    "-m",
    "measures",
    multiple=True,
    help="Measure to compute; repeatable. [default: error_inconsistency, error_consistency]",
)
@click.option("--top", type=click.IntRange(min=1), help="Pairs to list. [default: 20]")
@click.option(
    "--by",
    help="Measure, bound (<measure>_low), or test_z, null_q … to sort by. [default: the first measure]",
)
@click.option(
    "--ascending/--descending", default=None, help="Order of --by. [default: the more different first]"
)
@click.option("--all", "everything", is_flag=True, help="List every pair.")
@click.option("--model", help="Only pairs of this model.")
@click.option("--split", help="Only examples of this split.")
@LABELS
@click.option(
    "--min-accuracy", type=click.FloatRange(0, 1), default=0.0, help="Only models at least this accurate."
)
@interval_options
@SCHEDULER
@output_options
def pairs(
    store: Path,
    measures: tuple[str, ...],
    top: int | None,
    by: str | None,
    ascending: bool | None,
    everything: bool,
    model: str | None,
    split: str | None,
    labels: str | None,
    min_accuracy: float,
    ci: str | None,
    level: float | None,
    draws: int | None,
    seed: int | None,
    test: str | None,
    null: bool,
    scheduler: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Pairs of models, the most different first.

    Error inconsistency is the share of examples that exactly one of the two gets right; error consistency
    (kappa) corrects for what their accuracies alone would give. A weak model differs from everybody: compare
    models of like accuracy (--min-accuracy). All measures: `dissensus matrix --help`. With --labels another
    label set of the store decides what is right; examples without a right class in it are left out.

    Intervals take the examples for a sample, and each covers its own pair. --test and --null give z
    (positive: more alike), p and q, the share of false discoveries among all pairs up to this one.

    \b
    Examples:
      dissensus pairs demo-digits/digits.zoo --top 10
      dissensus pairs demo-digits/digits.zoo -m error_consistency -m double_fault --split report --format json
      dissensus pairs demo-digits/digits.zoo -m error_consistency --ci delta --by error_consistency_high
      dissensus pairs demo-digits/digits.zoo -m error_consistency --null --by null_z
      dissensus pairs demo-digits/digits.zoo -m capa -m same_wrong
    """
    import dissensus as ds

    if everything and top is not None:
        raise click.UsageError("--all lists every pair, --top some of them: pass one")
    asked = Asked(ci, level, draws, seed, test, null)
    sink = Sink(fmt, out, force)
    names = list(measures) or list(DEFAULT)
    needed = None if by is None else asked.measure_of(by)
    if needed is not None and needed not in names:
        names.append(needed)
    opened = ds.open(store).under(labels)
    chosen = _accurate(opened, min_accuracy, split)
    found = ds.pairwise(opened, names, models=chosen, split=split, scheduler=scheduler, **asked.intervals)
    result = asked.tested(found)
    n = len(result.model_ids) ** 2 if everything else top or 20
    table = result.top(n, by, ascending=ascending, model=model)
    for name, count in result.undefined.items():
        if count:
            click.echo(f"{name} is undefined for {count} pairs", err=True)
    title = f"{table.num_rows} pairs of {len(result.model_ids)} models on {result.counts.n:,} examples"
    if "level" in result.notes:
        title += f", {100 * float(result.notes['level']):.4g} % intervals ({result.notes['ci']})"
    sink.table(readable(table) if sink.fmt == "table" else table, title + under(opened))


@click.command(cls=Measured)
@STORE
@click.option("--measure", "-m", default="error_inconsistency", show_default=True, help="Measure to compute.")
@click.option("--split", help="Only examples of this split.")
@LABELS
@click.option("--model", "models", multiple=True, help="Only these models, in this order; repeatable.")
@SCHEDULER
@output_options
def matrix(
    store: Path,
    measure: str,
    split: str | None,
    labels: str | None,
    models: tuple[str, ...],
    scheduler: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """One measure for all pairs, as a matrix: row model first.

    \b
    Examples:
      dissensus matrix demo-digits/digits.zoo -m error_consistency
      dissensus matrix demo-digits/digits.zoo -m label_kappa
      dissensus matrix demo-digits/digits.zoo --format csv --out matrix.csv
    """
    import pyarrow as pa

    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    result = ds.pairwise(opened, measure, models=list(models) or None, split=split, scheduler=scheduler)
    values = result[measure]
    if sink.fmt == "table":
        sink.send(_on_screen(result, measure, under(opened)))
        return
    columns = [pa.array(values[:, j], from_pandas=True) for j in range(len(result.model_ids))]
    header = "model" if "model" not in result.model_ids else "row model"
    table = pa.table([pa.array(result.model_ids), *columns], names=[header, *result.model_ids])
    sink.table(table, record={"measure": measure, "models": result.model_ids, "matrix": values.tolist()})


def _accurate(store: Store, least: float, split: str | None) -> list[str] | None:
    """Models at least so accurate on a split; None for all."""
    if least <= 0:
        return None
    rows = store.models(split=split).to_pylist()
    chosen = [row["model"] for row in rows if row["accuracy"] >= least]
    if len(chosen) < 2:
        best = max((row["accuracy"] for row in rows), default=0)
        raise ArgumentError(
            f"--min-accuracy {least}: {len(chosen)} models reach it, pairs need 2 (best {best:.4f})"
        )
    return chosen


def _on_screen(result: Pairs, measure: str, where: str) -> str:
    """Numbered rows and columns, two digits, as many columns side by side as a screen holds."""
    names, values = result.model_ids, result[measure]
    width = max(len(n) for n in names)
    wide = max(1, (screen_width(120) - width - 4) // 6)
    lines = [f"{measure.replace('_', ' ')} of {len(names)} models on {result.counts.n:,} examples{where}"]
    for first in range(0, len(names), wide):
        columns = range(first, min(first + wide, len(names)))
        lines.append("\n" + " " * (width + 4) + "".join(f"{j + 1:>6}" for j in columns))
        for i, name in enumerate(names):
            cells = "".join(
                f"{values[i, j]:6.2f}" if values[i, j] == values[i, j] else "     –" for j in columns
            )
            lines.append(f"{i + 1:>3} {name:<{width}}{cells}")
    return "\n".join(lines) + "\n"
