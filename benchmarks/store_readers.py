"""Ways to read rows a:b of many models that `store_speed.py` compares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import dissensus as ds
from dissensus.store.encoding import Encoded
from store_peers import OURS, Data, prepare_store, write_sharded

Blocks = Iterator[Sequence[np.ndarray]]
OURS_AGAIN = "dissensus, blocks verified before"
READ_FLOOR = "raw preadv into reused buffers"
CRC_BYTES = 4  # behind each block


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
    def store(self) -> Path:
        return self.root / "s.zoo"

    def spans(self) -> Iterator[tuple[int, int]]:
        n = self.shape[0]
        return ((start, min(start + self.step, n)) for start in range(0, n, self.step))


def make_zoo(root: Path, data: Data, n_models: int) -> Zoo:
    """Write models that are the same rows in other orders."""
    store = prepare_store(data, root)
    ids = [f"m{i:03d}" for i in range(n_models)]
    for place, model_id in enumerate(ids):
        turned = replace(data, encoded=Encoded(*(np.roll(part, 97 * place, axis=0) for part in data.parts)))
        with store.writer(model_id, fingerprint={"weights": model_id}) as writer:
            writer.append(turned.encoded)
        np.save(root / f"{model_id}.npy", turned.rows)
        (root / "zarr" / model_id).mkdir(parents=True)
        write_sharded(None, turned, root / "zarr" / model_id)
    return Zoo(root, ids, data.rows.shape, store.block_rows)


def open_store(zoo: Zoo) -> Callable[[], Blocks]:
    """Open the store under test; the one place that knows how it is read."""
    store = ds.open(zoo.store)
    return lambda: (block.centred for block in store.blocks(zoo.ids))


def open_verified(zoo: Zoo) -> Callable[[], Blocks]:
    """Open it as a program that reads twice has it: the second time, blocks are known to be sound."""
    store = ds.open(zoo.store)
    logits = [store.logits(m) for m in zoo.ids]
    for z in logits:
        z.centred(0, len(z))
    return lambda: ([z.centred(start, stop) for z in logits] for start, stop in zoo.spans())


def open_raw(zoo: Zoo) -> Callable[[], Blocks]:
    """Read the store's own files: the same bytes, and in memory they lie as the store's reader finds them."""
    fds = [os.open(file, os.O_RDONLY) for file in sorted(zoo.store.glob("models/*/logits/c.0.0"))]
    buffers = [np.empty((zoo.step, zoo.shape[1]), np.float16) for _ in zoo.ids]
    record = buffers[0].nbytes + CRC_BYTES

    def blocks() -> Blocks:
        for number, (start, stop) in enumerate(zoo.spans()):
            for fd, buffer in zip(fds, buffers, strict=True):
                os.preadv(fd, [buffer[: stop - start]], number * record)
            yield [buffer[: stop - start] for buffer in buffers]
        for fd in fds:
            os.close(fd)

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
    OURS_AGAIN: open_verified,
    "zarr-python, same sharded array": open_zarr,
    "np.load(mmap_mode='r')": open_npy,
}
WARM_ONLY = {OURS_AGAIN}  # pages that a process has mapped stay in memory


def consume(blocks: Blocks) -> int:
    """Combine every bit of every block: what a reader only promises is read here."""
    total = 0
    for arrays in blocks:
        for array in arrays:
            total ^= int(np.bitwise_xor.reduce(array.reshape(-1).view(np.uint16)))
    return total
