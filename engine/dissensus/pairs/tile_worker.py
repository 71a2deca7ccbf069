"""A task over tiles on a worker: read the answers of one or two sets of models, go through their tiles.

Kernels are serial. Answers of a few sets are kept, since the next tasks are about one of them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dissensus.run.site import Site, found_at, opened, require_same

from .correctness import READ_BYTES, Correctness, digests_of, packed_rows, right_of
from .measures import MEASURES
from .tasks import Some
from .tile_tasks import Reduced, TileTask
from .tiles import Tiles

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

KEPT = 16  # sets of models whose answers a worker keeps: at most so many times `SIDE_BYTES`


def run_tiles(task: TileTask) -> Reduced:
    """Reduce the pairs of a task on one thread.

    Raises
    ------
    ClusterError, ModelReplaced
    """
    packed = [_answers(task.site, some, task.chosen) for some in task.sides]
    ids = [model_id for some in task.sides for model_id in some.ids]
    chosen, rows = np.frombuffer(task.chosen, np.uint64), np.concatenate(packed)
    n = int(np.bitwise_count(chosen).sum())
    sample = Correctness(ids, rows, right_of(rows), n, "", chosen)
    fresh, apart = len(task.left.ids), len(task.sides) == 2
    tiles = Tiles(sample, MEASURES[task.measure], task.undefined, fresh, apart)
    spans = tuple(some.span for some in task.sides)
    return Reduced(spans, task.reduction.of_tiles(tiles), task.pairs)


@lru_cache(maxsize=KEPT)
def _answers(site: Site, some: Some, chosen: bytes) -> NDArray[np.uint64]:
    """What some models get right, packed, and the same that was asked about."""
    store, mask = opened(site), np.frombuffer(chosen, np.uint64)
    packed = packed_rows(len(some.ids), _correct(store, some), store.n_examples, mask)
    require_same(store, digests_of(packed), some.digest)
    packed.flags.writeable = False
    return packed


def _correct(store: Store, some: Some) -> Iterator[NDArray[np.bool_]]:
    """Right answers of a few models at a time."""
    models, step = found_at(store, some.ids), max(READ_BYTES // (3 * store.n_examples), 1)
    for start in range(0, len(models), step):
        top1 = np.stack([model.column("top1") for model in models[start : start + step]])
        yield store.truth.correct(top1)
