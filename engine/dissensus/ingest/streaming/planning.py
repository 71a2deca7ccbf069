"""Planning a run of `infer`: what is left to do, in which rounds, and what disk, memory and time it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.run.progress import Progress
from dissensus.store import format as fmt

from ..zoo.execution import Execution
from ..zoo.outline import Outline, in_order_of_preparation, outline_of
from .checks import check_count, check_examples, check_models, check_positive, choose_device
from .devices import Host, lane_of
from .plan import Group, IngestPlan
from .probe import Probe, measure
from .room import disk_of, memory_of, rounds_of, staged_in
from .timing import Expected, expected

if TYPE_CHECKING:
    import torch

    from dissensus.store.catalog import Store

    from ..data.examples import ExampleSource
    from ..zoo.models import ModelSource


def plan_ingest(
    store: Store | str | os.PathLike[str],
    models: ModelSource | Iterable[ModelSource],
    examples: ExampleSource,
    *,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    resident: int | None = None,
    workers: int = 0,
    precision: str = "float32",
    channels_last: bool = False,
    dtype: str | None = None,
    codec: str | None = None,
    embeddings: bool = False,
    restart: bool = False,
    replace: bool = False,
    probe: bool = True,
    progress: bool = False,
) -> IngestPlan:
    """Tell what `infer` would do with these arguments, and what it would take; nothing is written.

    Parameters
    ----------
    store
        Open, or its path; where nothing is there yet, it is planned as `create_from` would make it.
    models, examples, batch_size, device, workers, precision, channels_last
        As of `infer`.
    resident
        As of `infer`, its default for None.
    dtype, codec
        Of a store that is not there yet.
    embeddings
        Embeddings are going to be stored too.
    restart
        As of `infer`: what is staged is dropped.
    replace
        As of `infer`: stored models may run anew, and are planned as if all did.
    probe
        Count what models cost, read and prepare a batch, and run some models, about 20 seconds in all,
        to tell memory and time. Without it only files and configurations are looked at.
    progress
        Show on stderr which models have been looked at.

    Returns
    -------
    IngestPlan

    Raises
    ------
    ArgumentError, ExamplesMismatch
        As of `infer`.

    Examples
    --------
    >>> import tempfile
    >>> from dissensus.ingest import CallableModel, digits_examples, plan_ingest
    >>> rows = CallableModel("rows", lambda images: images.mean(2)[:, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]])
    >>> plan_ingest(tempfile.mkdtemp() + "/digits.zoo", rows, digits_examples()).decodes
    1797
    """
    from .job import MOST_RESIDENT

    sources = check_models(models)
    check_positive("batch_size", batch_size)
    check_positive("resident", MOST_RESIDENT if resident is None else resident)
    check_count("workers", workers)
    execution, lane = Execution(precision, channels_last), lane_of(choose_device(device))
    place = _Place.of(store, examples, dtype, codec)
    stored = frozenset() if replace else place.stored
    left = [source for source in sources if source.model_id not in stored]
    outlines = _outlines(left, probe, progress)
    left = in_order_of_preparation(left, outlines)
    ordered = [outlines[source.model_id] for source in left]
    rounds = rounds_of(ordered, resident or MOST_RESIDENT, lane.free_bytes())
    measured = measure(left, outlines, examples, batch_size, lane, execution) if probe and left else None
    staged = {} if restart else staged_in(place.root, ordered, place.geometry)
    work = _Work.of(rounds, staged, len(examples), batch_size)
    return IngestPlan(
        store=str(place.root),
        n_examples=len(examples),
        n_classes=place.geometry.n_classes,
        batch_size=batch_size,
        device=str(lane.device),
        stored=[source.model_id for source in sources if source.model_id in stored],
        staged=work.staged,
        outlines={one.model_id: one for one in ordered},
        groups=_groups(ordered),
        rounds=[[one.model_id for one in models] for models in rounds],
        decodes=sum(work.n_read),
        decodes_alone=sum(work.n_alone),
        disk=disk_of(place.root, ordered, place.geometry, embeddings),
        memory=memory_of(rounds, batch_size, workers, place.geometry, lane, measured),
        time=None if measured is None else work.time(rounds, measured, lane, workers),
        probe=measured,
    )


def check_room(
    store: Store | str | os.PathLike[str],
    models: ModelSource | Iterable[ModelSource],
    examples: ExampleSource,
    **options: Any,
) -> IngestPlan:
    """Refuse a run that disk or memory cannot hold, by sizes alone; nothing is loaded or run.

    Parameters
    ----------
    store, models, examples, options
        As of `plan_ingest`, without `probe`.

    Returns
    -------
    IngestPlan
        Without times.

    Raises
    ------
    StoreFull, ArgumentError
        As of `IngestPlan.require_room`.
    """
    plan = plan_ingest(store, models, examples, **options, probe=False)
    plan.require_room()
    return plan


@dataclass(frozen=True)
class _Place:
    """A store as it is, or as it would be made."""

    root: Path
    geometry: fmt.Geometry
    stored: frozenset[str]

    @classmethod
    def of(
        cls,
        store: Store | str | os.PathLike[str],
        examples: ExampleSource,
        dtype: str | None,
        codec: str | None,
    ) -> _Place:
        from dissensus.store.catalog import Store

        if isinstance(store, str | os.PathLike):
            if not Path(store).exists():
                shape = len(examples), len(examples.classes)
                geometry = fmt.Geometry.choose(*shape, dtype or "float16", codec or "raw")
                return cls(Path(store), geometry, frozenset())
            store = Store(store)
        check_examples(store, examples)
        return cls(store.path, store.geometry, frozenset(store.model_ids))


@dataclass(frozen=True)
class _Work:
    """What each round reads, and what each model lacks."""

    staged: dict[str, int]
    n_left: dict[str, int]
    n_read: list[int]
    n_alone: list[int]

    @classmethod
    def of(cls, rounds: Sequence[Sequence[Outline]], staged: dict[str, int], n: int, size: int) -> _Work:
        """Models begin at the batch of their first missing row, a round with the first of its models."""
        first = {
            one.model_id: n
            if staged.get(one.model_id, 0) >= n
            else staged.get(one.model_id, 0) // size * size
            for models in rounds
            for one in models
        }
        read = [n - min(first[one.model_id] for one in models) for models in rounds]
        return cls(
            staged, {name: n - at for name, at in first.items()}, read, [n - at for at in first.values()]
        )

    def time(self, rounds: Sequence[Sequence[Outline]], probe: Probe, lane: Host, workers: int) -> Expected:
        return expected(rounds, self.n_left, self.n_read, probe, lane.device.type != "cpu", workers)


def _outlines(sources: Sequence[ModelSource], counted: bool, progress: bool) -> dict[str, Outline]:
    found = {}
    with Progress(len(sources), "models looked at", enabled=progress and counted) as bar:
        for source in sources:
            found[source.model_id] = outline_of(source, counted)
            bar.advance(1)
    return found


def _groups(outlines: Sequence[Outline]) -> list[Group]:
    groups: dict[str | None, list[str]] = {}
    for one in outlines:
        groups.setdefault(one.preparation_text, []).append(one.model_id)
    return [Group(text, names) for text, names in groups.items()]
