"""What `dissensus ingest` says before it starts, and instead of starting with --plan."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Sink

if TYPE_CHECKING:
    from dissensus import Store
    from dissensus.ingest import ExampleSource, IngestPlan, ModelSource

PLAN = click.option(
    "--plan",
    is_flag=True,
    help="Tell what would be done and what it takes (models, decodes, disk, memory, time), and do nothing.",
)
_WIDTH = 80


def tell_plan(
    sink: Sink, store: Store | Path, sources: Sequence[ModelSource], examples: ExampleSource, **options: Any
) -> None:
    """Print the whole plan, with a quick probe; exit status 1 where it could not be carried out."""
    from dissensus.ingest import plan_ingest

    with redirect_stdout(sys.stderr):  # models may print
        plan = plan_ingest(store, sources, examples, **options, progress=True)
    if sink.fmt == "table":
        width = min(shutil.get_terminal_size((_WIDTH, 0)).columns, 110)
        sink.send("\n".join([f"plan for {plan.store}", "", *plan.lines(width)]) + "\n")
    else:
        sink.table(plan.to_arrow(), record=plan.to_dict())
    plan.require_room()


def announce(
    store: Store | Path, sources: Sequence[ModelSource], examples: ExampleSource, **options: Any
) -> IngestPlan:
    """Say in two lines on stderr what is about to start; refuse what disk or memory cannot hold."""
    from dissensus.ingest import check_room

    plan = check_room(store, sources, examples, **options)
    for line in plan.short():
        click.echo(line, err=True)
    return plan
