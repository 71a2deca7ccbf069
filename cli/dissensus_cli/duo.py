"""How to weigh two models, or every pair of some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Sink, output_options, render
from .queries import LABELS, STORE, under

if TYPE_CHECKING:
    from dissensus import Duo, Duos

TOP = 20
CAUTION = "Caution: fitted and reported on shared examples; these numbers are too good."
SHOWN = [
    "model_a", "model_b", "weight_a", "weight_b",
    "fit_nll", "report_nll", "nll_gain", "report_accuracy", "accuracy_gain",
]  # fmt: skip


@click.command()
@STORE
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Weigh every pair of the store's models.")
@click.option("--top", type=click.IntRange(min=1), help=f"Pairs that the table lists.  [default: {TOP}]")
@click.option("--select", default="fit", show_default=True, help="Split that temperatures are fitted on.")
@click.option("--report", default="report", show_default=True, help="Split that numbers are reported on.")
@click.option(
    "--allow-same-split", is_flag=True, help="Permit both to share examples (too good numbers, marked)."
)
@LABELS
@output_options
def duo(
    store: Path,
    models: tuple[str, ...],
    everything: bool,
    top: int | None,
    select: str,
    report: str,
    allow_same_split: bool,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Weigh two models: fit one temperature each for the two together, on a split of its own.

    The duo predicts softmax(z_a / T_a + z_b / T_b). Its two temperatures are the best of all by likelihood;
    beside it stand both members alone and the plain mean of their probabilities, all calibrated.

    Of three models or more, or with --all, every pair is weighed, and listed by its likelihood on the
    examples that temperatures were fitted on; gains are those over its better member on the others. A pair of
    1,000 classes and 50,000 examples takes seconds: of a large zoo name some models.

    \b
    Examples:
      dissensus duo demo-digits/digits.zoo base mlp
      dissensus duo demo-digits/digits.zoo base knn --format json
      dissensus duo demo-digits/digits.zoo base mlp knn
      dissensus duo demo-digits/digits.zoo --all --top 5
    """
    import dissensus as ds

    if everything and models:
        raise click.UsageError("--all weighs every pair of the store: leave the names out")
    if not everything and not models:
        raise click.UsageError("name two models or more, or pass --all for every pair of the store")
    if len(models) == 1:
        raise click.UsageError(f"a duo is of two models; name another one beside {models[0]}, or pass --all")
    if top is not None and len(models) == 2:
        raise click.UsageError("--top lists some of many pairs; two models are one")
    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    options: dict[str, Any] = {"select": select, "report": report, "allow_same_split": allow_same_split}
    if len(models) == 2:
        _show_duo(ds.duo(opened, models[0], models[1], **options), sink, under(opened))
    else:
        _show_duos(ds.duos(opened, models or None, progress=True, **options), sink, under(opened), top)


def _show_duo(found: Duo, sink: Sink, where: str) -> None:
    if sink.fmt == "table":
        sink.send(_summary(found, where, to_file=sink.out is not None))
    else:
        sink.table(found.table, record=found.to_dict())


def _show_duos(found: Duos, sink: Sink, where: str, top: int | None) -> None:
    """All pairs, of which a table has the first, and the columns that people choose by."""
    if sink.fmt != "table":
        table = found.table if top is None else found.table.slice(0, top)
        sink.table(table, record=found.to_dict() | {"pairs": table.to_pylist()})
        return
    table = found.table.select(SHOWN).slice(0, top or TOP)
    n = found.table.num_rows
    part = f"{n:,}" if table.num_rows == n else f"{table.num_rows:,} of {n:,}"
    title = f"{part} pairs of {len(found.models)} models, weighed; {_splits(found.splits)}{where}; least "
    title += "NLL of the first split first; gains over the better member"
    text = render(table, title, to_file=sink.out is not None)
    sink.send(text + (f"{CAUTION}\n" if found.splits["same_examples"] else ""))


def _splits(splits: Mapping[str, Any]) -> str:
    """What was fitted and reported on."""
    fit, report = splits["select"], splits["report"]
    return (
        f"fitted on split {fit['name']!r} ({fit['n_examples']:,} examples), reported on {report['name']!r} "
        f"({report['n_examples']:,})"
    )


def _summary(found: Duo, where: str, *, to_file: bool) -> str:
    """Numbers of both splits, weights, and the gain in words."""
    title = f"F{_splits(found.splits)[1:]}{where}"
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
        lines.append(CAUTION)
    return render(found.table, title, to_file=to_file) + "\n" + "\n".join(lines) + "\n"
