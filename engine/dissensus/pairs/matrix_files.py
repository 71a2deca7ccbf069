"""The matrix of all pairs on disk, written tile by tile: larger than memory, as Zarr or .npy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError
from dissensus.run.progress import Progress

from . import matrix_chunks as chunks
from .correctness import Source
from .outputs import require_free
from .scale import Job
from .tile_tasks import reduced_on
from .tiles import BAND, Buffers, Tiles, dealt

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store

FORMATS = (".zarr", ".npy")
Place = tuple[int, int]


def save_matrix(
    source: Source,
    by: str,
    out: str | os.PathLike[str],
    *,
    dtype: Literal["float32", "float64"] = "float32",
    models: Sequence[str] | None = None,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    undefined: Literal["nan", "identical"] = "nan",
    threads: int | None = None,
    scheduler: Any = None,
    progress: bool = False,
) -> Path:
    """Write the matrix of a measure for all pairs to disk, tile by tile: it may be larger than memory.

    Parameters
    ----------
    source, models, split, where, mask, labels, undefined, threads, scheduler, progress
        As in `partners`. Workers of a cluster write the chunks themselves: `out` is a ``.zarr`` folder that
        all of them see under the same path.
    by : str
        A measure of right and wrong answers.
    out : path
        Ending in ``.zarr``: a Zarr v3 group with the (M, M) array of the measure's name, in chunks of 1,024
        models a side with checksums, and ``accuracy`` (M,); its attributes name the models. Or in ``.npy``,
        for `numpy.load` with ``mmap_mode="r"``; a file of the same name and ``.json`` names the models. It
        appears when it is whole.
    dtype : {"float32", "float64"}
        Of the file; values are computed in float64.

    Returns
    -------
    Path
        Where it lies.

    Raises
    ------
    ArgumentError
        There is something of this name already; another ending; fewer than two models; a measure that needs
        more than right and wrong answers; `scheduler` with an array, or with ``.npy``.
    StoreFull
        The disk cannot hold it; known before anything is computed.
    UnknownName
    ClusterError
        The cluster does not answer, or its workers see another store or no `out`.
    MissingDependency
        `scheduler` without the extra `cluster`.

    Examples
    --------
    >>> ds.save_matrix(store, "error_consistency", "kappa.zarr")  # doctest: +SKIP
    """
    job = Job.checked(source, by, undefined, threads, progress, scheduler)
    if dtype not in ("float32", "float64"):
        raise ArgumentError(f"dtype must be 'float32' or 'float64'; got {dtype!r}")
    path = require_free(out)
    if path.suffix.lower() not in FORMATS:
        raise ArgumentError(f"out must end in {' or '.join(FORMATS)}; got {out}")
    new = chunks.zarr_file if path.suffix.lower() == ".zarr" else chunks.npy_file
    if scheduler is not None and new is chunks.npy_file:
        raise ArgumentError(f"workers of a scheduler write chunks: end out in .zarr; got {out}")
    with job.runner() as runner:
        sample = job.sample(source, models, split, where, mask, labels)
        tiles, kind = job.tiles(sample), np.dtype(dtype).newbyteorder("<")
        plan = job.plan(
            tiles, 2 * chunks.SIDE**2 * kind.itemsize, path, chunks.disk_bytes(len(sample.packed), kind, new)
        )
        if runner is None:
            plan = job.announced(plan, tiles, lambda tile: tile.values.astype(kind))
        with job.bar(plan) as bar, new(path, sample, by, kind) as target:
            if runner is None:
                _written(tiles, kind, target, job.threads, bar)
            else:
                _scheduled(runner, source.under(labels), tiles, kind, target, bar)
    return path


def _written(tiles: Tiles, dtype: np.dtype[Any], target: chunks.Target, threads: int, bar: Progress) -> None:
    """Write all chunks by threads of this process."""
    tiles.compiled  # noqa: B018 (compiled once, before the threads start)
    n_models = len(tiles.sample.packed)
    dealt(
        _grid(n_models),
        lambda block, place: block.write(place, _span(place[0], n_models), _span(place[1], n_models), target),
        [Blocks(tiles, dtype) for _ in range(threads)],
        lambda place: bar.advance(_pairs_at(place, n_models)),
    )


def _scheduled(
    runner: Runner, store: Store, tiles: Tiles, dtype: np.dtype[Any], target: Any, bar: Progress
) -> None:
    """Have all chunks written by workers, and look whether they are there."""

    def written(places: NDArray[np.intp]) -> _Written:
        return _Written(str(target.folder), dtype, int(places[0]), int(places[-1]) + 1)

    for part in reduced_on(runner, store, tiles, written, multiple=chunks.SIDE):
        bar.advance(part.pairs)
    target.require_whole(-(-len(tiles.sample.packed) // chunks.SIDE))


@dataclass(frozen=True)
class _Written:
    """Writes the chunks of a task's pairs, on a worker.

    Attributes
    ----------
    folder : str
        Where the chunks of the array lie.
    dtype : dtype
        Of the chunks.
    start, stop : int
        Places of the task's first model, and behind its last, among all.
    """

    folder: str
    dtype: np.dtype[Any]
    start: int
    stop: int

    def of_tiles(self, tiles: Tiles) -> None:
        """Compute and write them."""
        target, block = chunks.SharedChunks.seen(self.folder), Blocks(tiles, self.dtype)
        n_rows, n_models = tiles.fresh, len(tiles.sample.packed)
        first = self.start // chunks.SIDE
        if not tiles.apart:
            for i, j in _grid(n_models):
                block.write((first + i, first + j), _span(i, n_models), _span(j, n_models), target)
            return
        other, n_columns = (self.stop - n_models + n_rows) // chunks.SIDE, n_models - n_rows
        for i, j in product(range(-(-n_rows // chunks.SIDE)), range(-(-n_columns // chunks.SIDE))):
            columns = _span(j, n_columns)
            behind = slice(n_rows + columns.start, n_rows + columns.stop)
            block.write((first + i, other + j), _span(i, n_rows), behind, target)


def _span(place: int, n_models: int) -> slice:
    """Models of a chunk's side."""
    return slice(chunks.SIDE * place, min(chunks.SIDE * (place + 1), n_models))


