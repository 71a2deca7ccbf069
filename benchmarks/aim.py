"""What one aim at speed or memory is, and how far a kept result meets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from all import STEPS

Result = dict[str, Any]
COMMANDS = {step.name: step.command for step in STEPS}
TIMM, ONE = "timm, a pass a model", "one infer of all models"


@dataclass(frozen=True)
class Aim:
    """One figure aimed at, and whether it is a limit or a floor.

    Attributes
    ----------
    what : str
        What is measured; sizes in braces are those of the result.
    found : callable
        Result to figure. KeyError or IndexError: that result lacks the figure, which is left out.
    aim : float
        In the unit of the figure.
    unit : str
        A share is told in "%", or without a unit where it is one of a speed.
    at_most : bool
        A limit; else a floor.
    result : str
        Name of the result, as `all.py` has it.
    """

    what: str
    found: Callable[[Result], float]
    aim: float
    unit: str = "s"
    at_most: bool = True
    result: str = ""

    def share(self, result: Result) -> float:
        """How far the aim is met: 1 just so, 0.5 half of it; infinite where nothing, or less, was found."""
        found = self.found(result)
        if not self.at_most:
            return found / self.aim
        return self.aim / found if found > 0 else float("inf")  # what costs less than nothing is noise

    def row(self, result: Result) -> str:
        limit = "at most" if self.at_most else "at least"
        met = "" if self.share(result) >= 1 else " **missed**"
        found, aim = told(self.found(result), self.unit), told(self.aim, self.unit)
        if met and found == aim:  # missed by less than is shown
            found = f"{'over' if self.at_most else 'under'} {aim}"
        command = f"`python benchmarks/{COMMANDS[self.result]}`"
        return (
            f"| {self.what.format(**result)} | {found}{met} | {limit} {aim} | {result['date']} | {command} |"
        )


def told(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.3g} %"
    if unit == "MiB":
        return f"{value / 2**20:,.0f} MiB"
    if unit == "times":
        return f"{value:,.0f} times" if value >= 20 else f"{value:.3g} times"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}".strip()


def target(name: str, *parts: str) -> Callable[[Result], float]:
    """A figure that the benchmark keeps among its targets, in a part of its result or at its top."""

    def found(result: Result) -> float:
        for part in parts:
            result = result[part]
        return float(result["targets"][name]["found"])

    return found


def times(theirs: str, ours: str = "dissensus", part: str | None = None) -> Callable[[Result], float]:
    """Times that one median is another, of a part of the result where it has parts."""

    def found(result: Result) -> float:
        median = result["median_s"] if part is None else result["median_s"][part]
        return float(median[theirs] / median[ours])

    return found


def memory_of_more_examples(resident: int) -> Callable[[Result], float]:
    """Times that streaming adds more to the process with the most examples than with the fewest."""

    def found(result: Result) -> float:
        runs = [run for run in result["runs"] if run["resident"] == resident]
        first, *_, last = (run["peak_bytes"] - run["before_bytes"] for run in runs)
        return float(last / first)

    return found


def at_most(what: str, found: Callable[[Result], float], aim: float, unit: str = "s") -> Aim:
    return Aim(what, found, aim, unit)


def at_least(what: str, found: Callable[[Result], float], aim: float, unit: str = "") -> Aim:
    return Aim(what, found, aim, unit, at_most=False)


def of(result: str, *aims: Aim) -> Iterator[Aim]:
    """Aims whose figures are in one result."""
    return (replace(aim, result=result) for aim in aims)
