"""How do time and memory of all pairs, greedy selection and pair ensembles grow, up to a store of 52 GB?

`dissensus bench sweep` at growing numbers of models, each job in a new process that compiles nothing while
the clock runs; measurements lie in --folder, and the same command goes on with what is missing. The largest
zoo, of the scale of the reference zoo, takes 52 GB there while it is measured. What the disk or --minutes
have no room for is left out, and named with the reason in what is printed, in the result and below its table.
Beside each measurement stands what `dissensus plan` foretells from calibrations at small sizes.
A zoo that is there already (`SyntheticZoo` of seed 0 with as many examples and classes, and at least as many
models) is only read: --store.

    python benchmarks/sweep.py [--models 25,50,100,200,500] [--minutes 30] [--store big.zoo]

The result goes to results/<machine>-sweep.json; `pictures.py` draws it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dissensus.bench import Budget, sweep
from dissensus.bench.planner import calibrate
from dissensus.bench.results import DONE
from dissensus.store.catalog import Store
from machine import write_result
from measuring import begin, first_day, numbers, sweep_options
from predictions import beside

KEPT = ("job", "models", "examples", "classes", "seconds", "peak_memory_bytes", "base_memory_bytes")
KEPT += ("read_bytes", "write_bytes", "measured_at", "machine")
FORETOLD = ("predicted_seconds", "predicted_memory_bytes", "seconds_ratio", "memory_bytes_ratio", "beyond")


def main() -> None:
    arguments = parse_arguments()
    frame = begin(__doc__)
    sizes = {name: numbers(getattr(arguments, name)) for name in ("models", "examples", "classes")}
    budget = Budget(seconds=60 * arguments.minutes)
    jobs = arguments.jobs.split(",")
    one = sweep(arguments.folder, **sizes, jobs=jobs, budget=budget, store=arguments.store)
    known = {job: calibrate(job, progress=True) for job in jobs}
    table = one.run(progress=True).to_pylist()
    rows = [
        {name: row[name] for name in KEPT} | forecast(row, known) for row in table if row["status"] == DONE
    ]
    left = left_out(table)
    if not rows:
        raise SystemExit("nothing was measured: " + "; ".join(left))
    frame["date"] = first_day(row["measured_at"] for row in rows)
    there = len(Store(arguments.store).model_ids) if arguments.store else None
    report = {
        **frame,
        **sizes,
        "store_models": there,
        "rows": rows,
        "growth": one.growth().to_pylist(),
        "left_out": left,
    }
    print("\n".join([*(shown(row) for row in rows), *left]))
    print(f"written to {write_result(arguments.out, 'sweep', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = sweep_options(
        __doc__,
        "large-sweep",
        models="25,50,100,200,500",
        examples="50000",
        classes="1000",
        jobs="pairs,greedy,pair-ensembles",
    )
    parser.add_argument("--store", type=Path, help="the largest zoo, where it is there already; only read")
    return parser.parse_args()


def forecast(row: dict[str, Any], known: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What calibrations at small sizes alone foretell."""
    both = beside(row, known[row["job"]])
    return {name: both[name] for name in FORETOLD}


def left_out(table: Sequence[dict[str, Any]]) -> list[str]:
    """Sizes that were not measured and why, jobs that lack the same of one size together."""
    jobs: dict[tuple[str, str], list[str]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for row in table:
        if row["reason"]:
            size = " x ".join(f"{row[name]:,}" for name in ("models", "examples", "classes"))
            same = size, row["reason"].split(",")[0]  # what else it says, such as what is free, may differ
            jobs.setdefault(same, []).append(row["job"])
            reasons.setdefault(same, row["reason"])
    return [f"{same[0]} ({', '.join(names)}): {reasons[same]}" for same, names in jobs.items()]


def shown(row: dict[str, Any]) -> str:
    size = " x ".join(f"{row[name]:,}" for name in ("models", "examples", "classes"))
    return f"{row['job']:16}{size:>24}{row['seconds']:10.2f} s{row['peak_memory_bytes'] / 2**20:10,.0f} MiB"


if __name__ == "__main__":
    main()
