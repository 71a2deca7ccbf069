"""Where chunks of a matrix go: a Zarr group that this machine or several write, or one .npy file."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ClusterError
from dissensus.store.files import crc32c, crc_bytes, start_writing, write_at
from dissensus.store.format import canonical_json, group_json

from .correctness import Correctness
from .outputs import fresh_file, sync_file

SIDE = 1024  # models of a chunk's side: 4 MB of float32


class Target(Protocol):
    """Takes chunks of a matrix, several threads at a time."""

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        """Write the (SIDE, SIDE) chunk of block row i and block column j; NaN beyond the last model."""


@contextmanager
def zarr_file(path: Path, sample: Correctness, by: str, dtype: np.dtype[Any]) -> Iterator[Target]:
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
        yield Chunks(folder / by / "c")


class Chunks:
    """Chunks as files of a Zarr array."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, i: int, j: int, chunk: NDArray[Any]) -> None:
        """Write a chunk; see `Target`."""
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
def npy_file(path: Path, sample: Correctness, by: str, dtype: np.dtype[Any]) -> Iterator[Target]:
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


def disk_bytes(n_models: int, dtype: np.dtype[Any], new: Any) -> int:
    """Bytes of the matrix; chunks of a Zarr array are whole ones."""
    side = -(-n_models // SIDE) * SIDE if new is zarr_file else n_models
    return side * side * dtype.itemsize
