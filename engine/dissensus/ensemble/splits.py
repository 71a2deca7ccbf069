"""Which examples select and which report, so that nobody reports on what was selected on by accident."""

from __future__ import annotations

import numpy as np

from dissensus.errors import ArgumentError
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

MOST_EXAMPLES = 3_000_000  # fixed-point NLL of more could overflow int64 if all were at the floor


def select_and_report(store: Store, select: str, report: str, allow_same_split: bool) -> tuple[Rows, Rows]:
    """Rows to select on and rows to report on.

    Raises
    ------
    ArgumentError
        They share examples and this was not allowed explicitly.
    UnknownName
    """
    fit, held = store.rows(select), store.rows(report)
    for name, split, rows in (("select", select, fit), ("report", report, held)):
        if not 0 < len(rows) <= MOST_EXAMPLES:
            raise ArgumentError(
                f"{name}={split!r} has {len(rows)} examples counted under labels {store.truth.name!r}; "
                f"it needs at least 1, at most {MOST_EXAMPLES:,}"
            )
    shared = len(np.intersect1d(fit, held))
    if shared and not allow_same_split:
        raise ArgumentError(
            f"select={select!r} and report={report!r} share {shared} examples: numbers reported on what "
            "chose the members are too good; choose two splits, or allow_same_split=True (--allow-same-split)"
        )
    return fit, held
