"""How long do all pairs of tens of thousands of models take, and how much memory, where only some are kept?

1. The 20 best partners of every model by kappa, each size in a process of its own, whose peak memory is told
   with everything in it: interpreter, libraries, the packed answers. First of a small zoo, where they have to
   be the first of the whole matrix.
2. How that time grows with models and with examples, and the exponents (of the three largest sizes).
3. The whole matrix in float32 to disk, beside writing as many bytes and nothing else; both are synced.

Answers are packed before the clock starts. Compiling the formula of the measure, which a question of so many
pairs does each time, counts. Each size runs once.

    python benchmarks/pair_scale.py [--models 61565] [--examples 10000] [--matrix 20000] [--dir DIR]

The default takes a minute and a half, 5 GB below --dir. The result goes to results/<machine>-pair-scale.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.pairs import Answers
from machine import write_result
from measuring import asked, begin, finish, options, peak_bytes, timed

KAPPA, K = "error_consistency", 20
SECONDS, PEAK_BYTES = 60, 1 << 30  # what is aimed at, for the largest
RAW, ZARR, NPY = "writing as many bytes", "matrix to .zarr", "matrix to .npy"


def main() -> None:
    arguments = parse_arguments()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
        return
    frame = begin(__doc__)
    require_equal()
    models, examples = arguments.models, arguments.examples
    by_models = [measured(models // part, examples) for part in (8, 4, 2, 1)]
    by_examples = [measured(models // 8, examples * part // 2) for part in (1, 2, 4, 8)]
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        written = matrices(Path(folder), arguments.matrix, examples)
    largest = by_models[-1]
    report = finish(
        frame,
        models=models,
        examples=examples,
        k=K,
        targets={
            "seconds": {"aim": SECONDS, "found": largest["seconds"]},
            "peak_bytes": {"aim": PEAK_BYTES, "found": largest["peak_bytes"]},
        },
        by_models=by_models,
        by_examples=by_examples,
        exponents={
            "models": exponent(by_models, "models"),
            "examples": exponent(by_examples, "examples"),
        },
        matrix=written,
    )
    show(report)
    print(f"written to {write_result(arguments.out, 'pair-scale', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, models=61_565, examples=10_000)
    parser.add_argument("--matrix", type=int, default=20_000, help="models of the matrix on disk")
    parser.add_argument("--one", type=int, nargs=2, metavar=("MODELS", "EXAMPLES"), help=argparse.SUPPRESS)
    return parser.parse_args()


def zoo(n_models: int, n_examples: int) -> Answers:
    """Models that are right more often on easier examples, packed some at a time."""
    from dissensus.kernels.counts import pack

    rng = np.random.default_rng(0)
    ease = rng.normal(size=n_examples).astype(np.float32)
    chosen = pack(np.ones((1, n_examples), bool))[0]
    packed = np.empty((n_models, len(chosen)), np.uint64)
    for start in range(0, n_models, 1000):
        some = packed[start : start + 1000]
        noise = rng.random((len(some), n_examples), np.float32) * np.float32(3)
        some[:] = pack(noise + ease > rng.uniform(0, 1.5, (len(some), 1)).astype(np.float32))
    return Answers(packed, chosen)


def require_equal() -> None:
    """Partners of a small zoo are the first of its whole matrix."""
    correct = np.random.default_rng(0).random((300, 999)) < 0.7
    values = ds.pairs.MEASURES[KAPPA].finish(ds.pairs.PairCounts.from_correct(correct))
    np.fill_diagonal(values, np.nan)
    first = np.argsort(values, axis=1, kind="stable")[:, :K]
    table = ds.partners(correct, KAPPA, K)
    np.testing.assert_array_equal(table["partner"].to_numpy().astype(int), first.ravel())
    np.testing.assert_array_equal(table[KAPPA], np.take_along_axis(values, first, axis=1).ravel())


def measured(n_models: int, n_examples: int) -> dict[str, Any]:
    """One size in a process of its own."""
    command = [sys.executable, __file__, "--one", str(n_models), str(n_examples)]
    return dict(json.loads(asked(command)))


def one(n_models: int, n_examples: int) -> dict[str, Any]:
    """Seconds and peak memory of one size; kernels are loaded before."""
    ds.partners(zoo(40, n_examples), KAPPA, K)
    answers = zoo(n_models, n_examples)
    seconds = timed(lambda: ds.partners(answers, KAPPA, K))
    peak = peak_bytes()
    pairs = n_models * (n_models - 1) // 2
    size = {"models": n_models, "examples": n_examples, "pairs": pairs}
    return size | {"seconds": seconds, "peak_bytes": peak}


def exponent(runs: list[dict[str, Any]], of: str) -> float:
    """Slope of log time over log size, of the three largest."""
    x, y = (np.log([run[name] for run in runs[-3:]]) for name in (of, "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def matrices(folder: Path, n_models: int, n_examples: int) -> dict[str, Any]:
    """Seconds of the matrix to disk in both forms, and of its bytes alone."""
    answers = zoo(n_models, n_examples)
    for first in ("first.npy", "first.zarr"):  # compiled, loaded
        ds.save_matrix(zoo(40, n_examples), KAPPA, folder / first)
    seconds = {}
    for name, path in ((ZARR, folder / "m.zarr"), (NPY, folder / "m.npy")):
        seconds[name] = timed(lambda path=path: ds.save_matrix(answers, KAPPA, path))
    size = (folder / "m.npy").stat().st_size
    values = np.load(folder / "m.npy", mmap_mode="r")
    some = answers.packed[: min(200, n_models)]
    expected = Answers(some, answers.chosen).counts()
    found = values[: len(some), : len(some)]
    np.testing.assert_array_equal(found, ds.pairs.MEASURES[KAPPA].finish(expected).astype(np.float32))
    seconds[RAW] = timed(lambda: write_raw(folder / "raw", size))
    return {"models": n_models, "bytes": size, "seconds": seconds}


def write_raw(path: Path, size: int) -> None:
    block = np.random.default_rng(0).bytes(4 << 20)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, len(block)):
            file.write(block[: min(len(block), size - start)])
        os.fsync(file.fileno())


def show(report: dict[str, Any]) -> None:
    print(f"{report['k']} best partners by kappa, {report['threads']} threads, {report['machine']}")
    print(f"{'models':>10}{'examples':>10}{'pairs':>16}{'s':>9}{'ns a pair':>11}{'peak MiB':>10}")
    for run in report["by_models"] + report["by_examples"]:
        each = 1e9 * run["seconds"] / run["pairs"]
        size = f"{run['models']:10,}{run['examples']:10,}{run['pairs']:16,}"
        print(f"{size}{run['seconds']:9.2f}{each:11.1f}{run['peak_bytes'] / 2**20:10.0f}")
    grown = ", ".join(f"{name} ** {power:.2f}" for name, power in report["exponents"].items())
    print(f"time grows as {grown}")
    written = report["matrix"]
    print(f"matrix of {written['models']:,} models, {written['bytes'] / 1e9:.2f} GB:")
    for name, seconds in written["seconds"].items():
        rate = written["bytes"] / 1e9 / seconds if seconds else math.inf
        print(f"  {name:24}{seconds:7.2f} s  {rate:5.2f} GB/s")


if __name__ == "__main__":
    main()
