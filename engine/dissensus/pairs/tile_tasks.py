"""Reductions of all pairs by tasks: tiles between two sets of models, counted and reduced on workers.

A task says names, which examples, and what is made of the tiles; the worker reads the predictions itself and
gives back what is kept of them (`tile_worker`). What is kept merges to the same in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement, product
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.run.site import Site, digest

from .correctness import Correctness
from .tasks import EACH, Some
from .tiles import Tiles

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store

SIDE_BYTES = 16 << 20  # answers of the models on a side: a worker keeps several
LEAST = 512  # models on a side, if there are so many: fewer are not worth a task


class Reduction(Protocol):
    """What is made of tiles on a worker; small, and pickled with each task."""

    def of_tiles(self, tiles: Tiles) -> Any:
        """Reduce all pairs that the tiles visit, on one thread."""


@dataclass(frozen=True, eq=False)
class TileTask:
    """Pairs between two sets of models, or within one.

    Attributes
    ----------
    chosen : bytes
        The examples to count, as `Correctness.chosen`.
    measure, undefined : str
        As in `Tiles`.
    reduction : Reduction
        What is made of the values.
    """

    site: Site
    left: Some
    right: Some
    chosen: bytes
    measure: str
    undefined: str
    reduction: Reduction

    @property
    def sides(self) -> tuple[Some, ...]:
        """The one set of models, or both."""
        return (self.left,) if self.left == self.right else (self.left, self.right)

    @property
    def pairs(self) -> int:
        """Pairs of the task."""
        a, b = len(self.left.ids), len(self.right.ids)
        return a * (a - 1) // 2 if len(self.sides) == 1 else a * b


@dataclass(frozen=True)
class Reduced:
    """What a task found, and where its models stand.

    Attributes
    ----------
    spans : tuple of slice
        Places of the models of its one or two sides.
    found : object
        What the reduction made of their tiles.
    pairs : int
        Pairs that it saw.
    """

    spans: tuple[slice, ...]
    found: Any
    pairs: int


def reduced_on(
    runner: Runner,
    store: Store,
    tiles: Tiles,
    reduction: Callable[[NDArray[np.intp]], Reduction],
    *,
    multiple: int = 1,
) -> Iterator[Reduced]:
    """Reduce all pairs of tiles on a cluster, in any order.

    Parameters
    ----------
    runner : Runner
        Runs the tasks.
    store : Store
        What the tiles' sample was gathered from.
    tiles : Tiles
        The pairs, their measure and models.
    reduction : callable
        Makes what a task does with the models at some places.
    multiple : int
        Models on a side are a multiple of so many, but for the last side.

    Raises
    ------
    ClusterError
        A worker has another version, or does not find this store under its path.
    ModelReplaced
        A worker finds other answers.
    """
    from .tile_worker import run_tiles

    size = side_of(tiles.sample, runner.threads, multiple)
    yield from runner.results(run_tiles, tile_tasks(store, tiles, reduction, size))


def side_of(sample: Correctness, threads: int, multiple: int = 1) -> int:
    """Models on a side: for a few tasks a thread, few enough that their answers are small."""
    sides = ceil(sqrt(2 * EACH * threads))
    most = max(SIDE_BYTES // int(sample.packed[0].nbytes), 1)
    size = min(max(ceil(len(sample.packed) / sides), LEAST), most)
    return ceil(size / multiple) * multiple


def tile_tasks(
    store: Store, tiles: Tiles, reduction: Callable[[NDArray[np.intp]], Reduction], size: int
) -> Iterator[TileTask]:
    """Cut the pairs of tiles into tasks of `size` models a side, made as they are asked for."""
    site, chosen = Site.of(store), tiles.sample.chosen.tobytes()
    fresh = _sides(tiles.sample, 0, tiles.fresh, size)
    others = _sides(tiles.sample, tiles.fresh, len(tiles.sample.packed), size)
    for left, right in chain(combinations_with_replacement(fresh, 2), product(fresh, others)):
        sides = (left,) if left == right else (left, right)
        places = np.concatenate([np.arange(some.span.start, some.span.stop) for some in sides])
        how = tiles.measure.name, tiles.undefined, reduction(places)
        yield TileTask(site, left, right, chosen, *how)


def _sides(sample: Correctness, start: int, stop: int, size: int) -> list[Some]:
    """Sets of models from `start` to `stop`."""
    digests = sample.digests()[start:stop]
    return [
        Some(at, tuple(sample.model_ids[at:end]), digest(digests[at - start : end - start]))
        for at in range(start, stop, size)
        for end in [min(at + size, stop)]
    ]
