"""Planning a run of `infer`: what is left to do, in which rounds, and what disk, memory and time it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.run.progress import Progress
from dissensus.store import format as fmt

from ..zoo.execution import Execution
from ..zoo.outline import Outline, in_order_of_preparation, outline_of
from .checks import check_count, check_examples, check_models, check_positive, choose_devices
from .devices import Host, lane_of
from .memory import Share, Sizes, memory_of
from .memory_parts import Memory
from .plan import DevicePlan, Group, IngestPlan
from .probe import Probe, measure
from .room import disk_of, shared, staged_in
from .timing import Expected, expected, speeds_of, together

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
    device: str | torch.device | Sequence[str | torch.device] | None = None,
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
        to tell memory and time; of several devices on the first of each kind. Without it only files and
        configurations are looked at.
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
    execution, lanes = Execution(precision, channels_last), list(map(lane_of, choose_devices(device)))
    place = _Place.of(store, examples, dtype, codec)
    stored = frozenset() if replace else place.stored
    left = [source for source in sources if source.model_id not in stored]
    outlines = _outlines(left, probe, progress)
    left = in_order_of_preparation(left, outlines)
    lanes = lanes[: max(len(left), 1)]  # as many processes as there are models
    probes: dict[str, Probe] = {}
    for lane in lanes if probe and left else []:
        if lane.device.type not in probes:
            probes[lane.device.type] = measure(left, outlines, examples, batch_size, lane, execution)
    for name, timed in (pair for one in probes.values() for pair in one.models.items()):
        outlines[name] = timed.told(outlines[name])
    ordered = [outlines[source.model_id] for source in left]
    staged = {} if restart else staged_in(place.root, ordered, place.geometry)
    speeds = {kind: speeds_of(ordered, one) for kind, one in probes.items()}
    timing = _Timing(staged, len(examples), batch_size, workers, lanes, probes, speeds)
    free = [lane.free_bytes() for lane in lanes]
    rounds = shared(ordered, resident or MOST_RESIDENT, free, timing.cost)
    works = [timing.work(one) for one in rounds]
    shares = [Share(lane, one) for lane, one in zip(lanes, rounds, strict=True)]
    measured = next(iter(probes.values()), None)
    memory = memory_of(shares, Sizes(batch_size, workers, embeddings, place.geometry, measured))
    devices = [_device_plan(i, share, memory, timing) for i, share in enumerate(shares)]
    return IngestPlan(
        store=str(place.root),
        n_examples=len(examples),
        n_classes=place.geometry.n_classes,
        batch_size=batch_size,
        device=",".join(str(lane.device) for lane in lanes),
        stored=[source.model_id for source in sources if source.model_id in stored],
        staged=staged,
        outlines={one.model_id: one for one in ordered},
        groups=_groups(ordered),
        rounds=[models for one in devices for models in one.rounds],
        devices=devices,
        decodes=sum(sum(work.n_read) for work in works),
        decodes_alone=sum(sum(work.n_left.values()) for work in works),
        disk=disk_of(place.root, ordered, place.geometry, embeddings),
        memory=memory,
        time=together([one.time for one in devices if one.time is not None]),
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
    """What each round of a device reads, and what each of its models lacks."""

    n_left: dict[str, int]
    n_read: list[int]


@dataclass(frozen=True)
class _Timing:
    """How long rounds take, on the device of a number among `lanes`."""

    staged: Mapping[str, int]
    n_examples: int
    batch_size: int
    workers: int
    lanes: Sequence[Host]
    probes: Mapping[str, Probe]
    speeds: Mapping[str, Mapping[str, float | None]]

    def work(self, rounds: Sequence[Sequence[Outline]]) -> _Work:
        """Models begin at the batch of their first missing row, a round with the first of its models."""
        left = {one.model_id: self.n_examples - self._first(one) for models in rounds for one in models}
        return _Work(left, [max(left[one.model_id] for one in models) for models in rounds])

    def _first(self, model: Outline) -> int:
        staged = self.staged.get(model.model_id, 0)
        return staged if staged >= self.n_examples else staged // self.batch_size * self.batch_size

    def time(self, place: int, rounds: Sequence[Sequence[Outline]]) -> Expected | None:
        """Return the seconds of some rounds; processes on the processor have only a part of it each."""
        device = self.lanes[place].device
        if device.type not in self.probes:
            return None
        work, apart = self.work(rounds), device.type != "cpu"
        rivals = 1 if apart else sum(lane.device.type == "cpu" for lane in self.lanes)
        probe, speeds = self.probes[device.type], self.speeds[device.type]
        return expected(rounds, work.n_left, work.n_read, probe, speeds, apart, self.workers, rivals)

    def cost(self, place: int, models: Sequence[Outline]) -> float:
        """Return seconds of a round, or its models where nothing is known of time."""
        time = self.time(place, [models])
        return len(models) if time is None else max(time.total_s, 1e-9)


def _device_plan(place: int, share: Share, memory: Memory, timing: _Timing) -> DevicePlan:
    name = str(share.lane.device)
    own = next((one for one in memory.devices if one.device == name), None)
    return DevicePlan(
        device=name,
        rounds=[[one.model_id for one in models] for models in share.rounds],
        needed_bytes=None if own is None else own.needed_bytes,
        free_bytes=None if own is None else own.free_bytes,
        time=timing.time(place, share.rounds),
    )


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
