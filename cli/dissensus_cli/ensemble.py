"""Which models to combine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options, render
from .queries import LABELS, STORE, under

if TYPE_CHECKING:
    from dissensus import Ensemble
    from dissensus.ensemble import Interval


@click.command()
@STORE
@click.option(
    "--size", default=10, show_default=True, type=click.IntRange(min=1), help="Members, repetitions counted."
)
@click.option("--metric", default="accuracy", show_default=True, help="accuracy or nll.")
@click.option(
    "--combine",
    default="probabilities",
    show_default=True,
    help="probabilities (their mean), or votes (plurality of top-1).",
)
@click.option("--candidate", "candidates", multiple=True, help="Choose among these models only; repeatable.")
@click.option("--start", multiple=True, help="Members given beforehand, in order; repeatable.")
@click.option(
    "--replacement/--no-replacement",
    default=None,
    help="Allow a member again, with more weight. [default: allow; not for votes]",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=None,
    help="Fit a temperature for each model. [default: calibrate; nothing to fit for votes]",
)
@click.option("--select", default="fit", show_default=True, help="Split that calibrates and selects.")
@click.option("--report", default="report", show_default=True, help="Split that numbers are reported on.")
@click.option(
    "--allow-same-split", is_flag=True, help="Permit both to share examples (too good numbers, marked)."
)
@LABELS
@output_options
def ensemble(
    store: Path,
    size: int,
    metric: str,
    combine: str,
    candidates: tuple[str, ...],
    start: tuple[str, ...],
    replacement: bool | None,
    calibrate: bool | None,
    select: str,
    report: str,
    allow_same_split: bool,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Choose an ensemble by greedy selection on one split and report it on another.

    Models with hard labels only take part with --combine votes: the class that most members put first wins,
    the lowest on ties; judged by accuracy, each member once. With --labels another label set of the store
    decides what is right.

    \b
    Examples:
      dissensus ensemble demo-digits/digits.zoo --size 5
      dissensus ensemble demo-digits/digits.zoo --metric nll --no-replacement --format json
      dissensus ensemble demo-digits/digits.zoo --combine votes
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    best = ds.greedy(
        opened,
        size,
        metric,
        combine=combine,
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
        sink.send(summary(best, under(opened), to_file=out is not None))
    else:
        sink.table(best.curve, record=best.to_dict())


def summary(best: Ensemble, where: str = "", *, to_file: bool = False) -> str:
    """Curve, members and the answer in words; `where` names a label set that is not the store's own."""
    select, how = best.splits["select"], " of votes" if best.combine == "votes" else ""
    counted = f"{where} ({select['n_examples']:,} examples counted)" if where else ""
    title = f"Greedy selection by {best.metric}{how} on split {select['name']!r}{counted}"
    again = "; a member chosen again gets more weight" if len(best.members) < best.curve.num_rows else ""
    curve = render(best.curve, title + again, to_file=to_file)
    members = ", ".join(f"{m} ({w:.0%})" for m, w in zip(best.members, best.weights, strict=True))
    return f"{curve}\nMembers: {members}\n{verdict(best, where)}\n"


def verdict(best: Ensemble, where: str = "") -> str:
    """Ensemble against the best single model, in words."""
    gain, report = best.interval, best.splits["report"]
    held = "" if best.splits["same_examples"] else " that took no part in the choice"
    lines = [
        f"On split {report['name']!r}, {report['n_examples']:,} examples{where}{held}:",
        f"  ensemble           {_numbers(best.report)}",
        f"  best single model  {_numbers(best.single_report)}  {best.single}",
        f"  gain               {_gain(gain)}",
    ]
    if best.splits["same_examples"]:
        lines.append("Caution: selected and reported on shared examples; these numbers are too good.")
    if best.left_out:
        lines.append(f"Left out (hard labels only; --combine votes takes them): {', '.join(best.left_out)}")
    return "\n".join(lines)


def _gain(gain: Interval) -> str:
    """Gain with its interval: points of accuracy, or nats of NLL."""
    scale, digits = (100, 2) if gain.metric == "accuracy" else (1, 4)
    value, low, high = (f"{scale * x:+.{digits}f}" for x in (gain.gain, gain.low, gain.high))
    unit = "points of accuracy" if gain.metric == "accuracy" else "nats of log-likelihood"
    verdict = "" if gain.low > 0 else ": a loss" if gain.high < 0 else ", which includes no gain"
    return f"{value} {unit}, {gain.level:.0%} interval [{low}, {high}]{verdict}"


def _numbers(values: dict[str, float]) -> str:
    titles = {"accuracy": "accuracy", "nll": "NLL"}
    return ", ".join(f"{titles[name]} {value:.4f}" for name, value in values.items())
