"""How does the time of a question about all pairs fall with threads and workers, and grow with its size?

1. Right and wrong answers, same classes and same wrong classes of all pairs of a store's models, which is
   what `error_consistency`, `label_kappa` and `same_wrong` need: on 1, 2, … threads of this process, and on
   Dask clusters of 1, 2, … local processes of one thread each, which read the store themselves. Every result
   has to be that of this process first. Starting a cluster is not counted, what workers import neither.
2. The same on halves and quarters of the models, and of the examples, on all threads, and the exponents.

Times are medians. What a cluster adds on one machine is what it costs: it is for more machines than one.

    python benchmarks/pair_workers.py [--models 1000] [--examples 50000] [--classes 1000] [--repeats 3]

The default takes a minute and 0.3 GB below --dir. The result goes to results/<machine>-pair-workers.json.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from machine import write_result
from measuring import begin, chosen, compiled_meanwhile, finish, options, timed

MEASURES = ["error_consistency", "label_kappa", "same_wrong"]
PARTS = (4, 2, 1)


def main() -> None:
    arguments = parse_arguments()
    frame, most = begin(__doc__), len(os.sched_getaffinity(0))
    counted = [n for n in (1, 2, 4, 8, 16, 32) if n <= most]
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        store = store_of_predictions(Path(folder) / "a.zoo", arguments)
        expected = {name: pairs_of(store)[name] for name in MEASURES}
        threads = [on_threads(store, n, arguments.repeats) for n in counted]
        workers = [on_workers(store, n, expected, arguments.repeats) for n in counted]
        by_models, by_examples = growth(store, arguments.repeats)
    report = finish(
        frame,
        **chosen(arguments, "models", "examples", "classes", "repeats"),
        measures=MEASURES,
        threads=threads,
        workers=workers,
        by_models=by_models,
        by_examples=by_examples,
        exponents={
            "threads": exponent(threads, "threads"),
            "workers": exponent(workers, "workers"),
            "models": exponent(by_models, "models"),
            "examples": exponent(by_examples, "examples"),
        },
    )
    show(report)
    print(f"written to {write_result(arguments.out, 'pair-workers', report)}")


def parse_arguments() -> argparse.Namespace:
    return options(__doc__, writes=True, models=1_000, examples=50_000, classes=1_000, repeats=3).parse_args()


def store_of_predictions(path: Path, arguments: argparse.Namespace) -> ds.Store:
    """Models right on three examples in four, wrong by one of a few classes: wrong answers coincide."""
    rng, n = np.random.default_rng(0), arguments.examples
    labels = rng.integers(0, arguments.classes, n).astype(np.int32)
    store = ds.create(path, labels, classes=[str(c) for c in range(arguments.classes)])
    for number in range(arguments.models):
        off = rng.integers(0, 12, n, np.int32)
        store.add(f"m{number:05d}", predictions=(labels + np.maximum(off - 8, 0)) % arguments.classes)
    return store


def pairs_of(store: ds.Store, **options: Any) -> ds.Pairs:
    return ds.pairwise(store, MEASURES, **options)


def median(job: Callable[[], Any], repeats: int) -> float:
    job()  # compiles, imports, fills caches
    return statistics.median(timed(job) for _ in range(repeats))


def on_threads(store: ds.Store, n: int, repeats: int) -> dict[str, float]:
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(n)
    try:
        return {"threads": n, "seconds": median(lambda: pairs_of(store), repeats)}
    finally:
        numba.set_num_threads(before)


def on_workers(store: ds.Store, n: int, expected: dict[str, Any], repeats: int) -> dict[str, float]:
    with cluster(n) as client:
        found = pairs_of(store, scheduler=client)
        for name in MEASURES:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        client.run(watch)
        seconds = median(lambda: pairs_of(store, scheduler=client), repeats)
        if any(client.run(compiled).values()):
            compiled_meanwhile("kernels of workers")
        return {"workers": n, "seconds": seconds}


def watch(dask_worker: Any) -> None:
    """Watch in a worker whether anything is compiled from now on."""
    from dissensus.kernels.jit import compiling

    dask_worker.compiled = compiling()


def compiled(dask_worker: Any) -> bool:
    return bool(dask_worker.compiled())


@contextmanager
def cluster(n: int) -> Iterator[Any]:
    """Local processes of one thread each, without a dashboard."""
    import dask
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "silence_logs": 50}
    with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}):
        with LocalCluster(n_workers=n, **options) as made, Client(made, set_as_default=False) as client:
            yield client


def growth(store: ds.Store, repeats: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Times of some of the models on all examples, and of all models on some examples."""
    from dissensus.pairs import PairCounts
    from dissensus.pairs.labels import label_counts

    top1 = store.top1()
    correct = store.truth.correct(top1)

    def seconds(models: int, examples: int) -> dict[str, float]:
        some = np.ascontiguousarray(top1[:models, :examples])
        right = np.ascontiguousarray(correct[:models, :examples])
        wanted = ("same_label", "same_wrong_label")

        def job() -> None:
            PairCounts.from_correct(right)
            label_counts(some, right, store.n_classes, None, wanted)

        return {"models": models, "examples": examples, "seconds": median(job, repeats)}

    models, examples = top1.shape
    return (
        [seconds(models // part, examples) for part in PARTS],
        [seconds(models, examples // part) for part in PARTS],
    )


def exponent(runs: list[dict[str, float]], by: str) -> float | None:
    """Slope of log time over log size, by least squares; None of one size."""
    if len(runs) < 2:
        return None
    x, y = ([math.log(run[name]) for run in runs] for name in (by, "seconds"))
    return round(float(np.polyfit(x, y, 1)[0]), 2)


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['models']} models x {report['examples']} examples x {report['classes']} classes;", end=" "
    )
    print(f"{report['machine']}, load before {report['load_before']}")
    for by in ("threads", "workers", "by_models", "by_examples"):
        for run in report[by]:
            size = ", ".join(f"{value:,} {name}" for name, value in run.items() if name != "seconds")
            print(f"{size:36}{run['seconds']:10.3f} s")
    print("exponents:", report["exponents"])


if __name__ == "__main__":
    main()
