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

The result goes to results/<machine>-greedy.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dissensus.ensemble.certified import CertifiedRunning
from dissensus.ensemble.running import Block, FullRunning, Indices, Integers, Running
from dissensus.ensemble.views import Views
from dissensus.kernels import probabilities as kernel
from dissensus.store.truth import Truth
from machine import machine_name, versions, write_result
from measuring import timed

TIMES, SECONDS, PEAK_BYTES, OPEN_SHARE = 30, 10, 4 << 30, 0.001  # what is aimed at
CHUNK = 1024  # rows made at a time
LIKELY = 6  # classes that all models find likely, the right one among them


class Seeded:
    """Candidates whose logits follow from their numbers alone.

    Logits are multiples of 1/64: noise, and for the likely classes of an example what all models see in it,
    more of the right one for models of more skill.
    """

    floor = 0

    def __init__(self, n_models: int, n_examples: int, n_classes: int) -> None:
        rng = np.random.default_rng(0)
        self.n_models, self.n_classes = n_models, n_classes
        labels = rng.integers(0, n_classes, n_examples)
        self.truth = Truth.of("seeded", labels, n_classes)
        self._likely = rng.integers(0, n_classes, (n_examples, LIKELY))
        self._likely[:, 0] = labels
        seen = rng.normal(5, 2, (n_examples, LIKELY))
        seen[:, 0] += rng.normal(2.5, 2.5, n_examples)
        self._seen = (seen * 64).astype(np.int64)
        self._skill = (rng.uniform(0, 1, n_models) * 64).astype(np.int64)
        self._noise = (rng.normal(0, 1.2, 4096) * 64).astype(np.int64)
        self._codes = (-np.arange(1 << 12) / 64).astype(np.float16).view(np.uint16)
        self._table = kernel.exponentials(np.dtype(np.uint16), 1.0)

    def codes(self, model: int, places: NDArray[np.intp]) -> NDArray[np.uint16]:
        """Logits as float16 bit patterns, (r, C)."""
        out = np.empty((len(places), self.n_classes), np.uint16)
        with kernel.PARALLEL:
            _codes(model, places, self._likely, self._seen, self._skill, self._noise, self._codes, out)
        return out

    def rows(self, candidate: int, places: NDArray[np.intp]) -> NDArray[np.uint32]:
        """Fixed-point probabilities, (r, C)."""
        codes = self.codes(candidate, places)
        q = np.empty(codes.shape, np.uint32)
        kernel.fixed_point_rows(codes, self._table, q)
        return q

    @cached_property
    def views(self) -> Views:
        """Views of all models on all examples."""
        views = Views.empty(self.truth, self.n_classes, self.n_models)
        for start in range(0, len(self.truth), CHUNK):
            places = np.arange(start, min(start + CHUNK, len(self.truth)))
            for model in range(self.n_models):
                views.fill(model, start, start + len(places), self.codes(model, places), self._table)
        return views


class InMemory:
    """The same candidates with all of their probabilities in memory."""

    floor = 0

    def __init__(self, seeded: Seeded) -> None:
        self.truth, self.n_classes, self.views = seeded.truth, seeded.n_classes, seeded.views
        everywhere = np.arange(len(seeded.truth))
        self.q = np.empty((seeded.n_models, len(seeded.truth), seeded.n_classes), np.uint32)
        for model in range(seeded.n_models):
            self.q[model] = seeded.rows(model, everywhere)

    def rows(self, candidate: int, places: NDArray[np.intp]) -> NDArray[np.uint32]:
        """Fixed-point probabilities, (r, C)."""
        return self.q[candidate].take(places, axis=0)

    def blocks(self) -> Iterator[Block]:
        """Everything at once."""
        yield Block(0, len(self.truth), self.q)


