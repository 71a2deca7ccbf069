"""The matrix of all pairs on disk, written tile by tile: larger than memory, as Zarr or .npy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError
from dissensus.store.files import crc32c, crc_bytes, start_writing, write_at
from dissensus.store.format import canonical_json, group_json

from .correctness import Correctness, Source
from .outputs import fresh_file, require_free
from .scale import Job
from .tiles import BAND, Buffers, Tiles, dealt

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
    progress: bool = False,
) -> Path:
    """Write the matrix of a measure for all pairs to disk, tile by tile: it may be larger than memory.

    Parameters
    ----------
    source, models, split, where, mask, labels, undefined, threads, progress
        As in `partners`.
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
        more than right and wrong answers.
    StoreFull
        The disk cannot hold it; known before anything is computed.
    UnknownName

    Examples
    --------
    >>> ds.save_matrix(store, "error_consistency", "kappa.zarr")  # doctest: +SKIP
    """
    job = Job.checked(by, undefined, threads, progress)
    if dtype not in ("float32", "float64"):
        raise ArgumentError(f"dtype must be 'float32' or 'float64'; got {dtype!r}")
    path = require_free(out)
    if path.suffix.lower() not in FORMATS:
        raise ArgumentError(f"out must end in {' or '.join(FORMATS)}; got {out}")
    sample = job.sample(source, models, split, where, mask, labels)
    tiles, kind = job.tiles(sample), np.dtype(dtype).newbyteorder("<")
    new = _zarr if path.suffix.lower() == ".zarr" else _npy
    plan = job.plan(tiles, 2 * SIDE**2 * kind.itemsize, path, _disk_bytes(len(sample.packed), kind, new))
    plan = job.announced(plan, tiles, lambda tile: tile.values.astype(kind))
    with job.bar(plan) as bar, new(path, sample, by, kind) as target:
        blocks = [Blocks(tiles, kind) for _ in range(job.threads)]
        tiles.compiled  # noqa: B018 (compiled once, before the threads start)
        dealt(
            _grid(len(sample.packed)),
            lambda block, place: block.write(place, target),
            blocks,
            lambda place: bar.advance(_pairs_at(place, len(sample.packed))),
        )
    return path


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

    def write(self, place: Place, target: Target) -> None:
        """Compute a chunk and give it and its mirror image away."""
        (i, j), n_models = place, len(self._tiles.sample.packed)
        top, left = SIDE * i, SIDE * j
        bottom, right = min(top + SIDE, n_models), min(left + SIDE, n_models)
        if max(bottom - top, right - left) < SIDE or min(bottom - top, right - left) < SIDE:
            self._chunk[:], self._mirror[:] = np.nan, np.nan
        for start in range(top, bottom, BAND):
            stop = min(start + BAND, bottom)
            some = self._buffers.of(stop - start, right - left)
            tile = self._tiles.tile(slice(start, stop), slice(left, right), some)
            self._chunk[start - top : stop - top, : right - left] = tile.values
            self._mirror[: right - left, start - top : stop - top] = tile.back.T
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
        self._folder = folder

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        _chunk_file(self._folder / str(i) / str(j), chunk)


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
