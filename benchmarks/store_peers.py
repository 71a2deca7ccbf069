"""What `store_speed.py` compares: ways to write one model, and ways to read rows a:b of many models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.store.encoding import Encoded, encode

Blocks = Iterator[Sequence[np.ndarray]]
OURS, OURS_ENCODING, OURS_ARCHIVE = "dissensus", "dissensus, encoding included", "dissensus, archive codec"
FLOOR = "raw pwrite + fsync"
READ_FLOOR = "raw preadv into reused buffers"
NPY_HEADER = 128


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
        names = {"example_ids": [str(i) for i in range(n_examples)], "class_names": list(map(str, range(n_classes)))}
        return cls(labels, logits, encode(logits, "float16", model_id="m", **names))

    @property
    def rows(self) -> np.ndarray:
        """Stored rows, (N, C) float16."""
        return self.encoded.centred

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


def write_raw(_: Any, data: Data, place: Path) -> None:
    """Write the same bytes, in blocks of a MiB, durably."""
    encoded = data.encoded
    fd = os.open(place / "rows", os.O_WRONLY | os.O_CREAT)
    offset = 0
    for array in (encoded.centred, encoded.top1, encoded.rowmax, encoded.lse):
        raw = array.reshape(-1).view(np.uint8).data
        for start in range(0, len(raw), 1 << 20):
            offset += os.pwrite(fd, raw[start : start + (1 << 20)], offset)
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
    layout = {"chunks": (block, c), "shards": (-(-n // block) * block, c)}
    _zarr(place, data, compressors=[zarr.codecs.Crc32cCodec()], fill_value=float("nan"), **layout)[:] = data.rows


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


WAYS: dict[str, Way] = {
    FLOOR: Way(write_raw, read_raw),
    OURS: Way(write_store, read_store, prepare_store),
    OURS_ENCODING: Way(partial(write_store, encoded=False), read_store, prepare_store),
    OURS_ARCHIVE: Way(write_store, read_store, partial(prepare_store, codec="archive"), once=True),
    "zarr-python, same sharded array": Way(write_sharded, read_zarr),
    "zarr-python, plain chunks": Way(write_chunked, read_zarr),
    "np.save": Way(
        lambda _, data, place: np.save(place / "m.npy", data.rows), lambda place: np.load(place / "m.npy")
    ),
    "torch.save": Way(write_torch, read_torch, needs="torch"),
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


# ways to read rows a:b of many models


@dataclass(frozen=True)
class Zoo:
    """The same models as a store, as .npy files and as arrays of zarr-python.

    Attributes
    ----------
    root : Path
        Folder of all three.
    ids : list of str
        Models.
    shape : tuple of int
        Examples and classes.
    step : int
        Rows of a block that is read of every model at a time.
    """

    root: Path
    ids: list[str]
    shape: tuple[int, int]
    step: int

    @property
    def bytes(self) -> int:
        """Bytes of all logits."""
        return 2 * len(self.ids) * self.shape[0] * self.shape[1]

    def spans(self) -> Iterator[tuple[int, int]]:
        n = self.shape[0]
        return ((start, min(start + self.step, n)) for start in range(0, n, self.step))


def make_zoo(root: Path, data: Data, n_models: int) -> Zoo:
    """Write models that are the same rows in other orders."""
    store = prepare_store(data, root)
    ids = [f"m{i:03d}" for i in range(n_models)]
    for place, model_id in enumerate(ids):
        rows = np.roll(data.rows, 97 * place, axis=0)
        parts = (np.roll(part, 97 * place) for part in (data.encoded.top1, data.encoded.rowmax, data.encoded.lse))
        with store.writer(model_id, fingerprint={"weights": model_id}) as writer:
            writer.append(Encoded(rows, *parts))
        np.save(root / f"{model_id}.npy", rows)
        (root / "zarr" / model_id).mkdir(parents=True)
        write_sharded(None, Data(data.labels, data.logits, Encoded(rows, *(None,) * 3)), root / "zarr" / model_id)
    return Zoo(root, ids, data.rows.shape, store.block_rows)


def open_store(zoo: Zoo) -> Callable[[], Blocks]:
    """Open the store under test; the one place that knows how it is read."""
    store = ds.open(zoo.root / "s.zoo")
    logits = [store.logits(m) for m in zoo.ids]
    return lambda: ([z.centred(start, stop) for z in logits] for start, stop in zoo.spans())


def open_raw(zoo: Zoo) -> Callable[[], Blocks]:
    fds = [os.open(zoo.root / f"{m}.npy", os.O_RDONLY) for m in zoo.ids]
    buffers = [np.empty((zoo.step, zoo.shape[1]), np.float16) for _ in zoo.ids]

    def blocks() -> Blocks:
        for start, stop in zoo.spans():
            for fd, buffer in zip(fds, buffers, strict=True):
                os.preadv(fd, [buffer[: stop - start]], NPY_HEADER + 2 * zoo.shape[1] * start)
            yield [buffer[: stop - start] for buffer in buffers]

    return blocks


def open_zarr(zoo: Zoo) -> Callable[[], Blocks]:
    import zarr

    arrays = [zarr.open_array(zoo.root / "zarr" / m / "z", mode="r") for m in zoo.ids]
    return lambda: ([array[start:stop] for array in arrays] for start, stop in zoo.spans())


def open_npy(zoo: Zoo) -> Callable[[], Blocks]:
    arrays = [np.load(zoo.root / f"{m}.npy", mmap_mode="r") for m in zoo.ids]
    return lambda: ([array[start:stop] for array in arrays] for start, stop in zoo.spans())


READERS: dict[str, Callable[[Zoo], Callable[[], Blocks]]] = {
    READ_FLOOR: open_raw,
    OURS: open_store,
    "zarr-python, same sharded array": open_zarr,
    "np.load(mmap_mode='r')": open_npy,
}

