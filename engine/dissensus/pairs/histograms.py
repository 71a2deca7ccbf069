"""How many of all pairs have which values of a measure: the values are counted and not held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError

from .correctness import Source
from .scale import Job, whole_number
from .tile_tasks import reduced_on
from .tiles import Tile, Tiles

MOST_BINS = 1_000_000


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many pairs have which values of a measure.

    Attributes
    ----------
    measure : str
        Which one.
    counts : (K,) int64
        Pairs in each bin: from its lower edge up to the upper one, which is in the last bin only.
    edges : (K + 1,) float64
        Edges of the bins.
    below, above, undefined : int
        Pairs under the first edge, over the last one, and without a value.
    """

    measure: str
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    below: int
    above: int
    undefined: int

    def to_arrow(self) -> pa.Table:
        """One row a bin: low, high, pairs."""
        return pa.table({"low": self.edges[:-1], "high": self.edges[1:], "pairs": self.counts})


def histogram(
    source: Source,
    by: str = "error_consistency",
    *,
    bins: int | ArrayLike = 100,
    models: Sequence[str] | None = None,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    undefined: Literal["nan", "identical"] = "nan",
    threads: int | None = None,
    scheduler: Any = None,
    progress: bool = False,
) -> Histogram:
    """Count how many pairs have which values of a measure, exactly, without holding the values.

    Parameters
    ----------
    source, by, models, split, where, mask, labels, undefined, threads, scheduler, progress
        As in `partners`.
    bins : int or (K + 1,) float
        Equal bins over the measure's range, or their edges.

    Returns
    -------
    Histogram
        The counts of `numpy.histogram` on the values of all pairs: each once for a symmetric measure, in both
        orders for others.

    Raises
    ------
    ArgumentError, UnknownName, ClusterError, MissingDependency

    Examples
    --------
    >>> correct = np.array([[True, False, True], [True, False, True], [False, True, False]])
    >>> ds.histogram(correct, "error_inconsistency", bins=2).counts.tolist()
    [1, 2]
    """
    job = Job.checked(source, by, undefined, threads, progress, scheduler)
    into = _Bins(_edges(job, bins))
    with job.runner() as runner:
        tiles = job.tiles(job.sample(source, models, split, where, mask, labels))
        total = _counted(job, tiles, into) if runner is None else into.empty()
        if runner is not None:
            with job.bar(job.plan(tiles, 8 * len(into.edges))) as bar:
                for part in reduced_on(runner, source.under(labels), tiles, lambda _: into):
                    total += part.found
                    bar.advance(part.pairs)
    below, above, nan = (int(count) for count in total[-3:])
    return Histogram(by, total[:-3], into.edges, below, above, nan)


def _counted(job: Job, tiles: Tiles, into: _Bins) -> NDArray[np.int64]:
    """Count all tiles on threads of this process."""
    plan = job.announced(job.plan(tiles, 8 * len(into.edges)), tiles, partial(into.add, into.empty()))
    with job.bar(plan) as bar:
        return sum(tiles.reduce(into.empty, into.add, bar.advance, job.threads), into.empty())


@dataclass(frozen=True, eq=False)
class _Bins:
    """Counts values into bins; counts are (K + 3,) int64 as `kernels.partners.add_to_histogram` has them."""

    edges: NDArray[np.float64]

    def empty(self) -> NDArray[np.int64]:
        """No values yet."""
        return np.zeros(len(self.edges) + 2, np.int64)

    def add(self, counts: NDArray[np.int64], tile: Tile) -> None:
        """Count a tile."""
        from dissensus.kernels.partners import add_to_histogram

        add_to_histogram(tile.values, tile.a, tile.b, self.edges, counts)
        if tile.back is not tile.values:
            add_to_histogram(tile.back, tile.a, tile.b, self.edges, counts)

    def of_tiles(self, tiles: Tiles) -> NDArray[np.int64]:
        """Count all tiles."""
        counts = self.empty()
        for band in tiles.bands():
            for tile in tiles.band(*band):
                self.add(counts, tile)
        return counts


def _edges(job: Job, bins: int | ArrayLike) -> NDArray[np.float64]:
    """Edges of bins, checked."""
    if np.ndim(bins) == 0:
        number = whole_number(bins, "bins, where it is no list of edges,")
        low, high = job.measure.low, job.measure.high
        if number > MOST_BINS:
            raise ArgumentError(f"bins must be at most {MOST_BINS:,}; got {number:,}")
        if not np.isfinite(high - low):
            raise ArgumentError(f"{job.measure.name} has no largest value: pass the edges of the bins")
        return np.linspace(low, high, number + 1)
    try:
        edges = np.array(bins, np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"edges of bins must be numbers; got {bins!r:.80}") from error
    is_good = edges.ndim == 1 and len(edges) > 1 and bool(np.isfinite(edges).all())
    if not is_good or not (np.diff(edges) > 1e-300).all():  # so that a bin's place can be computed
        raise ArgumentError(f"edges of bins must be two or more ascending numbers; got {bins!r:.80}")
    return edges
