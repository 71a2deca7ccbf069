"""A picture of one measure of all pairs."""

from __future__ import annotations

from pathlib import Path

import click

from .matrix import Measured
from .output import Sink
from .queries import CALIBRATE, LABELS, STORE, WHERE, calibrated, on_examples

PICTURES = ("png", "svg")


@click.command(cls=Measured)
@STORE
@click.option("--measure", "-m", default="error_consistency", show_default=True, help="Measure to draw.")
@click.option("--split", help="Only examples of this split.")
@WHERE
@LABELS
@CALIBRATE
@click.option("--model", "models", multiple=True, help="Only these models; repeatable.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture to write: its name ends in .png or .svg.",
)
@click.option("--force", is_flag=True, help="Overwrite the file of --out.")
def heatmap(
    store: Path,
    measure: str,
    split: str | None,
    where: str | None,
    labels: str | None,
    calibrate: str | None,
    models: tuple[str, ...],
    out: Path | None,
    force: bool,
) -> None:
    """One measure of all pairs as a clustered heat map: models that are alike stand side by side.

    Bright is more different, whichever end of the measure that is. Rows are the first model of a pair, with
    its accuracy. Needs matplotlib and scipy: pip install 'dissensus[plots]'.

    \b
    Examples:
      dissensus heatmap demo-digits/digits.zoo --out kappa.png
      dissensus heatmap demo-digits/digits.zoo -m error_inconsistency --split report --out inconsistency.svg
    """
    import dissensus as ds
    from dissensus.plots import rendered, require_plots

    if out is None:
        raise click.UsageError(f"name the picture to write: --out {measure}.png, or .svg")
    sink = Sink(None, out, force, PICTURES)
    require_plots()
    opened = ds.open(store).under(labels)
    result = ds.pairwise(
        opened,
        measure,
        models=list(models) or None,
        split=split,
        where=where,
        calibrate=False if calibrate is None else calibrate,
        progress=True,
    )
    examples = on_examples(opened, result.counts.n, split, where) + calibrated(result.notes)
    title = f"{opened.path.name}: {len(result.model_ids):,} models on {examples}"
    sink.send(rendered(ds.heatmap(result, measure, title=title), sink.fmt))
