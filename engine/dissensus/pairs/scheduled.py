"""Counts of all pairs as tasks: a tile of pairs of models on a block of examples each.

What a task is told are names, a range and the block's mask; it opens the store by its path and reads the
predictions itself. What it gives back are integers, which add up to the same in any order: the counts are
those of one machine to the last bit. A store that is not the one asked about is refused by digests.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import dissensus
from dissensus.errors import ClusterError, DissensusError, ModelReplaced, UnknownName

from .counts import Counts, PairCounts

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel
    from dissensus.store.truth import Truth

TILE = 512  # models on a side of a tile: counts of 512 KiB a block of up to 65,535 examples
ROWS = 4096  # examples of a block at least: less is not worth a task
EACH = 3  # tasks for each thread, if there is work for so many: late ones are evened out

BOTH, CLASSES = "both_right", "classes"  # beside the names of `LABEL_STATISTICS`


@dataclass(frozen=True)
class Site:
    """Which store a task reads, and which version of all that is not its models.

    Attributes
    ----------
    path : str
        Absolute, the same for all workers.
    labels : str
        Label set that decides what is right.
    examples, truth : str
        Digests of the example set and of that label set.
    version : str
        Of dissensus.
    """

    path: str
    labels: str
    examples: str
    truth: str
    version: str


@dataclass(frozen=True)
class Some:
    """Models of one side of a tile: where they stand among all, their ids, and a digest of their versions."""

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
    site = Site(
        str(store.path.resolve()),
        store.truth.name,
        store.examples_hash,
        _digest_of(store.truth),
        dissensus.__version__,
    )
    sides = [_some(models, start, tile) for start in range(0, len(models), tile)]
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


def _some(models: Sequence[StoredModel], start: int, tile: int) -> Some:
    chosen = models[start : start + tile]
    return Some(start, tuple(model.model_id for model in chosen), _digest([model.digest for model in chosen]))


def _digest(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _digest_of(truth: Truth) -> str:
    return hashlib.sha256(truth.offsets.tobytes() + truth.classes.tobytes()).hexdigest()


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


def run_task(task: Task) -> tuple[Task, dict[str, NDArray[Any]]]:
    """Count on a worker, by serial kernels: several tasks may run in threads of one process.

    Returns
    -------
    Task, dict of str to (A, B) unsigned integers
        The same task; counts by name, as narrow as they fit; `CLASSES` (A, C), from pairs within one set.
    """
    store = _opened(task.site)
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


@lru_cache(maxsize=8)
def _opened(site: Site) -> Store:
    """Open a store once a process, and check that it is the one asked about."""
    from dissensus.store.catalog import Store

    here = f"the Dask worker on {socket.gethostname()}"
    if site.version != dissensus.__version__:
        raise ClusterError(
            f"{here} has dissensus {dissensus.__version__}, {site.version} asks: install the same on both"
        )
    try:
        store = Store(site.path, labels=site.labels)
        same = store.examples_hash == site.examples and _digest_of(store.truth) == site.truth
    except (DissensusError, OSError) as error:
        raise ClusterError(
            f"{here} cannot open the store: {error}. Workers read it themselves: put it where all of them "
            f"see it as {site.path}"
        ) from error
    if not same:
        raise ClusterError(
            f"{here} sees another store at {site.path}, of other examples or labels: put the same one there, "
            "or ask again if it has just changed"
        )
    return store


def _predicted(store: Store, some: Some, task: Task) -> NDArray[Any]:
    """Predicted classes of some models on the task's examples, (A, n), of the versions asked about."""
    try:
        models = [store.model(model_id) for model_id in some.ids]
    except UnknownName as error:
        raise ClusterError(
            f"the Dask worker on {socket.gethostname()} does not see all models at {store.path} ({error}): "
            "put the same store there for all workers"
        ) from error
    if _digest([model.digest for model in models]) != some.digest:
        raise ModelReplaced(
            f"models of {store.path} were replaced since the question was asked, or the Dask worker on "
            f"{socket.gethostname()} sees others there: ask again"
        )
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
    from dissensus.kernels import counts as right
    from dissensus.kernels import labels as same

    correct = [truth.correct(top1) for top1 in sides]
    yield (
        BOTH,
        _tile(
            right.both_right_diagonal, right.both_right_rectangle, [(right.pack(c & mask),) for c in correct]
        ),
    )
    counted: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
        "same_label": lambda c: np.broadcast_to(mask, c.shape),
        "same_wrong_label": lambda c: ~c & mask,
    }
    planes = [same.pack_labels(top1, n_classes) for top1 in sides] if {*counted} & {*wanted} else []
    for name in [name for name in counted if name in wanted]:
        packed = [(p, right.pack(counted[name](c))) for p, c in zip(planes, correct, strict=True)]
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
