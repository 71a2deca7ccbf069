"""What a run takes of the disk, and in which rounds its models go."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dissensus.store import format as fmt
from dissensus.store.records import model_bytes
from dissensus.store.staging import staged_rows

if TYPE_CHECKING:
    from ..zoo.outline import Outline


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk.

    Attributes
    ----------
    write_bytes
        What models that are left to run add to the store: exact for codec "raw", the most there can be for
        "archive". Their two small records are not counted.
    most_bytes
        What is taken for a moment while a model is finished, that included.
    free_bytes
        What there is.
    is_exact
        Whether the codec is "raw", and embeddings, where they are kept, of known size.
    """

    write_bytes: int
    most_bytes: int
    free_bytes: int
    is_exact: bool


def rounds_of(outlines: Sequence[Outline], most: int, free: int) -> list[list[Outline]]:
    """Return models in the rounds of `infer` on one device, see `shared`."""
    return shared(outlines, most, [free], lambda _, models: len(models))[0]


def shared(
    outlines: Iterable[Outline],
    most: int,
    free: Sequence[int],
    cost: Callable[[int, Sequence[Outline]], float],
) -> list[list[list[Outline]]]:
    """Return the rounds of every device: whichever is done first takes the next models of the list.

    A round grows until there are `most` models, or memory is half taken.

    Parameters
    ----------
    outlines
        In the order of the run; models of unknown size count as nothing.
    most
        Models in memory at once.
    free
        Bytes of memory at the start of a round, of every device.
    cost
        What a round takes on the device of that number, in any unit.
    """
    left = deque(outlines)
    shares: list[list[list[Outline]]] = [[] for _ in free]
    clocks = [0.0] * len(free)
    while left:
        place = clocks.index(min(clocks))
        models = _next_round(left, most, free[place])
        shares[place].append(models)
        clocks[place] += cost(place, models)
    return shares


def _next_round(left: deque[Outline], most: int, free: int) -> list[Outline]:
    from .turns import ROOM

    models, taken = [left.popleft()], 0
    while left and len(models) < most:
        taken += models[-1].weights_bytes or 0
        if free - taken < ROOM * free:
            break
        models.append(left.popleft())
    return models


def staged_in(root: Path, outlines: Sequence[Outline], geometry: fmt.Geometry) -> dict[str, int]:
    """Return how many rows of models are staged, of those that have any."""
    rows = {one.model_id: staged_rows(root, one.model_id, geometry)[0] for one in outlines}
    return {model_id: n for model_id, n in rows.items() if n}


def disk_of(root: Path, outlines: Sequence[Outline], geometry: fmt.Geometry, embeddings: bool) -> Disk:
    """Return what models take of the disk of a store, less what is staged of them.

    Parameters
    ----------
    root
        Folder of the store, which need not be there.
    outlines
        Models that are left to run.
    geometry
        Of their logits.
    embeddings
        Whether those are stored too, of models that tell their number of features.
    """
    n_bytes = 0
    for one in outlines:
        dim = one.embedding_dim if embeddings else None
        beside = None if dim is None else geometry.of_embeddings(dim)
        whole = model_bytes(one.model_id, geometry, "logits", beside)
        n_bytes += max(0, whole - staged_rows(root, one.model_id, geometry)[1])
    record = fmt.record_dtype("logits", geometry.n_classes).itemsize
    scratch = geometry.n_blocks * (geometry.block_rows * record + fmt.CRC_BYTES)
    unknown = embeddings and any(one.embedding_dim is None for one in outlines)
    is_exact = geometry.codec == "raw" and not unknown
    return Disk(n_bytes, n_bytes + scratch if n_bytes else 0, free_bytes(root), is_exact)


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may write where a path is, or is going to be."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize
