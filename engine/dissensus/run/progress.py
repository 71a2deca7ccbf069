"""Progress on stderr: a bar where a person watches, a plain line now and then where a log does."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

_LINE_EVERY_S = 5.0
_EVEN_S = 100.0  # from then on lines become rarer
_SLOWER = 12  # times as much is the most between two lines
_EARLY = 3  # items before which the time left is a guess


class Progress:
    """Counts finished items of a known total and shows rate and remaining time on stderr.

    Parameters
    ----------
    total
        Number of items.
    label
        What is counted, at the head of the line.
    enabled
        False shows nothing.
    lines
        Plain lines even where a person watches: several processes cannot draw bars on one screen.

    Examples
    --------
    >>> with Progress(2, "files", enabled=False) as bar:
    ...     bar.advance(2, status="done")
    """

    def __init__(self, total: int, label: str, enabled: bool = True, lines: bool = False) -> None:
        self._total, self._label = total, label
        self._done, self._told, self._status = 0, 0, ""
        self._bar: Any = None
        self._enabled, self._lines = enabled, lines
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        self._start = self._shown = time.monotonic()
        if self._enabled and not self._lines and sys.stderr.isatty():
            self._bar = _rich_bar()
            self._bar.start()
            self._bar.add_task(self._label, total=self._total, rate="", status="")
        return self

    def advance(self, n: int, status: str = "") -> None:
        """Count `n` more items; `status` is shown at the end of the line."""
        self._done, self._status = self._done + n, status
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, advance=n, rate=_speed(self._rate()), status=status)
        elif self._enabled and time.monotonic() - self._shown >= self._pause():
            self._line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._enabled and 0 < self._told < self._done:  # end a job that was long enough to be reported
            self._line()

    def _pause(self) -> float:
        """Seconds between lines: a log of hours has one a minute."""
        longer = (time.monotonic() - self._start) / _EVEN_S
        return _LINE_EVERY_S * min(max(longer, 1.0), _SLOWER)

    def _rate(self) -> float:
        return self._done / max(time.monotonic() - self._start, 1e-9)

    def _line(self) -> None:
        self._shown, self._told = time.monotonic(), self._done
        rate = self._rate()
        left = (
            f", {_duration((self._total - self._done) / rate)} left"
            if _EARLY <= self._done < self._total
            else ""
        )
        status = f"  {self._status}" if self._status else ""
        print(
            f"{self._label}: {self._done:,} of {self._total:,} ({_speed(rate)}{left}){status}",
            file=sys.stderr,
            flush=True,
        )


def _speed(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 2 or not rate else f"{1 / rate:,.1f} s each"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),  # names may hold square brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        console=Console(stderr=True),
    )
