"""How much faster than a matrix product are the counts of all pairs of models, on the same threads?

Every contender first has to give the same counts. Then they run in alternation in one process, each timed run
straight after an untimed one of the same contender, so that none pays for the caches and pages another left.
Times are medians, of arrays in memory. `K @ K.T` is the floor to beat: NumPy computes only one triangle
of it (SYRK), as our kernel does. The general product (GEMM) takes a copy of K as its other side. The
popcount roof is as many ANDs, popcounts and sums of words, of rows that never leave the first cache.

    python benchmarks/pair_counts.py [--models 512] [--examples 50000] [--repeats 21] [--threads 2]

The result is written to results/<machine>-pair-counts.json beside this file, or into another folder (--out).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import machine_name, versions, write_result

Contenders = dict[str, Callable[[], Any]]
OURS, FLOOR, GENERAL = "dissensus counts", "float32 K @ K.T", "float32 GEMM"
ROOF = "popcount roof"
L1_WORDS = 256  # of a row: 12 rows take 24 KB
HAMMING = "scipy pdist hamming"


def main() -> None:
    arguments = parse_arguments()
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # read when NumPy and numba are first imported
        os.environ[f"{library}_NUM_THREADS"] = str(arguments.threads)
    contenders, peers = prepare(arguments.models, arguments.examples)
    load = os.getloadavg()[0]
    times = measure(contenders, arguments.repeats)
    report = {
        "question": (__doc__ or "").splitlines()[0],
        "models": arguments.models,
        "examples": arguments.examples,
        "threads": arguments.threads,
        "machine": machine_name(),
        "date": time.strftime("%Y-%m-%d"),
        "load_before": round(load, 2),
        "versions": versions() | peers,
        "equal_results": True,  # prepare() ends the run otherwise
        "median_s": {name: statistics.median(t) for name, t in times.items()},
        "times_s": times,
    }
    show(report)
    print(f"written to {write_result(arguments.out, 'pair-counts', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=512)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def prepare(n_models: int, n_examples: int) -> tuple[Contenders, dict[str, str]]:
    """Contenders on one random zoo, run once and found equal, and versions of peers that are optional."""
    import numpy as np

    from dissensus.kernels.counts import both_right, pack
    from dissensus.pairs import MEASURES, PairCounts

    correct = np.random.default_rng(0).random((n_models, n_examples)) < 0.75
    packed, K = pack(correct), correct.astype(np.float32)
    copy = K.copy()
    contenders: Contenders = {
        ROOF: popcount_roof(n_models * (n_models + 1) // 2 * packed.shape[1]),
        OURS: lambda: both_right(packed),
        FLOOR: lambda: K @ K.T,
        GENERAL: lambda: K @ copy.T,
        "dissensus, packing included": lambda: both_right(pack(correct)),
        "dissensus, packing to kappa": lambda: MEASURES["error_consistency"].finish(
            PairCounts.from_correct(correct)
        ),
    }
    counts = contenders[OURS]()
    for name in (FLOOR, GENERAL):  # exact in float32 below 2**24 examples
        np.testing.assert_array_equal(contenders[name](), counts, err_msg=name)
    peers = {}
    try:
        import scipy
        from scipy.spatial.distance import pdist, squareform
    except ImportError:
        print(f"{HAMMING}: skipped, scipy is not installed")
    else:
        contenders[HAMMING] = lambda: pdist(correct, "hamming")
        table = PairCounts.from_correct(correct)
        apart = np.rint(squareform(contenders[HAMMING]()) * n_examples)
        np.testing.assert_array_equal(apart, table.n10 + table.n01, err_msg=HAMMING)
        peers["scipy"] = scipy.__version__
    return contenders, peers


def popcount_roof(n_words: int) -> Callable[[], Any]:
    """Pairs of words counted as fast as the machine can: the same register blocks, without memory."""
    import numba
    import numpy as np

    from dissensus.kernels.counts import ROWS, both_right_rectangle
    from dissensus.kernels.jit import parallel_kernel

    @parallel_kernel
    def run(a: Any, b: Any, rounds: int, out: Any) -> None:
        for thread in numba.prange(len(out)):
            for turn in range(rounds):
                both_right_rectangle(a[turn % 2], b, out[thread])  # other rows each time: nothing is hoisted

    threads = numba.get_num_threads()
    words = np.random.default_rng(1).integers(0, 2**63, (3, ROWS, L1_WORDS), np.uint64)
    out = np.zeros((threads, ROWS, ROWS), np.int64)
    rounds = n_words // (ROWS * ROWS * L1_WORDS * threads)
    return lambda: run(words[:2], words[2], rounds, out)


def measure(contenders: Contenders, repeats: int) -> dict[str, list[float]]:
    """Times in seconds, the contenders in turn, so that a disturbance meets them all."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name, run in contenders.items():
            if name == HAMMING and turn > 0:  # seconds each: one is enough
                continue
            run()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def show(report: dict[str, Any]) -> None:
    medians = report["median_s"]
    size = f"{report['models']} models x {report['examples']} examples"
    print(f"{size}, {report['threads']} threads, {report['machine']}, load before {report['load_before']}")
    print(f"{'':30}{'median ms':>10}{'dissensus counts are':>22}")
    for name, seconds in sorted(medians.items(), key=lambda item: item[1]):
        ratio = "" if name == OURS else f"{seconds / medians[OURS]:.1f} x faster"
        print(f"{name:30}{1000 * seconds:10.2f}{ratio:>22}")


if __name__ == "__main__":
    main()
