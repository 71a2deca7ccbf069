"""How long do the ensembles of all pairs of a zoo take, from views, and how few need full rows?

Blocks of examples of models that share half of their noise are made from a seed and turned into views as
`ds.pairwise(store, "improvement")` does. Timed are the making of views, the counting of all pairs from them,
classes that examples share and full rows of open pairs included, and on some pairs of some examples

- numpy on full rows: sums of two float32 rows of probabilities and their argmax, as a notebook would;
- ours with every pair decided by full rows (brute force, the same exact integers).

Before anything is timed, our two ways give equal counts, and numpy's differ from them in no more answers than
sums of float32 may tie.

What is open depends on how sure models are: these are right more often than those of ImageNet and far less
sure, which is the harder case. The share of full rows is also told for one block of `bench.SyntheticZoo`,
whose models are as sure as real ones. The result has the probability that either give their first class.

    python benchmarks/pair_ensembles.py [--models 500] [--examples 50000] [--classes 1000] [--budget-s 40]

Where the time given is over, fewer examples were counted, which the result says; times of all are then scaled
by examples. The result goes to results/<machine>-pair-ensembles.json.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.bench import SyntheticZoo
from dissensus.kernels.probabilities import ONE, Table, codes_of
from dissensus.pairs.pair_hits import TILE, PairHits
from dissensus.pairs.pair_views import Tables, view_of
from dissensus.store.truth import Truth
from machine import write_result
from measuring import begin, chosen, finish, nothing_compiled, options, timed

AIM_S, AIM_SHARE = 30.0, 0.0005
ROWS = 512  # examples of a block: those of a file with 1,000 classes
VIEWS, PAIRS, BRUTE, NUMPY = "views", "all pairs from views", "all pairs by full rows", "numpy on full rows"


def main() -> None:
    arguments, frame = parse_arguments(), begin(__doc__)
    zoo = Zoo(arguments.models, arguments.classes)
    compared = compare(zoo, arguments.compared)
    for kind in (Zoo, Surer):
        compile_all(kind(min(arguments.models, TILE + 1), arguments.classes))
    found = count(zoo, arguments.examples, arguments.budget_s)
    pairs = arguments.models * (arguments.models - 1) // 2
    scale = arguments.examples / found["examples"]
    each = pairs * arguments.examples  # of what is compared: seconds of one answer, times all answers
    seconds = {
        VIEWS: found["views_s"] * scale,
        PAIRS: found["pairs_s"] * scale,
        BRUTE: compared[BRUTE] * each,
        NUMPY: compared[NUMPY] * each,
    }
    report = finish(
        frame,
        **chosen(arguments, "models", "examples", "classes"),
        examples_counted=found["examples"],
        targets={
            PAIRS: {"aim": AIM_S, "found": round(seconds[PAIRS], 2)},
            "share by full rows": {"aim": AIM_SHARE, "found": found["share_of_rows"]},
        },
        work=found["work"],
        columns_an_example=found["columns"] / found["examples"],
        confidence=found["confidence"],
        surer_models=count(Surer(arguments.models, arguments.classes), min(ROWS, arguments.examples), 0.0),
        times_s=seconds,
    )
    show(report)
    print(f"written to {write_result(arguments.out, 'pair-ensembles', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, models=500, examples=50_000, classes=1_000)
    parser.add_argument("--compared", type=int, default=64, help="examples that all ways count")
    parser.add_argument("--budget-s", type=float, default=40.0, help="seconds after which no block begins")
    return parser.parse_args()


class Zoo:
    """Models as right as real ones, about 80 % at 1,000 classes, that share half of their noise."""

    def __init__(self, n_models: int, n_classes: int) -> None:
        self.n_models, self.n_classes = n_models, n_classes
        self.tables = Tables.at(np.dtype(np.uint16), [1.0 + m % 7 / 10 for m in range(n_models)])

    def block(self, number: int, n: int) -> tuple[Truth, list[NDArray[Any]], NDArray[np.bool_]]:
        """Truth, stored rows (float16, maximum 0) of every model, what each alone gets right."""
        rng = np.random.default_rng([0, number])
        labels = rng.integers(0, self.n_classes, n)
        shared = rng.standard_normal((n, self.n_classes), np.float32)
        ease = 2.0 + 2.5 * rng.standard_normal(n).astype(np.float32) + np.log(self.n_classes)
        shared[np.arange(n), labels] += ease
        codes, alone = [], np.empty((self.n_models, n), bool)
        own = rng.standard_normal((n, self.n_classes), np.float32)
        for m in range(self.n_models):
            z = shared + np.roll(own, 31 * m + 1, axis=1)  # as random as new numbers, and made faster
            z -= z.max(axis=1, keepdims=True)
            stored = z.astype(np.float16)
            alone[m] = stored.argmax(axis=1) == labels
            codes.append(codes_of(stored))
        truth = Truth("default", np.arange(n + 1), labels.astype(np.int32))
        return truth, codes, alone


class Surer(Zoo):
    """Models as sure of their first class as those of ImageNet are: of `bench.SyntheticZoo`."""

    def block(self, number: int, n: int) -> tuple[Truth, list[NDArray[Any]], NDArray[np.bool_]]:
        """As of a `Zoo`, all at temperature 1."""
        made = SyntheticZoo(self.n_models, number + n, self.n_classes)
        labels, codes = np.asarray(made.labels)[number:], []
        alone = np.empty((self.n_models, n), bool)
        for m in range(self.n_models):
            z = made.logits(m, number, number + n)
            stored = (z - z.max(axis=1, keepdims=True)).astype(np.float16)
            alone[m] = stored.argmax(axis=1) == labels
            codes.append(codes_of(stored))
        self.tables = Tables.at(np.dtype(np.uint16), [1.0] * self.n_models)
        return Truth("default", np.arange(n + 1), labels.astype(np.int32)), codes, alone


def compare(zoo: Zoo, n: int) -> dict[str, float]:
    """Seconds an answer by full rows, ours and numpy's, on a few models; ends the run where counts differ."""
    some = min(zoo.n_models, 24)
    truth, codes, alone = zoo.block(-1 % 2**31, n)
    codes, alone, tables = codes[:some], alone[:some], zoo.tables
    right = truth.offsets, truth.classes
    view = view_of(codes, tables, *right)
    fast, brute = (PairHits(some, zoo.n_classes, certify=certify) for certify in (True, False))
    for hits in (fast, brute):  # compiled and counted once before it is timed
        hits.add(view, right, codes, tables, alone)
    again = PairHits(some, zoo.n_classes, certify=False)
    seconds = timed(lambda: again.add(view, right, codes, tables, alone))
    for name, counts in fast.finish().items():
        if not np.array_equal(counts, brute.finish()[name]):
            raise SystemExit(f"{name} from views differ from those of full rows")
    p = np.array(
        [
            softmax(rows.view(np.float16), table)
            for rows, table in zip(codes, map(tables.__getitem__, range(some)), strict=True)
        ]
    )
    found = np.zeros((some, some), np.int64)
    numpy_s = timed(lambda: by_numpy(p, truth.classes, found))
    off = int(np.abs(np.triu(found, 1) - np.triu(fast.right, 1)).sum())
    answers = n * some * (some - 1) // 2
    if off > max(2, answers // 1000):
        raise SystemExit(f"{off} of {answers} answers differ from numpy's: more than rounding explains")
    return {BRUTE: seconds / (n * some * (some + 1) // 2), NUMPY: numpy_s / answers}


def compile_all(zoo: Zoo, n: int = 32) -> None:
    """Count some examples by views and by full rows: what is timed compiles nothing.

    Which code is needed follows from the classes, and from whether the models are more than a `TILE`: counts
    are parts of a larger matrix then.
    """
    truth, codes, alone = zoo.block(0, n)
    right = truth.offsets, truth.classes
    view = view_of(codes, zoo.tables, *right)
    for certify in (True, False):
        PairHits(zoo.n_models, zoo.n_classes, certify=certify).add(view, right, codes, zoo.tables, alone)


def softmax(z: NDArray[Any], table: Table) -> NDArray[np.float32]:
    powers = table[z.view(np.uint16) & 0x7FFF]
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def by_numpy(p: NDArray[np.float32], labels: NDArray[np.int32], found: NDArray[np.int64]) -> None:
    for a in range(len(p)):
        for b in range(a + 1, len(p)):
            found[a, b] = ((p[a] + p[b]).argmax(axis=1) == labels).sum()


def count(zoo: Zoo, n_examples: int, budget_s: float) -> dict[str, Any]:
    """All pairs, block by block, until the examples or the time are over."""
    hits = PairHits(zoo.n_models, zoo.n_classes)
    views_s = pairs_s = sure = 0.0
    begun, done = time.perf_counter(), 0
    while done < n_examples and (done == 0 or time.perf_counter() - begun < budget_s):
        truth, codes, alone = zoo.block(done, min(ROWS, n_examples - done))
        right = truth.offsets, truth.classes
        with nothing_compiled():
            start = time.perf_counter()
            view = view_of(codes, zoo.tables, *right)
            middle = time.perf_counter()
            hits.add(view, right, codes, zoo.tables, alone)
            views_s, pairs_s = views_s + middle - start, pairs_s + time.perf_counter() - middle
        done += len(truth)
        sure += float(view.q[:, 0].sum(dtype=np.float64)) / ONE / zoo.n_models
    work = {name: getattr(hits.work, name) for name in ("margins", "views", "rows")}
    return {
        "examples": done,
        "views_s": views_s,
        "pairs_s": pairs_s,
        "work": work,
        "columns": hits.work.columns,
        "confidence": sure / done,
        "share_of_rows": hits.work.share_of_rows,
    }


def show(report: dict[str, Any]) -> None:
    size = f"{report['models']} models x {report['examples']} examples x {report['classes']} classes"
    print(f"{size}, {report['examples_counted']} counted; {report['machine']}, load {report['load_before']}")
    for name, seconds in report["times_s"].items():
        print(f"{name:26}{seconds:12.3f} s")
    for name, target in report["targets"].items():
        print(f"{name:26}{target['found']:12.6g}   aim {target['aim']:g}")
    total = sum(report["work"].values())
    shares = ", ".join(f"{name} {100 * n / total:.4f} %" for name, n in report["work"].items())
    print(f"{shares}; {report['columns_an_example']:.1f} classes shared by an example")
    surer = report["surer_models"]
    for sure, rows in (
        (report["confidence"], report["work"]["rows"] / total),
        (surer["confidence"], surer["share_of_rows"]),
    ):
        print(f"full rows where models are sure by {sure:.2f}: {100 * rows:.4f} %")


if __name__ == "__main__":
    main()
