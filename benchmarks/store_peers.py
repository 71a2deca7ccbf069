"""Ways to write one model that `store_speed.py` compares, and the data that they write."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.store.encoding import Encoded, encode
from dissensus.store.files import start_writing

OURS, OURS_ENCODING, OURS_ARCHIVE = "dissensus", "dissensus, encoding included", "dissensus, archive codec"
OURS_FLOAT32 = "dissensus, float32 store"
FLOOR = "raw pwrite + fsync"


@dataclass(frozen=True)
class Data:
    """Synthetic logits of one model, and what the store makes of them.

    Attributes
    ----------
    labels : (N,) int
        Classes of the examples.
    logits : (N, C) float32
        Noise, and the label raised above it as often as a good model does.
    encoded : Encoded
        Rows as stored; every contender is given the same float16 array.
    """

    labels: np.ndarray
    logits: np.ndarray
    encoded: Encoded

    @classmethod
    def of(cls, n_examples: int, n_classes: int) -> Data:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, n_classes, n_examples)
        logits = rng.standard_normal((n_examples, n_classes), np.float32)
        logits[np.arange(n_examples), labels] += rng.normal(6, 3, n_examples).astype(np.float32)
        ids, classes = ([str(i) for i in range(n)] for n in logits.shape)
        names = {"model_id": "m", "example_ids": ids, "class_names": classes}
        return cls(labels, logits, encode(logits, "float16", **names))

    @property
    def rows(self) -> np.ndarray:
        """Stored rows, (N, C) float16."""
        return self.encoded.centred

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        """All arrays that are stored of the model."""
        return tuple(part for part in vars(self.encoded).values() if part is not None)

    def new_store(self, path: Path, **options: Any) -> ds.Store:
        """Make an empty store for it."""
        return ds.create(path, self.labels, classes=[str(c) for c in range(self.rows.shape[1])], **options)


# ways to write one model


@dataclass(frozen=True)
class Way:
    """A way to keep one model.

    Attributes
    ----------
    write : callable
        Given what `prepare` returned, the data and a folder that is there; this alone is timed.
    read : callable
        All rows of what was written, to be compared.
    prepare : callable
        Done before, not timed.
    once : bool
        Takes seconds: one timed run is enough.
    needs : str
        Package without which it is left out.
    """

    write: Callable[[Any, Data, Path], None]
    read: Callable[[Path], Any]
    prepare: Callable[[Data, Path], Any] = lambda data, place: None
    once: bool = False
    needs: str = "numpy"

    def files(self, place: Path) -> list[Path]:
        """Files that hold the model; of a store, not those that it shares with others."""
        inside = place / "s.zoo/models/m"
        return [p for p in (inside if inside.exists() else place).rglob("*") if p.is_file()]


def prepare_store(data: Data, place: Path, **options: Any) -> ds.Store:
    store = data.new_store(place / "s.zoo", **options)
    assert len(store.example_ids)  # read once a store, not once a model
    return store


def write_store(store: ds.Store, data: Data, place: Path, *, encoded: bool = True) -> None:
    rows = data.encoded if encoded else data.logits
    with store.writer("m", fingerprint={"weights": "1"}) as writer:
        for start in range(0, len(rows), store.block_rows):
            writer.append(rows[start : start + store.block_rows])


def read_store(place: Path) -> Any:
    store = ds.open(place / "s.zoo")
    return store.logits("m").centred(0, store.n_examples)


def read_narrowed(place: Path) -> Any:
    """Rows of a store of float32, as one of float16 keeps them."""
    return read_store(place).astype(np.float16)


def write_raw(_: Any, data: Data, place: Path, *, early: bool = False) -> None:
    """Write the same bytes, in blocks of a MiB, durably; `early` begins to write each block back at once."""
    fd = os.open(place / "rows", os.O_WRONLY | os.O_CREAT)
    offset = 0
    for array in data.parts:
        raw = array.reshape(-1).view(np.uint8).data
        for start in range(0, len(raw), 1 << 20):
            done = os.pwrite(fd, raw[start : start + (1 << 20)], offset)
            if early:
                start_writing(fd, offset, done)
            offset += done
    os.fsync(fd)
    os.close(fd)


def read_raw(place: Path) -> Any:
    """Rows of the floor, whose shape only the data knows: flat."""
    return np.fromfile(place / "rows", np.float16)


def _zarr(place: Path, data: Data, **layout: Any) -> Any:
    import zarr

    return zarr.create_array(place / "z", shape=data.rows.shape, dtype="float16", **layout)


def write_sharded(_: Any, data: Data, place: Path) -> None:
    """Write the array that the store writes: one shard of checksummed blocks."""
    import zarr

    n, c = data.rows.shape
    block = max(1, min((1 << 20) // (2 * c), 4096, n))
    layout = {"chunks": (block, c), "shards": (-(-n // block) * block, c), "fill_value": float("nan")}
    _zarr(place, data, compressors=[zarr.codecs.Crc32cCodec()], **layout)[:] = data.rows


def write_chunked(_: Any, data: Data, place: Path) -> None:
    n, c = data.rows.shape
    _zarr(place, data, compressors=None, chunks=(max(1, min((1 << 20) // (2 * c), n)), c))[:] = data.rows


def read_zarr(place: Path) -> Any:
    import zarr

    return zarr.open_array(place / "z", mode="r")[:]


def write_torch(_: Any, data: Data, place: Path) -> None:
    import torch

    torch.save(torch.from_numpy(data.rows), place / "m.pt")


def read_torch(place: Path) -> Any:
    import torch

    return torch.load(place / "m.pt").numpy()


def write_parquet(_: Any, data: Data, place: Path) -> None:
    """Write timm's layout: a table with one list an example."""
    import pandas

    pandas.DataFrame({"logits": list(data.rows)}).to_parquet(place / "m.parquet")


