"""How long do questions about all pairs of a zoo take, beside what their arithmetic costs?

1. `dissensus pairs STORE --top 20` in a fresh process, predictions cached, against a process that only
   imports what it imports (which is no numba: NumPy counts the first question of a process sooner).
2. All measures of right and wrong answers with delta intervals; and with intervals from resampled counts.
3. CAPA of all pairs from logits on disk, against the float32 matrix products that it needs, in memory; and
   its parts alone, each on all threads: what is left of the rate when each is as fast as it is.

Before anything is timed, the kappa of some pairs equals scikit-learn's to 1e-12, and CAPA what float64 sums
by its definition give on some examples to 1e-5. Times are medians but of what takes seconds, which runs once.

    python benchmarks/pair_queries.py [--models 500] [--examples 50000] [--classes 1000] [--scored 100]

The default takes some minutes and 12 GB below --dir; with --keep the stores stay there, and the next run
takes a minute. The result goes to results/<machine>-pair-queries.json.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import capa_parts
import dissensus as ds
from machine import write_result
from measuring import begin, chosen, finish, forget, options, timed
from pair_contests import scored_store

COMMAND, IMPORTS = "dissensus pairs --top 20", "of it, its imports"
COUNTS, DELTA, DRAWS = "all measures of answers", "all, delta intervals", "kappa, resampled intervals"
KAPPA = "error_consistency"
CAPA, CAPA_AGAIN, GEMM = "capa, first time", "capa, files in memory", "the matrix products"
READ, SCORES, PRODUCTS = (
    "capa, its reading alone",
    "capa, its probabilities alone",
    "capa, its products alone",
)
SECONDS = {COMMAND: 1.0, DELTA: 1.0, DRAWS: 60.0}  # what is aimed at
SHARE = 0.6  # of the rate of matrix products, by CAPA from disk
SIDE = 4096  # of the square matrices whose product gives the machine's rate


def main() -> None:
    arguments, frame = parse_arguments(), begin(__doc__)
    with kept(arguments) if arguments.keep else tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        times = asked(Path(root) / "labels.zoo", arguments)
        times |= scored(Path(root) / "scored.zoo", arguments)
    seconds = {name: statistics.median(t) for name, t in times.items()}
    report = finish(
        frame,
        **chosen(arguments, "models", "examples", "classes", "scored", "draws", "repeats"),
        targets=targets(seconds),
        median_s=seconds,
        times_s=times,
    )
    show(report)
    print(f"written to {write_result(arguments.out, 'pair-queries', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, models=500, examples=50_000, classes=1_000, draws=1_000, repeats=5)
    parser.add_argument("--scored", type=int, default=100, help="models with logits")
    parser.add_argument("--keep", action="store_true", help="leave the stores in --dir, take those there")
    return parser.parse_args()


def kept(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[str]:
    """Folder for stores of these sizes that outlive the run."""
    sizes = [str(getattr(arguments, name)) for name in ("models", "examples", "classes", "scored")]
    folder = Path(arguments.dir or tempfile.gettempdir()) / f"pair-queries-{'-'.join(sizes)}"
    folder.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(str(folder))


def left(path: Path, n_models: int) -> ds.Store | None:
    """A store that an earlier run left."""
    store = ds.open(path) if path.exists() else None
    if store is not None and len(store.model_ids) != n_models:
        raise SystemExit(f"{path} is not whole: remove it")
    return store


# questions of predicted classes


def asked(path: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Times of what right and wrong answers alone decide."""
    from dissensus.pairs import MEASURES

    store = left(path, arguments.models) or store_of_labels(path, arguments)
    require_kappa(store)
    counted = [name for name, measure in MEASURES.items() if measure.needs == "counts"]
    command = [sys.executable, "-m", "dissensus_cli", "pairs", str(path), "--top", "20"]
    imports = "import pyarrow, rich.table, dissensus_cli.main, dissensus_cli.pairs, dissensus.pairs"
    all_measures(store, [KAPPA], models=store.model_ids[:9], ci="bootstrap", draws=9)  # compiled
    return {
        COMMAND: repeated(lambda: run(command), arguments.repeats),
        IMPORTS: [timed(lambda: run([sys.executable, "-c", imports])) for _ in range(arguments.repeats)],
        COUNTS: repeated(lambda: all_measures(store, counted), arguments.repeats),
        DELTA: repeated(lambda: all_measures(store, counted, ci="delta"), arguments.repeats),
        DRAWS: [timed(lambda: all_measures(store, [KAPPA], ci="bootstrap", draws=arguments.draws))],
    }


def store_of_labels(path: Path, arguments: argparse.Namespace) -> ds.Store:
    """Models that are right more often on easier examples, as real ones are."""
    rng, n = np.random.default_rng(0), arguments.examples
    labels = rng.integers(0, arguments.classes, n).astype(np.int32)
    ease = rng.normal(size=n)
    store = ds.create(path, labels, classes=[str(c) for c in range(arguments.classes)])
    for number in range(arguments.models):
        right = ease + rng.normal(size=n) > rng.uniform(-1.5, 0)
        other = (labels + rng.integers(1, arguments.classes, n)) % arguments.classes
        store.add(f"m{number:05d}", predictions=np.where(right, labels, other).astype(np.int32))
    return store


