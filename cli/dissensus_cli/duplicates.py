"""Models of a store that are nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Sink, output_options
from .queries import Share, on_examples
from .question import Question, question_options

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus.pairs.duplicates import Duplicates


@click.command()
@click.option(
    "--threshold",
    type=Share(),
    default=0.01,
    show_default=True,
    help="Share of examples on which two linked models may give different classes.",
)
@question_options("calibrate", "device")
@output_options
def duplicates(threshold: float, fmt: str | None, out: Path | None, force: bool, **asked: Any) -> None:
    """Groups of models that give nearly the same classes: copies, other precisions, neighbouring checkpoints.

    Models are in one group where links connect them (single linkage), so that the two most different ones may
    be further apart than the threshold. A network trained anew is no near-duplicate by the default threshold.

    \b
    Examples:
      dissensus duplicates demo-digits/digits.zoo
      dissensus duplicates demo-digits/digits.zoo --threshold 0.03 --format json
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    question = Question.of(**asked)
    found = ds.near_duplicates(question.store, threshold, scheduler=question.scheduler, **question.chosen)
    examples = on_examples(question.store, found.n_examples, question.split, question.where)
    right = [1 - sum(one.accuracies) / len(one.accuracies) for one in found]
    if right and min(right) < threshold:
        click.echo(
            f"Note: models wrong on {100 * min(right):.2g} % only agree so far by being right; "
            "a lower --threshold tells copies from good models",
            err=True,
        )
    if sink.fmt != "table":
        sink.table(found.to_arrow())
    elif found:
        sink.table(_by_model(found), f"{_summary(found)} on {examples}")
    else:
        sink.send(f"{_summary(found)} on {examples}{_closest(found)}\n")


def _summary(found: Duplicates) -> str:
    limit = f"at most {100 * found.threshold:g} % different classes"
    if not found:
        return f"no near-duplicates: no two of {found.n_models} models have {limit}"
    count = sum(len(one.models) for one in found)
    groups = "1 group" if len(found) == 1 else f"{len(found)} groups"
    members = f"{count} of {found.n_models} models"
    return f"{groups} of near-duplicates, {members}, each linked to another by {limit}"


def _closest(found: Duplicates) -> str:
    a, b, distance = found.closest
    return f"; the closest are {a} and {b}, {100 * distance:.3g} %"


def _by_model(found: Duplicates) -> pa.Table:
    """One row a model: groups as people read them."""
    import pyarrow as pa

    rows = [
        {"group": number, "model": model, "accuracy": accuracy, "largest_distance": one.largest_distance}
        for number, one in enumerate(found, 1)
        for model, accuracy in zip(one.models, one.accuracies, strict=True)
    ]
    return pa.Table.from_pylist(rows)
