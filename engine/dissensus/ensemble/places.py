"""Where a search compares candidates: in this process, on a device by torch, or on workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dissensus.errors import ArgumentError
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from . import calibration
from .combine import Combine
from .selection import Selection
from .weights import Weights

if TYPE_CHECKING:
    from dissensus.run.scheduler import HomeRunner


@dataclass(frozen=True, eq=False)
class Candidates:
    """Who is compared, on what.

    Attributes
    ----------
    way : Combine
    store : Store
    names : sequence of str
        Models, in tie-breaking order.
    rows : (n,) intp
    temperatures : mapping of str to float
    weights : Weights or None
        What each row counts; None: all the same.
    beam : int
        Ensembles that grow side by side.
    recorded : sequence of str
        Metrics recorded after each step.
    """

    way: Combine
    store: Store
    names: Sequence[str]
    rows: Rows
    temperatures: Mapping[str, float]
    weights: Weights | None
    beam: int
    recorded: Sequence[str]

    @property
    def scored(self) -> tuple[Store, Sequence[str], Rows, Mapping[str, float]]:
        """What their scores are made of."""
        return self.store, self.names, self.rows, self.temperatures


class Place(Protocol):
    """Where a search compares candidates: whichever it is, it finds the same."""

    def temperatures(
        self, store: Store, names: Sequence[str], rows: Rows, weights: Weights | None
    ) -> dict[str, float]:
        """Best temperature of each model: see `calibration.temperatures`."""

    def selection(self, pool: Candidates) -> AbstractContextManager[Selection]:
        """No members yet, of these candidates on these rows."""


class Here:
    """This process."""

    def temperatures(
        self, store: Store, names: Sequence[str], rows: Rows, weights: Weights | None
    ) -> dict[str, float]:
        """Fit them one after another."""
        return calibration.temperatures(store, names, rows, weights)

    @contextmanager
    def selection(self, pool: Candidates) -> Iterator[Selection]:
        """From views, where they fit."""
        yield Selection(pool.way.scores(*pool.scored), pool.weights, pool.recorded)


class OnDevice(Here):
    """A device of torch, by brute force.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: Any) -> None:
        self._device = device

    @contextmanager
    def selection(self, pool: Candidates) -> Iterator[Selection]:
        """Of probabilities or logits that lie on the device, as many as fit."""
        from .on_device import DeviceScores

        scores = DeviceScores(pool.way, *pool.scored, self._device)
        yield Selection(scores, pool.weights, pool.recorded)


class OnCluster:
    """Workers of a cluster, each with some of the examples.

    Parameters
    ----------
    runner : HomeRunner
    """

    def __init__(self, runner: HomeRunner) -> None:
        self._runner = runner

    def temperatures(
        self, store: Store, names: Sequence[str], rows: Rows, weights: Weights | None
    ) -> dict[str, float]:
        """Fit some models a task."""
        from .scheduled import scheduled_temperatures

        return scheduled_temperatures(store, names, rows, weights, self._runner)

    @contextmanager
    def selection(self, pool: Candidates) -> Iterator[Selection]:
        """Of blocks that lie on workers."""
        from .scheduled import ScheduledScores, scheduled_selection

        scores = ScheduledScores(pool.way, *pool.scored, self._runner, pool.beam)
        with scheduled_selection(scores, pool.weights, pool.recorded) as empty:
            yield empty


@contextmanager
def place_of(scheduler: Any, device: str | None, way: Combine) -> Iterator[Place]:
    """Place that was asked for.

    Raises
    ------
    ArgumentError, MissingDependency, ClusterError
    """
    if scheduler is None and device is None:
        yield Here()
    elif scheduler is not None and device is not None:
        raise ArgumentError("the workers of a scheduler compare by numba: pass scheduler or device, not both")
    elif scheduler is not None:
        from dissensus.run.scheduler import cluster

        with cluster(scheduler) as runner:
            yield OnCluster(runner)
    else:
        yield _on_device(device, way)


def _on_device(device: Any, way: Combine) -> OnDevice:
    from dissensus.run.devices import torch_device

    if not way.probabilities:
        raise ArgumentError(
            f"device={device!r} compares probabilities or logits, and combine={way.name!r} has none: leave "
            "device out"
        )
    return OnDevice(torch_device(device, "compares candidates"))
