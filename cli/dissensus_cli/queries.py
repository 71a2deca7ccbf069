"""Looking at a store: info, models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.errors import ArgumentError

from .grouped import EXAMPLES, RUNS, WHAT, option
from .output import Sink, output_options

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus import Store

STORE = click.argument("store", type=click.Path(path_type=Path))
NAMED = 8  # entries of a list that the screen shows
LABELS = option(EXAMPLES, "--labels", help="Label set that decides what is right. [default: the store's own]")
WHERE = option(
    EXAMPLES,
    "--where",
    metavar="EXPR",
    help="Only examples for which this holds of their columns, as in \"label_name in ('cat', 'dog')\".",
)
CALIBRATE = option(
    WHAT,
    "--calibrate",
    metavar="SPLIT",
    help="Fit a temperature of each model on this split (fit) before measures of ensembles.",
)
SCHEDULER = option(
    RUNS,
    "--scheduler",
    metavar="ADDRESS",
    help="Count on this Dask cluster (tcp://host:8786); workers open the store under the same path.",
)
DEVICE = option(
    RUNS,
    "--device",
    metavar="NAME",
    help="Count by torch on this device (cpu, cuda, cuda:1). [default: numba's threads]",
)


class Share(click.FloatRange):
    """A number from 0 to 1; says so where a percentage was meant."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a share, as click does."""
        number = click.FLOAT.convert(value, param, ctx)
        if 0 <= number <= 1:
            return float(number)
        percent = f"; {number:g} % is {number / 100:g}" if 1 < number <= 100 else ""
        return self.fail(f"{value} is no share from 0 to 1{percent}.", param, ctx)


def on_examples(store: Store, n: int, split: str | None, where: str | None) -> str:
    """Say which examples, and how many, a result is of: for titles."""
    return f"{n:,} examples{chosen(split, where)}{under(store)}"


def chosen(split: str | None, where: str | None) -> str:
    """Say what chooses the examples; nothing for all."""
    of = "" if split is None else f" of split {split!r}"
    return of if where is None else f"{of} where {' '.join(where.split())}"


def calibrated(notes: Mapping[str, Any]) -> str:
    """Say what temperatures were fitted on, and whether that was counted too: for titles."""
    if "calibrated_on" not in notes:
        return ""
    shared = notes["calibrated_on_counted"]
    counted = f", {shared:,} of them counted here" if shared else ""
    return f", temperatures of split {notes['calibrated_on']!r}{counted}"


def under(store: Store) -> str:
    """Label set that a view of a store goes by, for titles; nothing where it is the store's own."""
    name = store.truth.name
    return "" if name == store.label_sets[0] else f" under labels {name!r}"


def accurate(store: Store, least: float, split: str | None, where: str | None) -> list[str] | None:
    """Models at least so accurate on a split; None for all."""
    if least <= 0:
        return None
    rows = store.models(split=split, where=where).to_pylist()
    chosen = [row["model"] for row in rows if row["accuracy"] >= least]
    if len(chosen) < 2:
        best = max((row["accuracy"] for row in rows), default=0)
        reach = "1 model reaches" if chosen else "no model reaches"
        raise ArgumentError(f"--min-accuracy {least}: {reach} it, pairs need 2 (best {best:.4f})")
    return chosen


def first_of_each(table: pa.Table, column: str, n: int) -> pa.Table:
    """Give the first n rows of each value of a column, for the screen."""
    import pyarrow as pa

    seen: Counter[str] = Counter()
    keep = []
    for value in table[column].to_pylist():
        seen[value] += 1
        keep.append(seen[value] <= n)
    return table.filter(pa.array(keep, pa.bool_()))


