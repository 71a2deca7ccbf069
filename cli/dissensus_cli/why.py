"""Why an ensemble gains, or does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from dissensus.errors import ArgumentError

from .grouped import WHAT, Grouped, option
from .output import Sink, output_options, render
from .queries import LABELS, STORE, WHERE, chosen, first_of_each, under

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus import Ensemble, Store, Why

PARTS = ("members", "ledger", "against", "slices")
SHOWN = 5  # slices of each kind that the screen shows
SIZE = 10
WHICH, CHOSEN, HOW = "Which ensemble", "Else one is chosen greedily", "How it is made and judged"


class _Part(TypedDict):
    """What of an ensemble is explained."""

    where: str | None
    by: tuple[str, ...] | None
    cost: str | None


@click.command(cls=Grouped)
@STORE
@option(
    WHICH,
    "--ensemble",
    "file",
    type=click.Path(path_type=Path),
    help="Explain the ensemble of this file: what `dissensus ensemble --format json` wrote.",
)
@option(WHICH, "--member", "members", multiple=True, help="Explain an ensemble of these models; repeatable.")
@option(
    WHICH, "--weight", "weights", multiple=True, type=float, help="Weights of the members, in their order."
)
@option(CHOSEN, "--size", type=click.IntRange(min=1), help=f"Members, repetitions counted. [default: {SIZE}]")
@option(CHOSEN, "--metric", help="What the choice improves. [default: accuracy]")
@option(HOW, "--combine", help="probabilities or votes. [default: probabilities]")
@option(HOW, "--select", help="Split that calibrates and selects. [default: fit]")
@option(HOW, "--report", help="Split that is explained. [default: report]")
@option(HOW, "--allow-same-split", is_flag=True, default=None, help="Permit both to share examples (marked).")
@WHERE
@LABELS
@option(
    WHAT,
    "--by",
    multiple=True,
    help="'class', or a column of the examples; repeatable. [default: all distinct]",
)
@option(WHAT, "--cost", help="Recorded number that is a model's cost. [default: gmacs, else params]")
@option(WHAT, "--part", type=click.Choice(PARTS), help="Give this table alone. [default in csv …: members]")
@output_options
def why(
    store: Path,
    file: Path | None,
    members: tuple[str, ...],
    weights: tuple[float, ...],
    size: int | None,
    metric: str | None,
    combine: str | None,
    select: str | None,
    report: str | None,
    allow_same_split: bool | None,
    where: str | None,
    by: tuple[str, ...],
    cost: str | None,
    part: str | None,
    labels: str | None,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Why an ensemble gains, or does not: what a person should conclude, and the numbers behind it.

    The ledger: mean risk of the members, what their differences take off (the Jensen gap of the NLL, the
    variance in the Brier score), risk of the ensemble. Against the best single model, and the strongest of
    equal cost. Each member: what the ensemble would lose without it, and the examples that are right only
    because of it. Classes and groups that gained or lost: McNemar's exact test, q by Benjamini and Hochberg.

    \b
    Examples:
      dissensus why demo-digits/digits.zoo --size 5
      dissensus why demo-digits/digits.zoo --member base --member mlp --by class
      dissensus why demo-digits/digits.zoo --size 3 --format json
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    choosing: dict[str, Any] = {"size": size, "metric": metric}
    how: dict[str, Any] = {"combine": combine, "select": select, "report": report, "labels": labels}
    how["allow_same_split"] = allow_same_split
    asked = {name for name, value in (choosing | how).items() if value is not None}
    _check(file, members, weights, asked & {*choosing}, asked)
    opened, part_of = ds.open(store), _Part(where=where, by=by or None, cost=cost)
    if file is not None:
        found = ds.why(opened, read_record(file), **part_of)
    elif members:
        found = ds.why(opened, members, weights=weights or None, **how, **part_of)
    else:
        found = _chosen(opened, choosing | how).why(opened, **part_of)
    if part is not None or sink.fmt in ("csv", "parquet", "arrow"):
        sink.table(getattr(found, part or PARTS[0]), part or PARTS[0])
    elif sink.fmt == "json":
        sink.table(found.ledger, record=found.to_dict())
    else:
        sink.send(text(found, under(opened.under(found.labels)), to_file=out is not None))


def _check(
    file: Path | None,
    members: tuple[str, ...],
    weights: tuple[float, ...],
    choosing: set[str],
    asked: set[str],
) -> None:
    """Refuse options that would have no effect."""
    if file is not None and (members or asked):
        clash = ["member"] * bool(members) + sorted(asked)
        named = ", ".join(f"--{name.replace('_', '-')}" for name in clash)
        raise click.UsageError(f"--ensemble FILE says all of an ensemble: leave {named} out")
    if members and choosing:
        raise click.UsageError(f"--member names the ensemble: leave --{sorted(choosing)[0]} out")
    if weights and not members:
        raise click.UsageError("--weight goes with --member")


def _chosen(store: Store, options: dict[str, Any]) -> Ensemble:
    import dissensus as ds

    given = {name: value for name, value in options.items() if value is not None}
    return ds.greedy(store, **({"size": SIZE, "progress": True} | given))


def read_record(file: Path) -> dict[str, Any]:
    """Read the record of an ensemble from a JSON file.

    Raises
    ------
    ArgumentError
        It cannot be read, or is no JSON object.
    """
    try:
        record = json.loads(file.read_text())
    except OSError as error:
        raise ArgumentError(f"--ensemble {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArgumentError(
            f"--ensemble {file} is no JSON: write it by `dissensus ensemble STORE --format json --out FILE`"
        ) from error
    if not isinstance(record, dict):
        raise ArgumentError(f"--ensemble {file} holds no record of an ensemble but a {type(record).__name__}")
    return record


def text(found: Why, where: str = "", *, to_file: bool = False) -> str:
    """Conclusions, then the tables, the longest cut; `where` names a label set other than the store's own."""
    report, shown = found.splits["report"], first_of_each(found.slices, "by", SHOWN)
    some = chosen(None, report.get("where"))
    of = f"split {report['name']!r}, {report['n_examples']:,} examples{some}{where}"
    title = f"Why: ensemble of {found.members.num_rows} ({found.combine}) against {found.single} on {of}"
    lines = [title, "", *(f"- {sentence}" for sentence in found.conclusions)]
    lines += [f"- {note}" for note in found.notes]
    more = found.slices.num_rows - shown.num_rows
    cut = f", {more:,} more with --part slices" if more else ""
    tables = (
        (found.ledger, "Ledger: risk of members - diversity = risk of the ensemble"),
        (
            found.against,
            f"Against single models: gain with its {found.level:.0%} interval, positive is better",
        ),
        (_members(found.members), "Members: value = what the ensemble would lose without it"),
        (shown, f"Where it gained and lost against {found.single}{cut}"),
    )
    parts = [render(table, name, to_file=to_file) for table, name in tables if table.num_rows]
    return "\n".join(["\n".join(lines) + "\n", *parts])


def _members(table: pa.Table) -> pa.Table:
    """Intervals beside their values, without the bounds' own columns."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in table.column_names:
        if name.endswith(("_low", "_high")):
            continue
        columns[name] = table[name]
        if f"{name}_low" in table.column_names:
            ends = (table[n].to_pylist() for n in (name, f"{name}_low", f"{name}_high"))
            columns[name] = pa.array(
                [None if v is None else f"{v:.4f} [{a:.4f}, {b:.4f}]" for v, a, b in zip(*ends, strict=True)],
                pa.string(),
            )
    return pa.table(columns)
