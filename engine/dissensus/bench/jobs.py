"""What is benchmarked: each job as a function of a store and of how many of its models take part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import UnknownName
from dissensus.store.catalog import Store
from dissensus.store.create import create
from dissensus.store.format import DTYPES, Geometry, record_dtype

from .costs import (
    ANSWERS,
    BLOCK,
    COLUMNS,
    COUNTS,
    EXAMPLES,
    HALVES,
    IN_BLOCK,
    KEPT,
    LOGITS,
    MODELS,
    ONCE,
    PAIRS,
    RANKED,
    RANKED_ROWS,
    READ,
    RIGHT,
    ROUNDS,
    ROWS,
    TOTALS,
    VIEWS,
    Term,
)
from .synthetic import SyntheticZoo

Run = Callable[[SyntheticZoo, Path], None]
DESCRIPTION_BYTES = 10_000  # of a model: commit and metadata, headers of its tables
EXAMPLE_BYTES = 32  # id, label and split
SMALL = (  # for: once; models; rounds of them; examples; logits; ranked ones of few and of many classes
    (4, 500, 4),
    (16, 500, 4),
    (48, 500, 4),
    (8, 40_000, 4),
    (8, 12_000, 30),
    (12, 16_000, 60),
    (8, 6000, 400),
)


@dataclass(frozen=True)
class Job:
    """One thing that users do.

    Attributes
    ----------
    name, summary : str
        What it is asked for by, and what it does.
    run : callable
        (zoo, path of a store that holds its models) to nothing.
    makes_store : bool
        Whether it makes a store of its own at that path, which is taken away afterwards.
    seconds, memory : tuple of Term
        Kinds of work that its time and its memory may grow with.
    held : Term, optional
        Bytes of memory that follow from the size, where calibrations are too small to show them.
    calibration : tuple of (int, int, int)
        Sizes whose measurement tells these apart in about half a minute: each kind of work has one of which
        it is a large part.
    """

    name: str
    summary: str
    run: Run
    makes_store: bool = False
    seconds: tuple[Term, ...] = (ONCE, MODELS, ANSWERS, LOGITS, RANKED_ROWS, RANKED)
    memory: tuple[Term, ...] = (ONCE, MODELS, EXAMPLES, BLOCK)
    held: Term | None = None
    calibration: tuple[tuple[int, int, int], ...] = SMALL


def empty_store(zoo: SyntheticZoo, path: Path, attributes: dict[str, str] | None = None) -> Store:
    """Make an empty store for the zoo's examples, half of them "fit" and half "report"."""
    splits = np.where(np.arange(zoo.n_examples) % 2 == 0, "fit", "report").tolist()
    classes = [f"class-{c:04d}" for c in range(zoo.n_classes)]
    return create(path, zoo.labels, classes=classes, splits=splits, dtype=DTYPES[0], attributes=attributes)


def store_bytes(models: int, examples: int, classes: int) -> int:
    """Bytes of a store in float16: logits, derived columns, the top-K view, and what describes them."""
    shard = Geometry.choose(examples, classes, DTYPES[0]).shard_bytes()
    columns = examples * record_dtype("logits", classes).itemsize
    return models * (shard + columns + DESCRIPTION_BYTES) + examples * EXAMPLE_BYTES


def _weights(zoo: SyntheticZoo, model: int) -> str:
    return f"synthetic, seed {zoo.seed}, model {model}"


def holds(store: Store, zoo: SyntheticZoo) -> bool:
    """Whether a store has the zoo's examples and all of its models, by their labels and fingerprints."""
    if (store.n_examples, store.n_classes) != (zoo.n_examples, zoo.n_classes):
        return False
    if not np.array_equal(store.truth.first, zoo.labels) or not {*zoo.model_ids} <= {*store.model_ids}:
        return False
    weights = (store.model(name).fingerprint.get("weights") for name in zoo.model_ids)
    return all(one == _weights(zoo, m) for m, one in enumerate(weights))


