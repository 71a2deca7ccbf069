"""How long does an exact step of greedy selection take, beside brute force, and what does a whole zoo take?

1. Steps of greedy selection for accuracy, all probabilities in memory: certified, ours by brute force, and a
   parallel SIMD brute force in float32, which is what one would write by hand. A step scores every candidate
   and adds the best. Certified and brute force have to give equal hits of every candidate first.
2. The share of (candidate, example) pairs that the views leave open, and that are read from full rows.
3. A zoo of the reference size, as 50 steps from views, with the peak memory of the process. Neither views nor
   rows are stored: the rows of members and of open pairs are made anew by the generator that the views were
   made from, and its time counts.

Logits are seeded: some classes are likely for all models, models differ in skill and noise.

    python benchmarks/greedy.py [--models 40] [--examples 20000] [--classes 1000] [--steps 10] [--only memory]

The result goes to results/<machine>-greedy.json; with --only memory the zoo that was measured there stays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

import numpy as np

from dissensus.ensemble.certified import CertifiedRunning
from dissensus.ensemble.running import FullRunning, Indices, Integers
from dissensus.kernels import certified as kernel
from greedy_contests import Float32, InMemory, Seeded, step
from machine import result_path, write_result
from measuring import asked, begin, finish, first_day, kept, options, peak_bytes, timed

TIMES, SECONDS, PEAK_BYTES, OPEN_SHARE = 30, 10, 4 << 30, 0.001  # what is aimed at


def main() -> None:
    arguments = parse_arguments()
    if arguments.only == "zoo":
        print(json.dumps(whole_zoo(arguments)))
        return
    frame, path = begin(__doc__), result_path(arguments.out, "greedy")
    old = kept(path, frame, lambda report: staying(report, arguments), classes=arguments.classes)
    report = finish(frame, **in_memory(arguments))
    if arguments.only is None:
        report["zoo"] = in_own_process()
    elif staying(old, arguments):
        report |= {"zoo": old["zoo"], "date": first_day((frame["date"], old["date"]))}
    if "zoo" in report:
        report["targets"] |= {
            "zoo_seconds": {"aim": SECONDS, "found": report["zoo"]["seconds"]},
            "zoo_peak_bytes": {"aim": PEAK_BYTES, "found": report["zoo"]["peak_bytes"]},
        }
    print(json.dumps(report, indent=1))
    print(f"written to {write_result(arguments.out, 'greedy', report)}")


def staying(report: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """The part of a kept result that is not measured again."""
    return ["zoo"] if arguments.only == "memory" and "zoo" in report else []


def parse_arguments() -> argparse.Namespace:
    parser = options(
        __doc__,
        models=40,
        examples=20_000,
        classes=1_000,
        steps=10,
        zoo_models=500,
        zoo_examples=50_000,
        zoo_steps=50,
    )
    parser.add_argument("--only", choices=["memory", "zoo"])
    return parser.parse_args()


def in_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps of the three ways on the same candidates."""
    compile_all(arguments.classes)
    source = InMemory(Seeded(arguments.models, arguments.examples, arguments.classes))
    weights, everybody = np.ones(arguments.examples, np.int64), np.arange(arguments.models)
    require_equal(source, everybody, weights)
    certified, seconds, members = CertifiedRunning(source), {}, {}
    for name, running in (("certified", certified), ("brute force", FullRunning(source))):
        chosen: list[int] = []
        steps = arguments.steps if name == "certified" else min(arguments.steps, 3)
        seconds[name] = [timed(lambda: step(running, everybody, weights, chosen)) for _ in range(steps)]  # noqa: B023
        members[name] = chosen
    if members["brute force"] != members["certified"][: len(members["brute force"])]:
        raise SystemExit(f"other members: {members}")
    by_hand = Float32(source.q, source.truth.labels)
    by_hand.step()  # compiled
    by_hand.total[:] = 0
    seconds["float32 brute force"] = [timed(by_hand.step) for _ in range(min(arguments.steps, 3))]
    typical = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    times = typical["float32 brute force"] / typical["certified"]
    later = certified.work[1:]
    open_share = sum(work["open"] for work in later) / sum(work["pairs"] for work in later)
    return {
        "models": arguments.models,
        "examples": arguments.examples,
        "classes": arguments.classes,
        "seconds": seconds,
        "median_s": typical,
        "work": certified.work,
        "targets": {
            "times_float32": {"aim": TIMES, "found": times},
            "open_share": {"aim": OPEN_SHARE, "found": open_share},
        },
    }


def require_equal(source: InMemory, everybody: Indices, weights: Integers) -> None:
    """Hits of every candidate are those of brute force, with no member and with three."""
    full, certified = FullRunning(source), CertifiedRunning(source)
    for member in (None, 0, 1, len(everybody) - 1):
        for running in (full, certified):
            if member is not None:
                running.add(member)
        if member in (None, len(everybody) - 1):
            hits = [running.hits_if_added(everybody, weights) for running in (full, certified)]
            np.testing.assert_array_equal(*hits)


def compile_all(n_classes: int, n_models: int = 6, n_examples: int = 500) -> None:
    """Take members in from a few candidates in every way that is timed."""
    seeded = Seeded(n_models, n_examples, n_classes)
    source, everybody, weights = InMemory(seeded), np.arange(n_models), np.ones(n_examples, np.int64)
    require_equal(source, everybody, weights)
    for running in (CertifiedRunning(source), FullRunning(source), CertifiedRunning(seeded)):
        chosen: list[int] = []
        for _ in range(n_models):
            step(running, everybody, weights, chosen)
        total, truth = running.total, seeded.truth  # of all examples: few steps need more than some of them
        kernel.right_if_added(total, everybody, seeded.rows(0, everybody), truth.offsets, truth.classes)


def in_own_process() -> dict[str, Any]:
    """Run the reference size in a process of its own, for its peak memory."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", "zoo"]
    found: dict[str, Any] = json.loads(asked(command))
    return found


def whole_zoo(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps over a zoo whose rows are made as they are asked for."""
    compile_all(arguments.classes)
    seeded = Seeded(arguments.zoo_models, arguments.zoo_examples, arguments.classes)
    views_s = timed(lambda: seeded.views)
    running, chosen = CertifiedRunning(seeded), []
    everybody, weights = np.arange(seeded.n_models), np.ones(arguments.zoo_examples, np.int64)
    seconds = [timed(lambda: step(running, everybody, weights, chosen)) for _ in range(arguments.zoo_steps)]
    return {
        "models": seeded.n_models,
        "examples": arguments.zoo_examples,
        "views_s": views_s,
        "views_bytes": seeded.views.n_bytes,
        "seconds": sum(seconds),
        "step_s": seconds,
        "accuracy": float(running.right.mean()),
        "peak_bytes": peak_bytes(),
        "work": running.work,
    }


if __name__ == "__main__":
    main()
