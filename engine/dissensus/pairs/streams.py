"""Reductions of all pairs besides partners: pairs within bounds as a stream, and a histogram."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError
from dissensus.run.threads import in_order

from .correctness import Source
from .outputs import fresh_file
from .scale import Job, whole_number
from .tile_tasks import reduced_on
from .tiles import BAND, WIDTH, Tile, Tiles

FORMATS = (".arrow", ".parquet")
MOST_BINS = 1_000_000


def pairs_within(
    source: Source,
    by: str = "error_consistency",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    models: Sequence[str] | None = None,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    undefined: Literal["nan", "identical"] = "nan",
    threads: int | None = None,
    progress: bool = False,
) -> pa.RecordBatchReader:
    """Stream all pairs whose value of a measure lies within bounds: near-duplicates, or the most different.

    Pairs are computed as the stream is read, and never held: it may be longer than memory. By threads of this
    process only: on a cluster all that is listed would travel through the scheduler.

    Parameters
    ----------
    source, by, models, split, where, mask, labels, undefined, threads, progress
        As in `partners`.
    at_least, at_most : float, optional
        Bounds, themselves included; at least one is needed.

    Returns
    -------
    pyarrow.RecordBatchReader
        model_a, model_b, accuracy_a, accuracy_b and the measure, in the same order in every run:
        ``read_all()`` makes a table, `save_stream` a file. A symmetric measure lists each pair once, others
        both orders. Undefined pairs are left out.

    Raises
    ------
    ArgumentError, UnknownName

    Examples
    --------
    >>> correct = np.array([[True, False, True], [True, False, True], [False, True, False]])
    >>> ds.pairs_within(correct, at_least=0.99).read_all().select(["model_a", "model_b"]).to_pylist()
    [{'model_a': '0', 'model_b': '1'}]
    """
    if at_least is None and at_most is None:
        raise ArgumentError("bounds are needed: pass at_least=, at_most= or both")
    try:
        bounds = (-inf if at_least is None else float(at_least), inf if at_most is None else float(at_most))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"bounds must be numbers; got {at_least!r} and {at_most!r}") from error
    if not bounds[0] <= bounds[1]:
        raise ArgumentError(f"at_least must not exceed at_most; got {at_least} and {at_most}")
    job = Job.checked(source, by, undefined, threads, progress)
    tiles = job.tiles(job.sample(source, models, split, where, mask, labels))
    types = {"model_a": pa.string(), "model_b": pa.string()}
    floats = dict.fromkeys(("accuracy_a", "accuracy_b", by), pa.float64())
    schema = pa.schema(list((types | floats).items()))
    return pa.RecordBatchReader.from_batches(schema, _batches(job, tiles, bounds, schema))


def _batches(
    job: Job, tiles: Tiles, bounds: tuple[float, float], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Pairs within bounds, a batch of some bands at a time, while the next are computed."""
    finder = _Finder(tiles, bounds)
    held = 24 * BAND * len(tiles.sample.packed)  # of a band: all its pairs may lie within the bounds
    plan = job.plan(tiles, 16 * BAND * WIDTH + 5 * held)
    plan = job.announced(plan, tiles, finder.of_tile)
    names = pa.array(tiles.sample.model_ids, pa.string())
    with job.bar(plan) as bar:
        for band, (a, b, values) in zip(
            tiles.bands(), in_order(finder.of_band, tiles.bands(), job.threads), strict=True
        ):
            accuracy = tiles.sample.accuracy
            columns = [names.take(pa.array(a)), names.take(pa.array(b)), accuracy[a], accuracy[b], values]
            if len(values):
                yield pa.record_batch([pa.array(column) for column in columns], schema=schema)
            bar.advance(tiles.pairs_of(band))


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds the pairs of a band that lie within bounds."""

    tiles: Tiles
    bounds: tuple[float, float]

    def of_band(self, band: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
        """First models, second models, values; by first and second model."""
        self.tiles.compiled  # noqa: B018
        found = [part for tile in self.tiles.band(*band) for part in self.of_tile(tile)]
        a, b, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((b, a))
        return a[order], b[order], values[order]

    def of_tile(self, tile: Tile) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]]:
        """Of one tile: with the row's model first; for a measure that is not symmetric, the other too."""
        from dissensus.kernels.partners import within

        rows, columns = np.empty((2, tile.values.size), np.int64)
        found = []
        for values in (tile.values,) if tile.back is tile.values else (tile.values, tile.back):
            n = within(values, tile.a, tile.b, *self.bounds, rows, columns)
            i, j = rows[:n], columns[:n]
            first, second = tile.a + i, tile.b + j
            pair = (first, second) if values is tile.values else (second, first)
            found.append((*pair, values[i, j]))
        return found


def save_stream(stream: pa.RecordBatchReader, out: str | os.PathLike[str], *, replace: bool = False) -> int:
    """Write a stream of rows to a file as they come; the file has its name only when it is whole.

    Parameters
    ----------
    stream : pyarrow.RecordBatchReader
        As from `pairs_within`.
    out : path
        Ending in ``.arrow`` (Arrow IPC file, readable as a memory map) or ``.parquet``.
    replace : bool
        Take the place of a file that is there.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ArgumentError
        Another ending, or there is something of this name already.
    StoreFull
    """
    import pyarrow.parquet as pq

    ending = Path(out).suffix.lower()
    if ending not in FORMATS:
        raise ArgumentError(f"out must end in {' or '.join(FORMATS)}; got {out}")
    rows = 0
    with fresh_file(Path(out), replace) as temporary:
        new = pa.ipc.new_file if ending == ".arrow" else pq.ParquetWriter
        with new(str(temporary), stream.schema) as writer:
            for batch in stream:
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows


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
