"""Measure the engine itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options, render

if TYPE_CHECKING:
    import pyarrow as pa


MOST = 10**9  # models, examples or classes: more are a slip


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """Whole numbers with commas between."""

    name = "N,N,…"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read "100,200" as (100, 200)."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 100,200,400", param, ctx)
        if max(found) > MOST:
            self.fail(f"{max(found):,} is more than {MOST:,}", param, ctx)
        return found


@click.group()
def bench() -> None:
    """Measure the engine on synthetic zoos of any size.

    \b
    Examples:
      dissensus bench sweep --models 20,40 --examples 2000 --classes 10 --plan
      dissensus bench plot sweep --out pictures
    """


@bench.command()
@click.option("--models", type=Numbers(), default="25,50,100", show_default=True, help="Numbers of models.")
@click.option("--examples", type=Numbers(), default="10000", show_default=True, help="Numbers of examples.")
@click.option("--classes", type=Numbers(), default="10,100", show_default=True, help="Numbers of classes.")
@click.option(
    "--jobs",
    default="store,ingest,pairs,greedy,pair-ensembles",
    show_default=True,
    help="What is measured.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="sweep",
    show_default=True,
    help="Keeps sweep.parquet, and stores while they are needed.",
)
@click.option("--budget", default="", help="Time and disk it may take: 30min, 20GiB, or 30min,20GiB.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the synthetic zoos."
)
@click.option("--plan", is_flag=True, help="Tell what would be measured and what it takes, and do nothing.")
@output_options
def sweep(
    models: tuple[int, ...],
    examples: tuple[int, ...],
    classes: tuple[int, ...],
    jobs: str,
    folder: Path,
    budget: str,
    seed: int,
    plan: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Time, memory and disk traffic of each job at all sizes, and how they grow.

    Zoos are made from a seed, with accuracies, calibration and common mistakes as real ones have. Each
    measurement runs in a fresh process; results are kept in sweep.parquet as they come, and the same command
    goes on with what is missing. What does not fit the budget is skipped, with the reason.

    \b
    Examples:
      dissensus bench sweep --models 20,40 --examples 2000 --classes 10 --plan
      dissensus bench sweep --models 100,200,400 --examples 10000,50000 --classes 10,1000 --budget 60min,80GiB
    """
    from dissensus.bench import Budget
    from dissensus.bench import sweep as laid_out
    from dissensus.run.memory import told

    sink = Sink(fmt, out, force)
    limit = Budget.of(budget) if budget else Budget()
    names = [name.strip() for name in jobs.split(",") if name.strip()]
    one = laid_out(
        folder, models=models, examples=examples, classes=classes, jobs=names, seed=seed, budget=limit
    )
    left = one.left()
    title = (
        f"{len(left)} of {len(one.cells)} measurements left; at most {told(one.disk_bytes)} of stores at once"
    )
    if plan:
        planned = one.plan()
        sink.table(_readable(planned) if sink.fmt == "table" else planned, f"{title}\n{_total(planned)}")
        return
    click.echo(title, err=True)
    table = one.run(progress=True)
    failed = table["status"].to_pylist().count("failed")
    if sink.fmt != "table":
        sink.table(table)
        sys.exit(1 if failed else 0)
    for row in table.to_pylist():
        if row["reason"]:
            sizes = " x ".join(f"{row[name]:,}" for name in ("models", "examples", "classes"))
            click.echo(f"{row['status']}: {row['job']} at {sizes}: {row['reason']}", err=True)
    title = "Exponents of growth, over these sizes: twice the size takes 2 to this power as much"
    parts = [(_results(table), f"Results, also in {one.results}")]
    growth = _growth(one.growth())
    if growth.num_rows:
        parts.append((growth, title))
    sink.send("\n".join(render(part, name, to_file=out is not None) for part, name in parts))
    sys.exit(1 if failed else 0)


def _readable(planned: pa.Table) -> pa.Table:
    """The plan in units for people."""
    import pyarrow as pa

    from dissensus.ingest.streaming.plan_text import duration
    from dissensus.run.memory import told

    def text(seconds: float | None) -> str:
        if not seconds:
            return "unknown" if seconds is None else "none"
        if seconds < 0.01:
            return "under 0.01 s"
        return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)

    rows = [
        {name: row[name] for name in ("job", "models", "examples", "classes")}
        | {
            "store_on_disk": told(row["disk_bytes"]),
            "filling_the_store": text(row["filling_seconds"]),
            "the_job_itself": text(row["seconds"]),
            "within_budget": "yes" if row["fits"] else "no",
        }
        for row in planned.to_pylist()
    ]
    return pa.Table.from_pylist(rows)


def _results(table: pa.Table) -> pa.Table:
    """Results in units for people."""
    import pyarrow as pa

    from dissensus.run.memory import told

    bytes_of = {"peak_memory": "peak_memory_bytes", "read_from_disk": "read_bytes", "written": "write_bytes"}
    rows = [
        {name: row[name] for name in ("job", "models", "examples", "classes", "status", "seconds")}
        | {name: None if row[column] is None else told(row[column]) for name, column in bytes_of.items()}
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows)


def _growth(table: pa.Table) -> pa.Table:
    """Exponents of what was measured, called as people call it."""
    table = table.filter([n > 0 for n in table["measurements"].to_pylist()])
    names = {"seconds": "time", "grown_memory_bytes": "memory that the job adds"}
    column = [names[of] for of in table["of"].to_pylist()]
    return table.set_column(table.schema.get_field_index("of"), "of", [column])


def _total(planned: pa.Table) -> str:
    """How long all of it takes, as far as that is known."""
    from dissensus.ingest.streaming.plan_text import about

    if not planned.num_rows:
        return "Nothing is left to measure; without --plan the results are shown"
    rows = [row for row in planned.to_pylist() if row["fits"]]
    if not rows:
        return "Nothing is within the budget"
    known = [row[name] for row in rows for name in ("filling_seconds", "seconds") if row[name] is not None]
    jobs = dict.fromkeys(row["job"] for row in rows if row["seconds"] is None)
    filled = any(row["filling_seconds"] is None for row in rows)
    unknown = [*jobs, *(["store"] if filled and "store" not in jobs else [])]
    tried = f"; unknown for {', '.join(unknown)}: try dissensus plan M,N,C JOB first" if unknown else ""
    return f"What is within the budget takes {about(sum(known))} and a few seconds a process{tried}"


@bench.command()
@click.argument("sweep", type=click.Path(path_type=Path), metavar="SWEEP")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the pictures.  [default: that of the sweep]",
)
@click.option("--force", is_flag=True, help="Overwrite pictures.")
def plot(sweep: Path, out: Path | None, force: bool) -> None:
    """Pictures of a sweep: time and memory of each job against every size that varies, PNG and SVG.

    SWEEP is the folder of a sweep, or its Parquet file. Only measurements of the machine and the versions of
    the last one are shown. Needs matplotlib: pip install 'dissensus[plots]'.

    \b
    Examples:
      dissensus bench plot sweep --out pictures
    """
    from dissensus.bench.pictures import file_name, pictures, sweep_rows
    from dissensus.plots import rendered, require_plots
    from dissensus.store.files import writing

    require_plots()
    folder = out or (sweep if sweep.is_dir() else sweep.parent)
    drawn = pictures(sweep_rows(sweep))
    wanted = {folder / f"{file_name(job)}.{end}": (job, end) for job in drawn for end in ("png", "svg")}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sinks = {path: Sink(end, path, force, ("png", "svg")) for path, (_, end) in wanted.items()}
    for path, (job, end) in wanted.items():
        sinks[path].send(rendered(drawn[job], end))
