"""What a comparison is, and how one is checked and timed: shared by the table, the tests and the benchmarks.

A comparison is a function that several implementations compute from the same data. Each has a set-up (files
read, arrays packed, converted or gathered, views made), which is timed apart, and a callable. Their results
are compared before anything is timed; its first call, in which it is compiled, is timed apart too. Then all
run in turns, in changing order: what is told are ratios of times of the same turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from measuring import timed
from peers import is_there

Job = Callable[[], Any]
PEER, OWN, FLOOR, ROOF = "peer", "ours, another way", "floor", "roof"
MOST_WARM_S = 0.5  # of a call that is worth an untimed one before each timed one


def as_is(found: Any) -> Any:
    return found


@dataclass(frozen=True)
class Way:
    """One implementation.

    Attributes
    ----------
    prepare : callable
        Data to a callable without arguments, which alone is timed.
    result : callable
        What it returned, in the form that is compared.
    kind : str
        `PEER`; `OWN` for ours by another way; `FLOOR` and `ROOF` for what one would write by hand, and what
        the machine can do at best. A roof has no result.
    once : bool
        Takes seconds: one timed run is enough.
    fresh : bool
        Has to be set up again for every run, as what writes a file.
    needs : str
        Package without which it is left out.
    """

    prepare: Callable[[Any], Job]
    result: Callable[[Any], Any] = as_is
    kind: str = PEER
    once: bool = False
    fresh: bool = False
    needs: str = "numpy"

    @property
    def is_there(self) -> bool:
        return is_there(self.needs)


@dataclass(frozen=True)
class Comparison:
    """A function and its implementations, the first of which is ours.

    Attributes
    ----------
    name, question : str
        What is computed, and what is asked.
    data : callable
        (place, **sizes) to what all are given; `place` is an empty folder.
    small, large : mapping
        Sizes for tests, and for figures.
    ways : mapping of str to Way
        Implementations.
    equal : callable
        (name, found, ours), raises where results differ.
    tolerance : str
        What counts as equal.
    scaled : sequence of mapping
        Sizes at which growth is shown; none by default.
    """

    name: str
    question: str
    data: Callable[..., Any]
    small: Mapping[str, int]
    large: Mapping[str, int]
    ways: Mapping[str, Way]
    equal: Callable[[str, Any, Any], None]
    tolerance: str = "exactly"
    scaled: Sequence[Mapping[str, int]] = field(default=())

    @property
    def ours(self) -> str:
        return next(iter(self.ways))

    def there(self) -> dict[str, Way]:
        """Ways whose packages are installed; the others are named."""
        for name, way in self.ways.items():
            if not way.is_there:
                print(f"{self.name}: {name} is left out, {way.needs} is not installed")
        return {name: way for name, way in self.ways.items() if way.is_there}


@dataclass(frozen=True)
class Times:
    """Seconds of one implementation.

    Attributes
    ----------
    prepare_s, first_s : float
        Of the set-up and of the first call, in which kernels are compiled or loaded from their cache.
    seconds : list of float
        Of the turns.
    """

    prepare_s: float
    first_s: float
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def check(comparison: Comparison, data: Any, ways: Mapping[str, Way]) -> dict[str, tuple[Job, Times]]:
    """Set all ways up, run each once and compare; ends the run where one differs from ours."""
    found: dict[str, tuple[Job, Times]] = {}
    expected: Any = None
    for name, way in ways.items():
        start = time.perf_counter()
        job = way.prepare(data)
        prepared = time.perf_counter()
        returned = job()
        done = time.perf_counter()
        if name == comparison.ours:
            expected = way.result(returned)
        elif way.kind != ROOF:
            comparison.equal(name, way.result(returned), expected)
        found[name] = job, Times(prepared - start, done - prepared, [])
    return found


def race(
    comparison: Comparison,
    place: Path,
    sizes: Mapping[str, int],
    repeats: int,
    ways: Mapping[str, Way] | None = None,
) -> dict[str, Times]:
    """Check all ways, then time them in turns.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    place : Path
        Empty folder for what they write.
    sizes : mapping
        Of the data.
    repeats : int
        Turns.
    ways : mapping, optional
        Some of the ways, ours first; by default those that are installed.
    """
    ways = comparison.there() if ways is None else ways
    data = comparison.data(place, **sizes)
    ready = check(comparison, data, ways)
    names = list(ways)
    for turn in range(repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            (job, times), way = ready[name], ways[name]
            if way.once and times.seconds:
                continue
            if way.fresh:
                job = way.prepare(data)
            elif times.first_s < MOST_WARM_S:
                job()  # so that none pays for the caches and pages that another left
            times.seconds.append(timed(job))
    return {name: times for name, (_, times) in ready.items()}


def ratios(times: Mapping[str, Times], ours: str) -> dict[str, dict[str, float]]:
    """How many times our time each of the others takes: median, lowest and highest over paired turns."""
    found = {}
    for name, other in times.items():
        pairs = zip(other.seconds, times[ours].seconds, strict=False)  # one run is paired with the first turn
        values = [theirs / own for theirs, own in pairs]
        if len(other.seconds) == 1:
            values = [other.seconds[0] / own for own in times[ours].seconds]
        found[name] = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return found


def exactly(name: str, found: Any, ours: Any) -> None:
    np.testing.assert_array_equal(found, ours, err_msg=name)


def within(relative: float = 0.0, absolute: float = 0.0) -> Callable[[str, Any, Any], None]:
    """Equal to so much, NaN where ours is."""

    def close(name: str, found: Any, ours: Any) -> None:
        np.testing.assert_allclose(found, ours, rtol=relative, atol=absolute, err_msg=name, equal_nan=True)

    return close
