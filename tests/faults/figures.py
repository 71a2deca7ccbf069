"""What a fault's trials are counted in, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figure:
    """The outcome of one fault's trials.

    Attributes
    ----------
    fault, promise : str
        What was done to the store, and what has to hold all the same.
    tried, lost : int
        Trials, and those in which the promise did not hold.
    problems : list of str
        What went wrong, at most `KEPT` of them.
    note : str
        What else was counted, or why the fault could not be tried here.
    """

    fault: str
    promise: str
    tried: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)
    note: str = ""

    KEPT = 20

    def count(self, case: str, problems: Iterable[str]) -> None:
        """Enter one trial; a check that could not be made has failed."""
        try:
            found = list(problems)
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        self.tried += 1
        self.lost += bool(found)
        self.problems += [f"{case}: {problem}" for problem in found][: self.KEPT - len(self.problems)]

    def demand(self, case: str, problems: Iterable[str]) -> None:
        """Enter a check that is no trial by itself: it is counted only where it fails."""
        whole = Figure(self.fault, self.promise)
        whole.count(case, problems)
        if whole.lost:
            self.add(whole)

    def add(self, part: Figure) -> None:
        """Enter the trials of another figure of the same fault."""
        self.tried, self.lost = self.tried + part.tried, self.lost + part.lost
        self.problems = (self.problems + part.problems)[: self.KEPT]

    def line(self) -> str:
        """One line of the table."""
        held = f"{self.tried:>9,}{self.tried - self.lost:>9,}{self.lost:>6,}" if self.tried else "not tried"
        return f"{self.fault:<62}{held:>24}{'  ' + self.note if self.note else ''}"

    def record(self) -> dict[str, Any]:
        """What the stored result keeps."""
        return {
            "fault": self.fault,
            "promise": self.promise,
            "tried": self.tried,
            "held": self.tried - self.lost,
            "lost": self.lost,
            "note": self.note,
        }


HEADING = f"{'fault':<62}{'tried':>9}{'held':>9}{'lost':>6}"
