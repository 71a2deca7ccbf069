"""How long does `dissensus study` take on a large store, and how much memory?

The paper's figures, curves and claims on a zoo of seeded models (`dissensus bench`), or on a store that is
there already: the command as a user gives it, in a new process, its imports, pictures and files included.
Kernels are compiled before, on a small zoo of as many classes. Memory is what the process holds of its own
(RssAnon, seen a hundred times a second): pages of the mapped store, which the system takes back at will, are
not counted.

What the first table says is recomputed with NumPy from the predicted classes, and has to be the same. The aim
for 100 x 50,000 x 1,000 is 3 minutes and 4 GiB.

    python benchmarks/study.py [--store zoo.zoo] [--models 100] [--examples 50000] [--classes 1000]

A store that is made takes 10 GB below --dir, and is deleted. The result goes to results/<machine>-study.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import dissensus as ds
from dissensus.bench import SyntheticZoo
from dissensus.bench.jobs import empty_store, fill
from machine import write_result
from measuring import anonymous_bytes, begin, compiled_meanwhile, finish, options

SECONDS, PEAK_BYTES = 180, 4 << 30  # what is aimed at
COMPILED = 6, 2_000  # models and examples of the small zoo
SAVED = "[cache] data saved to"  # by numba, of a kernel that was compiled
FIRST = "figure1-inconsistency.parquet"


def main() -> None:
    arguments = parse_arguments()
    frame = begin(__doc__)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        folder = Path(root)
        path = arguments.store or made(folder / "made.zoo", arguments.models, arguments.examples, arguments)
        store = ds.open(path)
        if store.n_examples > COMPILED[1]:
            arguments.classes = store.n_classes
            studied(made(folder / "small.zoo", *COMPILED, arguments), folder / "compiled")
        seconds, peak, compiled = studied(path, folder / "study")
        if compiled and store.n_examples > COMPILED[1]:
            compiled_meanwhile("kernels of the study")
        require_equal(store, folder / "study" / FIRST)
        sizes = {"models": len(store.model_ids), "examples": store.n_examples, "classes": store.n_classes}
    report = finish(
        frame,
        **sizes,
        seconds=seconds,
        peak_anonymous_bytes=peak,
        targets={
            "seconds": {"aim": SECONDS, "found": seconds},
            "peak_anonymous_bytes": {"aim": PEAK_BYTES, "found": peak},
        },
    )
    size = " x ".join(f"{n:,}" for n in sizes.values())
    print(f"{size}: {seconds:.1f} s, {peak / 2**20:,.0f} MiB; {report['machine']}")
    print(f"written to {write_result(arguments.out, 'study', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, models=100, examples=50_000, classes=1_000)
    parser.add_argument("--store", type=Path, help="one that is there; only read")
    return parser.parse_args()


def made(path: Path, models: int, examples: int, arguments: argparse.Namespace) -> Path:
    """Write a zoo."""
    zoo = SyntheticZoo(models, examples, arguments.classes)
    fill(empty_store(zoo, path), zoo, range(models))
    return path


def studied(path: Path, out: Path) -> tuple[float, int, bool]:
    """Study a store in a new process: seconds, the most memory of its own, whether anything was compiled."""
    base = ds.open(path).model_ids[0]
    asked = ["study", path, "--base", base, "--accuracy-band", "0", "1", "--out", out]
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "dissensus_cli", *asked],
            stdout=said,
            stderr=said,
            env=os.environ | {"NUMBA_DEBUG_CACHE": "1"},  # says what is compiled and kept
        )
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"the study failed: {said.read()[-2000:]}")
        said.seek(0)
        return seconds, peak, SAVED in said.read()


def require_equal(store: ds.Store, table: Path) -> None:
    """Error inconsistency with the base, of every model, from predicted classes alone."""
    rows, found = store.rows("report"), pq.read_table(table)
    labels = store.examples()["label"].to_numpy()[rows]
    right = dict(zip(store.model_ids, store.top1()[:, rows] == labels, strict=True))
    base = right[store.model_ids[0]]
    expected = [float(np.mean(right[model] != base)) for model in found["model"].to_pylist()]
    if not np.allclose(found["error_inconsistency"].to_numpy(), expected, rtol=0, atol=1e-12):
        raise SystemExit("error inconsistency is another than that of the predicted classes")


if __name__ == "__main__":
    main()
