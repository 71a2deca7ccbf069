"""Looking at a store and looking after it: info, models, verify, remove."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Sink, output_options

if TYPE_CHECKING:
    from dissensus import Store

STORE = click.argument("store", type=click.Path(path_type=Path))
LABELS = click.option("--labels", help="Label set that decides what is right. [default: the store's own]")


def under(store: Store) -> str:
    """Label set that a view of a store goes by, for titles; nothing where it is the store's own."""
    name = store.truth.name
    return "" if name == store.label_sets[0] else f" under labels {name!r}"


@click.command()
@STORE
@output_options
def info(store: Path, fmt: str | None, out: Path | None, force: bool) -> None:
    """What a store holds.

    \b
    Example:
      dissensus info demo-digits/digits.zoo
    """
    import pyarrow as pa

    import dissensus as ds

    sink = Sink(fmt, out, force)
    facts = ds.open(store).info()
    show = _text if sink.fmt == "table" else _plain
    rows = {"property": list(facts), "value": [show(v) for v in facts.values()]}
    sink.table(pa.table(rows), record=facts)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(value[:8]) + (f", … ({len(value)})" if len(value) > 8 else "") or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


@click.command()
@STORE
@click.option("--split", help="Accuracy on this split only.")
@LABELS
@click.option("--all-columns", is_flag=True, help="Show all recorded metadata on the screen too.")
@output_options
def models(
    store: Path,
    split: str | None,
    labels: str | None,
    all_columns: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Models of a store, the most accurate first.

    JSON, CSV and Parquet hold all recorded metadata; the screen shows the main columns. With --labels
    another label set of the store decides what is right (`dissensus info` lists them); examples without a
    right class in it are not counted.

    \b
    Examples:
      dissensus models demo-digits/digits.zoo
      dissensus models demo-digits/digits.zoo --split report --format json
    """
    import dissensus as ds

    sink = Sink(fmt, out, force)
    opened = ds.open(store).under(labels)
    table = opened.models(split=split).sort_by([("accuracy", "descending"), ("model", "ascending")])
    counted = f"{under(opened)} ({len(opened.rows(split)):,} examples counted)" if under(opened) else ""
    title = f"{table.num_rows} models, accuracy on {split or 'all examples'}{counted}"
    if sink.fmt == "table" and not all_columns:
        main = ("model", "kind", "accuracy", "category", "architecture", "params", "examples_per_s")
        table = table.select([name for name in main if name in table.column_names])
    sink.table(table, title, [_without_nulls(row) for row in table.to_pylist()])


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


@click.command()
@STORE
@click.option("--quick", is_flag=True, help="Sizes and small records only; the blocks of logits stay unread.")
@output_options
def verify(store: Path, quick: bool, fmt: str | None, out: Path | None, force: bool) -> None:
    """Check every file of a store against what was committed; exit status 1 if anything is damaged.

    \b
    Example:
      dissensus verify demo-digits/digits.zoo
    """
    import pyarrow as pa

    import dissensus as ds

    sink = Sink(fmt, out, force)
    report = ds.open(store).verify(quick=quick)
    rows = {"model": [f.model for f in report.findings], "problem": [f.problem for f in report.findings]}
    rate = report.checked_bytes / max(report.seconds, 1e-9)
    summary = (
        f"{report.n_models} models, {report.checked_bytes / 1e6:,.1f} MB checked in {report.seconds:.2f} s "
        f"({rate / 1e9:.2f} GB/s): {'sound' if report.ok else f'{len(report.findings)} problems'}"
    )
    record = {
        "ok": report.ok,
        "models": report.n_models,
        "checked_bytes": report.checked_bytes,
        "seconds": report.seconds,
        "quick": report.quick,
        "problems": [{"model": f.model, "problem": f.problem} for f in report.findings],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()})
    if sink.fmt == "table" and report.ok:
        sink.send(summary + "\n")
    else:
        sink.table(table, summary, record)
    sys.exit(0 if report.ok else 1)


@click.command()
@STORE
@click.argument("models", nargs=-1, required=True)
def remove(store: Path, models: tuple[str, ...]) -> None:
    """Take models out of a store; their files are deleted.

    \b
    Example:
      dissensus remove my.zoo resnet18.a1_in1k
    """
    import dissensus as ds

    opened = ds.open(store, damaged="skip")  # a damaged model is what one may want to remove
    for model_id in dict.fromkeys(models):
        opened.remove(model_id)
        click.echo(f"removed {model_id}")
