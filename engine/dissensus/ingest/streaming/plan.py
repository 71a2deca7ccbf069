"""What a run of `infer` is going to do and take, before it does it; too large a run is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, StoreFull

from ..zoo.outline import Outline
from .plan_text import count, lines, short, told
from .probe import Probe
from .room import Disk, Memory
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
                f"{count(len(self.outlines), 'model needs', 'models need')} {told(disk.most_bytes)} of disk "
                f"at {self.store}, {told(disk.free_bytes)} are free; run fewer models, free some "
                "space, make the store on another disk, or make it with codec='archive' (--codec archive)"
            )
        if memory.host_bytes > memory.host_free_bytes:
            raise ArgumentError(
                f"this run needs at least {told(memory.host_bytes)} of memory, "
                f"{told(memory.host_free_bytes)} are free; take a smaller batch_size "
                f"(--batch-size, now {self.batch_size}), fewer models at once (resident), or leave out the "
                "largest models"
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
