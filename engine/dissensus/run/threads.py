"""Ordinary threads for kernels that release the GIL."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

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
        waiting = deque(pool.submit(function, item) for item in islice(rest, 2 * threads))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
        finally:  # whoever has enough, or met an error, waits for what is under way and for nothing else
            pool.shutdown(wait=False, cancel_futures=True)
