"""What a new model breaks, and which one breaks least."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options, render
from .queries import LABELS, STORE, WHERE, Share, first_of_each, on_examples

if TYPE_CHECKING:
    from dissensus import Churn

SHOWN = 10  # slices of each kind on the screen
TOP = 20
ALPHA = 0.05


@click.command()
@STORE
@click.argument("old")
@click.argument("new", required=False)
@click.option("--best", is_flag=True, help="List the best replacements of OLD, in place of NEW.")
@click.option(
    "--max-negative-flips",
    type=Share(),
    help="With --best: the largest negative flip rate allowed, as 0.02.",
)
@click.option("--top", type=click.IntRange(min=1), help=f"With --best: models to list.  [default: {TOP}]")
@click.option("--candidate", "candidates", multiple=True, help="With --best: only these; repeatable.")
@click.option(
    "--by",
    multiple=True,
    help="'class', or a column of the examples; repeatable.  [default: all distinct]",
)
@click.option("--level", type=float, help="Coverage of the intervals. [default: 0.95]")
@click.option("--split", help="Only examples of this split.")
@WHERE
@LABELS
@output_options
def churn(
    store: Path,
    old: str,
    new: str | None,
    best: bool,
    max_negative_flips: float | None,
    top: int | None,
    candidates: tuple[str, ...],
    by: tuple[str, ...],
    level: float | None,
    split: str | None,
    where: str | None,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """What flips when model NEW takes the place of model OLD, in all and by class and group.

    A negative flip is an example that OLD gets right and NEW wrong. The relative rate divides their share by
    what independent errors of these accuracies would give: NFR / ((1 - error of OLD) (error of NEW)). CSV,
    Parquet and Arrow hold the classes and groups. All pairs: `dissensus matrix STORE -m negative_flip_rate`,
    OLD in the rows. With --best: which models could take the place of OLD, the most accurate first of those
    that keep negative flips below --max-negative-flips.

    \b
    Examples:
      dissensus churn demo-digits/digits.zoo base mlp
      dissensus churn demo-digits/digits.zoo mlp --best --max-negative-flips 0.05
    """
    import dissensus as ds

    if best == (new is not None):
        raise click.UsageError("name NEW, the model that takes OLD's place, or pass --best")
    of_best = {"--max-negative-flips": max_negative_flips, "--top": top, "--candidate": candidates or None}
    idle = [name for name, value in of_best.items() if value is not None and not best]
    if idle:
        raise click.UsageError(f"{idle[0]} goes with --best")
    if best and by:
        raise click.UsageError("--by goes with NEW: --best lists models")
    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    if new is None:
        table = ds.replacements(
            opened,
            old,
            max_negative_flips=max_negative_flips,
            models=list(candidates) or None,
            split=split,
            where=where,
            level=level,
        )
        examples = on_examples(opened, len(opened.rows(split, where)), split, where)
        allowed = sum(table["allowed"].to_pylist())
        limit = (
            ""
            if max_negative_flips is None
            else f", {allowed:,} with negative flips <= {max_negative_flips:g}"
        )
        shown = table.slice(0, top or TOP)
        part = f"; {shown.num_rows:,} of {table.num_rows:,} are shown" * (shown.num_rows < table.num_rows)
        sink.table(shown, f"Replacements of {old} on {examples}{limit}{part}")
        return
    found = ds.churn(opened, old, new, split=split, where=where, by=by or None, level=level)
    if sink.fmt == "table":
        sink.send(text(found, on_examples(opened, found.n_examples, split, where), to_file=out is not None))
    else:
        sink.table(found.slices, record=found.to_dict())


def text(found: Churn, examples: str, *, to_file: bool = False) -> str:
    """Verdict, rates with their intervals, and the slices with most negative flips."""
    rates = render(found.rates, f"Rates with their {100 * found.level:.4g} % intervals", to_file=to_file)
    shown = first_of_each(found.slices, "by", SHOWN)
    more = found.slices.num_rows - shown.num_rows
    cut = f" ({more:,} more in --format csv)" if more else ""
    title = f"Most negative flips{cut}"
    slices = "\n" + render(shown, title, to_file=to_file) if shown.num_rows else ""
    return f"{verdict(found, examples)}\n\n{rates}{slices}"


def verdict(found: Churn, examples: str) -> str:
    """What replacing the one by the other does, in words."""
    gain = 100 * (found.accuracy_new - found.accuracy_old)
    sure = found.p_value <= ALPHA
    change = "no clear change" if not sure else "a gain" if gain > 0 else "a loss"
    worse = [
        row
        for row in found.slices.to_pylist()
        if row["q_value"] is not None and row["q_value"] <= ALPHA and row["difference"] < 0
    ]
    named = ", ".join(f"{row['by']} {row['value']}" for row in worse[:3])
    more = f" and {len(worse) - 3} more" if len(worse) > 3 else ""
    told = (
        f"McNemar p {found.p_value:.3g}" if found.positive_flips + found.negative_flips else "nothing flips"
    )
    lines = [
        f"{found.old} -> {found.new} on {examples}:",
        f"  accuracy {found.accuracy_old:.4f} -> {found.accuracy_new:.4f}: {gain:+.2f} points, "
        f"{change} ({told})",
        f"  {found.positive_flips:,} examples become right, {found.negative_flips:,} become wrong",
        f"  of those both get wrong, {found.same_class_wrong:,} get the same class, "
        f"{found.other_class_wrong:,} another",
        f"  worse beyond chance (q <= {ALPHA:g}): {named + more if worse else 'no class or group'}",
    ]
    return "\n".join(lines)
