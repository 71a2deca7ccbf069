"""What a run of `infer` is going to do and take, before it does it; too large a run is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, StoreFull
from dissensus.run.progress import Progress
from dissensus.store import format as fmt

from .checks import check_count, check_models, check_positive, choose_device
from .devices import Host, lane_of
from .execution import Execution
from .outline import Outline, in_order_of_preparation, outline_of
from .plan_text import lines, short, told
from .probe import Probe, measure
from .room import Disk, Memory, disk_of, memory_of, rounds_of, staged_in
from .timing import Expected, expected

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from dissensus.store.catalog import Store

    from .examples import ExampleSource
    from .models import ModelSource


@dataclass(frozen=True)
class Group:
    """Models that share their preprocessing, and so their batches.

    Attributes
    ----------
    preparation_text
        What is done to the images; None of models that do not tell before they are loaded.
    model_ids
        The models.
    """

    preparation_text: str | None
    model_ids: list[str]


@dataclass(frozen=True)
class IngestPlan:
    """What a run is going to do, and what it takes.

    Attributes
    ----------
    store
        Path of the store.
    n_examples, n_classes, batch_size, device
        Of the run.
    stored
        Models that are in the store by their id; whether their weights are the same is seen on loading.
    staged
        Rows that unfinished models have already.
    outlines
        Models left to run, in the order of the run.
    groups
        The same by preprocessing.
    rounds
        The same by the round in which they are in memory together.
    decodes, decodes_alone
        Images that are read and decoded, and how many it would be with one model at a time.
    disk, memory
        Bytes needed and there.
    time
        Seconds; None where nothing was measured.
    probe
        What was measured, None without.
    """

    store: str
    n_examples: int
    n_classes: int
    batch_size: int
    device: str
    stored: list[str]
    staged: dict[str, int]
    outlines: dict[str, Outline]
    groups: list[Group]
    rounds: list[list[str]]
    decodes: int
    decodes_alone: int
    disk: Disk
    memory: Memory
    time: Expected | None
    probe: Probe | None

    @property
    def failing(self) -> Mapping[str, str]:
        """Models that failed when they were tried, and why."""
        return {} if self.probe is None else self.probe.failed

    @property
    def too_large(self) -> list[str]:
        """Models whose weights alone are more than the memory where they run."""
        memory = self.memory
        free = memory.host_free_bytes if memory.device_free_bytes is None else memory.device_free_bytes
        return [name for name, one in self.outlines.items() if (one.weights_bytes or 0) > free]

    def require_room(self) -> None:
        """Refuse a run that cannot end well, before anything is loaded.

        Only what is certain is refused: bytes that a store of codec "raw" is going to have, and memory that
        models and batches of known size take. A single model too large for a device of its own memory is
        left to fail alone.

        Raises
        ------
        StoreFull
            The disk does not hold what is going to be written; both numbers are told.
        ArgumentError
            Memory does not hold what is held at once; both numbers are told.
        """
        disk, memory = self.disk, self.memory
        if disk.is_exact and disk.most_bytes > disk.free_bytes:
            raise StoreFull(
                f"{len(self.outlines)} models need {told(disk.most_bytes)} of disk at {self.store}, "
                f"{told(disk.free_bytes)} are free; run fewer models, free some space, make the store on "
                "another disk, or make it with codec='archive' (--codec archive)"
            )
        if memory.host_bytes > memory.host_free_bytes:
            raise ArgumentError(
                f"this run needs about {told(memory.host_bytes)} of memory, {told(memory.host_free_bytes)} "
                f"are free; take a smaller batch_size (--batch-size, now {self.batch_size}), fewer models at "
                "once (resident), or leave out the largest models"
            )
        there = memory.device_free_bytes
        if there is not None and self.outlines and len(self.too_large) == len(self.outlines):
            least = min(one.weights_bytes or 0 for one in self.outlines.values())
            raise ArgumentError(
                f"the smallest model needs {told(least)} of memory on {self.device}, {told(there)} are free; "
                "free it from other programs, or run on the CPU (device='cpu', --device cpu)"
            )

    def to_arrow(self) -> pa.Table:
        """One row a model that is left to run: what is known of it, its group and round, expected seconds."""
        import pyarrow as pa

        rows = [self._row(one) for one in self.outlines.values()]
        types = {
            "model": pa.string(),
            "source": pa.string(),
            "params": pa.int64(),
            "weights_bytes": pa.int64(),
            "gmacs": pa.float64(),
            "preprocessing": pa.string(),
            "round": pa.int64(),
            "staged_rows": pa.int64(),
            "seconds": pa.float64(),
        }
        return pa.table({n: pa.array([row[n] for row in rows], kind) for n, kind in types.items()})

    def _row(self, one: Outline) -> dict[str, Any]:
        number = next(i for i, names in enumerate(self.rounds, 1) if one.model_id in names)
        staged = self.staged.get(one.model_id, 0)
        speed = None if self.time is None else self.time.example_s[one.model_id]
        return {
            "model": one.model_id,
            "source": one.source,
            "params": one.params,
            "weights_bytes": one.weights_bytes,
            "gmacs": one.gmacs,
            "preprocessing": one.preparation_text,
            "round": number,
            "staged_rows": staged,
            "seconds": None if speed is None else speed * (self.n_examples - staged),
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        plain = {"store", "n_examples", "n_classes", "batch_size", "device", "stored", "staged", "rounds"}
        return {
            **{name: getattr(self, name) for name in sorted(plain)},
            "models": [self._row(one) for one in self.outlines.values()],
            "groups": [asdict(group) for group in self.groups],
            "decodes": self.decodes,
            "decodes_alone": self.decodes_alone,
            "disk": asdict(self.disk),
            "memory": asdict(self.memory),
            "time": None if self.time is None else asdict(self.time),
            "probe": None if self.probe is None else asdict(self.probe),
        }

    def lines(self, width: int = 80) -> list[str]:
        """The plan for people."""
        return lines(self, width)

    def short(self) -> list[str]:
        """The plan in two lines, for the head of a run."""
        return short(self)


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
    from .stream import MOST_RESIDENT

    sources = check_models(models)
    check_positive("batch_size", batch_size)
    check_positive("resident", MOST_RESIDENT if resident is None else resident)
    check_count("workers", workers)
    execution, lane = Execution(precision, channels_last), lane_of(choose_device(device))
    place = _Place.of(store, examples, dtype, codec)
    left = [source for source in sources if source.model_id not in place.stored]
    outlines = _outlines(left, probe, progress)
    left = in_order_of_preparation(left, outlines)
    ordered = [outlines[source.model_id] for source in left]
    rounds = rounds_of(ordered, resident or MOST_RESIDENT, lane.free_bytes())
    measured = measure(left, outlines, examples, batch_size, lane, execution) if probe and left else None
    work = _Work.of(rounds, staged_in(place.root, ordered, place.geometry), len(examples), batch_size)
    return IngestPlan(
        store=str(place.root),
        n_examples=len(examples),
        n_classes=place.geometry.n_classes,
        batch_size=batch_size,
        device=str(lane.device),
        stored=[source.model_id for source in sources if source.model_id in place.stored],
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
    store: Store, models: ModelSource | Iterable[ModelSource], examples: ExampleSource, **options: Any
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

        if not isinstance(store, Store):
            if not Path(store).exists():
                shape = len(examples), len(examples.classes)
                geometry = fmt.Geometry.choose(*shape, dtype or "float16", codec or "raw")
                return cls(Path(store), geometry, frozenset())
            store = Store(store)
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
        """Models begin at the batch that holds their first missing row, a round at that of its first model."""
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
