"""How much faster than a matrix product are the counts of all pairs of models, on the same threads?

The contenders are those of `pair_contests.COUNTS`, and first have to give the same counts. Then they run in
turns in one process, each timed run straight after an untimed one of the same contender, so that none pays
for the caches and pages another left. Times are medians, of arrays in memory. `K @ K.T` is the floor to beat:
NumPy computes only one triangle of it (SYRK), as our kernel does. The general product (GEMM) takes a copy of
K as its other side. The popcount roof is as many ANDs, popcounts and sums of words, of rows that never leave
the first cache. Kappa, packing included, is timed after them.

    python benchmarks/pair_counts.py [--models 512] [--examples 50000] [--repeats 21] [--threads 2]

The result is written to results/<machine>-pair-counts.json beside this file, or into another folder (--out).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from machine import write_result
from measuring import begin, chosen, finish, options


def main() -> None:
    arguments = parse_arguments()
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # read when NumPy and numba are first imported
        os.environ[f"{library}_NUM_THREADS"] = str(arguments.threads)
    from contests import race
    from pair_contests import COHEN, COUNTS

    frame, size = begin(__doc__), chosen(arguments, "models", "examples")
    kappa = {COHEN.ours: COHEN.ways[COHEN.ours]}
    with tempfile.TemporaryDirectory() as place:
        times = race(COUNTS, Path(place), size, arguments.repeats)
        times |= race(COHEN, Path(place), size, arguments.repeats, kappa)
    report = finish(
        frame,
        **size,
        threads=arguments.threads,
        median_s={name: found.median for name, found in times.items()},
        times_s={name: found.seconds for name, found in times.items()},
    )
    show(report, COUNTS.ours)
    print(f"written to {write_result(arguments.out, 'pair-counts', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, models=512, examples=50_000, repeats=21)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def show(report: dict[str, Any], ours: str) -> None:
    medians = report["median_s"]
    size = f"{report['models']} models x {report['examples']} examples"
    print(f"{size}, {report['threads']} threads, {report['machine']}, load before {report['load_before']}")
    print(f"{'':30}{'median ms':>10}{'dissensus counts are':>22}")
    for name, seconds in sorted(medians.items(), key=lambda item: item[1]):
        ratio = "" if name == ours else f"{seconds / medians[ours]:.1f} x faster"
        print(f"{name:30}{1000 * seconds:10.2f}{ratio:>22}")


if __name__ == "__main__":
    main()
