"""Predicted classes of all models in one file, so that a zoo's matrix is there at once.

A cache is never trusted: its checksum is computed before it is used, and each row is named by the digest of
its model's commit record. What is damaged, or of another or an older model, is read from the models again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import DissensusError

from . import format as fmt
from .files import crc32c, write_file
from .folders import clear_temporaries
from .reader import StoredModel
from .reading import open_map
from .sealed import seal, unseal
from .tables import arrow_bytes, read_arrow

TOP1, TOP1_JSON = "top1.arrow", "top1.json"
_Stamp = tuple[int, int, int] | None
FEWEST = 8  # models below which reading them is as quick
STALE = 1 / 16  # share of missing rows from which on the file is made anew


def top1_dtype(n_classes: int) -> np.dtype[Any]:
    """Smallest signed integer that holds a class."""
    return np.dtype(np.int16 if n_classes <= np.iinfo(np.int16).max else np.int32)


class Top1Cache:
    """Predicted classes of models, from the cache of their store where they are there.

    Checked when it is used first, and again once its files are others: what was checked stays mapped.

    Parameters
    ----------
    root : Path
        Folder of the store.
    geometry : Geometry
        The store's.
    """

    def __init__(self, root: Path, geometry: fmt.Geometry) -> None:
        self._folder, self._geometry = root / fmt.CACHE, geometry
        self._checked: tuple[list[_Stamp], _Cached] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_checked": None}  # a map is of one process

    def matrix(self, models: Sequence[StoredModel], all_models: int) -> NDArray[Any]:
        """Predicted classes of some models in their order, (M, N) int16 or int32, read-only.

        Only a query of all models of the store, of which there are `all_models`, makes the cache anew.
        """
        if len(models) < FEWEST:
            return _read(models, self._geometry)
        rows, missing = self._load().completed(models, self._geometry)
        if missing and len(models) == all_models and missing >= STALE * len(models):
            _write(self._folder, [model.digest for model in models], rows)
        rows.flags.writeable = False
        return rows

    def blocks(self, models: Sequence[StoredModel], step: int) -> Iterator[NDArray[Any]]:
        """Predicted classes of `step` models at a time; the cache is checked once and not made anew."""
        cached = self._load()
        for start in range(0, len(models), step):
            yield cached.completed(models[start : start + step], self._geometry)[0]

    def _load(self) -> _Cached:
        stamps = [_stamp(self._folder / name) for name in (TOP1_JSON, TOP1)]
        if self._checked is None or self._checked[0] != stamps:
            self._checked = stamps, _Cached.load(self._folder, self._geometry)
        return self._checked[1]


def _stamp(path: Path) -> _Stamp:
    """What changes with a file: its number, size and time; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(models: Sequence[StoredModel], geometry: fmt.Geometry) -> NDArray[Any]:
    """From the models themselves."""
    out = np.empty((len(models), geometry.n_examples), top1_dtype(geometry.n_classes))
    for row, model in zip(out, models, strict=True):
        row[:] = model.column("top1")
    return out


class _Cached:
    """Rows of a cache by digest; none where it is missing, damaged or of another shape."""

    def __init__(self, digests: Sequence[str], values: NDArray[Any]) -> None:
        self._place = {digest: row for row, digest in enumerate(digests)}
        self._values = values

    @classmethod
    def load(cls, folder: Path, geometry: fmt.Geometry) -> _Cached:
        dtype = top1_dtype(geometry.n_classes)
        try:
            record = unseal(folder / TOP1_JSON, "cache")
            mapped = np.frombuffer(open_map(folder / TOP1), np.uint8)
            if len(mapped) != record["bytes"] or f"{crc32c(mapped):08x}" != record["sum"]:
                raise ValueError("another file, or a damaged one")
            values = np.frombuffer(read_arrow(mapped)["top1"].chunk(0).buffers()[1], dtype)
            return cls(record["digests"], values.reshape(len(record["digests"]), geometry.n_examples))
        except (OSError, KeyError, ValueError):
            return cls([], np.empty((0, geometry.n_examples), dtype))

    def rows(self, digests: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows of these models, (M, N), and which of them were there; the others hold anything."""
        places = [self._place.get(digest, -1) for digest in digests]
        found = np.array(places) >= 0
        if not found.any():
            return np.empty((len(digests), self._values.shape[1]), self._values.dtype), found
        in_order = found.all() and places == list(range(places[0], places[0] + len(places)))
        return self._values[places[0] : places[-1] + 1] if in_order else self._values[places], found

    def completed(self, models: Sequence[StoredModel], geometry: fmt.Geometry) -> tuple[NDArray[Any], int]:
        """Rows of these models, (M, N), and how many were not there and come from the models themselves."""
        rows, found = self.rows([model.digest for model in models])
        missing = np.flatnonzero(~found)
        if len(missing):
            rows = rows.copy()
            rows[missing] = _read([models[i] for i in missing.tolist()], geometry)
        return rows, len(missing)


def _write(folder: Path, digests: Sequence[str], rows: NDArray[Any]) -> None:
    """Replace the cache; where it cannot be written there is none."""
    values = pa.py_buffer(np.ascontiguousarray(rows))
    kind = pa.binary(rows.shape[1] * rows.itemsize)
    column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, values])
    data = arrow_bytes(pa.table({"top1": column}))
    record = {"digests": list(digests), "bytes": len(data), "sum": f"{crc32c(data):08x}"}
    with contextlib.suppress(OSError, DissensusError):
        folder.mkdir(exist_ok=True)
        clear_temporaries(folder)  # a killed process leaves as much as a cache holds
        write_file(folder / TOP1, data, durable=False)
        write_file(folder / TOP1_JSON, seal(record), durable=False)
