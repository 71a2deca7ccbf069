"""Counts of all pairs by tasks on workers: a tile of pairs of models on a block of examples each.

What a task is told are names, a range and the block's mask (`tasks`); it opens the store by its path and
reads the predictions itself (`worker`). What it gives back are integers, which add up to the same in any
order: the counts are those of one machine to the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .counts import Counts, PairCounts
from .tasks import BOTH, CLASSES, TILE, Task, tasks
from .worker import run_task

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel


def scheduled_counts(
    store: Store,
    models: Sequence[StoredModel],
    examples: NDArray[np.bool_] | None,
    wanted: Collection[str],
    runner: Runner,
    *,
    tile: int = TILE,
    rows: int | None = None,
) -> tuple[PairCounts, dict[str, Counts]]:
    """Count all pairs, and what is wanted of `LABEL_STATISTICS`, by tasks.

    Parameters
    ----------
    store : Store
        Its truth decides what is right.
    models : sequence of StoredModel
        M models of it.
    examples : (N,) bool or None
        Examples to count; all for None.
    wanted : collection of str
        Names of statistics; those that are not of labels are passed over.
    runner : Runner
        Runs the tasks.
    tile, rows : int, optional
        Models on a side of a tile, examples of a block: by default for a few tasks a thread.

    Returns
    -------
    PairCounts, dict of str to (M, M) int64
        Equal to `PairCounts.from_correct` and `label_counts` whatever the tiles, blocks and order.

    Raises
    ------
    ClusterError
        A worker has another version, or does not find this store under its path.
    ModelReplaced
        A worker finds another version of a model.
    """
    n_models, labels = len(models), _labels_wanted(wanted)
    sums = {
        name: np.zeros((n_models, n_models), np.int64) for name in (BOTH, *labels) if name != "chance_label"
    }
    if "chance_label" in labels:
        sums[CLASSES] = np.zeros((n_models, store.n_classes), np.int64)
    for task, found in runner.results(
        run_task, tasks(store, models, examples, labels, runner.threads, tile, rows)
    ):
        _add(sums, task, found)
    both = sums.pop(BOTH)
    if CLASSES in sums:
        shares = sums.pop(CLASSES)
        sums["chance_label"] = shares @ shares.T
    n = store.n_examples if examples is None else int(examples.sum())
    return PairCounts(both, both.diagonal().copy(), n), sums


def _labels_wanted(wanted: Collection[str]) -> tuple[str, ...]:
    from .labels import LABEL_STATISTICS

    return tuple(name for name in LABEL_STATISTICS if name in wanted)


def _add(sums: dict[str, Counts], task: Task, found: dict[str, NDArray[Any]]) -> None:
    """Add a task's counts where its models stand, and mirrored."""
    left, right = task.left.span, task.right.span
    for name, counts in found.items():
        if name == CLASSES:
            sums[name][left] += counts
            continue
        sums[name][left, right] += counts
        if left != right:
            sums[name][right, left] += counts.T
