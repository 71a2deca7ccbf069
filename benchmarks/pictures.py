"""Draws how time and memory grow, from the kept results: ours, peers and roofs on one picture.

    python benchmarks/pictures.py [--results results] [--out figures]

From results/<machine>-scaling.json (`comparisons.py --scaled`), -pair-workers.json, -sweep.json and
-predictions.json of the latest date; what is not there is not drawn. PNG and SVG, each readable by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import readme
from dissensus.bench import pictures as sweeps
from dissensus.bench.jobs import JOBS
from dissensus.plots import rendered
from dissensus.plots.scaling import Line, Panel, scaling

FIGURES = Path(__file__).parent / "figures"
MOST = 7  # lines that colours tell apart
NOTE = (
    "Medians of turns in one run, results found equal first; set-up (packing, converting, reading files) is "
    "apart.{dashed} Both axes are logarithmic."
)
WORKERS = (
    "Medians; workers are local processes of one thread that read the store themselves; starting them is not "
    "counted. Dashed: n times as fast on n. All axes are logarithmic."
)
FORECASTS = (
    "Each measurement ran in a process of its own, compiled and imported beforehand, on a synthetic "
    "zoo; memory is private memory, of the whole process. Dashed: what dissensus plan foretold. Both axes "
    "are logarithmic."
)
SIZES = ("models", "examples", "classes")
FORETOLD = (("seconds", "time (s)", 1.0), ("memory_bytes", "peak memory (MiB)", 2.0**20))


@dataclass(frozen=True)
class Contest:
    """A function of the table of comparisons against one of its sizes.

    Attributes
    ----------
    function, size : str
        As the table has them.
    title : str
        What is shown.
    bounds : mapping of str to str
        Implementations that are drawn dashed, and what each is.
    note : str
        What has to be known to compare fairly.
    """

    function: str
    size: str
    title: str
    bounds: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


CONTESTS = (
    Contest(
        "counts of all pairs",
        "models",
        "Counts of all pairs",
        {"popcount roof": "the roof, as many words counted by a bare loop and nothing else, as measured"},
    ),
    Contest(
        "writing a model",
        "examples",
        "Writing a model",
        {"raw pwrite + fsync": "the same bytes without checksums, derived columns or a commit"},
        " What is not synced returns before it is on the disk.",
    ),
    Contest("greedy selection by accuracy", "models", "Steps of greedy selection by accuracy"),
    Contest("ensembles of all pairs", "models", "Ensembles of all pairs"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=readme.RESULTS)
    parser.add_argument("--out", type=Path, default=FIGURES)
    arguments = parser.parse_args()
    readme.RESULTS = arguments.results
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn():
        for fmt in ("png", "svg"):
            (arguments.out / f"scaling-{name}.{fmt}").write_bytes(rendered(figure, fmt))
        print(f"drawn: {arguments.out / f'scaling-{name}'}.png and .svg")


def drawn() -> Iterator[tuple[str, Any]]:
    """Names and figures of all that the results hold."""
    result = readme.newest_or_none("scaling")
    for contest in CONTESTS if result else ():
        rows = [row for row in result["rows"] if row["function"] == contest.function]
        if len({row["sizes"][contest.size] for row in rows}) > 1:
            yield contest.function.replace(" ", "-"), of_contest(contest, rows, result)
    if result := readme.newest_or_none("pair-workers"):
        yield "workers", of_workers(result)
    if (result := readme.newest_or_none("sweep")) and len({row["models"] for row in result["rows"]}) > 1:
        for job, figure in sweeps.pictures(result["rows"]).items():
            yield f"sweep-{job}", figure
    if result := readme.newest_or_none("predictions"):
        for job in dict.fromkeys(row["job"] for row in result["rows"]):
            yield f"plan-{job}", of_forecasts(job, result)


def of_contest(contest: Contest, rows: list[dict[str, Any]], result: dict[str, Any]) -> Any:
    """Time of every implementation against one size; of many peers the fastest at the largest size."""
    names = list(dict.fromkeys(row["implementation"] for row in rows))
    most = max(row["sizes"][contest.size] for row in rows)
    last = {row["implementation"]: row for row in rows if row["sizes"][contest.size] == most}
    fastest = sorted(last, key=lambda name: (last[name]["kind"] != "ours", last[name]["median_s"]))
    shown = [name for name in fastest if name not in contest.bounds][:MOST]
    lines = [line(contest, name, rows) for name in names if name in shown or name in contest.bounds]
    lines.sort(key=lambda one: (one.bound, fastest.index(one.name)))
    fixed = {k: v for k, v in rows[0]["sizes"].items() if k != contest.size}
    sample = ", ".join([*(f"{v:,} {k}" for k, v in fixed.items()), where(result)])
    more = f"the {len(lines)} fastest of {len(names)} ways" if len(lines) < len(names) else ""
    ours = dict(zip(lines[0].x, lines[0].y, strict=True))
    ratios = [replace(one, y=[y / ours[x] for x, y in zip(one.x, one.y, strict=True)]) for one in lines]
    size = f"{contest.size} (number)"
    panels = [Panel(size, "time (ms)", lines, more), Panel(size, "times ours", ratios, "below 1 we lose")]
    dashed = "".join(f" Dashed: {what}." for what in contest.bounds.values())
    title = f"{contest.title}: time against {contest.size}, ours beside others"
    return scaling(title, sample, NOTE.format(dashed=dashed + contest.note), [panels])


def line(contest: Contest, name: str, rows: list[dict[str, Any]]) -> Line:
    found = sorted((r["sizes"][contest.size], r["median_s"]) for r in rows if r["implementation"] == name)
    x, y = [size for size, _ in found], [1e3 * seconds for _, seconds in found]
    return Line(name, x, y, bound=name in contest.bounds)


def of_workers(result: dict[str, Any]) -> Any:
    """Time of threads and of Dask workers on the same axes, and how many times as fast as one they are."""
    times, faster = [], []
    for kind, told in (("threads", "threads of one process"), ("workers", "Dask workers")):
        x, y = ([run[name] for run in result[kind]] for name in (kind, "seconds"))
        times.append(Line(told, x, y))
        faster.append(Line(told, x, [y[0] / seconds for seconds in y]))
    bound = Line("n times as fast on n", times[0].x, [n / times[0].x[0] for n in times[0].x], bound=True)
    ideal = replace(bound, y=[times[0].y[0] / gain for gain in bound.y])
    axis = "threads or workers (number)"
    panels = [
        Panel(axis, "time (s)", [*times, ideal], "dashed: from one thread on"),
        Panel(axis, "times as fast as one", [*faster, bound], "each beside one of its kind"),
    ]
    size = f"{result['models']:,} models x {result['examples']:,} examples x {result['classes']:,} classes"
    title = "A question about all pairs on more threads and workers"
    return scaling(title, f"{', '.join(result['measures'])}; {size}; {where(result)}", WORKERS, [panels])


def of_forecasts(job: str, result: dict[str, Any]) -> Any:
    """Measured and foretold time and memory against each size, the others being the largest."""
    rows = [row for row in result["rows"] if row["job"] == job]
    most = {name: max(row[name] for row in rows) for name in SIZES}
    panels = []
    for what, axis, unit in FORETOLD:
        panels.append([])
        for size in SIZES:
            others = [name for name in SIZES if name != size]
            found = sorted(
                (row[size], row[what] / unit, row[f"predicted_{what}"] / unit)
                for row in rows
                if all(row[name] == most[name] for name in others)
            )
            x, measured, foretold = (list(column) for column in zip(*found, strict=True))
            lines = [Line("measured", x, measured), Line("foretold", x, foretold, bound=True)]
            fixed = ", ".join(f"{most[name]:,} {name}" for name in others)
            panels[-1].append(Panel(f"{size} (number)", axis, lines, fixed if what == "seconds" else ""))
    title = f"{job}: {JOBS[job].summary}" if job in JOBS else job
    sample = f"Time and memory, measured and foretold from a calibration at small sizes; {where(result)}"
    return scaling(title, sample, FORECASTS, panels)


def where(result: dict[str, Any]) -> str:
    return f"{result['machine']}, {result['date']}"


if __name__ == "__main__":
    main()
