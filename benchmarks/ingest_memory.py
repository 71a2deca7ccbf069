"""Does the peak memory of `infer` grow with the number of examples, and does the plan tell it?

Small convolutional networks, one or several in memory at once, run over generated grey images, which cost
nothing to keep, into a store of 100 classes. Each size has its own fresh process. Ids and labels are held
whole and grow with N. Nothing else must: an example's image has 256 bytes, its stored logits 200, its derived
columns and top-K view 84. What `plan_ingest` says beforehand, in a
process of its own kind, must not be less than what is measured.

    python benchmarks/ingest_memory.py [--examples 20000 200000] [--resident 1 8] [--batch-size 256]

The result goes to results/<machine>-ingest-memory.json beside this file, or into another folder (--out).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import write_result
from measuring import begin, options

CLASSES, SIDE = 100, 16


def main(given: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(given)
    if arguments.child:
        n_examples, n_models = arguments.examples[0], arguments.resident[0]
        print(json.dumps(measure(n_examples, n_models, arguments.batch_size, arguments.threads)))
        return
    frame = begin(__doc__)
    runs = [in_own_process(n, m, arguments) for m in arguments.resident for n in arguments.examples]
    report = {
        **frame,
        "classes": CLASSES,
        "image": [SIDE, SIDE],
        "batch_size": arguments.batch_size,
        "threads": arguments.threads,
        "runs": runs,
        "growth_bytes_per_example": {
            str(m): growth([run for run in runs if run["resident"] == m]) for m in arguments.resident
        },
    }
    show(report)
    print(f"written to {write_result(arguments.out, 'ingest-memory', report)}")


def parse_arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = options(__doc__, batch_size=256)
    parser.add_argument("--examples", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--resident", type=int, nargs="+", default=[1, 8], help="models in memory at once")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def in_own_process(n_examples: int, n_models: int, arguments: argparse.Namespace) -> dict[str, Any]:
    options = [f"--batch-size={arguments.batch_size}", f"--threads={arguments.threads}", "--child"]
    sizes = ["--examples", str(n_examples), "--resident", str(n_models)]
    command = [sys.executable, __file__, *sizes, *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def measure(n_examples: int, n_models: int, batch_size: int, threads: int) -> dict[str, Any]:
    """Memory in bytes: before the run (libraries, models, ids and labels of data and store), and its peak."""
    import torch

    import dissensus as ds
    from dissensus.ingest import TorchModel, plan_ingest

    torch.set_num_threads(threads)
    examples = generated(n_examples)
    models = [TorchModel(f"small{number}", network()) for number in range(n_models)]
    options: dict[str, Any] = {"batch_size": batch_size, "device": "cpu", "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        store = ds.create_from(Path(folder) / "zoo", examples)
        ids_and_labels = len(store.example_ids) + len(
            store.labels
        )  # read now, so that they count as held before
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = status("VmRSS")
        rows = ds.infer(store, models, examples, resident=n_models, **options).rows
        peak = status("VmHWM")
        # afterwards: a probe before it would leave less to be taken
        plan = plan_ingest(Path(folder) / "new", models, examples, batch_size=batch_size, device="cpu")
        stored = sum(path.stat().st_size for path in (store.path / "models").rglob("*") if path.is_file())
    if any(row.status != "done" for row in rows) or ids_and_labels != 2 * n_examples:
        raise SystemExit(f"the run failed: {rows}")
    return {
        "examples": n_examples,
        "resident": n_models,
        "before_bytes": before,
        "peak_bytes": peak,
        "planned_bytes": plan.memory.host_bytes,
        "stored_bytes": stored,
        "examples_per_s": round(rows[0].examples_per_s),
    }


def generated(n_examples: int) -> Any:
    """An example source whose pixels are a function of row and column, made when they are read."""
    import numpy as np

    from dissensus.ingest.data.examples import row_ids

    class Generated:
        ids = row_ids(n_examples)
        labels = np.arange(n_examples) % CLASSES
        classes = tuple(str(c) for c in range(CLASSES))
        splits = None
        fingerprint = f"generated {n_examples}"

        def __len__(self) -> int:
            return n_examples

        def read(self, start: int, stop: int) -> Any:
            seed = np.arange(start, stop, dtype=np.uint32)[:, None] * np.uint32(2654435761)
            mixed = (seed ^ np.arange(SIDE * SIDE, dtype=np.uint32)) * np.uint32(2246822519)
            return (mixed >> np.uint32(24)).astype(np.uint8).reshape(-1, SIDE, SIDE)

    return Generated()


def network() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, CLASSES),
    )


def status(key: str) -> int:
    """A size in bytes from /proc/self/status: VmRSS is resident memory now, VmHWM its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {key}; this benchmark needs Linux")


def growth(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Bytes an example between the smallest and the largest run."""
    first, last = runs[0], runs[-1]
    n = max(last["examples"] - first["examples"], 1)
    held = {name: last[f"{name}_bytes"] - first[f"{name}_bytes"] for name in ("before", "peak", "stored")}
    held["infer"] = held["peak"] - held["before"]
    return {name: round(value / n, 1) for name, value in held.items()}


def show(report: dict[str, Any]) -> None:
    print(f"{CLASSES} classes, batches of {report['batch_size']}, {report['machine']}")
    columns = ["models", "examples", "before MiB", "peak MiB", "infer adds", "planned", "stored MiB"]
    columns.append("examples/s")
    print("".join(f"{column:>12}" for column in columns))
    for run in report["runs"]:
        names = ("before", "peak", "planned", "stored")
        before, peak, planned, stored = (run[f"{name}_bytes"] / 2**20 for name in names)
        sizes = "".join(f"{size:12.1f}" for size in (before, peak, peak - before, planned, stored))
        print(f"{run['resident']:12}{run['examples']:12,}{sizes}{run['examples_per_s']:12,}")
    for n_models, grown in report["growth_bytes_per_example"].items():
        held = f"{grown['infer']} held by infer, {grown['before']} by ids and labels before it"
        print(f"bytes an example, {n_models} models in memory: {held}, {grown['stored']} stored")


if __name__ == "__main__":
    main()
