"""What calibration changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .grouped import EXAMPLES, HONEST, WHAT, Grouped, option
from .output import Sink, output_options, render
from .queries import LABELS, STORE, WHERE, chosen, under

if TYPE_CHECKING:
    from dissensus.ensemble import Calibration


@click.command(cls=Grouped)
@STORE
@option(WHAT, "--model", "models", multiple=True, help="Only this model; repeatable.")
@option(
    WHAT,
    "--method",
    default="temperature",
    show_default=True,
    help="temperature (one number a model), or vector (a factor and an offset a class).",
)
@WHERE
@option(EXAMPLES, "--example-weights", metavar="COLUMN", help="Count examples by this column of numbers.")
@LABELS
@option(HONEST, "--select", help="Split that is fitted on. [default: fit; all with --folds]")
@option(HONEST, "--report", help="Split that numbers are reported on. [default: report]")
@option(HONEST, "--folds", type=click.IntRange(min=2), metavar="K", help="Cross-fit on K folds instead.")
@option(HONEST, "--seed", type=click.IntRange(min=0), default=0, help="Seed of the folds.")
@option(HONEST, "--allow-same-split", is_flag=True, help="Permit shared examples (too good numbers, marked).")
@output_options
def calibrate(
    store: Path,
    models: tuple[str, ...],
    method: str,
    where: str | None,
    example_weights: str | None,
    select: str | None,
    report: str | None,
    folds: int | None,
    seed: int,
    allow_same_split: bool,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Calibrate every model on one split and show on another what it changes. The store stays as it is.

    ece is the calibration error of the first class over 15 bins of equal mass; nll and brier are proper
    scores. Ranks are by nll: calibration can turn the order of two models round.

    \b
    Examples:
      dissensus calibrate demo-digits/digits.zoo
      dissensus calibrate demo-digits/digits.zoo --method vector --folds 2 --format csv
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    found = ds.calibrate(
        opened,
        list(models) or None,
        method=method,
        where=where,
        example_weights=example_weights,
        select=select,
        report=report,
        folds=folds,
        seed=seed,
        allow_same_split=allow_same_split,
        progress=True,
    )
    if sink.fmt == "table":
        sink.send(_told(found, under(opened), to_file=out is not None))
    else:
        sink.table(found.table, record=found.to_dict())


def _told(found: Calibration, where: str, *, to_file: bool) -> str:
    report, select = found.splits["report"], found.splits["select"]
    by = "" if found.example_weights is None else f", weighted ({found.example_weights})"
    title = (
        f"Calibration by {found.method} fitted on {select['name']!r}, shown on {report['name']!r}, "
        f"{report['n_examples']:,} examples{chosen(None, found.where)}{by}{where}"
    )
    shown = found.table.drop_columns(["accuracy_before"])
    lines = [
        render(shown, title, to_file=to_file),
        f"{found.reversed_pairs:,} of {found.pairs:,} pairs of models change their order by NLL.",
        f"Best by NLL: {found.best_before} before, {found.best_after} after.",
    ]
    if found.splits["same_examples"]:
        lines.append("Caution: fitted and reported on shared examples; these numbers are too good.")
    if found.left_out:
        lines.append(f"Left out (hard labels only): {', '.join(found.left_out)}")
    return "\n".join(lines) + "\n"
