"""Pairs within bounds, of all pairs, as a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from .scale import Job
from .tiles import BAND, WIDTH, Tile, Tiles

FORMATS = (".arrow", ".parquet")


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
