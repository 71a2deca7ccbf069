"""What a job will take on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options

if TYPE_CHECKING:
    from dissensus.bench.planner import Prediction


CAPTION = (
    "Expected on this machine, compiled and with files in memory, from measurements at small sizes. The\n"
    "last line says how many times more work this size has than the largest of them, of the kind that\n"
    "grew most: far above 1 it is a guess."
)
GUESS = 1000  # times the work that was measured
LEAST_SHARE = 0.01  # kinds of work that take less are not named
MOST = 10**9  # models, examples or classes: more are a slip


@click.command()
@click.argument("size", metavar="STORE|M,N,C")
@click.argument("job")
@click.option("--calibrate", is_flag=True, help="Measure this machine anew.")
@output_options
def plan(size: str, job: str, calibrate: bool, fmt: str | None, out: Path | None, force: bool) -> None:
    """Time, memory and disk that a job will take here: store, ingest, pairs, greedy or pair-ensembles.

    The first time a job is asked for, it is measured on this machine at a few small sizes, in about a
    minute; the measurements are kept in the user's cache folder. Predicted is the time of a warm process
    whose files are in memory, on a machine that does nothing else; "between" are the times of which the
    forecast is within 30 %, or farther where it was so of the measurements. Memory is the most private
    memory of the process, rather too much than too little. Ingest is the loop around the models, without
    what they compute. The store is counted as if every model had its logits. "times largest measured"
    compares the work with the most that was measured here, of the kind that grew most: a forecast far above
    1 is a guess.

    \b
    Examples:
      dissensus plan demo-digits/digits.zoo pairs
      dissensus plan 500,50000,1000 greedy
    """
    import pyarrow as pa

    from dissensus.bench.planner import calibrate as measured
    from dissensus.bench.planner import left_to_calibrate, predict

    sink = Sink(fmt, out, force)
    m, n, c = _size(size)
    if calibrate or left_to_calibrate(job):
        click.echo(
            f"Measuring {job} at a few small sizes: about a minute, best while nothing else runs", err=True
        )
    found = predict(job, m, n, c, measured(job, again=calibrate, progress=True))
    if found.beyond > GUESS:
        click.echo(
            f"Note: {found.beyond:,.0f} times as much work as the largest measurement had: a guess; "
            "measure a larger size with dissensus bench sweep",
            err=True,
        )
    _warn(found)
    if sink.fmt == "table":
        told = _readable(found)
        sink.table(pa.table({"property": list(told), "value": list(told.values())}), CAPTION)
    else:
        sink.table(pa.Table.from_pylist([vars(found)]), record=vars(found))


def _warn(found: Prediction) -> None:
    """Say on stderr where the memory that is free here does not suffice."""
    from dissensus.run.memory import available_bytes, told

    free = available_bytes()
    if found.memory_bytes > free:
        click.echo(
            f"Note: {told(found.memory_bytes)} of memory are more than the {told(free)} that are free here",
            err=True,
        )


def _readable(found: Prediction) -> dict[str, str]:
    """The forecast in units for people."""
    from dissensus.ingest.streaming.plan_text import told

    return {
        "job": found.job,
        "models x examples x classes": f"{found.models:,} x {found.examples:,} x {found.classes:,}",
        "time": _time(found.seconds),
        **_shares(found),
        "between": f"{_time(found.seconds_low)} and {_time(found.seconds_high)}",
        "memory": told(found.memory_bytes),
        "store on disk": told(found.store_bytes),
        "times largest measured": f"{found.beyond:.2f}" if found.beyond < 10 else f"{found.beyond:,.0f}",
    }


def _time(seconds: float) -> str:
    from dissensus.ingest.streaming.plan_text import duration

    if seconds < 1:
        return f"{1000 * seconds:.3g} ms" if seconds < 0.1 else f"{seconds:.2f} s"
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _shares(found: Prediction) -> dict[str, str]:
    """What the time is made of, in percent, a line each."""
    shares = {name: seconds / found.seconds for name, seconds in found.parts.items()}
    return {f"  of it {name}": f"{share:.0%}" for name, share in shares.items() if share >= LEAST_SHARE}


def _size(text: str) -> tuple[int, int, int]:
    """Models, examples and classes: three numbers, or those of a store."""
    import dissensus as ds
    from dissensus.errors import ArgumentError

    parts = text.split(",")
    if len(parts) == 3 and all(re.fullmatch(r"\s*[0-9]+\s*", part) for part in parts):
        m, n, c = map(int, parts)
        if min(m, n, c) < 2 or max(m, n, c) > MOST:
            raise click.UsageError(f"{text}: models, examples and classes must be 2 to {MOST:,} each")
        return m, n, c
    if (text.count(",") == 2 or re.fullmatch(r"[\d\s,.-]+", text)) and not Path(text).exists():
        raise click.UsageError(f"{text}: give models, examples and classes, as 500,50000,1000; or a store")
    store = ds.open(text)
    models = len(store.model_ids)
    if not models:
        raise ArgumentError(f"{text} has no models yet: give models, examples and classes instead")
    return models, store.n_examples, store.n_classes
