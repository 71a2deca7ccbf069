"""Two helpers that let reading, inference and writing overlap: a bounded look-ahead and a bounded backlog.

Both hold at most `depth` items, so that memory does not grow with the number of examples. Errors of their
threads are raised in the thread that uses them, at the next step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def look_ahead(function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[Iterator[tuple[T, R]]]:
    """Run a function over items in one thread, at most `depth` of them ahead of the consumer.

    Parameters
    ----------
    function
        Called in the reader thread, in the order of `items`; what it raises is raised where its result is
        taken.
    items
        Arguments, drawn as they are needed.
    depth
        Results made or under way that the consumer has not taken.

    Returns
    -------
    context manager of an iterator of (item, function(item))
        Leaving it drops what was not begun and waits for the one call under way.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="dissensus-reader")
    try:
        yield _taken(pool, function, iter(items), depth)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _taken(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterator[T], depth: int
) -> Iterator[tuple[T, R]]:
    ahead: deque[tuple[T, Future[R]]] = deque()
    while True:
        while len(ahead) < depth and (item := next(items, None)) is not None:
            ahead.append((item, pool.submit(function, item)))
        if not ahead:
            return
        item, future = ahead.popleft()
        yield item, future.result()


class Backlog(Generic[T]):
    """A consumer in its own thread that is at most `depth` items behind.

    Parameters
    ----------
    consume
        Called in the writer thread, one item at a time, in order.
    depth
        Items waiting or under way; `put` blocks while there are as many.

    Leaving the `with` block waits for all items, unless by Ctrl-C, which drops those not begun. Whatever
    `consume` raises is raised by the next `put`, or on exit; items after it are dropped.
    """

    def __init__(self, consume: Callable[[T], None], depth: int) -> None:
        self._consume, self._depth = consume, depth
        self._under_way: deque[Future[None]] = deque()
        self._failed = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dissensus-writer")

    def _run(self, item: T) -> None:
        if self._failed:  # what follows a lost item must not take its place
            return
        try:
            self._consume(item)
        except BaseException:
            self._failed = True
            raise

    def put(self, item: T) -> None:
        """Hand over one item; raises what an earlier one raised."""
        while self._under_way and (len(self._under_way) >= self._depth or self._under_way[0].done()):
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(self._run, item))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        at_once = error is not None and not isinstance(error, Exception)
        try:
            self._pool.shutdown(wait=True, cancel_futures=at_once)
        except BaseException:  # Ctrl-C again: what `consume` writes to is closed next, so it must have ended
            self._failed = True
            self._pool.shutdown(wait=True, cancel_futures=True)
            raise
        while error is None and self._under_way:
            self._under_way.popleft().result()
