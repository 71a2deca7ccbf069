"""How long do an exact ensemble search and all pair ensembles take from a store on disk, cold and warm?

A store of seeded models (the zoo of `dissensus bench`), or one that is there already, and of it

- greedy selection of 50 members for accuracy at temperature 1 on all of its examples: one pass that makes
  views, the steps, and the rows that are read for them;
- every pair as an ensemble: accuracy, improvement and conversion rate, one pass;
- the weighted duo of two models, fitted on one half and reported on the other.

Cold: the files of the store are dropped from the page cache first. Warm: the same query again. Both have to
give equal results. Memory is what the process has for itself at most during a job; pages of the mapped store,
which the system takes back when it wants them, are told apart from it.

    python benchmarks/full_store.py [--store zoo.zoo] [--models 100] [--examples 50000] [--classes 1000]

A store that is made takes 10 GB below --dir, and is deleted. The result goes to
results/<machine>-full-store.json. With --only and --condition a part is measured: what the kept result has of
the others stays, where it is of a store of the same size and of the same machine and versions; where it is
not, nothing is measured. A job of which a condition is taken over has to have the same result.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dissensus as ds
from dissensus.bench import SyntheticZoo
from dissensus.bench.cell import Peak
from dissensus.bench.jobs import empty_store, fill
from dissensus.pairs.pair_hits import TILE
from machine import result_path, write_result
from measuring import begin, chosen, finish, first_day, forget, kept, options, peak_bytes, timed

JOBS, CONDITIONS = ("greedy", "pairs", "duo"), ("cold", "warm")
MEASURES = ["pair_accuracy", "improvement", "conversion_rate"]


def main() -> None:
    arguments, frame = parse_arguments(), begin(__doc__)
    path = result_path(arguments.out, "full-store")
    old = kept(path, frame, lambda report: staying(report, arguments), **sizes_of(arguments))
    if arguments.store is None:
        with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
            found = measure(made(arguments, Path(folder) / "made.zoo"), arguments)
    else:
        found = measure(arguments.store, arguments)
    report = finish(frame, **found)
    add_kept(report, old)
    show(report)
    print(f"written to {write_result(arguments.out, 'full-store', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, models=100, examples=50_000, classes=1_000, steps=50)
    parser.add_argument("--store", type=Path, help="one that is there; only read")
    parser.add_argument("--only", choices=JOBS, action="append", help="jobs to time")
    parser.add_argument("--condition", choices=CONDITIONS, action="append", help="cold or warm alone")
    return parser.parse_args()


def sizes_of(arguments: argparse.Namespace) -> dict[str, int]:
    """Sizes of the store that is made or read."""
    if arguments.store is None:
        return chosen(arguments, "models", "examples", "classes", "steps")
    store = ds.open(arguments.store)
    sizes = {"models": len(store.model_ids), "examples": store.n_examples, "classes": store.n_classes}
    return {**sizes, "steps": arguments.steps}


def staying(report: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Jobs and conditions of a kept result that are not measured again."""
    measured = {(job, c) for job in arguments.only or JOBS for c in arguments.condition or CONDITIONS}
    there = [(job, condition) for job, times in report["times_s"].items() for condition in times]
    return [f"{job} {condition}" for job, condition in there if (job, condition) not in measured]


