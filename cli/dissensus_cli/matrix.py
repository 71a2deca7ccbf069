"""One measure of all pairs, as a matrix."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import FORMATS, Sink, output_options, screen_width, to_json
from .question import Question, question_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dissensus import Pairs
    from dissensus.pairs import Measure

FORMS = (*FORMATS, "npy", "zarr")
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


@click.command(cls=Measured)
@click.option("--measure", "-m", default="error_inconsistency", show_default=True, help="Measure to compute.")
@question_options()
@partial(output_options, formats=FORMS)
def matrix(measure: str, fmt: str | None, out: Path | None, force: bool, **asked: Any) -> None:
    """One measure for all pairs, as a matrix: row model first.

    With --out FILE.npy the order of rows and columns is written beside it, in FILE.models.json. With --out
    FOLDER.zarr a measure of right and wrong answers goes to disk piece by piece, in float32: it may be larger
    than memory. With --scheduler the workers write it: FOLDER is one that they share.

    \b
    Examples:
      dissensus matrix demo-digits/digits.zoo -m error_consistency
      dissensus matrix demo-digits/digits.zoo -m label_kappa
      dissensus matrix demo-digits/digits.zoo -m improvement --split report --calibrate fit
      dissensus matrix demo-digits/digits.zoo --format csv --out matrix.csv
      dissensus matrix demo-digits/digits.zoo -m phi --where 'label in (3, 8)' --out matrix.npy
      dissensus matrix demo-digits/digits.zoo -m error_consistency --out kappa.zarr
    """
    import pyarrow as pa

    sink = Sink(fmt, out, force, FORMS)
    if sink.fmt in ("npy", "zarr") and out is None:
        raise click.UsageError(f"--format {sink.fmt} is binary: name a file with --out FILE")
    order = Sink("json", out.with_suffix(".models.json"), force) if out and sink.fmt == "npy" else None
    question = Question.of(**asked)
    if out is not None and sink.fmt == "zarr":
        _to_zarr(question, measure, out, force)
        return
    result = question.pairs(measure)
    values = result[measure]
    if order is not None:
        order.send(to_json(result.model_ids))
        sink.send(_to_npy(values))
        return
    if sink.fmt == "table":
        sink.send(_on_screen(result, measure, question.examples(result)))
        return
    columns = [pa.array(values[:, j], from_pandas=True) for j in range(len(result.model_ids))]
    header = "model" if "model" not in result.model_ids else "row model"
    table = pa.table([pa.array(result.model_ids), *columns], names=[header, *result.model_ids])
    sink.table(table, record={"measure": measure, "models": result.model_ids, "matrix": values.tolist()})


def _to_zarr(question: Question, measure: str, out: Path, force: bool) -> None:
    import dissensus as ds

    if force or {question.device, question.calibrate} != {None}:
        raise click.UsageError("a .zarr folder replaces none: no --force, and no --device or --calibrate")
    scheduler = question.scheduler
    ds.save_matrix(question.store, measure, out, scheduler=scheduler, progress=True, **question.chosen)
    click.echo(f"wrote {out}", err=True)


def _to_npy(values: NDArray[Any]) -> bytes:
    import numpy as np

    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    return sink.getvalue()


def _on_screen(result: Pairs, measure: str, examples: str) -> str:
    """Numbered rows and columns, two digits, as many columns side by side as a screen holds."""
    names, values = result.model_ids, result[measure]
    width = max(len(n) for n in names)
    wide = max(1, (screen_width(120) - width - 4) // 6)
    lines = [f"{measure.replace('_', ' ')} of {len(names)} models on {examples}"]
    for first in range(0, len(names), wide):
        columns = range(first, min(first + wide, len(names)))
        lines.append("\n" + " " * (width + 4) + "".join(f"{j + 1:>6}" for j in columns))
        for i, name in enumerate(names):
            cells = "".join(
                f"{values[i, j]:6.2f}" if values[i, j] == values[i, j] else "     –" for j in columns
            )
            lines.append(f"{i + 1:>3} {name:<{width}}{cells}")
    return "\n".join(lines) + "\n"
