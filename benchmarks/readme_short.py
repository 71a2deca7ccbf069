"""What the main README says of results whose tables are in `benchmarks/README.md`."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]
HEAD = 4  # lines of the table of aims before its rows


def aims(table: str, worst: int = 5, best: int = 3) -> str:
    """Both ends of the table of aims: what is farthest from being met, and what is met most clearly."""
    lines = table.splitlines()
    end = lines.index("", HEAD) if "" in lines[HEAD:] else len(lines)
    head, rows, below = lines[:HEAD], lines[HEAD:end], lines[end:]
    left = len(rows) - worst - best
    if left <= 0:
        return table
    between = f"| … {left} more in [benchmarks/README.md](benchmarks/README.md#what-was-aimed-at) | | | | |"
    return "\n".join([*head, *rows[:worst], between, *rows[-best:], *below])


def faults(result: Result) -> str:
    """How much was tried against the store, and what was lost."""
    found = [fault for group in result["groups"].values() for fault in group]
    tried, held, lost = (sum(fault[name] for fault in found) for name in ("tried", "held", "lost"))
    where = f"{result['machine']}, {result['date']}, {result['seconds'] / 60:.0f} minutes"
    return "\n".join(
        [
            f"`{result['command']}` tries {tried:,} faults ({where}): kills",
            "before each system call and at random, power cuts, full disks and disk errors, flipped bits in",
            f"every file, files cut, deleted or foreign, rivals: {held:,} held, {lost:,} lost something",
            "([table](benchmarks/README.md#faults)). `python -m pytest tests/test_faults.py` tries a sample.",
        ]
    )


def storage(result: Result) -> str:
    """What float16 and the archive codec save and change."""
    plain, packed = result["effects"]["float16"], result["effects"]["float16, archive"]
    rows, data = result["models"] * result["examples"], f"{result['data']}, {result['models']} models"
    return "\n".join(
        [
            f"Of float32 logits ({data}) it takes {plain['bytes_of_float32']:.2f} of the bytes, as an",
            f"archive {packed['bytes_of_float32']:.2f}; in {rows:,} rows it changes "
            f"{plain['argmax_flips']:,}",
            f"predicted classes, makes {plain['new_ties']:,} new ties, and moves NLL by at most",
            f"{plain['largest_nll_difference']:.2g} ([table](benchmarks/README.md#how-logits-are-kept);",
            f"{result['date']}, `python benchmarks/storage.py`).",
        ]
    )
