"""Tasks that count pairs: which pairs of models on which examples, said in names and ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dissensus.run.site import Site, digest

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

TILE = 512  # models on a side of a tile: counts of 512 KiB a block of up to 65,535 examples
ROWS = 4096  # examples of a block at least: less is not worth a task
EACH = 3  # tasks for each thread, if there is work for so many: late ones are evened out

BOTH, CLASSES = "both_right", "classes"  # beside the names of `LABEL_STATISTICS`


@dataclass(frozen=True)
class Some:
    """Models of one side of a tile: where they stand among all, their ids, and a digest of their versions.

    Attributes
    ----------
    digest : str
        Of the models' commit records; in reductions of all pairs, of the right answers that are counted.
    """

    start: int
    ids: tuple[str, ...]
    digest: str

    @property
    def span(self) -> slice:
        """Their places among all models."""
        return slice(self.start, self.start + len(self.ids))


@dataclass(frozen=True)
class Task:
    """Pairs between two sets of models, or within one, on the examples start:stop.

    Attributes
    ----------
    mask : bytes or None
        Which of them to count, a bit each; all for None.
    wanted : tuple of str
        `BOTH` and, beyond, some of "same_label", "same_wrong_label", "chance_label".
    """

    site: Site
    left: Some
    right: Some
    start: int
    stop: int
    mask: bytes | None
    wanted: tuple[str, ...]


def tasks(
    store: Store,
    models: Sequence[StoredModel],
    examples: NDArray[np.bool_] | None,
    labels: Sequence[str],
    threads: int,
    tile: int = TILE,
    rows: int | None = None,
) -> Iterator[Task]:
    """Cut all pairs and examples into tasks, made as they are asked for."""
    site = Site.of(store)
    sides = [some_of(models, start, tile) for start in range(0, len(models), tile)]
    tiles = len(sides) * (len(sides) + 1) // 2
    step = rows or max(ROWS, -(-store.n_examples * tiles // (EACH * threads)))
    for start in range(0, store.n_examples, step):
        stop = min(start + step, store.n_examples)
        counted = None if examples is None else examples[start:stop]
        if counted is not None and not counted.any():
            continue
        mask = None if counted is None or counted.all() else np.packbits(counted).tobytes()
        for left, right in combinations_with_replacement(sides, 2):
            yield Task(site, left, right, start, stop, mask, (BOTH, *labels))


def some_of(models: Sequence[StoredModel], start: int, tile: int) -> Some:
    """Models of a side of so many, from `start` on."""
    chosen = models[start : start + tile]
    return Some(start, tuple(model.model_id for model in chosen), digest([model.digest for model in chosen]))
