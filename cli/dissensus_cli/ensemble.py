"""Which models to combine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .ensemble_view import summary
from .grouped import EXAMPLES, HONEST, RUNS, WHAT, Grouped, option
from .output import Sink, output_options
from .queries import LABELS, STORE, under

WHO, HOW, COST = "Who takes part", "How it is searched for", "Limits"
COUNT = click.IntRange(min=1)

OPTIONS = (
    option(WHAT, "--size", default=10, show_default=True, type=COUNT, help="Members, repetitions counted."),
    option(
        WHAT,
        "--metric",
        default="accuracy",
        show_default=True,
        help="accuracy, nll, brier or balanced_accuracy.",
    ),
    option(
        WHAT,
        "--combine",
        default="probabilities",
        show_default=True,
        help="probabilities or logits (their mean), or votes (plurality of top-1).",
    ),
    option(
        WHAT,
        "--weights",
        default="counts",
        show_default=True,
        help="counts (how often chosen), or optimal: least nll or brier, with a proof.",
    ),
    option(WHO, "--candidate", "candidates", multiple=True, help="Choose among these only; repeatable."),
    option(WHO, "--exclude", multiple=True, help="Never use this model; repeatable."),
    option(WHO, "--include", multiple=True, help="Must be a member, comes first; repeatable."),
    option(WHO, "--start", multiple=True, help="Members given beforehand, in order; repeatable."),
    option(
        EXAMPLES, "--where", metavar="EXPRESSION", help='Only examples where it holds, as "label in (3, 8)".'
    ),
    option(EXAMPLES, "--example-weights", metavar="COLUMN", help="Count examples by this column of numbers."),
    option(
        HOW,
        "--replacement/--no-replacement",
        default=None,
        help="Allow a member again, with more weight. [default: allow; not for votes]",
    ),
    option(
        HOW,
        "--sorted-start",
        type=click.IntRange(min=0),
        default=0,
        metavar="K",
        help="Begin with the K best single models.",
    ),
    option(HOW, "--beam", type=COUNT, default=1, show_default=True, help="Ensembles kept at each step."),
    option(HOW, "--patience", type=COUNT, metavar="K", help="Stop after K steps without a new best."),
    option(
        HOW,
        "--best-prefix/--no-best-prefix",
        default=None,
        help="End with the best step of all. [default: only with votes or --patience]",
    ),
    option(HOW, "--prune", is_flag=True, help="In the end drop members it is no worse without."),
    option(HOW, "--bags", type=COUNT, metavar="N", help="Select from N random subsets, add members up."),
    option(HOW, "--bag-fraction", type=float, default=0.5, show_default=True, help="Candidates in a bag."),
    option(HOW, "--seed", type=click.IntRange(min=0), default=0, help="Seed of bags and folds."),
    option(COST, "--max-members", type=COUNT, metavar="N", help="Most distinct members."),
    option(COST, "--cost", metavar="NAME", help="Count this recorded number, as gmacs, params or seconds."),
    option(COST, "--max-cost", type=float, metavar="X", help="Most that distinct members cost together."),
    option(
        HONEST,
        "--calibrate/--no-calibrate",
        default=None,
        help="Fit a temperature for each model. [default: calibrate; nothing to fit for votes]",
    ),
    option(HONEST, "--select", help="Split that calibrates and selects. [default: fit; all with --folds]"),
    option(HONEST, "--report", help="Split that numbers are reported on. [default: report]"),
    option(HONEST, "--folds", type=click.IntRange(min=2), metavar="K", help="Cross-fit on K folds instead."),
    option(
        HONEST, "--allow-same-split", is_flag=True, help="Permit shared examples (too good numbers, marked)."
    ),
    option(
        RUNS,
        "--scheduler",
        metavar="ADDRESS",
        help="This Dask cluster (tcp://host:8786), each worker with some examples, the store under the same "
        "path: the same result.",
    ),
    option(
        RUNS,
        "--device",
        metavar="NAME",
        help="Torch on this device (cpu, cuda, cuda:1), by brute force: the same result. [default: numba's "
        "threads]",
    ),
)


def _with_options(command: Any) -> Any:
    for one in reversed(OPTIONS):
        command = one(command)
    return command


@click.command(cls=Grouped)
@STORE
@_with_options
@LABELS
@output_options
def ensemble(
    store: Path,
    size: int,
    metric: str,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
    **asked: Any,
) -> None:
    """Choose an ensemble by greedy selection on one split and report it on another.

    Models with hard labels only take part with --combine votes: the class that most members put first wins,
    the lowest on ties; judged by accuracy, each member once. With --labels another label set of the store
    decides what is right.

    \b
    Examples:
      dissensus ensemble demo-digits/digits.zoo --size 5
      dissensus ensemble demo-digits/digits.zoo --metric nll --no-replacement --format json
      dissensus ensemble demo-digits/digits.zoo --metric nll --bags 10 --patience 3
      dissensus ensemble demo-digits/digits.zoo --metric nll --weights optimal --prune
      dissensus ensemble demo-digits/digits.zoo --folds 3 --size 3 --exclude base
      dissensus ensemble demo-digits/digits.zoo --combine votes
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    given: dict[str, Any] = {name: list(asked.pop(name)) or None for name in ("candidates", "start")}
    best = ds.greedy(opened, size, metric, **given, **asked, progress=True)
    if sink.fmt == "table":
        sink.send(summary(best, under(opened), to_file=out is not None))
    else:
        sink.table(best.curve, record=best.to_dict())
