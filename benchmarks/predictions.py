"""How near does `dissensus plan` come to the time and memory of a job, and is it ever too little memory?

Aimed at are forecasts within 30 % of the time and 15 % of the memory, and never less memory than is taken.
Every job is calibrated as `plan` does it, at a few small sizes. Then it is measured at larger ones, each in a
fresh process; the forecasts from the calibration alone are set beside what was measured. Both are kept in
--folder, and a second run goes on with what is missing.

A job of less than three seconds runs four times at least, until 1.5 seconds have passed; the fastest counts,
and calibrations are taken in the same way. What was broken off goes on where it was. Measured stores are
emptied and stay to the end: removing them would slow down those that make the next (`bench/remains.py`).

    python benchmarks/predictions.py [--models 25,100] [--examples 2000,10000] [--classes 10,100]

The default takes about seven minutes on a quiet machine, and 1 GB. The result goes to
results/<machine>-predictions.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from dissensus.bench import Budget, Sweep, sweep
from dissensus.bench.jobs import JOBS
from dissensus.bench.planner import calibration_cells, predict
from dissensus.bench.results import DONE
from machine import write_result
from measuring import begin, first_day, numbers, sweep_options

TIME, MEMORY = 0.30, 0.15  # what is aimed at, as shares


def main() -> None:
    arguments = parse_arguments()
    frame = begin(__doc__)
    sizes = {name: numbers(getattr(arguments, name)) for name in ("models", "examples", "classes")}
    jobs = arguments.jobs.split(",")
    asked = sweep(arguments.folder, **sizes, jobs=jobs)
    known = {job: calibration_cells(job) for job in jobs}
    cells = [cell for job in jobs for cell in (*known[job], *(c for c in asked.cells if c.job == job))]
    one = Sweep(tuple(dict.fromkeys(cells)), arguments.folder, Budget(seconds=60 * arguments.minutes))
    one.run(progress=True)
    calibrated = {job: Sweep(known[job], arguments.folder).done() for job in jobs}
    table = asked.table().to_pylist()
    rows = [beside(row, calibrated[row["job"]]) for row in table if row["status"] == DONE]
    if not rows:
        raise SystemExit("nothing was measured: " + "; ".join(str(row["reason"]) for row in table))
    left = [f"{row['job']}: {row['reason']}" for row in table if row["status"] != DONE]
    frame["date"] = first_day(row["measured_at"] for row in rows)
    report = {**frame, **sizes, "rows": rows, "left_out": left, "targets": targets(rows)}
    print("\n".join(shown(report)))
    print(f"written to {write_result(arguments.out, 'predictions', report)}")


def parse_arguments() -> argparse.Namespace:
    return sweep_options(
        __doc__,
        "predictions-sweep",
        models="25,100",
        examples="2000,10000",
        classes="10,100",
        jobs=",".join(JOBS),
    ).parse_args()


def beside(row: dict[str, Any], known: list[dict[str, Any]]) -> dict[str, Any]:
    """Forecast and measurement of one size."""
    size = {name: row[name] for name in ("models", "examples", "classes")}
    found = predict(row["job"], *size.values(), known)
    measured = {"seconds": row["seconds"], "memory_bytes": row["peak_memory_bytes"]}
    told = {"seconds": found.seconds, "memory_bytes": found.memory_bytes}
    shares = {f"{name}_ratio": told[name] / measured[name] for name in told}
    predicted = {f"predicted_{name}": value for name, value in told.items()}
    more = {"runs": row["runs"], "beyond": found.beyond, "measured_at": row["measured_at"]}
    return {"job": row["job"], **size, **measured, **predicted, **shares, **more}


def targets(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Shares of the forecasts that are as near as was aimed at; for memory, how many are too low."""
    time = [abs(row["seconds_ratio"] - 1) <= TIME for row in rows]
    memory = [0 <= row["memory_bytes_ratio"] - 1 <= MEMORY for row in rows]
    low = [row["memory_bytes_ratio"] < 1 for row in rows]
    return {
        "time within 30 %": {"aim": 1.0, "found": sum(time) / len(rows)},
        "memory within 15 % and not too low": {"aim": 1.0, "found": sum(memory) / len(rows)},
        "memory too low": {"aim": 0.0, "found": sum(low) / len(rows)},
    }


def by_job(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each job, how many of its times were within 30 %, and the ratio that was farthest off."""
    ratios: dict[str, list[float]] = {}
    for row in rows:
        ratios.setdefault(row["job"], []).append(row["seconds_ratio"])
    return {
        job: {
            "within": sum(abs(one - 1) <= TIME for one in some) / len(some),
            "worst": max(some, key=lambda one: max(one, 1 / one)),
        }
        for job, some in ratios.items()
    }


def shown(report: dict[str, Any]) -> Iterator[str]:
    yield f"{report['machine']}, load before {report['load_before']}; the worst first"
    yield f"{'job':16}{'size':>26}{'seconds':>10}{'told':>10}{'ratio':>7}{'MiB':>9}{'told':>9}{'ratio':>7}"
    for row in sorted(report["rows"], key=lambda row: -abs(row["seconds_ratio"] - 1)):
        size = " x ".join(f"{row[name]:,}" for name in ("models", "examples", "classes"))
        time = f"{row['seconds']:10.2f}{row['predicted_seconds']:10.2f}{row['seconds_ratio']:7.2f}"
        mib = [row[name] / 2**20 for name in ("memory_bytes", "predicted_memory_bytes")]
        yield f"{row['job']:16}{size:>26}{time}{mib[0]:9.0f}{mib[1]:9.0f}{row['memory_bytes_ratio']:7.2f}"
    for name, target in report["targets"].items():
        yield f"{name}: {target['found']:.0%} of {len(report['rows'])} forecasts, aim {target['aim']:.0%}"
    for job, found in by_job(report["rows"]).items():
        yield f"{job}: {found['within']:.0%} of the times within {TIME:.0%}, the worst {found['worst']:.2f}"
    yield from report["left_out"]


if __name__ == "__main__":
    main()
