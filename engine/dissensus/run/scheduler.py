"""Coarse tasks on a Dask cluster: whom to ask, few tasks under way at a time, failures in one line.

A task is a module-level function and one small argument. Dask runs it again where its worker died, on another
one: tasks read, compute and return, so that nothing changes but the time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from dissensus.errors import ArgumentError, ClusterError, DissensusError, MissingDependency

ANSWER_S = 10.0  # how long an address, or a cluster without workers, is waited for
WAITING = 4  # tasks under way for each thread of the cluster: the rest are submitted as these finish

Task = TypeVar("Task")
_CANCELLED = (concurrent.futures.CancelledError, asyncio.CancelledError)


class Runner(Protocol):
    """What runs tasks.

    Attributes
    ----------
    threads : int
        Tasks that run at once.
    """

    threads: int

    def results(self, function: Callable[[Task], Any], tasks: Iterable[Task]) -> Iterator[Any]:
        """Run a function of each task; results come in any order."""


class HomeRunner(Runner, Protocol):
    """What runs tasks again and again where their like ran before.

    Attributes
    ----------
    workers : int
        Processes that run tasks.
    neighbours : int
        Most of them on one machine.
    """

    workers: int
    neighbours: int

    def at_home(self, function: Callable[[Task], Any], tasks: Mapping[int, Task]) -> Iterator[Any]:
        """Run a function of numbered tasks; results come in any order."""


class Cluster:
    """Runs tasks through a Dask client.

    Parameters
    ----------
    client : distributed.Client
        Connected and not asynchronous.

    Raises
    ------
    ClusterError
        It has no worker after `ANSWER_S`.
    """

    def __init__(self, client: Any) -> None:
        self._client, self._where = client, client.scheduler.address
        try:
            client.wait_for_workers(1, timeout=ANSWER_S)
        except (TimeoutError, OSError) as error:
            raise ClusterError(
                f"the Dask scheduler {self._where} has no workers after {ANSWER_S:.0f} s: "
                f"start some with `dask worker {self._where}`"
            ) from error
        cores = client.ncores()
        self.threads, self.workers = max(1, sum(cores.values())), max(1, len(cores))
        hosts = Counter(urlsplit(address).hostname for address in cores)
        self.neighbours = max(hosts.values(), default=1)
        self._homes: dict[int, str] = {}

    def at_home(self, function: Callable[[Task], Any], tasks: Mapping[int, Task]) -> Iterator[Any]:
        """Run a function of numbered tasks, each where that of its number ran before while the worker lives.

        Where it is gone, or does not answer, another one takes over.

        Raises
        ------
        ClusterError, DissensusError
            As `results`.
        """
        there = list(self._client.ncores())
        return self._run(function, [(task, self._home(number, there)) for number, task in tasks.items()])

    def _home(self, number: int, there: list[str]) -> dict[str, Any]:
        """Options of Dask that prefer the worker of this number, the one with fewest numbers if it is new."""
        if not there:
            return {}
        if self._homes.get(number) not in there:
            taken = Counter(self._homes.values())
            self._homes[number] = min(there, key=lambda address: taken[address])
        return {"workers": [self._homes[number]], "allow_other_workers": True}

    def results(self, function: Callable[[Task], Any], tasks: Iterable[Task]) -> Iterator[Any]:
        """Run a function of each task, few under way at a time; results come as they are ready.

        Raises
        ------
        ClusterError
            A task failed for another reason than those a `DissensusError` tells, or the cluster went away.
        DissensusError
            Raised by a task.
        """
        return self._run(function, ((task, {}) for task in tasks))

    def _run(
        self, function: Callable[[Task], Any], tasks: Iterable[tuple[Task, dict[str, Any]]]
    ) -> Iterator[Any]:
        """Run a function of each task, which goes with options of Dask."""
        from distributed import wait

        def submit(one: tuple[Task, dict[str, Any]]) -> Any:
            return self._client.submit(function, one[0], pure=False, **one[1])

        rest = iter(tasks)
        futures = {submit(task) for task in islice(rest, WAITING * self.threads)}
        try:
            while futures:
                try:
                    with self._client.as_current():
                        done = wait(futures, timeout=ANSWER_S, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    self._require_workers()
                    continue
                for future in done:
                    futures.discard(future)
                    yield self._result(future)
                    futures |= {submit(task) for task in islice(rest, 1)}
        finally:
            if futures:
                self._client.cancel(list(futures))

    def _require_workers(self) -> None:
        """Wait for a worker to come back for a while, not for ever."""
        try:
            self._client.wait_for_workers(1, timeout=ANSWER_S)
        except (TimeoutError, OSError) as error:
            raise ClusterError(
                f"the Dask scheduler {self._where} has no workers left: start some with "
                f"`dask worker {self._where}`, and ask again"
            ) from error

    def _result(self, future: Any) -> Any:
        try:
            return future.result()
        except DissensusError:
            raise
        except (Exception, *_CANCELLED) as error:
            told = " ".join(str(error).split())[:300]
            raise ClusterError(
                f"a task failed on the Dask cluster {self._where} ({type(error).__name__}: {told}); "
                "workers need this version of dissensus and must stay alive: see their logs"
            ) from error


def threads_here() -> int | None:
    """Threads that the worker has which runs this; None outside of one."""
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return None


@contextlib.contextmanager
def cluster(scheduler: Any) -> Iterator[Cluster]:
    """Connect to a cluster, given as a Dask client, which stays open, or as an address.

    Raises
    ------
    MissingDependency
        `distributed` is not installed.
    ArgumentError
        Neither a client nor an address.
    ClusterError
        Nothing answers, or there are no workers.
    """
    client_type = _client_type()
    if isinstance(scheduler, client_type):
        if scheduler.asynchronous:
            raise ArgumentError(
                "scheduler is an asynchronous Dask client; pass one made with Client(address)"
            )
        yield Cluster(scheduler)
        return
    with _connected(client_type, _address(scheduler)) as client:
        yield Cluster(client)


def _client_type() -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependency(
            "scheduler= needs Dask's distributed; run: pip install 'dissensus[cluster]'"
        ) from error
    return Client


def _address(scheduler: Any) -> str:
    """Check that it is an address: Dask would take any other name for a host to look up, and wait."""
    address = scheduler if isinstance(scheduler, str) else ""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ArgumentError(
            "scheduler must be a Dask client or the address of a Dask scheduler, such as "
            f"'tcp://host:8786'; got {scheduler!r}. Without it numba's threads of this machine count"
        )
    _require_protocol(address)
    return address


def _require_protocol(address: str) -> None:
    """Refuse what Dask cannot speak before a client is made, which would go on trying."""
    from distributed.comm.registry import get_backend
    from distributed.security import Security

    protocol = address.partition("://")[0] if "://" in address else "tcp"
    try:
        get_backend(protocol)
    except (ValueError, ImportError) as error:
        raise ArgumentError(
            f"scheduler {address!r}: Dask cannot speak {protocol!r} here ({error}); "
            "pass an address such as 'tcp://host:8786'"
        ) from error
    encrypted = Security().get_connection_args("client").get("ssl_context") is not None
    if protocol in ("tls", "wss") and not encrypted:
        raise ArgumentError(
            f"scheduler {address!r} is encrypted and Dask's configuration names no certificates: pass a "
            "client, Client(address, security=Security(...))"
        )


def _connected(client_type: Any, address: str) -> Any:
    try:
        return client_type(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} within {ANSWER_S:.0f} s: start one with "
            "`dask scheduler`, which prints its address"
        ) from error