def fill(store: Store, zoo: SyntheticZoo, models: Sequence[int], end: float = float("inf")) -> None:
    """Write models into a store block by block, as inference would; those that are there stay.

    Raises
    ------
    TimeoutError
        The monotonic clock passed `end`; whole models stay, and so does what was written of the last.
    """
    step = max(1, (8 << 20) // (4 * zoo.n_classes))
    names, there = zoo.model_ids, {*store.model_ids}  # asked once: of M models, they take M
    for m in models:
        model_id = names[m]
        if model_id in there:
            continue
        metadata = {"category": f"family-{zoo.family(m)}"}
        fingerprint = {"weights": _weights(zoo, m)}
        with store.writer(model_id, fingerprint=fingerprint, metadata=metadata) as writer:
            for start in range(writer.position, zoo.n_examples, step):
                if time.monotonic() > end:
                    raise TimeoutError(f"the time was over with {m:,} of its models in the store")
                writer.append(zoo.logits(m, start, min(start + step, zoo.n_examples)))


def _store(zoo: SyntheticZoo, path: Path) -> None:
    fill(empty_store(zoo, path), zoo, range(zoo.n_models))


def _ingest(zoo: SyntheticZoo, path: Path) -> None:
    from dissensus.ingest import ArrayExamples, CallableModel, create_from, infer

    numbers = np.arange(zoo.n_examples, dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2)
    examples = ArrayExamples(numbers, zoo.labels, classes=[f"class-{c:04d}" for c in range(zoo.n_classes)])
    sources = [
        CallableModel(model_id, partial(_rows_of, zoo, m), fingerprint=f"seed {zoo.seed}, model {m}")
        for m, model_id in enumerate(zoo.model_ids)
    ]
    report = infer(create_from(path, examples), sources, examples, progress=False)
    if report.failed:
        raise RuntimeError(f"{report.failed[0].model_id}: {report.failed[0].error}")


def _rows_of(zoo: SyntheticZoo, model: int, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of a batch of images, whose bytes are the numbers of the examples."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1).view(np.uint32).ravel()
    return zoo.logits(model, int(rows[0]), int(rows[-1]) + 1)


def _pairs(zoo: SyntheticZoo, path: Path) -> None:
    from dissensus.pairs import pairwise

    measures = ["error_inconsistency", "error_consistency"]
    pairwise(Store(path), measures, models=zoo.model_ids, ci="delta")


def _greedy(zoo: SyntheticZoo, path: Path) -> None:
    from dissensus.ensemble import greedy

    greedy(Store(path), size=10, candidates=zoo.model_ids)


def _pair_ensembles(zoo: SyntheticZoo, path: Path) -> None:
    from dissensus.pairs import pairwise

    pairwise(Store(path), ["pair_accuracy"], models=zoo.model_ids)


JOBS = {
    job.name: job
    for job in (
        Job("store", "write all logits into a new store, generated on the way", _store, makes_store=True),
        Job(
            "ingest",
            "the streaming loop over synthetic models",
            _ingest,
            makes_store=True,
            seconds=(ONCE, MODELS, ROUNDS, ANSWERS, LOGITS, RANKED_ROWS, RANKED),
        ),
        Job(
            "pairs",
            "kappa and error inconsistency of all pairs, with intervals",
            _pairs,
            seconds=(ONCE, MODELS, ANSWERS, PAIRS, COUNTS),
            memory=(ONCE, EXAMPLES, ANSWERS, PAIRS),
            calibration=((10, 1000, 2), (60, 1000, 2), (400, 1000, 2), (50, 50_000, 2), (300, 20_000, 2)),
        ),
        Job(
            "greedy",
            "an ensemble of ten by accuracy, calibrated",
            _greedy,
            seconds=(ONCE, MODELS, VIEWS, LOGITS, TOTALS),
            memory=(ONCE, MODELS, ANSWERS, KEPT, HALVES),
            calibration=(
                (8, 1000, 10),
                (120, 1000, 10),
                (60, 12_000, 10),
                (90, 6000, 10),  # how many answers are near ties differs from zoo to zoo
                (12, 40_000, 4),
                (8, 10_000, 400),
                (25, 2000, 1000),
                (8, 10_000, 1000),
            ),
        ),
        Job(
            "pair-ensembles",
            "accuracy of all pairs as ensembles",
            _pair_ensembles,
            seconds=(ONCE, MODELS, VIEWS, LOGITS, COLUMNS, COUNTS, PAIRS),
            memory=(ONCE, ROWS, IN_BLOCK, BLOCK, READ, PAIRS),
            held=RIGHT,
            calibration=(
                (600, 200, 4),
                (8, 1000, 10),
                (8, 20_000, 4),
                (120, 2000, 4),
                (120, 8000, 10),
                (80, 3000, 10),
                (60, 3000, 100),
                (40, 8000, 60),
                (25, 2000, 1000),
            ),
        ),
    )
}


def job_of(name: str) -> Job:
    """Job of that name.

    Raises
    ------
    UnknownName
    """
    if name not in JOBS:
        raise UnknownName.of("job", name, JOBS)
    return JOBS[name]