@numba.njit(cache=True)
def _mixed(x: Any) -> Any:
    """SplitMix64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(parallel=True, cache=True)
def _codes(
    model: int, places: Any, likely: Any, seen: Any, skill: Any, noise: Any, codes: Any, out: Any
) -> None:
    n_classes = out.shape[1]
    for i in numba.prange(len(places)):
        n, z = places[i], np.empty(n_classes, np.int64)
        seed = _mixed(np.uint64(model) * np.uint64(1 << 32) + np.uint64(n))
        for c in range(0, n_classes, 5):  # 12 bits for each of five classes
            bits = _mixed(seed + np.uint64(c))
            for k in range(min(5, n_classes - c)):
                z[c + k] = noise[(bits >> np.uint64(12 * k)) & np.uint64(4095)]
        for k in range(likely.shape[1]):
            z[likely[n, k]] += seen[n, k]
        z[likely[n, 0]] += skill[model]
        top = z.max()
        for c in range(n_classes):
            out[i, c] = codes[min(top - z[c], len(codes) - 1)]


class Float32:
    """What one would write by hand: float32 sums, all classes of all candidates, on all cores."""

    def __init__(self, q: NDArray[np.uint32], labels: NDArray[Any]) -> None:
        self.p, self._labels = np.empty(q.shape, np.float32), labels.astype(np.int64)
        for m in range(len(q)):
            np.multiply(q[m], np.float32(2.0**-31), out=self.p[m], casting="unsafe")
        self.total = np.zeros(q.shape[1:], np.float32)

    def step(self) -> int:
        """Take the best candidate in."""
        hits = np.zeros(len(self.p), np.int64)
        _float32_hits(self.total, self.p, self._labels, hits)
        self.total += self.p[hits.argmax()]
        return int(hits.max())


@numba.njit(parallel=True, fastmath=True, cache=True)
def _float32_hits(total: Any, p: Any, labels: Any, out: Any) -> None:
    for m in numba.prange(p.shape[0]):
        hits = 0
        for n in range(p.shape[1]):
            y = labels[n]
            best, above = total[n, y] + p[m, n, y], np.int32(0)
            for c in range(p.shape[2]):
                above |= np.int32(total[n, c] + p[m, n, c] > best)
            hits += 1 - above
        out[m] = hits


def main() -> None:
    arguments = parse_arguments()
    if arguments.only == "zoo":
        print(json.dumps(whole_zoo(arguments)))
        return
    load, report = os.getloadavg()[0], described()
    report |= in_memory(arguments)
    if arguments.only is None:
        report["zoo"] = in_own_process()
        report["targets"] |= {
            "zoo_seconds": {"aim": SECONDS, "found": report["zoo"]["seconds"]},
            "zoo_peak_bytes": {"aim": PEAK_BYTES, "found": report["zoo"]["peak_bytes"]},
        }
    report["load_before"] = round(load, 2)
    print(json.dumps(report, indent=1))
    print(f"written to {write_result(arguments.out, 'greedy', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--zoo-models", type=int, default=500)
    parser.add_argument("--zoo-examples", type=int, default=50_000)
    parser.add_argument("--zoo-steps", type=int, default=50)
    parser.add_argument("--only", choices=["memory", "zoo"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def described() -> dict[str, Any]:
    return {
        "question": (__doc__ or "").splitlines()[0],
        "threads": len(os.sched_getaffinity(0)),
        "machine": machine_name(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }


def in_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps of the three ways on the same candidates."""
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
        "equal_results": True,  # require_equal ends the run otherwise
        "seconds": seconds,
        "median_s": typical,
        "work": certified.work,
        "targets": {
            "times_float32": {"aim": TIMES, "found": times},
            "open_share": {"aim": OPEN_SHARE, "found": open_share},
        },
    }


def step(
    running: Running, everybody: NDArray[np.intp], weights: NDArray[np.int64], chosen: list[int]
) -> None:
    """Take the first of the best candidates in."""
    chosen.append(int(running.leaders(everybody, weights)[0]))
    running.add(chosen[-1])


def require_equal(source: InMemory, everybody: Indices, weights: Integers) -> None:
    """Hits of every candidate are those of brute force, with no member and with three; all is compiled."""
    full, certified = FullRunning(source), CertifiedRunning(source)
    for member in (None, 0, 1, len(everybody) - 1):
        for running in (full, certified):
            if member is not None:
                running.add(member)
        if member in (None, len(everybody) - 1):
            hits = [running.hits_if_added(everybody, weights) for running in (full, certified)]
            np.testing.assert_array_equal(*hits)


def in_own_process() -> dict[str, Any]:
    """Run the reference size in a process of its own, for its peak memory."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", "zoo"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def whole_zoo(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps over a zoo whose rows are made as they are asked for."""
    require_equal(InMemory(Seeded(6, 500, arguments.classes)), np.arange(6), np.ones(500, np.int64))
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
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "work": running.work,
    }


if __name__ == "__main__":
    main()
