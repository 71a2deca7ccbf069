"""How long does it take to explain an ensemble, to profile examples, and to list replacements of a model?

1. Point profiles of all examples, and replacements of one model, from predicted classes in a store, against
   NumPy on correctness in memory: whole matrices in float64, no loop over examples.
2. `why` of an ensemble of calibrated members, from logits on disk, against NumPy in float64 on logits in
   memory: softmax of each member, their mean, and the mean without each.

Before anything is timed both give the same: discriminations to 1e-9, flips and leave-one-out hits exactly but
for ties that rounding decides, risks to 1e-6.

    python benchmarks/explain.py [--models 500] [--examples 50000] [--members 10] [--scored-examples 20000]

The result goes to results/<machine>-explain.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dissensus as ds
from machine import write_result
from measuring import begin, chosen, finish, options, timed

PROFILES, PROFILES_NUMPY = "profiles", "profiles, NumPy"
REPLACED, REPLACED_NUMPY = "replacements", "replacements, NumPy"
WHY, WHY_NUMPY = "why", "why, NumPy"
Floats = NDArray[np.float64]


def main() -> None:
    arguments = parse_arguments()
    frame = begin(__doc__)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        times = by_answers(Path(root) / "labels.zoo", arguments)
        times |= by_logits(Path(root) / "scored.zoo", arguments)
    seconds = {name: statistics.median(t) for name, t in times.items()}
    sizes = ("models", "examples", "classes", "members", "scored_examples", "repeats")
    report = finish(frame, **chosen(arguments, *sizes), median_s=seconds, times_s=times)
    for name, value in seconds.items():
        print(f"{name:24}{value:10.3f} s")
    print(f"written to {write_result(arguments.out, 'explain', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, models=500, examples=50_000, classes=1_000, members=10, repeats=3)
    parser.add_argument("--scored-examples", type=int, default=20_000, help="half of them are explained")
    return parser.parse_args()


def repeated(job: Callable[[], Any], repeats: int) -> list[float]:
    job()  # compiles, reads files
    return [timed(job) for _ in range(repeats)]


# by right and wrong answers


def store_of_answers(path: Path, models: int, examples: int, classes: int) -> ds.Store:
    """Models with predicted classes only, right more often on easier examples."""
    rng = np.random.default_rng(0)
    labels, ease = rng.integers(0, classes, examples), rng.normal(size=examples)
    store = ds.create(path, labels, classes=[str(c) for c in range(classes)])
    for number in range(models):
        right = ease + rng.normal(size=examples) > rng.uniform(-1.5, 0)
        other = (labels + rng.integers(1, classes, examples)) % classes
        store.add(f"m{number:05d}", predictions=np.where(right, labels, other))
    return store


def by_answers(path: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Times of what predicted classes decide."""
    store = store_of_answers(path, arguments.models, arguments.examples, arguments.classes)
    correct = store.correct()
    require_profiles(ds.profiles(store)["discrimination"].to_pylist(), profiles_by_numpy(correct))
    require_flips(ds.replacements(store, "m00000"), store, correct)
    return {
        PROFILES: repeated(lambda: ds.profiles(store), arguments.repeats),
        PROFILES_NUMPY: repeated(lambda: profiles_by_numpy(correct), arguments.repeats),
        REPLACED: repeated(lambda: ds.replacements(store, "m00000"), arguments.repeats),
        REPLACED_NUMPY: repeated(lambda: flips_by_numpy(correct), arguments.repeats),
    }


def profiles_by_numpy(correct: NDArray[np.bool_]) -> Floats:
    """Discrimination of every example: Pearson's correlation with the number of right answers elsewhere."""
    x = correct.astype(np.float64)
    rest = x.sum(axis=1)[:, None] - x
    x -= x.mean(axis=0)
    rest -= rest.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (x * rest).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (rest**2).sum(axis=0))
    return found


