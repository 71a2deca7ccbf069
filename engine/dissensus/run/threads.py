"""Ordinary threads for kernels that release the GIL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_threads() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Apply a function on several threads; results come in the order of the items, few of them waiting.

    Parameters
    ----------
    function : callable
        Of one item; must not run parallel kernels.
    items : iterable
        What to apply it to.
    threads : int, optional
        All processors by default.
    """
    threads = threads or available_threads()
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(rest, 2 * threads)):
            yield from pool.map(function, some)


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """Let matrix products of NumPy run on the thread that asks for them: in the whole process, meanwhile."""
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits
