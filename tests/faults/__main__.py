"""Run the suite by itself: a table on the terminal, and with `--full` a result file for the README.

A full run that is broken off goes on where it was, as long as the code is the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from machine import machine_name, versions, write_result  # noqa: E402

from .effort import Effort  # noqa: E402
from .figures import HEADING, Figure  # noqa: E402
from .kept import Kept  # noqa: E402
from .table import FAULTS, GROUPS  # noqa: E402

KEPT = Path(__file__).resolve().parents[2] / "build" / "faults.jsonl"
COMMAND = "python -m tests.faults --full"


def main() -> int:
    arguments = parse_arguments()
    kept = Kept(KEPT if arguments.full else None, arguments.seed)
    effort = Effort(arguments.full, arguments.seed, kept)
    if len(kept):
        print(f"going on with {len(kept)} figures; delete {KEPT} to try all anew", file=sys.stderr)
    print(HEADING)
    figures = {name: tried(name, effort, arguments.dir) for name in FAULTS if _chosen(name, arguments.only)}
    seconds = round(kept.seconds())
    lost = sum(figure.lost for figure in figures.values())
    print(f"{sum(figure.tried for figure in figures.values()):,} trials in {seconds} s, {lost} lost")
    if arguments.full and not arguments.only:
        print(f"written to {write_result(arguments.out, 'faults', report(figures, effort, seconds))}")
        if not lost:
            KEPT.unlink(missing_ok=True)  # the next full run tries all again
    return 1 if lost else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").strip())
    parser.add_argument(
        "--full",
        action="store_true",
        help="all cases, half an hour on two cores",
    )
    parser.add_argument("--only", nargs="+", metavar="FAULT", help=f"some of: {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="where to make stores; the temporary folder by default")
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


def _chosen(name: str, only: list[str] | None) -> bool:
    return not only or any(part in name for part in only)


def tried(name: str, effort: Effort, place: Path | None) -> Figure:
    """Try one fault in a folder of its own and print its line."""
    with tempfile.TemporaryDirectory(dir=place) as root:
        figure = effort.kept.made(name, lambda: FAULTS[name](Path(root), effort))
    print("\n".join([figure.line(), *(f"    {problem}" for problem in figure.problems)]), flush=True)
    return figure


def report(figures: dict[str, Figure], effort: Effort, seconds: int) -> dict[str, Any]:
    """What is kept of a full run."""
    return {
        "question": "What does the store lose under kills, full disks, damaged files, rivals and strangers?",
        "command": COMMAND,
        "machine": machine_name(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "seed": effort.seed,
        "seconds": seconds,
        "groups": {group: [figures[name].record() for name in faults] for group, faults in GROUPS.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