def require_profiles(found: list[float | None], expected: Floats) -> None:
    ours = np.array(found, np.float64)
    if not np.allclose(ours, expected, rtol=0, atol=1e-9, equal_nan=True):
        raise SystemExit(f"discriminations differ by up to {np.nanmax(np.abs(ours - expected))}")


def flips_by_numpy(correct: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Negative flips from the first model to each: boolean matrices."""
    flips: NDArray[np.int64] = (correct[0] & ~correct).sum(axis=1)
    return flips


def require_flips(table: Any, store: ds.Store, correct: NDArray[np.bool_]) -> None:
    expected = dict(zip(store.model_ids, flips_by_numpy(correct).tolist(), strict=True))
    for model, rate in zip(*(table[n].to_pylist() for n in ("model", "negative_flip_rate")), strict=True):
        if rate != expected[model] / correct.shape[1]:
            raise SystemExit(f"negative flips of {model}: {rate * correct.shape[1]}, not {expected[model]}")


# by logits


def store_of_scores(path: Path, members: int, examples: int, classes: int) -> ds.Store:
    """Models whose logits share half of their noise."""
    rng, shape = np.random.default_rng(1), (examples, classes)
    labels = rng.integers(0, shape[1], shape[0])
    shared = rng.standard_normal(shape, np.float32)
    shared[np.arange(shape[0]), labels] += 4
    store = ds.create(path, labels, classes=[str(c) for c in range(shape[1])])
    for number in range(members):
        store.add(f"m{number:05d}", logits=shared + np.roll(shared, 31 * number + 1, axis=1))
    return store


def by_logits(path: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Times of `why`, and of what NumPy needs for the same numbers."""
    store = store_of_scores(path, arguments.members, arguments.scored_examples, arguments.classes)
    members, rows = store.model_ids, store.rows("report")
    logits = [store.logits(m).take(rows).astype(np.float32) for m in members]
    labels = store.truth.first[rows].astype(np.int64)
    require_why(ds.why(store, members, calibrate=False), *why_by_numpy(logits, labels))
    return {
        WHY: repeated(lambda: ds.why(store, members, calibrate=False), arguments.repeats),
        WHY_NUMPY: repeated(lambda: why_by_numpy(logits, labels), arguments.repeats),
    }


def why_by_numpy(
    logits: list[NDArray[np.float32]], labels: NDArray[np.int64]
) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Diversity of NLL and Brier, and the hits of the ensemble without each member."""
    p = [softmax(z) for z in logits]
    rows, mean = np.arange(len(labels)), sum(p) / len(p)
    nll = [-np.log(q[rows, labels]).mean() for q in p]
    diversity = {
        "nll": float(np.mean(nll) + np.log(mean[rows, labels]).mean()),
        "brier": float(np.mean([((q - mean) ** 2).sum(axis=1).mean() for q in p])),
    }
    total = sum(p)
    hits = [((total - q).argmax(axis=1) == labels).sum() for q in p]
    return diversity, np.array(hits)


def softmax(logits: NDArray[np.float32]) -> Floats:
    z = logits.astype(np.float64)
    z = np.exp(z - z.max(axis=1, keepdims=True))
    z /= z.sum(axis=1, keepdims=True)
    return z


def require_why(why: ds.Why, diversity: dict[str, float], hits: NDArray[np.int64]) -> None:
    found = dict(zip(*(why.ledger[n].to_pylist() for n in ("metric", "diversity")), strict=True))
    for name, value in diversity.items():
        if abs(found[name] - value) > 1e-6:
            raise SystemExit(f"diversity of {name} is {found[name]}, by NumPy {value}")
    n, row = why.splits["report"]["n_examples"], why.against.to_pylist()[0]
    ours = np.array([n * (row["ensemble"] - v) for v in why.members["value_accuracy"].to_pylist()])
    if np.abs(ours - hits).max() > 1e-3 * n + 1e-6:  # ties of rounding aside
        raise SystemExit(f"hits without each member are {ours}, by NumPy {hits}")


if __name__ == "__main__":
    main()
