"""Options of `pairs` that ask for intervals and tests, and how a table shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .grouped import option

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus import Pairs

SURE = "How sure it is"
ENDS = ("low", "high")


def interval_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--ci``, ``--level``, ``--draws``, ``--seed``, ``--test`` and ``--null`` to a query of pairs."""
    options = (
        option(
            SURE,
            "--ci",
            type=click.Choice(["delta", "bootstrap"]),
            is_flag=False,
            flag_value="delta",
            help="Interval of each measure: closed form (--ci alone), or percentiles of resampled counts.",
        ),
        option(SURE, "--level", type=float, help="Coverage of the intervals. [default: 0.95]"),
        option(
            SURE,
            "--draws",
            type=click.IntRange(min=1),
            help="Resamples of --ci bootstrap, random matrices of --null. [default: 1000]",
        ),
        option(
            SURE, "--seed", type=click.IntRange(min=0), help="Where their random numbers start. [default: 0]"
        ),
        option(
            SURE,
            "--test",
            type=click.Choice(["independence"]),
            help="z, p and q values against mistakes that are independent at these accuracies.",
        ),
        option(
            SURE,
            "--null",
            is_flag=True,
            help="z, p and q values against what accuracies and the examples' difficulty explain.",
        ),
    )
    for one in reversed(options):
        command = one(command)
    return command


@dataclass(frozen=True)
class Asked:
    """What is asked for beside the measures.

    Attributes
    ----------
    ci, level, draws, seed, test, null
        As the options; None or False where they are not given.
    """

    ci: str | None
    level: float | None
    draws: int | None
    seed: int | None
    test: str | None
    null: bool

    def __post_init__(self) -> None:
        if self.level is not None and self.ci is None:
            raise click.UsageError("--level goes with --ci")
        for name, value in (("draws", self.draws), ("seed", self.seed)):
            if value is not None and self.ci != "bootstrap" and not self.null:
                raise click.UsageError(f"--{name} goes with --ci bootstrap or --null")

    @property
    def intervals(self) -> dict[str, Any]:
        """Arguments of `pairwise`."""
        drawn = {"draws": self.draws, "seed": self.seed} if self.ci == "bootstrap" else {}
        return {"ci": self.ci, "level": self.level} | drawn

    def measure_of(self, by: str) -> str | None:
        """Find the measure that must be computed to sort by a name; None where a test gives the column."""
        prefix, _, kind = by.rpartition("_")
        for needed, given, belongs in (
            ("--ci", self.ci, kind in ENDS),
            ("--test", self.test, prefix == "test"),
            ("--null", self.null, prefix == "null"),
        ):
            if belongs and not given:
                raise click.UsageError(f"--by {by} goes with {needed}")
        return prefix if kind in ENDS else None if prefix in ("test", "null") else by

    def tested(self, pairs: Pairs) -> Pairs:
        """Pairs with the columns of the tests asked for."""
        if self.test:
            pairs = pairs.test(self.test)
        if self.null:
            pairs = pairs.null(draws=self.draws, seed=self.seed)
        return pairs


def readable(table: pa.Table) -> pa.Table:
    """Put each interval beside its value, in one column: 0.4512 [0.4401, 0.4623]."""
    import pyarrow as pa

    columns = {name: table[name] for name in table.column_names}
    for name in table.column_names:
        bounds = [columns.pop(f"{name}_{end}", None) for end in ENDS]
        if None not in bounds:
            rows = zip(columns[name].to_pylist(), *(b.to_pylist() for b in bounds), strict=True)
            columns[name] = pa.array([_with_bounds(*row) for row in rows])
    return pa.table(columns)


def _with_bounds(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "–"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