def _grid(n_models: int) -> Iterator[Place]:
    """Chunks on the diagonal and right of it."""
    side = -(-n_models // chunks.SIDE)
    return ((i, j) for i in range(side) for j in range(i, side))


def _pairs_at(place: Place, n_models: int) -> int:
    """Pairs of a chunk, each counted once."""
    a, b = (min(chunks.SIDE, n_models - chunks.SIDE * one) for one in place)
    return a * (a - 1) // 2 if place[0] == place[1] else a * b


class Blocks:
    """One chunk and its mirror image, which a thread computes and writes again and again."""

    def __init__(self, tiles: Tiles, dtype: np.dtype[Any]) -> None:
        self._tiles, self._buffers = tiles, Buffers(tiles.measure.symmetric, BAND * chunks.SIDE)
        self._chunk, self._mirror = (np.full((chunks.SIDE, chunks.SIDE), np.nan, dtype) for _ in range(2))

    def write(self, place: Place, rows: slice, columns: slice, target: chunks.Target) -> None:
        """Compute a chunk, of these models, and give it and its mirror image away."""
        (i, j), top, width = place, rows.start, columns.stop - columns.start
        if min(rows.stop - top, width) < chunks.SIDE:
            self._chunk[:], self._mirror[:] = np.nan, np.nan
        for start in range(top, rows.stop, BAND):
            stop = min(start + BAND, rows.stop)
            tile = self._tiles.tile(slice(start, stop), columns, self._buffers.of(stop - start, width))
            self._chunk[start - top : stop - top, :width] = tile.values
            self._mirror[:width, start - top : stop - top] = tile.back.T
        target.put(i, j, self._chunk)
        if i != j:
            target.put(j, i, self._mirror)
