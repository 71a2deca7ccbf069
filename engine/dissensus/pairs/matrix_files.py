"""The matrix of all pairs on disk, written tile by tile: larger than memory, as Zarr or .npy."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, ClusterError
from dissensus.run.progress import Progress
from dissensus.store.files import crc32c, crc_bytes, start_writing, write_at
from dissensus.store.format import canonical_json, group_json

from .correctness import Correctness, Source
from .outputs import fresh_file, require_free, sync_file
from .scale import Job
from .tile_tasks import reduced_on
from .tiles import BAND, Buffers, Tiles, dealt

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store

SIDE = 1024  # models of a chunk's side: 4 MB of float32
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
    new = _zarr if path.suffix.lower() == ".zarr" else _npy
    if scheduler is not None and new is _npy:
        raise ArgumentError(f"workers of a scheduler write chunks: end out in .zarr; got {out}")
    with job.runner() as runner:
        sample = job.sample(source, models, split, where, mask, labels)
        tiles, kind = job.tiles(sample), np.dtype(dtype).newbyteorder("<")
        plan = job.plan(tiles, 2 * SIDE**2 * kind.itemsize, path, _disk_bytes(len(sample.packed), kind, new))
        if runner is None:
            plan = job.announced(plan, tiles, lambda tile: tile.values.astype(kind))
        with job.bar(plan) as bar, new(path, sample, by, kind) as target:
            if runner is None:
                _written(tiles, kind, target, job.threads, bar)
            else:
                _scheduled(runner, source.under(labels), tiles, kind, target, bar)
    return path


def _written(tiles: Tiles, dtype: np.dtype[Any], target: Target, threads: int, bar: Progress) -> None:
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

    def chunks(places: NDArray[np.intp]) -> _Written:
        return _Written(str(target.folder), dtype, int(places[0]), int(places[-1]) + 1)

    for part in reduced_on(runner, store, tiles, chunks, multiple=SIDE):
        bar.advance(part.pairs)
    target.require_whole(-(-len(tiles.sample.packed) // SIDE))


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
        target, block = SharedChunks.seen(self.folder), Blocks(tiles, self.dtype)
        n_rows, n_models = tiles.fresh, len(tiles.sample.packed)
        first = self.start // SIDE
        if not tiles.apart:
            for i, j in _grid(n_models):
                block.write((first + i, first + j), _span(i, n_models), _span(j, n_models), target)
            return
        other, n_columns = (self.stop - n_models + n_rows) // SIDE, n_models - n_rows
        for i, j in product(range(-(-n_rows // SIDE)), range(-(-n_columns // SIDE))):
            columns = _span(j, n_columns)
            behind = slice(n_rows + columns.start, n_rows + columns.stop)
            block.write((first + i, other + j), _span(i, n_rows), behind, target)


def _span(place: int, n_models: int) -> slice:
    """Models of a chunk's side."""
    return slice(SIDE * place, min(SIDE * (place + 1), n_models))


