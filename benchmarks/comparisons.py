"""How much faster or slower than its peers is each function, at the same result?

One table: function, and its implementations. Each is a set-up (what is read, packed, converted or gathered
beforehand, timed apart) and a callable; see `contests.py`. The tests take this table at small sizes and check
that all implementations give the same; other benchmarks and the README take their opponents from it, so that
what is claimed is what is checked. Results are compared before anything is timed; the first call, in which
kernels are compiled or loaded, is timed apart; ratios are of times of the same turn, the worst ones first.
Opponents that are not installed are left out by name; `peers.py` makes an environment that has them.

    python benchmarks/comparisons.py [--only PART …] [--repeats 7] [--small] [--scaled] [--list]

The default takes some minutes and 3 GB below --dir. The result goes to results/<machine>-comparisons.json,
with --scaled (the sizes of `Comparison.scaled`, for pictures) to results/<machine>-scaling.json. With --only,
rows of other functions stay that an earlier run with the same machine, versions and turns left there; where
those or the peers are others, so that rows would be lost, nothing is measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contests import Comparison, Times, race, ratios
from explain_contests import EXPLANATIONS
from greedy_contests import SELECTION
from ingest_contests import INGESTION
from machine import result_path, write_result
from measuring import begin, finish, first_day, kept, options, shortly
from pair_contests import PAIRS
from store_contests import STORAGE

HEADS = {"times ours": 11, "lowest": 9, "highest": 9, "ms": 11, "set-up ms": 11, "first ms": 11}
COMPARISONS = {one.name: one for one in (*PAIRS, *SELECTION, *EXPLANATIONS, *STORAGE, *INGESTION)}


def main() -> None:
    arguments = parse_arguments()
    chosen = [one for one in COMPARISONS.values() if named(one, arguments.only)]
    if not chosen:
        raise SystemExit(f"no comparison has {' or '.join(arguments.only)} in its name: see --list")
    if arguments.list:
        print("\n".join(listed(chosen)))
        return
    name = "scaling" if arguments.scaled else "comparisons"
    frame, path = begin(__doc__), result_path(arguments.out, name)
    sizes = {"repeats": arguments.repeats, "small": arguments.small}
    old = kept(path, frame, lambda report: staying(report, chosen), **sizes)
    if arguments.only:
        require_peers(path, old, chosen)
    rows, replaces = old.get("rows", []), path.exists() and not old
    for one in chosen:
        rows = [row for row in rows if row["function"] != one.name]
        rows += [{**row, "date": frame["date"]} for row in measured(one, arguments)]
        report = finish(frame, **sizes, rows=rows, date=first_day(row["date"] for row in rows))
        if not replaces or one is chosen[-1]:  # after each: nothing is lost where one fails
            write_result(arguments.out, name, report)
    print("\n".join(shown(report)))
    print(f"written to {path}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="parts of names")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--small", action="store_true", help="the sizes of the tests, which tell no speed")
    parser.add_argument("--scaled", action="store_true", help="at growing sizes, those that have some")
    parser.add_argument("--list", action="store_true", help="name functions and implementations, and end")
    return parser.parse_args()


def staying(report: dict[str, Any], chosen: Sequence[Comparison]) -> set[str]:
    """Functions of a kept result, still in the table, that are not measured again."""
    return {row["function"] for row in report["rows"]} & COMPARISONS.keys() - {one.name for one in chosen}


def require_peers(path: Path, old: dict[str, Any], chosen: Sequence[Comparison]) -> None:
    """End the run where a peer is not here that a kept result has beside a chosen function."""
    absent = {(one.name, name) for one in chosen for name, way in one.ways.items() if not way.is_there}
    lost = {row["implementation"] for row in old.get("rows", ()) if _key(row) in absent}
    if lost:
        raise SystemExit(
            f"{path} has {shortly(lost)}, which would be lost: not installed here. Use the environment that "
            "has them (python benchmarks/peers.py make), or write to another folder (--out)"
        )


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["function"], row["implementation"]


def named(comparison: Comparison, parts: Sequence[str]) -> bool:
    return not parts or any(part in comparison.name for part in parts)


def listed(chosen: Sequence[Comparison]) -> Iterator[str]:
    for one in chosen:
        size = " x ".join(f"{n:,} {what}" for what, n in one.large.items())
        yield f"{one.name} ({size}); equal {one.tolerance}"
        for name, way in one.ways.items():
            there = "" if way.is_there else f"   not here: {way.needs} is not installed"
            yield f"    {name:44}{'ours' if name == one.ours else way.kind}{there}"


def measured(comparison: Comparison, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of a comparison: a size and an implementation each."""
    sizes = [comparison.small if arguments.small else comparison.large]
    for size in comparison.scaled if arguments.scaled else sizes:
        with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
            times = race(comparison, Path(place), size, arguments.repeats)
        yield from rows_of(comparison, size, times)


def rows_of(comparison: Comparison, size: Any, times: dict[str, Times]) -> Iterator[dict[str, Any]]:
    ratio = ratios(times, comparison.ours)
    for name, found in times.items():
        yield {
            "function": comparison.name,
            "sizes": dict(size),
            "implementation": name,
            "kind": "ours" if name == comparison.ours else comparison.ways[name].kind,
            "times_ours": ratio[name],
            "median_s": found.median,
            "prepare_s": found.prepare_s,
            "first_s": found.first_s,
            "times_s": found.seconds,
            "equal": comparison.tolerance,
        }


def worst_first(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows but ours: where we are slowest, beside what others take, comes first; roofs among them."""
    others = [row for row in rows if row["kind"] != "ours"]
    return sorted(others, key=lambda row: float(row["times_ours"]["median"]))


def shown(report: dict[str, Any]) -> Iterator[str]:
    yield f"{report['machine']}, {report['threads']} threads, load before {report['load_before']}"
    yield "times ours: how many times our time it takes; below 1 it is faster than we are"
    heads = "".join(f"{head:>{width}}" for head, width in HEADS.items())
    yield f"{'function':32}{'implementation':46}{heads}"
    for row in worst_first(report["rows"]):
        yield line(row, row["times_ours"])
    yield "ours:"
    for row in report["rows"]:
        if row["kind"] == "ours":
            yield line(row, None)


def line(row: dict[str, Any], ratio: dict[str, float] | None) -> str:
    numbers = f"{'':29}"
    if ratio is not None:
        numbers = "{:11,.2f}{:9,.2f}{:9,.2f}".format(*(ratio[n] for n in ("median", "lowest", "highest")))
    apart = f"{1e3 * row['prepare_s']:11,.1f}{1e3 * row['first_s']:11,.1f}"
    once = "  one run" if len(row["times_s"]) == 1 else ""
    return (
        f"{row['function']:32}{row['implementation']:46}{numbers}{1e3 * row['median_s']:11,.2f}{apart}{once}"
    )


if __name__ == "__main__":
    main()