def read_parquet(place: Path) -> Any:
    import pandas

    return np.stack(pandas.read_parquet(place / "m.parquet")["logits"])


def synced(write: Callable[[Any, Data, Path], None]) -> Callable[[Any, Data, Path], None]:
    """Have what another format writes survive a power cut, as the store's models do."""

    def durably(opened: Any, data: Data, place: Path) -> None:
        write(opened, data, place)
        for path in (*place.rglob("*"), place):
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    return durably


def write_npy(_: Any, data: Data, place: Path) -> None:
    np.save(place / "m.npy", data.rows)


def write_memmap(_: Any, data: Data, place: Path) -> None:
    """Write into a mapped file, as TabArena keeps predictions."""
    rows = np.lib.format.open_memmap(place / "m.npy", "w+", data.rows.dtype, data.rows.shape)
    rows[:] = data.rows
    rows.flush()  # which syncs


def read_npy(place: Path) -> Any:
    return np.load(place / "m.npy")


WAYS: dict[str, Way] = {
    FLOOR: Way(write_raw, read_raw),
    "raw pwrite + fsync, written back early": Way(partial(write_raw, early=True), read_raw),
    OURS: Way(write_store, read_store, prepare_store),
    OURS_ENCODING: Way(partial(write_store, encoded=False), read_store, prepare_store),
    OURS_ARCHIVE: Way(write_store, read_store, partial(prepare_store, codec="archive"), once=True),
    OURS_FLOAT32: Way(
        partial(write_store, encoded=False), read_narrowed, partial(prepare_store, dtype="float32"), once=True
    ),
    "zarr-python, same sharded array": Way(write_sharded, read_zarr),
    "zarr-python, same sharded array, synced": Way(synced(write_sharded), read_zarr),
    "zarr-python, plain chunks": Way(write_chunked, read_zarr),
    "zarr-python, plain chunks, synced": Way(synced(write_chunked), read_zarr),
    "np.save": Way(write_npy, read_npy),
    "np.save, synced": Way(synced(write_npy), read_npy),
    "np.memmap, flushed": Way(write_memmap, read_npy),
    "torch.save": Way(write_torch, read_torch, needs="torch"),
    "torch.save, synced": Way(synced(write_torch), read_torch, needs="torch"),
    "np.savez_compressed": Way(
        lambda _, data, place: np.savez_compressed(place / "m.npz", data.rows),
        lambda place: np.load(place / "m.npz")["arr_0"],
        once=True,
    ),
    "pandas Parquet, list column": Way(write_parquet, read_parquet, once=True, needs="pandas"),
}


def ways() -> dict[str, Way]:
    """Ways whose packages are installed; the others are named."""
    for name, way in WAYS.items():
        if find_spec(way.needs) is None:
            print(f"{name}: skipped, {way.needs} is not installed")
    return {name: way for name, way in WAYS.items() if find_spec(way.needs)}
