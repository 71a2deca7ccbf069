"""Values of all pairs, tile by tile: counted and finished while the tile is in the cache, then given away.

A matrix of all pairs is never held. A band is a few models against all that come after them; bands are dealt
out to threads, and every pair of models is computed once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dissensus.run.threads import available_threads

from .correctness import Correctness
from .measures import Measure, ratio

Floats = NDArray[np.float64]
State = TypeVar("State")
Item = TypeVar("Item")

BAND = 32  # models of a band: 40 KB of 10,000 examples, which stay in the cache while the others stream by
WIDTH = 1024  # models of a tile's other side; counts and values are 256 KB each
COMPILED = 5_000_000  # pairs from which on compiling a formula takes less than it saves
FOUR = ("n11", "n10", "n01", "n00")


@dataclass(frozen=True)
class Tile:
    """Values of some models, from `a` on, with others, from `b` on.

    Attributes
    ----------
    a, b : int
        First model of the rows and of the columns.
    values : (A, B) float64
        The row's model first.
    back : (A, B) float64
        The column's model first; the same array for a symmetric measure.
    """

    a: int
    b: int
    values: Floats
    back: Floats


@dataclass(frozen=True, eq=False)
class Tiles:
    """A measure on the models of a sample.

    Attributes
    ----------
    sample : Correctness
        What each of M models gets right.
    measure : Measure
        One of the counts.
    undefined : {"nan", "identical"}
        See `Measure.finish`.
    fresh : int
        Only pairs with one of the first `fresh` models are visited.
    apart : bool
        Only pairs of one of these with one of the others.
    """

    sample: Correctness
    measure: Measure
    undefined: str
    fresh: int
    apart: bool = False

    @property
    def pairs(self) -> int:
        """Pairs that are visited."""
        return sum(map(self.pairs_of, self.bands()))

    def bands(self) -> list[tuple[int, int]]:
        """First and last model, exclusive, of each band."""
        return [(start, min(start + BAND, self.fresh)) for start in range(0, self.fresh, BAND)]

    def band(self, start: int, stop: int) -> Iterator[Tile]:
        """Tiles of a band, from its diagonal on; one is overwritten by the next."""
        rows, buffers = stop - start, Buffers(self.measure.symmetric, BAND * WIDTH)
        for left in range(self.fresh if self.apart else start, len(self.sample.packed), WIDTH):
            width = min(WIDTH, len(self.sample.packed) - left)
            yield self.tile(slice(start, stop), slice(left, left + width), buffers.of(rows, width))

    def tile(self, rows: slice, columns: slice, buffers: tuple[Any, Floats, Floats]) -> Tile:
        """Values of one tile, into given arrays."""
        from dissensus.kernels.counts import both_right_rectangle

        (both, values, back), sample = buffers, self.sample
        both_right_rectangle(sample.packed[rows], sample.packed[columns], both)
        right_a, right_b = sample.right[rows], sample.right[columns]
        self._finish(both, right_a, right_b, values)
        if back is not values:
            turned = np.empty(both.shape[::-1])
            self._finish(np.ascontiguousarray(both.T), right_b, right_a, turned)
            back[:] = turned.T
        return Tile(rows.start, columns.start, values, back)

    def _finish(self, both: Any, right_a: Any, right_b: Any, out: Floats) -> None:
        """Finish counts of a rectangle; the compiled formula is the declared one, compiled."""
        n = self.sample.n
        if self.compiled is not None:
            self.compiled(both, right_a, right_b, n, out)
        else:
            i, j = right_a[:, None], right_b[None, :]
            cells = {"n11": both, "n10": i - both, "n01": j - both, "n00": n - i - j + both, "n": n}
            out[:] = self.measure.formula(
                *(np.asarray(cells[s], np.float64) for s in self.measure.statistics)
            )
        if self.undefined == "identical" and self.measure.agreement:
            out[np.isnan(out) & (both == n)] = 1.0

    @cached_property
    def compiled(self) -> Any:
        """Formula compiled, where that pays and it is of the four counts alone; else None."""
        if self.pairs < COMPILED or self.measure.statistics != FOUR:
            return None
        from dissensus.kernels.formulas import compiled

        return compiled(self.measure.formula, ratio)

    def reduce(
        self,
        start: Callable[[], State],
        add: Callable[[State, Tile], None],
        advance: Callable[[int], None],
        threads: int | None = None,
    ) -> list[State]:
        """Fold all tiles into one state a thread.

        Parameters
        ----------
        start : callable
            Makes a state.
        add : callable
            Folds a tile into a state; releases the GIL.
        advance : callable
            Told how many pairs more are done.
        threads : int, optional
            All processors by default.
        """
        self.compiled  # noqa: B018 (compiled once, before the threads start)
        states = [start() for _ in range(threads or available_threads())]

        def work(state: State, band: tuple[int, int]) -> None:
            for tile in self.band(*band):
                add(state, tile)

        dealt(self.bands(), work, states, lambda band: advance(self.pairs_of(band)))
        return states

    def pairs_of(self, band: tuple[int, int]) -> int:
        """Pairs of a band."""
        rows = band[1] - band[0]
        if self.apart:
            return rows * (len(self.sample.packed) - self.fresh)
        return rows * (len(self.sample.packed) - band[1]) + rows * (rows - 1) // 2

    def seconds_a_pair(self, add: Callable[[Tile], None], budget_s: float = 0.3) -> float:
        """Time some tiles, with what is done to them, on one thread: seconds a pair, first ones left out."""
        tiles = (tile for band in self.bands() for tile in self.band(*band))
        add(next(tiles))  # compiles
        begun, start, done = time.perf_counter(), 0.0, 0
        for tile in tiles:
            add(tile)
            now = time.perf_counter()
            if start:
                done += tile.values.size
            elif now - begun > budget_s / 2:  # caches and what is folded into are warm
                start = now
            if now - begun > budget_s and done:
                break
        return (time.perf_counter() - start) / done if done else 0.0


def dealt(
    items: Iterable[Item],
    work: Callable[[State, Item], None],
    states: Sequence[State],
    done: Callable[[Item], None],
) -> None:
    """Deal out items to threads, one a state, whichever is free; stop them all at the first error.

    Parameters
    ----------
    items : iterable
        What there is to do.
    work : callable
        Does an item into the state of its thread.
    states : sequence
        One for each thread.
    done : callable
        Told each finished item, one at a time.
    """
    rest, lock, stop = iter(items), threading.Lock(), threading.Event()

    def run(state: State) -> None:
        try:
            while not stop.is_set():
                with lock:
                    item = next(rest, end)
                if item is end:
                    return
                work(state, cast("Item", item))
                with lock:
                    done(cast("Item", item))
        except BaseException:
            stop.set()
            raise

    end = object()
    with ThreadPoolExecutor(len(states), thread_name_prefix="dissensus-tiles") as pool:
        try:
            for future in [pool.submit(run, state) for state in states]:
                future.result()
        finally:
            stop.set()


class Buffers:
    """Arrays that one thread fills again and again, contiguous whatever the size of the tile."""

    def __init__(self, symmetric: bool, size: int) -> None:
        self._both, self._values = np.empty(size, np.int64), np.empty(size)
        self._back = self._values if symmetric else np.empty(size)

    def of(self, rows: int, width: int) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Counts, values and values turned round of a tile of this size."""
        size, shape = rows * width, (rows, width)
        values = self._values[:size].reshape(shape)
        back = values if self._back is self._values else self._back[:size].reshape(shape)
        return self._both[:size].reshape(shape), values, back
