"""How close does the store come to the disk and to memory, and how far ahead of the usual formats is it?

1. Writing a model (float16 rows, checksums, synced, committed) against writing the same bytes, synced once.
2. Reading rows a:b of all models, for successive a, against `os.preadv` into reused buffers: cached and cold.
3. Verifying everything against reading the same files in as many threads: cached and cold.
4. Listing the models of a store of a thousand, in a fresh process.
5. Predicted classes and correctness of 500 models x 50,000 examples, in a fresh process.
6. Bytes that a model takes.

All contenders keep the same array and have to give it back before anything is timed; they run in turn in one
process. A time is a median; verifying takes five times as many turns. Readers hand every block to the same
consumer, whose time counts. Other formats leave syncing to the system: they are timed so, and synced as what
the store and the floor write is. Those that take seconds run once.

    python benchmarks/store_speed.py [--examples 50000] [--classes 1000] [--models 8] [--repeats 5]

The default takes some minutes and 4 GB below --dir. The result goes to results/<machine>-store-speed.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from machine import write_result
from measuring import begin, chosen, files_of, finish, forget, options, timed
from store_peers import FLOOR, OURS, Data, ways
from store_readers import READ_FLOOR, READERS, WARM_ONLY, Zoo, consume, make_zoo

Times = dict[str, list[float]]
VERIFY, READ_FILES = "dissensus verify", "reading the files"
LIST = "listing the models"
FIRST, AGAIN = "predictions, from the models", "predictions, from the cache"
THREADS = (os.cpu_count() or 1) + 1  # of who only reads
# What is aimed at: this share of the floor's speed, or at most this many milliseconds.
SHARES = {"write": 0.8, "read, cached": 0.8, "read, cold": 0.8, "verify, cached": 0.7, "verify, cold": 0.7}
MILLISECONDS = {LIST: 100.0, AGAIN: 50.0}


def main() -> None:
    arguments = parse_arguments()
    frame = begin(__doc__)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        times, sizes = measure(Path(root), arguments)
    medians = {part: {n: statistics.median(t) for n, t in rows.items()} for part, rows in times.items()}
    shapes = ("examples", "classes", "models", "listed", "predicted", "repeats")
    report = finish(
        frame,
        **chosen(arguments, *shapes),
        targets=targets(medians),
        median_s=medians,
        model_bytes=sizes,
        times_s=times,
    )
    show(report)
    print(f"written to {write_result(arguments.out, 'store-speed', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, examples=50_000, classes=1_000, repeats=5)
    parser.add_argument("--models", type=int, default=8, help="models that are read and verified")
    parser.add_argument("--listed", type=int, default=1_000, help="models of the store that is listed")
    parser.add_argument("--predicted", type=int, default=500, help="models whose predictions are read")
    return parser.parse_args()


def measure(root: Path, arguments: argparse.Namespace) -> tuple[dict[str, Times], dict[str, int]]:
    """Times in seconds by part and contender, and the bytes of one model in each format."""
    data, repeats = Data.of(arguments.examples, arguments.classes), arguments.repeats
    (root / "one").mkdir()
    written, sizes = writing(root / "one", data, repeats)
    zoo = make_zoo(root, data, arguments.models)
    times = {"write": written, **reading(zoo, repeats), **verifying(zoo.store, 5 * repeats)}  # 30 ms a turn
    times["fresh process"] = listing(root / "listed.zoo", arguments.listed, repeats)
    shape = (arguments.predicted, arguments.examples, arguments.classes)
    times["fresh process"] |= predicting(root / "predicted.zoo", shape, repeats)
    return times, sizes


# the parts: each in turns, so that a disturbance meets all contenders


def writing(place: Path, data: Data, repeats: int) -> tuple[Times, dict[str, int]]:
    """Write one model in every way; the first turn only checks what can be read back."""
    times: Times = {name: [] for name in ways()}
    sizes = {}
    for turn in range(-1, repeats):
        for name, way in ways().items():
            if way.once and turn > 0:
                continue
            folder = place / "model"
            folder.mkdir()
            opened = way.prepare(data, folder)
            os.sync()
            if turn < 0:
                way.write(opened, data, folder)
                require_equal(name, way.read(folder), data.rows)
                sizes[name] = sum(p.stat().st_size for p in way.files(folder))
            else:
                times[name].append(timed(lambda: way.write(opened, data, folder)))  # noqa: B023
            shutil.rmtree(folder)
    return times, sizes


def require_equal(name: str, found: Any, expected: np.ndarray) -> None:
    flat = np.asarray(found).reshape(-1)[: expected.size]  # the floor keeps derived columns behind the rows
    if flat.tobytes() != expected.tobytes():
        raise SystemExit(f"{name} does not give back what it was given")


def reading(zoo: Zoo, repeats: int) -> dict[str, Times]:
    """Go through all models block by block."""
    digests = {name: consume(opened(zoo)()) for name, opened in READERS.items()}
    if len(set(digests.values())) > 1:
        raise SystemExit(f"readers differ: {digests}")
    cold = [name for name in READERS if name not in WARM_ONLY]
    times: dict[str, Times] = {
        "read, cached": {name: [] for name in READERS},
        "read, cold": {name: [] for name in cold},
    }
    for _ in range(repeats):
        for condition, rows in times.items():
            for name in rows:
                blocks = READERS[name](zoo)
                forget(zoo.root) if condition.endswith("cold") else consume(READERS[name](zoo)())
                rows[name].append(timed(lambda: consume(blocks())))  # noqa: B023
    return times


def verifying(path: Path, repeats: int) -> dict[str, Times]:
    """Verify a store, and read its files."""
    jobs: dict[str, Callable[[], Any]] = {
        VERIFY: lambda: ds.open(path).verify(),
        READ_FILES: lambda: read_files(path),
    }
    if not ds.open(path).verify().ok:
        raise SystemExit("the store does not verify")
    times: dict[str, Times] = {f"verify, {c}": {name: [] for name in jobs} for c in ("cached", "cold")}
    for _ in range(repeats):
        for condition, rows in times.items():
            for name, job in jobs.items():
                forget(path) if condition.endswith("cold") else job()
                rows[name].append(timed(job))
    return times


def read_files(folder: Path) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(_read_file, files_of(folder)))


def _read_file(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def listing(path: Path, n_models: int, repeats: int) -> Times:
    """List a store of many small models."""
    labels = _predictions(n_models, 100, 10)
    _store_of_labels(path, labels, 10)
    if len(ds.open(path).model_ids) != n_models:
        raise SystemExit("models are missing")
    return {LIST: [in_fresh_process(path, "store.model_ids") for _ in range(repeats)]}


def predicting(path: Path, shape: tuple[int, int, int], repeats: int) -> Times:
    """Ask for predictions and correctness of all models, once without a cache and then with it."""
    predictions = _predictions(*shape)
    _store_of_labels(path, predictions, shape[2])
    query = "store.top1(), store.correct()"
    first = in_fresh_process(path, query)
    if not np.array_equal(ds.open(path).top1(), predictions):
        raise SystemExit("predictions differ")
    return {FIRST: [first], AGAIN: [in_fresh_process(path, query) for _ in range(repeats)]}


def _predictions(n_models: int, n_examples: int, n_classes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, n_classes, (n_models, n_examples), np.int32)


def _store_of_labels(path: Path, predictions: np.ndarray, n_classes: int) -> None:
    store = ds.create(path, predictions[0], classes=[str(c) for c in range(n_classes)])
    for number, row in enumerate(predictions):
        store.add(f"m{number:05d}", predictions=row)


def in_fresh_process(path: Path, query: str) -> float:
    """Seconds that opening a store and a query take, the library being imported."""
    code = (
        "import sys, time; import dissensus as ds; ds.open; start = time.perf_counter(); "
        f"store = ds.open(sys.argv[1]); {query}; print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", code, str(path)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


# what is printed


def targets(medians: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """What was aimed at and what was found, both as shares of the floor's speed or in milliseconds."""
    floors = {"write": (FLOOR, OURS), "read": (READ_FLOOR, OURS), "verify": (READ_FILES, VERIFY)}
    found = {}
    for part, share in SHARES.items():
        floor, ours = floors[part.split(",")[0]]
        found[part] = {"aim": share, "found": round(medians[part][floor] / medians[part][ours], 3)}
    for name, limit in MILLISECONDS.items():
        found[name] = {"aim": limit, "found": round(1e3 * medians["fresh process"][name], 1)}
    return found


def show(report: dict[str, Any]) -> None:
    size = f"{report['models']} models x {report['examples']} examples x {report['classes']} classes"
    print(f"{size}, {report['machine']}, load before {report['load_before']}")
    for part, target in report["targets"].items():
        unit = "ms at most" if part in MILLISECONDS else "of the floor's speed at least"
        print(f"{part:30}{target['found']:10.2f}   aim: {target['aim']:g} {unit}")
    for part, rows in report["median_s"].items():
        print("\n".join(["", *_table(part, rows, report["model_bytes"])]))


def _table(part: str, rows: dict[str, float], sizes: dict[str, int]) -> Iterator[str]:
    ours = rows.get(OURS, min(rows.values()))
    yield f"{part:40}{'median ms':>12}{'times ours':>12}{'bytes' if part == 'write' else '':>14}"
    for name, seconds in sorted(rows.items(), key=lambda item: item[1]):
        size = f"{sizes[name]:14,}" if part == "write" else ""
        yield f"{name:40}{1e3 * seconds:12.2f}{seconds / ours:12.2f}{size}"


if __name__ == "__main__":
    main()
