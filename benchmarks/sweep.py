"""How do time and memory of all pairs, greedy selection and pair ensembles grow, up to a store of 10 GB?

`dissensus bench sweep` at growing numbers of models, each job in a new process that compiles nothing while
the clock runs; measurements lie in --folder, and the same command goes on with what is missing. The largest
zoo takes 10 GB there while it is measured. One that is there already (`SyntheticZoo` of seed 0 with as many
examples and classes, and at least as many models) is only read: --store.

    python benchmarks/sweep.py [--models 25,50,100] [--examples 50000] [--classes 1000] [--store big.zoo]

The result goes to results/<machine>-sweep.json; `pictures.py` draws it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dissensus.bench import Budget, sweep
from dissensus.bench.results import DONE
from machine import write_result
from measuring import begin, first_day, numbers, sweep_options

KEPT = ("job", "models", "examples", "classes", "seconds", "peak_memory_bytes", "base_memory_bytes")
KEPT += ("read_bytes", "write_bytes", "measured_at", "machine")


def main() -> None:
    arguments = parse_arguments()
    frame = begin(__doc__)
    sizes = {name: numbers(getattr(arguments, name)) for name in ("models", "examples", "classes")}
    budget = Budget(seconds=60 * arguments.minutes)
    jobs = arguments.jobs.split(",")
    one = sweep(arguments.folder, **sizes, jobs=jobs, budget=budget, store=arguments.store)
    table = one.run(progress=True).to_pylist()
    rows = [{name: row[name] for name in KEPT} for row in table if row["status"] == DONE]
    left = [f"{row['job']} at {row['models']} models: {row['reason']}" for row in table if row["reason"]]
    if not rows:
        raise SystemExit("nothing was measured: " + "; ".join(left))
    frame["date"] = first_day(row["measured_at"] for row in rows)
    report = {**frame, **sizes, "rows": rows, "growth": one.growth().to_pylist(), "left_out": left}
    print("\n".join([*(shown(row) for row in rows), *left]))
    print(f"written to {write_result(arguments.out, 'sweep', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = sweep_options(
        __doc__,
        "large-sweep",
        models="25,50,100",
        examples="50000",
        classes="1000",
        jobs="pairs,greedy,pair-ensembles",
    )
    parser.add_argument("--store", type=Path, help="the largest zoo, where it is there already; only read")
    return parser.parse_args()


def shown(row: dict[str, Any]) -> str:
    size = " x ".join(f"{row[name]:,}" for name in ("models", "examples", "classes"))
    return f"{row['job']:16}{size:>24}{row['seconds']:10.2f} s{row['peak_memory_bytes'] / 2**20:10,.0f} MiB"


if __name__ == "__main__":
    main()
