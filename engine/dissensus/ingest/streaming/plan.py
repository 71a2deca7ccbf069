"""What a run of `infer` is going to do and take, before it does it; too large a run is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, StoreFull

from ..zoo.outline import Outline
from .checks import wrong_class_count
from .memory_parts import Memory
from .plan_text import count, lines, short, told
from .probe import Probe
from .room import Disk
from .timing import Expected

if TYPE_CHECKING:
    import pyarrow as pa


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
class DevicePlan:
    """What one process does, on its device.

    Attributes
    ----------
    device
        As torch calls it.
    rounds
        Models by the round in which they are in memory together. Of several devices each takes the next
        models as it gets ready, so that a run may share them out in another way.
    needed_bytes, free_bytes
        Memory of the device at the highest and there; None where it has none of its own.
    time
        Seconds; None where nothing was measured.
    """

    device: str
    rounds: list[list[str]]
    needed_bytes: int | None
    free_bytes: int | None
    time: Expected | None

    @property
    def n_models(self) -> int:
        """How many models it runs."""
        return sum(map(len, self.rounds))


@dataclass(frozen=True)
class IngestPlan:
    """What a run is going to do, and what it takes.

    Attributes
    ----------
    store
        Path of the store.
    n_examples, n_classes, batch_size, device
        Of the run; several devices are joined by commas.
    stored
        Models that are in the store by their id; whether their weights are the same is seen on loading.
    staged
        Rows that unfinished models have already.
    outlines
        Models left to run, in the order of the run.
    groups
        The same by preprocessing.
    rounds
        The same by the round in which they are in memory together, those of the first device first.
    devices
        What every device does, one process each.
    decodes, decodes_alone
        Images that are read and decoded, and how many it would be with one model at a time.
    disk, memory
        Bytes needed and there.
    time
        Seconds, until the last device is done; None where nothing was measured.
    probe
        What was measured on the first device, None without.
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
    devices: list[DevicePlan]
    decodes: int
    decodes_alone: int
    disk: Disk
    memory: Memory
    time: Expected | None
    probe: Probe | None

    @property
    def failing(self) -> Mapping[str, str]:
        """Models that have another number of classes, or failed when they were tried, and why."""
        other = {
            name: str(wrong_class_count(name, one.n_outputs, self.n_classes))
            for name, one in self.outlines.items()
            if one.n_outputs is not None and one.n_outputs != self.n_classes
        }
        return other if self.probe is None else {**other, **self.probe.failed}

    @property
    def too_large(self) -> list[str]:
        """Models whose weights alone are more than the memory of any place where they might run."""
        host = self.memory.host_free_bytes
        free = max(host if one.free_bytes is None else one.free_bytes for one in self.devices)
        return [name for name, one in self.outlines.items() if (one.weights_bytes or 0) > free]

    def require_room(self) -> None:
        """Refuse a run that cannot end well, before anything is loaded.

        Only what is certain is refused: bytes that a store of codec "raw" is going to have, and memory that
        models and batches of known size take at the least. A single model too large for a device of its own
        memory is left to fail alone.

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
                f"{count(len(self.outlines), 'model needs', 'models need')} {told(disk.most_bytes)} of disk "
                f"at {self.store}, {told(disk.free_bytes)} are free; run fewer models, free some "
                "space, make the store on another disk, or make it with codec='archive' (--codec archive)"
            )
        if memory.host_least_bytes > memory.host_free_bytes:
            raise ArgumentError(
                f"this run needs at least {told(memory.host_least_bytes)} of memory, "
                f"{told(memory.host_free_bytes)} are free; take a smaller batch_size "
                f"(--batch-size, now {self.batch_size}), fewer models at once (resident), or leave out the "
                "largest models"
            )
        there = [one.free_bytes for one in self.devices if one.free_bytes is not None]
        if there and self.outlines and len(self.too_large) == len(self.outlines):
            least = min(one.weights_bytes or 0 for one in self.outlines.values())
            raise ArgumentError(
                f"the smallest model needs {told(least)} of memory on {self.device}, {told(max(there))} are "
                "free; free it from other programs, or run on the CPU (device='cpu', --device cpu)"
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
            "devices": [asdict(one) for one in self.devices],
            "time": None if self.time is None else asdict(self.time),
            "probe": None if self.probe is None else asdict(self.probe),
        }

    def lines(self, width: int = 80) -> list[str]:
        """The plan for people."""
        return lines(self, width)

    def short(self) -> list[str]:
        """The plan in two lines, for the head of a run."""
        return short(self)
