"""What was aimed at in speed and memory, and what the kept results show: met and missed alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
TIMM = "timm, a pass a model"


@dataclass(frozen=True)
class Aim:
    """One figure aimed at: where it is kept, and whether it is a limit or a floor.

    `found` takes the kept result; KeyError or IndexError: that result lacks the figure, which is left out.
    """

    what: str
    result: str
    command: str
    found: Callable[[Result], float]
    aim: float
    unit: str = "s"
    at_most: bool = True

    def share(self, result: Result) -> float:
        """How far the aim is met: 1 just so, 0.5 half of it."""
        found = self.found(result)
        return self.aim / found if self.at_most else found / self.aim

    def row(self, result: Result) -> str:
        limit = "at most" if self.at_most else "at least"
        met = "" if self.share(result) >= 1 else " **missed**"
        found, aim = told(self.found(result), self.unit), told(self.aim, self.unit)
        if met and found == aim:  # missed by less than is shown
            found = f"{'over' if self.at_most else 'under'} {aim}"
        return f"| {self.what} | {found}{met} | {limit} {aim} | {result['date']} | `{self.command}` |"


def told(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.2g} %"
    if unit == "MiB":
        return f"{value / 2**20:,.0f} MiB"
    if unit == "times":
        return f"{value:,.0f} times" if value >= 20 else f"{value:.2g} times"
    return f"{value:.3g} {unit}".strip()


def target(name: str, *parts: str) -> Callable[[Result], float]:
    """A figure that the benchmark keeps among its targets, in a part of its result or at its top."""

    def found(result: Result) -> float:
        for part in parts:
            result = result[part]
        return float(result["targets"][name]["found"])

    return found


def times(theirs: str, ours: str = "dissensus counts") -> Callable[[Result], float]:
    return lambda result: float(result["median_s"][theirs] / result["median_s"][ours])


def written(theirs: str) -> Callable[[Result], float]:
    def found(result: Result) -> float:
        median = result["median_s"]["write"]
        return float(median[theirs] / median["dissensus"])

    return found


COUNTS = "python benchmarks/pair_counts.py"
QUERIES = "python benchmarks/pair_queries.py"
SCALE = "python benchmarks/pair_scale.py"
STORE = "python benchmarks/store_speed.py"
INGEST = "python benchmarks/ingest_speed.py"
GREEDY = "python benchmarks/greedy.py"
PEERS = "python benchmarks/greedy_peers.py"
PAIRS = "python benchmarks/pair_ensembles.py"
STUDY = "python benchmarks/study.py"
FULL = "python benchmarks/full_store.py"

AIMS = (
    Aim(
        "counts of all pairs, 512 x 50,000, beside a float32 matrix product",
        "pair-counts",
        COUNTS,
        times("float32 GEMM"),
        25,
        "times",
        at_most=False,
    ),
    Aim(
        "counts of all pairs, 512 x 50,000, beside scipy's `pdist` (hamming)",
        "pair-counts",
        COUNTS,
        times("scipy pdist hamming"),
        500,
        "times",
        at_most=False,
    ),
    Aim(
        "counts of all pairs, 512 x 50,000, beside the machine's popcount roof",
        "pair-counts",
        COUNTS,
        times("dissensus counts", "popcount roof"),
        1.5,
        "times",
    ),
    Aim(
        "`dissensus pairs --top 20`, 500 x 50,000, in a new process",
        "pair-queries",
        QUERIES,
        target("dissensus pairs --top 20"),
        1,
    ),
    Aim(
        "all measures of 124,750 pairs with delta intervals",
        "pair-queries",
        QUERIES,
        target("all, delta intervals"),
        1,
    ),
    Aim(
        "kappa of 124,750 pairs with 1,000 multinomial draws each",
        "pair-queries",
        QUERIES,
        target("kappa, resampled intervals"),
        60,
    ),
    Aim(
        "CAPA of 100 x 50,000 x 1,000 from disk, of the machine's float32 rate",
        "pair-queries",
        QUERIES,
        target("capa, first time"),
        0.6,
        "",
        at_most=False,
    ),
    Aim(
        "CAPA of 100 x 50,000 x 1,000, files in memory, of the same rate",
        "pair-queries",
        QUERIES,
        target("capa, files in memory"),
        0.6,
        "",
        at_most=False,
    ),
    Aim("20 best partners of 61,565 models x 10,000", "pair-scale", SCALE, target("seconds"), 60),
    Aim(
        "20 best partners of 61,565 models x 10,000: peak memory of the process",
        "pair-scale",
        SCALE,
        target("peak_bytes"),
        2**30,
        "MiB",
    ),
    Aim(
        "a greedy step, 40 x 20,000 x 1,000, beside a parallel float32 brute force",
        "greedy",
        GREEDY,
        target("times_float32"),
        30,
        "times",
        at_most=False,
    ),
    Aim(
        "fifty greedy steps over 500 x 50,000 x 1,000, from views",
        "greedy",
        GREEDY,
        lambda result: float(result["zoo"]["seconds"]),
        10,
    ),
    Aim(
        "fifty greedy steps over 500 x 50,000 x 1,000: peak memory of the process",
        "greedy",
        GREEDY,
        lambda result: float(result["zoo"]["peak_bytes"]),
        4 * 2**30,
        "MiB",
    ),
    Aim(
        "fifty greedy steps over a store of 100 x 50,000 x 1,000 on disk: memory of the process's own",
        "full-store",
        FULL,
        lambda result: float(result["private_bytes"]["greedy"]),
        4 * 2**30,
        "MiB",
    ),
    Aim(
        "a whole greedy step by NLL, 16 x 5,000 x 1,000, beside TabArena's `fast_log_loss`",
        "greedy-peers",
        PEERS,
        target("times_fast_log_loss_step"),
        3,
        "times",
        at_most=False,
    ),
    Aim(
        "the choice within a greedy step by NLL, which is all that `fast_log_loss` does, beside it",
        "greedy-peers",
        PEERS,
        target("times_fast_log_loss_choice"),
        3,
        "times",
        at_most=False,
    ),
    Aim(
        "all 124,750 pair ensembles of 500 x 50,000 x 1,000, from views",
        "pair-ensembles",
        PAIRS,
        target("all pairs from views"),
        30,
    ),
    Aim(
        "all pair ensembles of 500 x 50,000 x 1,000: share that needs full rows",
        "pair-ensembles",
        PAIRS,
        target("share by full rows"),
        0.0005,
        "%",
    ),
    Aim(
        "write of a model, of the speed of a raw write and sync",
        "store-speed",
        STORE,
        target("write"),
        0.8,
        "",
        at_most=False,
    ),
    Aim(
        "write beside zarr-python, plain chunks, synced alike",
        "store-speed",
        STORE,
        written("zarr-python, plain chunks, synced"),
        3,
        "times",
        at_most=False,
    ),
    Aim(
        "write beside zarr-python, plain chunks, without its sync",
        "store-speed",
        STORE,
        written("zarr-python, plain chunks"),
        3,
        "times",
        at_most=False,
    ),
    Aim(
        "write beside `torch.save`, without its sync",
        "store-speed",
        STORE,
        written("torch.save"),
        1,
        "times",
        at_most=False,
    ),
    Aim(
        "reading blocks, cached, of the speed of raw `preadv`",
        "store-speed",
        STORE,
        target("read, cached"),
        0.8,
        "",
        at_most=False,
    ),
    Aim(
        "reading blocks, cold, of the speed of raw `preadv`",
        "store-speed",
        STORE,
        target("read, cold"),
        0.8,
        "",
        at_most=False,
    ),
    Aim(
        "full verify, cached, of the speed of reading the files",
        "store-speed",
        STORE,
        target("verify, cached"),
        0.7,
        "",
        at_most=False,
    ),
    Aim(
        "full verify, cold, of the speed of reading the files",
        "store-speed",
        STORE,
        target("verify, cold"),
        0.7,
        "",
        at_most=False,
    ),
    Aim("opening a store of 1,000 models", "store-speed", STORE, target("listing the models"), 100, "ms"),
    Aim(
        "predictions of 500 x 50,000 from the cache",
        "store-speed",
        STORE,
        target("predictions, from the cache"),
        50,
        "ms",
    ),
    Aim(
        "a study of 100 x 50,000 x 1,000 in a new process",
        "study",
        STUDY,
        target("seconds"),
        180,
    ),
    Aim(
        "the same: memory without mapped files",
        "study",
        STUDY,
        target("peak_anonymous_bytes"),
        4 * 2**30,
        "MiB",
    ),
    Aim(
        "what streaming into the store adds to the bare loop, resnet10t at 112 px",
        "ingest-speed",
        INGEST,
        lambda result: float(result["loops"][0]["ratios"]["the store"]["median"]),
        0.03,
        "%",
    ),
    Aim(
        "16 small models over JPEG files, share of the time of timm's 16 passes",
        "ingest-speed",
        INGEST,
        lambda result: float(result["peers"][0]["ratios"]["one infer of all models"]["median"]),
        0.4,
        "%",
    ),
)


def table(newest: Callable[[str], Result]) -> str:
    """The aims as a table, the farthest from being met first; what no result holds is left out."""
    known = [(aim, result) for aim in AIMS if (result := _holding(aim, newest)) is not None]
    known.sort(key=lambda both: both[0].share(both[1]))
    missed = sum(aim.share(result) < 1 for aim, result in known)
    lines = [
        f"Of {len(known)} figures that were aimed at {missed} are missed ({machines(known)}):",
        "",
        "| what | found | aim | when | by |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(lines + [aim.row(result) for aim, result in known])


def machines(known: list[tuple[Aim, Result]]) -> str:
    return "; ".join(dict.fromkeys(str(result["machine"]) for _, result in known))


def _holding(aim: Aim, newest: Callable[[str], Result]) -> Result | None:
    try:
        result = newest(aim.result)
        aim.found(result)
    except (KeyError, IndexError, ValueError):
        return None
    return result