def require_kappa(store: ds.Store) -> None:
    from sklearn.metrics import cohen_kappa_score

    ids, correct = store.model_ids[:8], store.correct()[:8]
    kappa = ds.pairwise(store, KAPPA, models=ids)[KAPPA]
    for i in range(len(ids)):
        for j in range(i):
            peer = cohen_kappa_score(correct[i], correct[j])
            if abs(kappa[i, j] - peer) > 1e-12:
                raise SystemExit(f"kappa of {ids[i]} and {ids[j]} is {kappa[i, j]}, scikit-learn's {peer}")


def all_measures(store: ds.Store, measures: list[str], **options: Any) -> None:
    """Ask, and have the numbers made: what is computed when it is looked at is looked at."""
    pairs = ds.pairwise(store, measures, **options)
    for name in measures:
        pairs[name]
        if options:
            pairs.low[name], pairs.high[name]


# CAPA


def scored(path: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Times of CAPA from logits on disk, and of its products."""
    store = left(path, arguments.scored) or scored_store(path.parent, *shape_of_scored(arguments))
    require_capa(store)
    compile_capa(path.parent, arguments.classes)
    forget(path)
    return {
        CAPA: [timed(lambda: ds.pairwise(store, "capa"))],
        CAPA_AGAIN: [timed(lambda: ds.pairwise(store, "capa"))],
        READ: [timed(lambda: capa_parts.read(store))],
        SCORES: [timed(lambda: capa_parts.make(store))],
        PRODUCTS: [timed(lambda: capa_parts.multiply(store))],
        GEMM: [operations(arguments) / rate()],
    }


def compile_capa(folder: Path, n_classes: int) -> None:
    """Ask a small store of as many classes the same, and its parts."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        small = scored_store(Path(place), 3, 64, n_classes)
        ds.pairwise(small, "capa")
        for part in (capa_parts.read, capa_parts.make, capa_parts.multiply):
            part(small)


def shape_of_scored(arguments: argparse.Namespace) -> tuple[int, int, int]:
    return arguments.scored, arguments.examples, arguments.classes


def require_capa(store: ds.Store) -> None:
    """Compare with the definition (Goel et al. 2025, section 2), in float64, on some examples."""
    ids, rows = store.model_ids[:3], np.arange(0, store.n_examples, max(1, store.n_examples // 200))
    mask = np.zeros(store.n_examples, bool)
    mask[rows] = True
    found = ds.pairwise(store, "capa", models=ids, mask=mask)["capa"]
    z = np.array([store.logits(m)[rows] for m in ids], np.float64)
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    right = p[:, np.arange(len(rows)), store.truth.first[rows]].mean(axis=1)
    for i in range(len(ids)):
        for j in range(len(ids)):
            if i != j:
                chance = right[i] * right[j] + (1 - right[i]) * (1 - right[j]) / (store.n_classes - 1)
                expected = ((p[i] * p[j]).sum(axis=1).mean() - chance) / (1 - chance)
                if abs(found[i, j] - expected) > 1e-5:
                    raise SystemExit(f"capa of {ids[i]} and {ids[j]} is {found[i, j]}, not {expected}")


def operations(arguments: argparse.Namespace) -> float:
    """Floating-point operations of the products p p', of one triangle."""
    return float(arguments.scored * (arguments.scored + 1) * arguments.examples * arguments.classes)


def rate() -> float:
    """Operations a second of the machine's float32 matrix product, the best of several."""
    x, y = (np.random.default_rng(s).standard_normal((SIDE, SIDE), np.float32) for s in (0, 1))
    return 2 * SIDE**3 / min(timed(lambda: x @ y) for _ in range(6))


# what all of them need


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def repeated(job: Callable[[], Any], repeats: int) -> list[float]:
    job()  # compiles
    return [timed(job) for _ in range(repeats)]


def targets(seconds: dict[str, float]) -> dict[str, dict[str, float]]:
    """What was aimed at and what was found: seconds, or the share of the rate of matrix products."""
    found = {name: {"aim": aim, "found": round(seconds[name], 3)} for name, aim in SECONDS.items()}
    for name in (CAPA, CAPA_AGAIN):
        found[name] = {"aim": SHARE, "found": round(seconds[GEMM] / seconds[name], 3)}
    return found


def show(report: dict[str, Any]) -> None:
    sizes = f"{report['models']} and {report['scored']} models, {report['examples']} x {report['classes']}"
    print(f"{sizes}; {report['machine']}, load before {report['load_before']}")
    for name, seconds in report["median_s"].items():
        target = report["targets"].get(name)
        told = "" if target is None else f"   aim {target['aim']:g}, found {target['found']:g}"
        print(f"{name:34}{seconds:10.3f} s{told}")


if __name__ == "__main__":
    main()
