"""A task on a worker: open the store, read the predictions of some models, count.

Kernels are serial: several tasks may run in threads of one process. A store that is not the one asked about
is refused by digests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.run.site import models_at, opened

from .counts import Counts
from .tasks import BOTH, CLASSES, Some, Task

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.truth import Truth


def run_task(task: Task) -> tuple[Task, dict[str, NDArray[Any]]]:
    """Count on a worker, by serial kernels: several tasks may run in threads of one process.

    Returns
    -------
    Task, dict of str to (A, B) unsigned integers
        The same task; counts by name, as narrow as they fit; `CLASSES` (A, C), from pairs within one set.
    """
    store = opened(task.site)
    mask = np.ones(task.stop - task.start, np.bool_)
    if task.mask is not None:
        mask = np.unpackbits(np.frombuffer(task.mask, np.uint8), count=len(mask)).astype(np.bool_)
    truth = store.truth.take(np.arange(task.start, task.stop))
    within = task.left == task.right
    sides = [_predicted(store, some, task) for some in ((task.left,) if within else (task.left, task.right))]
    found = dict(_counted(sides, truth, mask, store.n_classes, task.wanted))
    if within and "chance_label" in task.wanted:
        found[CLASSES] = _classes(sides[0], mask, store.n_classes)
    narrow = np.min_scalar_type(len(mask))
    return task, {name: counts.astype(narrow) for name, counts in found.items()}


def _predicted(store: Store, some: Some, task: Task) -> NDArray[Any]:
    """Predicted classes of some models on the task's examples, (A, n), of the versions asked about."""
    models = models_at(store, some.ids, some.digest)
    # of each model alone: the cache of all of them would be checked whole for every task
    return np.stack([model.column("top1")[task.start : task.stop] for model in models])


def _counted(
    sides: Sequence[NDArray[Any]],
    truth: Truth,
    mask: NDArray[np.bool_],
    n_classes: int,
    wanted: Collection[str],
) -> Iterator[tuple[str, Counts]]:
    """Counts of pairs within the one set of models or between two, by name."""
    from dissensus.kernels import bits
    from dissensus.kernels import counts as right
    from dissensus.kernels import labels as same

    correct = [truth.correct(top1) for top1 in sides]
    yield (
        BOTH,
        _tile(
            right.both_right_diagonal, right.both_right_rectangle, [(bits.pack(c & mask),) for c in correct]
        ),
    )
    counted: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
        "same_label": lambda c: np.broadcast_to(mask, c.shape),
        "same_wrong_label": lambda c: ~c & mask,
    }
    planes = [bits.pack_labels(top1, n_classes) for top1 in sides] if {*counted} & {*wanted} else []
    for name in [name for name in counted if name in wanted]:
        packed = [(p, bits.pack(counted[name](c))) for p, c in zip(planes, correct, strict=True)]
        yield name, _tile(same.same_diagonal, same.same_rectangle, packed)


def _tile(
    diagonal: Callable[..., None], rectangle: Callable[..., None], sides: Sequence[tuple[NDArray[Any], ...]]
) -> Counts:
    """Run a serial kernel within one set of models, or between two; of the second only what is compared."""
    out = np.empty((len(sides[0][0]), len(sides[-1][0])), np.int64)
    if len(sides) == 1:
        diagonal(*sides[0], out)
    else:
        rectangle(*sides[0], sides[1][0], out)
    return out


def _classes(top1: NDArray[Any], mask: NDArray[np.bool_], n_classes: int) -> Counts:
    return np.array([np.bincount(row[mask], minlength=n_classes) for row in top1], np.int64)
