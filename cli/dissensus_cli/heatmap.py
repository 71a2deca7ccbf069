"""A picture of one measure of all pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .matrix import Measured
from .output import Sink
from .question import Question, question_options

PICTURES = ("png", "svg")


@click.command(cls=Measured)
@click.option("--measure", "-m", default="error_consistency", show_default=True, help="Measure to draw.")
@question_options()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture to write: its name ends in .png or .svg.",
)
@click.option("--force", is_flag=True, help="Overwrite the file of --out.")
def heatmap(measure: str, out: Path | None, force: bool, **asked: Any) -> None:
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
    question = Question.of(**asked)
    result = question.pairs(measure)
    name, n_models = question.store.path.name, len(result.model_ids)
    title = f"{name}: {n_models:,} models on {question.examples(result)}"
    sink.send(rendered(ds.heatmap(result, measure, title=title), sink.fmt))
