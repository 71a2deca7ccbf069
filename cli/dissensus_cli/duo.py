"""How to weigh two models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options, render
from .queries import LABELS, STORE, under

if TYPE_CHECKING:
    from dissensus import Duo


@click.command()
@STORE
@click.argument("model_a", metavar="A")
@click.argument("model_b", metavar="B")
@click.option("--select", default="fit", show_default=True, help="Split that temperatures are fitted on.")
@click.option("--report", default="report", show_default=True, help="Split that numbers are reported on.")
@click.option(
    "--allow-same-split", is_flag=True, help="Permit both to share examples (too good numbers, marked)."
)
@LABELS
@output_options
def duo(
    store: Path,
    model_a: str,
    model_b: str,
    select: str,
    report: str,
    allow_same_split: bool,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Weigh the models A and B: fit one temperature each for the two together, on a split of its own.

    The duo predicts softmax(z_a / T_a + z_b / T_b). Its two temperatures are the best of all by likelihood;
    beside it stand both members alone and the plain mean of their probabilities, all calibrated.

    \b
    Examples:
      dissensus duo demo-digits/digits.zoo base mlp
      dissensus duo demo-digits/digits.zoo base knn --format json
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    found = ds.duo(opened, model_a, model_b, select=select, report=report, allow_same_split=allow_same_split)
    if sink.fmt == "table":
        sink.send(_summary(found, under(opened), to_file=out is not None))
    else:
        sink.table(found.table, record=found.to_dict())


def _summary(found: Duo, where: str, *, to_file: bool) -> str:
    """Numbers of both splits, weights, and the gain in words."""
    fit, report = found.splits["select"], found.splits["report"]
    title = (
        f"Fitted on split {fit['name']!r} ({fit['n_examples']:,} examples), reported on {report['name']!r}"
    )
    title += f" ({report['n_examples']:,}){where}"
    lines = [
        f"{m}: temperature {found.temperatures[m]:.4g}, its calibrated logits count {found.weights[m]:.3f}"
        for m in found.models
    ]
    for metric, unit, scale, digits in (
        ("accuracy", "points of accuracy", 100, 2),
        ("nll", "nats of log-likelihood", 1, 4),
    ):
        gain = found.intervals[metric]
        value, low, high = (f"{scale * x:+.{digits}f}" for x in (gain.gain, gain.low, gain.high))
        lines.append(f"Gain over {gain.versus}: {value} {unit}, {gain.level:.0%} interval [{low}, {high}]")
    if found.splits["same_examples"]:
        lines.append("Caution: fitted and reported on shared examples; these numbers are too good.")
    return render(found.table, title, to_file=to_file) + "\n" + "\n".join(lines) + "\n"