def made(arguments: argparse.Namespace, path: Path) -> Path:
    """Write the zoo."""
    zoo = SyntheticZoo(arguments.models, arguments.examples, arguments.classes)
    fill(empty_store(zoo, path), zoo, range(zoo.n_models))
    return path


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Each job cold and warm."""
    store = ds.open(path)
    compile_all(len(store.model_ids), store.n_classes)
    jobs: dict[str, Callable[[], Any]] = {
        "greedy": lambda: greedy(store, arguments.steps),
        "pairs": lambda: pairs(store),
        "duo": lambda: duo(store),
    }
    times: dict[str, dict[str, float]] = {}
    private: dict[str, int] = {}
    results: dict[str, Any] = {}
    for name in arguments.only or jobs:
        times[name], private[name], found = {}, 0, []
        for condition in arguments.condition or CONDITIONS:
            if condition == "cold":
                forget(path)
            with Peak() as peak:
                times[name][condition] = timed(lambda: found.append(jobs[name]()))  # noqa: B023
            private[name] = max(private[name], peak.bytes)
        require_equal(name, found[0], found[-1])
        results[name] = found[0]
    return {
        "models": len(store.model_ids),
        "examples": store.n_examples,
        "classes": store.n_classes,
        "store_bytes": sum(p.stat().st_size for p in path.rglob("*") if p.is_file()),
        "steps": arguments.steps,
        "times_s": times,
        "private_bytes": private,
        "results": results,
        "peak_bytes": peak_bytes(),
    }


def require_equal(name: str, found: Any, again: Any) -> None:
    if found != again:
        raise SystemExit(f"{name}: other results when asked again, {again}, not {found}")


def add_kept(report: dict[str, Any], old: dict[str, Any]) -> None:
    """Take over what a kept result has and this one lacks; where a job is in both, it has the same result."""
    for name, times in old.get("times_s", {}).items():
        mine = report["times_s"].get(name, {})
        if times.keys() <= mine.keys():
            continue
        if mine:
            require_equal(name, old["results"][name], report["results"][name])
        report["times_s"][name] = times | mine
        report["results"][name] = old["results"][name]
        private = report["private_bytes"]
        private[name] = max(private.get(name, 0), old["private_bytes"][name])
        report["peak_bytes"] = max(report["peak_bytes"], old["peak_bytes"])
        report["date"] = first_day((report["date"], old["date"]))


def compile_all(n_models: int, n_classes: int) -> None:
    """Ask small stores of as many classes the same: what is timed compiles nothing."""
    with tempfile.TemporaryDirectory() as folder:
        small = small_store(Path(folder) / "small.zoo", 3, 20 * n_classes, n_classes)
        greedy(small, 3)
        ds.greedy(small, 2, metric="nll")  # decides ties
        pairs(small)
        duo(small)
        if n_models > TILE:  # counts are parts of a larger matrix then, for which there is other code
            pairs(small_store(Path(folder) / "tiles.zoo", TILE + 1, 200, n_classes))


def small_store(path: Path, *size: int) -> ds.Store:
    zoo = SyntheticZoo(*size)
    store = empty_store(zoo, path)
    fill(store, zoo, range(zoo.n_models))
    return store


def greedy(store: ds.Store, steps: int) -> dict[str, Any]:
    """Members and accuracy of a selection on all examples."""
    best = ds.greedy(
        store, steps, select="all", report="all", allow_same_split=True, calibrate=False, replacement=True
    )
    return {"distinct_members": len(set(best.members)), "accuracy": best.fit["accuracy"]}


def pairs(store: ds.Store) -> dict[str, float]:
    """Best accuracy of a pair, and largest improvement."""
    found = ds.pairwise(store, MEASURES)
    return {name: float(found.top(1, by=name)[name].to_pylist()[0]) for name in MEASURES}


def duo(store: ds.Store) -> dict[str, float]:
    """Held-out NLL of the weighted duo of the first two models, and its gain over the better one."""
    found = ds.duo(store, *store.model_ids[:2])
    return {"report_nll": found.table["report_nll"].to_pylist()[-1], "gain": found.intervals["nll"].gain}


def show(report: dict[str, Any]) -> None:
    size = f"{report['models']} models x {report['examples']} examples x {report['classes']} classes"
    print(f"{size}, {report['store_bytes'] / 1e9:.1f} GB; {report['machine']}, load {report['load_before']}")
    for name, seconds in report["times_s"].items():
        print(f"{name:10}" + "".join(f"{condition:>8}{s:10.2f} s" for condition, s in seconds.items()))
        print(f"{'':10}{report['results'][name]}")
    for name, taken in report["private_bytes"].items():
        print(f"{name:10}{taken / 2**20:,.0f} MiB of memory of its own at most")
    print(f"{report['peak_bytes'] / 2**20:,.0f} MiB with the pages of the mapped store")


if __name__ == "__main__":
    main()
