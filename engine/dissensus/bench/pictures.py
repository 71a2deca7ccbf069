"""Pictures of a sweep: time and memory of each job against every size that varies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError
from dissensus.plots.frame import COLOURS
from dissensus.plots.scaling import Line, Panel, scaling

from .growth import SIZES, exponents
from .jobs import JOBS
from .results import DONE, RESULTS, Row, read_rows

WHAT = {"seconds": "time (s)", "peak_memory_bytes": "peak memory (MiB)"}
UNIT = {"seconds": 1.0, "peak_memory_bytes": 2.0**20}
NOTE = (
    "Synthetic zoos. Each measurement ran in a process of its own, compiled and imported beforehand, "
    "with files in memory where they fit; memory is private memory, of the whole process. Above a panel: the "
    "exponent by which it grows, fitted to all measurements of the job. Both axes are logarithmic."
)


def sweep_rows(path: str | Path) -> list[Row]:
    """Measurements of a sweep that were done, of the machine and versions of the last one.

    Parameters
    ----------
    path : str or Path
        Folder of the sweep, or its Parquet file.

    Raises
    ------
    ArgumentError
        Nothing was measured there.
    """
    file = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
    rows = [row for row in read_rows(file) if row["status"] == DONE]
    if not rows:
        raise ArgumentError(f"{file} holds no measurement: make some with dissensus bench sweep --folder DIR")
    last = max(rows, key=lambda row: str(row["measured_at"]))
    return [row for row in rows if all(row[name] == last[name] for name in ("machine", "versions"))]


def pictures(rows: Sequence[Row]) -> dict[str, Any]:
    """Draw a figure for each job of which a size varies, by the name of the job.

    Parameters
    ----------
    rows : sequence of dict
        From `sweep_rows`.

    Raises
    ------
    ArgumentError
        No size varies: there is no growth to show.
    MissingDependency
        matplotlib is not installed.
    """
    found = {}
    for job in dict.fromkeys(row["job"] for row in rows):
        own = [row for row in rows if row["job"] == job]
        varied = [size for size in SIZES if len({row[size] for row in own}) > 1]
        if varied:
            found[job] = _picture(job, own, varied)
    if not found:
        raise ArgumentError("no size varies in this sweep, so nothing grows: measure a second size")
    return found


def _picture(job: str, rows: Sequence[Row], varied: Sequence[str]) -> Any:
    grown = {what: exponents(rows, what) for what in WHAT}
    panels = [[_panel(rows, what, size, grown[what].get(size)) for size in varied] for what in WHAT]
    about = f": {JOBS[job].summary}" if job in JOBS else ""
    count, against = len(rows), " and ".join(varied)
    sample = (
        f"Time and memory against {against}: {count} measurement{'s' if count > 1 else ''} on "
        f"{rows[0]['machine']}, {str(rows[0]['measured_at'])[:10]}"
    )
    return scaling(f"{job}{about}", sample, NOTE, panels)


def _panel(rows: Sequence[Row], what: str, size: str, exponent: float | None) -> Panel:
    """One quantity against one size, a line for each of the other two sizes."""
    others = [name for name in SIZES if name != size]
    groups: dict[tuple[int, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row[size]):
        groups.setdefault(tuple(row[name] for name in others), []).append(row)
    joined = [found for found in sorted(groups.items()) if len(found[1]) > 1]
    lines = [
        Line(
            " x ".join(f"{n:,} {name}" for n, name in zip(key, others, strict=True)),
            [row[size] for row in found],
            [max(row[what], 1e-9) / UNIT[what] for row in found],
        )
        for key, found in _some(joined)
    ]
    short = WHAT[what].split(" (")[0]
    left = f"; {len(lines)} of {len(joined)} lines shown" if len(lines) < len(joined) else ""
    note = (
        f"{short} ~ {size}^{round(exponent, 2) + 0:.2f}{left}"
        if exponent is not None
        else left.removeprefix("; ")
    )
    return Panel(f"{size} (number)", WHAT[what], lines, note)


def _some(found: Sequence[tuple[tuple[int, ...], list[Row]]]) -> Sequence[tuple[tuple[int, ...], list[Row]]]:
    """As many as there are colours, evenly chosen, the first and the last among them."""
    most = len(COLOURS)
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def file_name(job: str) -> str:
    """Name of a job's picture, without its ending."""
    return "scaling-" + re.sub(r"[^a-z0-9]+", "-", job.lower())