@click.command()
@STORE
@click.option("--model", help="Where one model comes from: fingerprint, versions, times, metadata.")
@output_options
def info(store: Path, model: str | None, fmt: str | None, out: Path | None, force: bool) -> None:
    """What a store holds, or where one of its models comes from.

    \b
    Examples:
      dissensus info demo-digits/digits.zoo
      dissensus info demo-digits/digits.zoo --model base
    """
    import pyarrow as pa

    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store)
    facts = opened.info() if model is None else opened.model(model).describe()
    flat, show = (
        (facts, _plain) if sink.fmt != "table" else (_flat(facts) if model else _for_people(facts), _text)
    )
    rows = {"property": list(flat), "value": [show(v) for v in flat.values()]}
    sink.table(pa.table(rows), record=facts)


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Mappings within, one entry a line."""
    return {
        f"{name} {key}".strip(): value
        for name, entry in facts.items()
        if entry is not None
        for key, value in (entry.items() if isinstance(entry, dict) else [("", entry)])
    }


def _for_people(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts about a store with what goes without saying in JSON."""
    halves = "none given; fit and report are seeded halves, the same in every query"
    return _with_left_out({**facts, "splits": facts["splits"] or halves})


def _with_left_out(facts: dict[str, Any]) -> dict[str, Any]:
    """Images that could not be read, which are among the attributes, in lines of their own."""
    attributes = dict(facts["attributes"])
    record = attributes.pop("left_out", None)
    if not isinstance(record, dict) or "images" not in record:
        return facts
    lines = [f"{name} ({why})" for name, why in record["images"].items()]
    if record["count"] > NAMED:
        lines[NAMED:] = [f"… and {record['count'] - NAMED:,} more, see --format json"]
    named = {f"left_out {number}": line for number, line in enumerate(lines, 1)}
    return {**facts, "attributes": attributes, "left_out": record["summary"], **named}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(value[:NAMED]) + (f", … ({len(value)})" if len(value) > NAMED else "") or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


@click.command()
@STORE
@click.option("--split", help="Accuracy on this split only.")
@WHERE
@LABELS
@click.option("--top-k", type=int, metavar="K", help="Add the share with a right class among the first K.")
@click.option("--all-columns", is_flag=True, help="Show all recorded metadata on the screen too.")
@output_options
def models(
    store: Path,
    split: str | None,
    where: str | None,
    labels: str | None,
    top_k: int | None,
    all_columns: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Models of a store, the most accurate first.

    JSON, CSV and Parquet hold all recorded metadata; the screen shows the main columns. With --labels
    another label set of the store decides what is right (`dissensus info` lists them); examples without a
    right class in it are not counted. With --top-k models with hard labels only have no such share: they rank
    nothing.

    \b
    Examples:
      dissensus models demo-digits/digits.zoo
      dissensus models demo-digits/digits.zoo --split report --format json
      dissensus models demo-digits/digits.zoo --where 'label in (3, 8)'
      dissensus models demo-digits/digits.zoo --top-k 3
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    table = opened.models(split=split, where=where, top_k=top_k)
    table = table.sort_by([("accuracy", "descending"), ("model", "ascending")])
    narrowed = ("" if where is None else f" where {' '.join(where.split())}") + under(opened)
    counted = f"{narrowed} ({len(opened.rows(split, where)):,} examples counted)" if narrowed else ""
    models = "model" if table.num_rows == 1 else "models"
    title = f"{table.num_rows:,} {models}, accuracy on {split or 'all examples'}{counted}"
    if sink.fmt == "table" and not all_columns:
        main = (
            "model",
            "kind",
            "accuracy",
            f"top{top_k}_accuracy",
            "category",
            "architecture",
            "params",
            "examples_per_s",
        )
        table = table.select([name for name in main if name in table.column_names])
    if top_k is not None and (n := table[f"top{top_k}_accuracy"].null_count):
        are = f"{n:,} models have" if n > 1 else "1 model has"
        click.echo(f"Note: {are} no top-{top_k} accuracy: hard labels rank nothing", err=True)
    sink.table(table, title, [_without_nulls(row) for row in table.to_pylist()])


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
