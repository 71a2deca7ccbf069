"""Which models to combine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options, render
from .queries import STORE

if TYPE_CHECKING:
    from dissensus import Ensemble
    from dissensus.ensemble import Interval


@click.command()
@STORE
@click.option(
    "--size", default=10, show_default=True, type=click.IntRange(min=1), help="Members, repetitions counted."
)
@click.option("--metric", default="accuracy", show_default=True, help="accuracy or nll.")
@click.option("--candidate", "candidates", multiple=True, help="Choose among these models only; repeatable.")
@click.option("--start", multiple=True, help="Members given beforehand, in order; repeatable.")
@click.option(
    "--replacement/--no-replacement",
    default=True,
    show_default=True,
    help="Allow a member again, with more weight.",
)
@click.option(
    "--calibrate/--no-calibrate", default=True, show_default=True, help="Fit a temperature for each model."
)
@click.option("--select", default="fit", show_default=True, help="Split that calibrates and selects.")
@click.option("--report", default="report", show_default=True, help="Split that numbers are reported on.")
@click.option(
    "--allow-same-split", is_flag=True, help="Permit both to share examples (too good numbers, marked)."
)
@output_options
def ensemble(
    store: Path,
    size: int,
    metric: str,
    candidates: tuple[str, ...],
    start: tuple[str, ...],
    replacement: bool,
    calibrate: bool,
    select: str,
    report: str,
    allow_same_split: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Choose an ensemble by greedy selection on one split and report it on another.

    \b
    Examples:
      dissensus ensemble demo-digits/digits.zoo --size 5
      dissensus ensemble demo-digits/digits.zoo --metric nll --no-replacement --format json
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    best = ds.greedy(
        ds.open(store),
        size,
        metric,
        candidates=list(candidates) or None,
        start=list(start) or None,
        replacement=replacement,
        calibrate=calibrate,
        select=select,
        report=report,
        allow_same_split=allow_same_split,
        progress=True,
    )
    if sink.fmt == "table":
        sink.send(summary(best))
    else:
        sink.table(best.curve, record=best.to_dict())


def summary(best: Ensemble) -> str:
    """Curve, members and the answer in words."""
    title = f"Greedy selection by {best.metric} on split {best.splits['select']['name']!r}"
    again = "; a member chosen again gets more weight" if len(best.members) < best.curve.num_rows else ""
    curve = render(best.curve, title + again)
    members = ", ".join(f"{m} ({w:.0%})" for m, w in zip(best.members, best.weights, strict=True))
    return f"{curve}\nMembers: {members}\n{verdict(best)}\n"


def verdict(best: Ensemble) -> str:
    """Ensemble against the best single model, in words."""
    gain, report = best.interval, best.splits["report"]
    held = "" if best.splits["same_examples"] else " that took no part in the choice"
    lines = [
        f"On split {report['name']!r}, {report['n_examples']:,} examples{held}:",
        f"  ensemble           {_numbers(best.report)}",
        f"  best single model  {_numbers(best.single_report)}  {best.single}",
        f"  gain               {_gain(gain)}",
    ]
    if best.splits["same_examples"]:
        lines.append("Caution: selected and reported on shared examples; these numbers are too good.")
    if best.left_out:
        lines.append(f"Left out (hard labels only): {', '.join(best.left_out)}")
    return "\n".join(lines)


def _gain(gain: Interval) -> str:
    """Gain with its interval: points of accuracy, or nats of NLL."""
    scale, digits = (100, 2) if gain.metric == "accuracy" else (1, 4)
    value, low, high = (f"{scale * x:+.{digits}f}" for x in (gain.gain, gain.low, gain.high))
    unit = "points of accuracy" if gain.metric == "accuracy" else "nats of log-likelihood"
    verdict = "" if gain.low > 0 else ": a loss" if gain.high < 0 else ", which includes no gain"
    return f"{value} {unit}, {gain.level:.0%} interval [{low}, {high}]{verdict}"


def _numbers(values: dict[str, float]) -> str:
    return f"accuracy {values['accuracy']:.4f}, NLL {values['nll']:.4f}"