def _grid(n_models: int) -> Iterator[Place]:
    """Chunks on the diagonal and right of it."""
    side = -(-n_models // SIDE)
    return ((i, j) for i in range(side) for j in range(i, side))


def _pairs_at(place: Place, n_models: int) -> int:
    """Pairs of a chunk, each counted once."""
    a, b = (min(SIDE, n_models - SIDE * one) for one in place)
    return a * (a - 1) // 2 if place[0] == place[1] else a * b


class Target(Protocol):
    """Takes chunks of a matrix, several threads at a time."""

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        """Write the (SIDE, SIDE) chunk of block row i and block column j; NaN beyond the last model."""


class Blocks:
    """One chunk and its mirror image, which a thread computes and writes again and again."""

    def __init__(self, tiles: Tiles, dtype: np.dtype[Any]) -> None:
        self._tiles, self._buffers = tiles, Buffers(tiles.measure.symmetric, BAND * SIDE)
        self._chunk, self._mirror = (np.full((SIDE, SIDE), np.nan, dtype) for _ in range(2))

    def write(self, place: Place, rows: slice, columns: slice, target: Target) -> None:
        """Compute a chunk, of these models, and give it and its mirror image away."""
        (i, j), top, width = place, rows.start, columns.stop - columns.start
        if min(rows.stop - top, width) < SIDE:
            self._chunk[:], self._mirror[:] = np.nan, np.nan
        for start in range(top, rows.stop, BAND):
            stop = min(start + BAND, rows.stop)
            tile = self._tiles.tile(slice(start, stop), columns, self._buffers.of(stop - start, width))
            self._chunk[start - top : stop - top, :width] = tile.values
            self._mirror[:width, start - top : stop - top] = tile.back.T
        target.put(i, j, self._chunk)
        if i != j:
            target.put(j, i, self._mirror)


@contextmanager
def _zarr(path: Path, sample: Correctness, by: str, dtype: np.dtype[Any]) -> Iterator[Target]:
    """Zarr v3 group, written by hand: chunks are their bytes and a checksum."""
    n_models = len(sample.packed)
    with fresh_file(path) as folder:
        folder.mkdir()
        (folder / "zarr.json").write_bytes(group_json(**_told(sample, by)))
        _array(folder / by, (n_models, n_models), (SIDE, SIDE), dtype, ["model_a", "model_b"])
        _array(folder / "accuracy", (n_models,), (n_models,), np.dtype("<f8"), ["model_a"])
        _chunk_file(folder / "accuracy" / "c" / "0", sample.accuracy)
        for i in range(-(-n_models // SIDE)):
            (folder / by / "c" / str(i)).mkdir()
        yield _Chunks(folder / by / "c")


class _Chunks:
    """Chunks as files of a Zarr array."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        _chunk_file(self.folder / str(i) / str(j), chunk)

    def require_whole(self, side: int) -> None:
        """Clear away what workers that died left, and look for every chunk.

        Raises
        ------
        ClusterError
        """
        for part in self.folder.glob("*/.*"):
            part.unlink()
        missing = [
            (i, j) for i, j in product(range(side), repeat=2) if not (self.folder / f"{i}/{j}").exists()
        ]
        if missing:
            raise ClusterError(
                f"workers wrote chunks that are not in {self.folder}, {len(missing)} in all: put out into a "
                "folder that all of them share with this machine"
            )


class SharedChunks:
    """Chunks that several machines write: whole whenever they are there, were their task run twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def seen(cls, folder: str) -> SharedChunks:
        """The folder as a worker sees it.

        Raises
        ------
        ClusterError
        """
        if not Path(folder).is_dir():
            raise ClusterError(
                f"the Dask worker on {socket.gethostname()} does not see {folder}: put out into a folder "
                "that all workers share with this machine, under the same path"
            )
        return cls(Path(folder))

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        """Write a chunk beside its place and move it there; see `Target`."""
        place = self._folder / str(i) / str(j)
        temporary = place.with_name(f".{j}-{uuid4().hex}")
        _chunk_file(temporary, chunk)
        sync_file(temporary)
        os.replace(temporary, place)


def _chunk_file(path: Path, chunk: NDArray[Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_at(fd, chunk.data, 0)
        write_at(fd, crc_bytes(crc32c(chunk)), chunk.nbytes)
        start_writing(fd, 0, chunk.nbytes)
    finally:
        os.close(fd)


def _array(
    folder: Path, shape: tuple[int, ...], chunk: tuple[int, ...], dtype: np.dtype[Any], dims: list[str]
) -> None:
    """Metadata of a Zarr array, and the folder of its chunks."""
    (folder / "c").mkdir(parents=True)
    node = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "dimension_names": dims,
        "attributes": {},
        "storage_transformers": [],
    }
    (folder / "zarr.json").write_bytes(canonical_json(node))


@contextmanager
def _npy(path: Path, sample: Correctness, by: str, dtype: np.dtype[Any]) -> Iterator[Target]:
    """A .npy file, and the names of its models beside it."""
    names = path.with_name(path.name + ".json")
    shape = (len(sample.packed),) * 2
    with ExitStack() as stack:  # the names are there before the numbers
        temporary, beside = stack.enter_context(fresh_file(path)), stack.enter_context(fresh_file(names))
        beside.write_bytes(json.dumps(_told(sample, by)).encode())
        with temporary.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            yield _Rows(file.fileno(), file.tell(), shape[0], dtype)


class _Rows:
    """Chunks as pieces of the rows of one file; writing where they belong keeps no page mapped."""

    def __init__(self, fd: int, offset: int, n_models: int, dtype: np.dtype[Any]) -> None:
        self._fd, self._offset, self._size, self._dtype = fd, offset, n_models, dtype

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        top, left, item = SIDE * i, SIDE * j, self._dtype.itemsize
        for row in range(min(SIDE, self._size - top)):
            piece = chunk[row, : min(SIDE, self._size - left)]
            write_at(self._fd, piece.data, self._offset + ((top + row) * self._size + left) * item)


def _told(sample: Correctness, by: str) -> dict[str, Any]:
    """What the numbers are."""
    return {"measure": by, "n_examples": sample.n, "models": sample.model_ids}


def _disk_bytes(n_models: int, dtype: np.dtype[Any], new: Any) -> int:
    """Bytes of the matrix; chunks of a Zarr array are whole ones."""
    side = -(-n_models // SIDE) * SIDE if new is _zarr else n_models
    return side * side * dtype.itemsize
