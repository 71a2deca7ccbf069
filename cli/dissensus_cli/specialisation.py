"""Where two models are good at different things."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options, render
from .queries import LABELS, STORE

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus.explain.specialisation import Knowledge, Specialisation

MOST = 20  # classes, and groups of classes, that the screen shows


@click.command()
@STORE
@click.argument("model_a")
@click.argument("model_b")
@click.option("--group", metavar="COLUMN", help="Column of the class table with groups of classes.")
@click.option(
    "--part",
    default=0.5,
    show_default=True,
    help="Part of the complementary knowledge to find the classes of.",
)
@click.option("--select", default="fit", show_default=True, help="Split that temperatures are fitted on.")
@click.option("--report", help="Split that is reported on. [default: report; all for hard labels]")
@click.option("--allow-same-split", is_flag=True, help="Permit both to share examples.")
@LABELS
@output_options
def specialisation(
    store: Path,
    model_a: str,
    model_b: str,
    group: str | None,
    part: float,
    select: str,
    report: str | None,
    allow_same_split: bool,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """What each of two models is better at, and whether their confidences tell who is right.

    Theta is arctan2 of the two calibrated confidences; its AUROC for examples that only A gets right against
    those that only B does is 1 where confidence tells, 0.5 where it does not. Classes are tested by McNemar's
    exact test; q is Benjamini and Hochberg's over them. CSV and Parquet hold the classes.

    \b
    Examples:
      dissensus specialisation demo-digits/digits.zoo base knn
      dissensus specialisation demo-digits/digits.zoo base knn --format json
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    found = ds.specialisation(
        ds.open(store),
        model_a,
        model_b,
        group=group,
        part=part,
        select=select,
        report=report,
        allow_same_split=allow_same_split,
        labels=labels,
    )
    if sink.fmt == "table":
        sink.send(_text(found, to_file=out is not None))
    else:
        sink.table(found.classes, record=found.to_dict())


def _text(found: Specialisation, to_file: bool) -> str:
    counts = found.counts
    n = counts["n"]
    only = ", ".join(f"only {m} right {counts[f'only_{m}']:,} ({counts[f'only_{m}'] / n:.1%})" for m in "ab")
    lines = [
        f"a = {found.model_a}, accuracy {found.accuracy_a:.4f}",
        f"b = {found.model_b}, accuracy {found.accuracy_b:.4f}",
        f"On {n:,} examples of split {found.splits['report']!r}:",
        f"  {only}",
        _separation(found),
        _knowledge("a", found.knowledge_a, found.part),
        _knowledge("b", found.knowledge_b, found.part),
    ]
    text = "\n".join(lines) + "\n\n"
    if found.groups is not None:
        text += _largest(found.groups, "group of classes", "json", to_file) + "\n"
    return text + _largest(found.classes, "class", "csv", to_file)


def _largest(table: pa.Table, what: str, fmt: str, to_file: bool) -> str:
    """Rows of the largest differences, and where the others are."""
    more = table.num_rows - MOST
    title = f"By {what}, largest difference first" + (f" ({more:,} more: --format {fmt})" if more > 0 else "")
    return render(table.slice(0, MOST), title, to_file=to_file)


def _separation(found: Specialisation) -> str:
    if found.auroc is None:
        return "  no theta: a model has hard labels only"
    value, low, high = found.auroc.value, found.auroc.low, found.auroc.high
    if math.isnan(value):
        return "  AUROC of theta undefined: one of the two is alone right nowhere"
    bounds = "" if math.isnan(low) else f", 95 % interval [{low:.3f}, {high:.3f}]"
    return f"  AUROC of theta for who is right: {value:.3f}{bounds} (0.5 tells nothing, 1 all)"


def _knowledge(name: str, known: Knowledge, part: float) -> str:
    if not known.n:
        return f"  nothing that only {name} gets right"
    return (
        f"  what only {name} gets right: {known.entropy:.2f} bits over the classes (at random "
        f"{known.entropy_if_even:.2f}), {known.share_of_classes:.0%} of the classes hold {part:.0%} of it"
    )
