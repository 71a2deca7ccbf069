"""How long does it take to import real predictions of real models, from a cold start?

As a user does it, each command in a new process: four ImageNet models x 50,000 examples from CSV, joined by
file name, with ReaL's label sets as a second truth; thirty CIFAR-10 models x 10,000 from JSON, in the order
of the store. Their files are in memory, of an earlier store nothing is. Beside it stands what a notebook
needs for the same accuracies: a process that reads the files with `csv`, `json` and NumPy, and keeps nothing.
Both have to give the same accuracies first. The aim is 20 s for each.

    python benchmarks/imports.py [--data ../shared/data] [--repeats 3]

The predictions lie beside the project, where they are there; what is absent is left out by name. The result
goes to results/<machine>-imports.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from machine import write_result
from measuring import begin, finish, options, timed

SECONDS = 20  # aimed at
COMMANDS, NOTEBOOK = "dissensus", "csv, json and NumPy, nothing kept"
SHARED = Path(os.environ.get("DISSENSUS_SHARED", Path(__file__).parent.parent.parent / "shared"))
Accuracies = dict[str, float]


def main() -> None:
    arguments = parse_arguments()
    if arguments.notebook:
        print(json.dumps(PARTS[arguments.notebook][2](arguments.data / PARTS[arguments.notebook][0])))
        return
    there = {name for name, (folder, _, _) in PARTS.items() if (arguments.data / folder).is_dir()}
    for name in PARTS.keys() - there:
        print(f"{name}: left out, {arguments.data / PARTS[name][0]} is not there")
    if not there:
        return
    frame = begin(__doc__)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        times = {name: part(name, Path(root), arguments) for name in PARTS if name in there}
    medians = {name: {way: statistics.median(t) for way, t in ways.items()} for name, ways in times.items()}
    targets = {name: {"aim": SECONDS, "found": ways[COMMANDS]} for name, ways in medians.items()}
    report = finish(frame, repeats=arguments.repeats, targets=targets, median_s=medians, times_s=times)
    for name, ways in medians.items():
        print(f"{name:10}" + "".join(f"  {way}: {seconds:.2f} s" for way, seconds in ways.items()))
    print(f"written to {write_result(arguments.out, 'imports', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, repeats=3)
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="folder of the predictions")
    parser.add_argument("--notebook", choices=["ImageNet", "CIFAR-10"], help=argparse.SUPPRESS)
    return parser.parse_args()


def part(name: str, root: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Times of both ways in turns; the first turn, in which files get into memory, only compares."""
    folder, commands, _ = PARTS[name]
    data = (arguments.data / folder).resolve()
    notebook = [sys.executable, __file__, "--data", str(arguments.data), "--notebook", name]
    times: dict[str, list[float]] = {COMMANDS: [], NOTEBOOK: []}
    for turn in range(arguments.repeats + 1):
        store = root / f"{name}-{turn}.zoo"
        asked = commands(data, store)
        seconds = {
            COMMANDS: timed(lambda: [dissensus(*words) for words in asked]),  # noqa: B023
            NOTEBOOK: timed(lambda: output(notebook)),
        }
        if turn == 0:
            require_equal(name, store, json.loads(output(notebook)))
            continue
        for way, taken in seconds.items():
            times[way].append(taken)
    return times


def require_equal(name: str, store: Path, expected: Accuracies) -> None:
    """Accuracies are those of the files, and under ReaL, where it was stored, of its sets."""
    rows = json.loads(dissensus("models", store, "--format", "json"))
    found = {row["model"]: row["accuracy"] for row in rows}
    if any(key.startswith("ReaL ") for key in expected):
        rows = json.loads(dissensus("models", store, "--labels", "real", "--format", "json"))
        found |= {f"ReaL {row['model']}": row["accuracy"] for row in rows}
    if found.keys() != expected.keys() or any(abs(found[m] - expected[m]) > 1e-12 for m in found):
        raise SystemExit(f"{name}: accuracies {found} are not those of the files, {expected}")


def dissensus(*words: str | Path) -> str:
    return output([sys.executable, "-m", "dissensus_cli", *map(str, words)])


def output(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout


# ImageNet


def import_imagenet(data: Path, store: Path) -> list[tuple[str | Path, ...]]:
    return [
        ("create", store, "--labels", data / "labels.csv", "--classes", data / "metaclasses.csv"),
        ("import", store, *predictions_of(data)),
        ("annotate", store, "--labels", f"real={data / 'real-labels.jsonl'}", "--rows", "sorted"),
    ]


def predictions_of(data: Path) -> list[Path]:
    """Files of predictions; the others tell labels and classes."""
    return [path for path in sorted(data.glob("*.csv")) if path.stem not in ("labels", "metaclasses")]


def read_imagenet(data: Path) -> Accuracies:
    labels = column(data / "labels.csv", "label")
    names = sorted(labels)
    real = json.loads((data / "real-labels.jsonl").read_text())
    found = {}
    for path in predictions_of(data):
        predicted = column(path, "predicted_class")
        found[path.stem] = float(np.mean([predicted[name] == labels[name] for name in names]))
        right = [predicted[name] in classes for name, classes in zip(names, real, strict=True) if classes]
        found[f"ReaL {path.stem}"] = float(np.mean(right))
    return found


def column(path: Path, name: str) -> dict[str, int]:
    with path.open(newline="") as file:
        return {row["file_name"]: int(row[name]) for row in csv.DictReader(file)}


# CIFAR-10


def import_cifar10(data: Path, store: Path) -> list[tuple[str | Path, ...]]:
    return [
        ("create", store, "--labels", data / "original-labels.npy"),
        ("import", store, *sorted((data / "original").glob("*.json")), "--rows", "store"),
    ]


def read_cifar10(data: Path) -> Accuracies:
    labels = np.load(data / "original-labels.npy")
    return {
        path.stem: float((np.array(json.loads(path.read_text())) == labels).mean())
        for path in sorted((data / "original").glob("*.json"))
    }


Commands = Callable[[Path, Path], list[tuple[str | Path, ...]]]
PARTS: dict[str, tuple[str, Commands, Callable[[Path], Accuracies]]] = {
    "ImageNet": ("imagenet-val-four-frameworks", import_imagenet, read_imagenet),
    "CIFAR-10": ("cifar10-thirty-models", import_cifar10, read_cifar10),
}

if __name__ == "__main__":
    main()
