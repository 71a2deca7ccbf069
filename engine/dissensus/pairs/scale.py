"""What a reduction of all pairs will take, before it runs: memory, bytes on disk, time; and its progress."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dissensus.errors import ArgumentError, StoreFull
from dissensus.run.memory import available_bytes, told
from dissensus.run.progress import Progress
from dissensus.run.threads import available_threads

from .asked import check_undefined, checked_measures
from .correctness import READ_BYTES, Correctness, Source, packed_bytes, shape_of
from .measures import MEASURES, Measure
from .tiles import BAND, WIDTH, Tile, Tiles

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner

LARGE = 50_000_000  # pairs from which on a run is announced: it may take a second
DISK_RATE = 500e6  # bytes a second, of a common disk, where none has been measured


@dataclass(frozen=True)
class Plan:
    """What a run over all pairs takes.

    Attributes
    ----------
    models, examples, pairs : int
        Its size.
    memory_bytes : int
        Most memory it will take beyond what is there already.
    disk_bytes : int
        What it will write.
    seconds : float
        How long it will take, from a few tiles that were timed; 0 where none were.
    """

    models: int
    examples: int
    pairs: int
    memory_bytes: int
    disk_bytes: int = 0
    seconds: float = 0.0

    def require_room(self, out: Path | None = None) -> None:
        """Refuse what memory or disk cannot hold.

        Raises
        ------
        ArgumentError, StoreFull
        """
        there = available_bytes()
        if self.memory_bytes > there:
            raise ArgumentError(
                f"all pairs of {self.models:,} models need {told(self.memory_bytes)} of memory, "
                f"{told(there)} are available: name fewer models (models=), or ask for fewer partners (k=)"
            )
        if out is not None:
            free = shutil.disk_usage(out.parent).free
            if self.disk_bytes > free:
                raise StoreFull(
                    f"{out} would take {told(self.disk_bytes)}, {told(free)} are free in {out.parent}: "
                    "free some space, or name fewer models (models=)"
                )

    def __str__(self) -> str:
        disk = f", {told(self.disk_bytes)} on disk" if self.disk_bytes else ""
        time = f", about {self.seconds:,.0f} s" if self.seconds else ""
        return (
            f"{self.pairs:,} pairs of {self.models:,} models on {self.examples:,} examples: "
            f"{told(self.memory_bytes)} of memory{disk}{time}"
        )


def whole_number(value: Any, what: str) -> int:
    """Check a number of things: at least one.

    Raises
    ------
    ArgumentError
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ArgumentError(f"{what} must be a whole number, at least 1; got {value!r}")
    return int(value)


def counted_measure(name: str) -> Measure:
    """Look up a measure of right and wrong answers alone.

    Raises
    ------
    UnknownName
        None is called so.
    ArgumentError
        It needs more than right and wrong answers.
    """
    checked_measures(name)
    if MEASURES[name].needs != "counts":
        counted = ", ".join(m for m, one in MEASURES.items() if one.needs == "counts")
        raise ArgumentError(
            f"{name!r} needs more than right and wrong answers, which is all that is read here; "
            f"pass one of {counted}, or use pairwise"
        )
    return MEASURES[name]


@dataclass(frozen=True)
class Job:
    """How a run over all pairs is asked for, checked once.

    Attributes
    ----------
    measure : Measure
        One of the counts.
    undefined : {"nan", "identical"}
        See `Measure.finish`.
    threads : int
        Threads it runs on.
    progress : bool
        Whether a large run is announced, and its progress shown, on stderr.
    scheduler : distributed.Client, str or None
        The cluster it runs on; threads of this process for None.
    """

    measure: Measure
    undefined: str
    threads: int
    progress: bool
    scheduler: Any = None

    @classmethod
    def checked(
        cls,
        source: Source,
        measure: str,
        undefined: str,
        threads: int | None,
        progress: bool,
        scheduler: Any = None,
    ) -> Job:
        """Check the arguments that all runs have.

        Raises
        ------
        ArgumentError, UnknownName
        """
        check_undefined(undefined)
        if scheduler is not None and not hasattr(source, "resolve"):
            raise ArgumentError(
                f"scheduler needs a store, which its workers read themselves; got {type(source).__name__}: "
                "add its rows to a store (Store.add), or leave scheduler out"
            )
        if scheduler is not None and threads is not None:
            raise ArgumentError("threads are those of this process: pass scheduler or threads, not both")
        threads = None if threads is None else whole_number(threads, "threads")
        return cls(counted_measure(measure), undefined, threads or available_threads(), progress, scheduler)

    @contextmanager
    def runner(self) -> Iterator[Runner | None]:
        """Connect to the cluster of the run; None where threads of this process compute.

        Raises
        ------
        ArgumentError, ClusterError, MissingDependency
        """
        if self.scheduler is None:
            yield None
            return
        from dissensus.run.scheduler import cluster

        with cluster(self.scheduler) as found:
            yield found

    def sample(
        self,
        source: Source,
        models: Sequence[str] | None,
        split: str | None,
        where: str | None,
        mask: ArrayLike | None,
        labels: str | None,
    ) -> Correctness:
        """Gather what the models get right, if memory can hold it."""
        n_models, n_examples = shape_of(source, models)
        packed = packed_bytes(n_models, n_examples)
        Plan(n_models, n_examples, n_models * (n_models - 1) // 2, packed).require_room()
        return Correctness.of(source, models=models, split=split, where=where, mask=mask, labels=labels)

    def tiles(self, sample: Correctness, fresh: int | None = None) -> Tiles:
        """Values of the pairs of a sample, or of those with one of its first `fresh` models."""
        return Tiles(sample, self.measure, self.undefined, len(sample.packed) if fresh is None else fresh)

    def plan(self, tiles: Tiles, state_bytes: int, out: Path | None = None, disk_bytes: int = 0) -> Plan:
        """Plan a run, refused where it does not fit: `state_bytes` are kept by each thread."""
        buffers = BAND * WIDTH * (16 if self.measure.symmetric else 40)
        memory = self.threads * (state_bytes + buffers) + min(READ_BYTES, tiles.sample.packed.nbytes)
        sample = tiles.sample
        plan = Plan(len(sample.packed), sample.n, tiles.pairs, memory, disk_bytes)
        plan.require_room(out)
        return plan

    def announced(self, plan: Plan, tiles: Tiles, add: Callable[[Tile], Any]) -> Plan:
        """Time some tiles and print the plan, where the run is large and progress is shown."""
        if not self.progress or plan.pairs < LARGE:
            return plan
        seconds = tiles.seconds_a_pair(add) * plan.pairs / self.threads
        plan = replace(plan, seconds=max(seconds, plan.disk_bytes / DISK_RATE))
        print(plan, file=sys.stderr, flush=True)
        return plan

    def bar(self, plan: Plan) -> Progress:
        """Progress over pairs; silent for small runs."""
        return Progress(plan.pairs, "pairs", self.progress and plan.pairs >= LARGE)
