"""Numba's options, in one place.

Compiled code is cached beside the source, or in the user's cache folder where the installation is read-only.
Where neither can be written, a kernel is compiled anew in each process instead of failing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
from numba.core.options import DefaultOptions

Function = TypeVar("Function", bound=Callable[..., Any])

# No references are counted, and nothing can be allocated. Without the option kernels are right, but slower.
_BORROWING = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}

# Numba's fallback threading layer (workqueue) aborts the process when two threads run parallel kernels.
PARALLEL = threading.Lock()
GRAIN = 1 << 17  # logits, about 0.4 ms of work, below which a thread more saves less than it may wait


def kernel(function: Function) -> Function:
    """Compile a serial kernel that releases the GIL: for tiles run by threads or workers."""
    return _compiled(function, nogil=True)


def borrowing_kernel(function: Function) -> Function:
    """Compile a serial kernel that allocates nothing, to be part of the kernels that call it.

    It borrows its arrays. Otherwise each call counts references to all arrays of a tuple up and down again,
    by atomic additions that threads wait for, and copies the tuples: that took half of a greedy step's time.
    """
    return _compiled(function, nogil=True, forceinline=True, **_BORROWING)


def fusing_kernel(function: Function) -> Function:
    """Compile a serial kernel whose products may be fused with sums; sums are taken in their order."""
    return _compiled(function, nogil=True, fastmath={"contract"})


def summing_kernel(function: Function) -> Function:
    """Compile a serial kernel whose sums may be taken in any order, many terms at once.

    Products may be fused with sums. NaN and infinities stay what they are, and what is divided by 0 becomes
    one: rows may be summed before it is known whether they are whole.
    """
    return _compiled(function, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")


def parallel_kernel(function: Function) -> Function:
    """Compile a kernel with ``prange`` loops: the caller holds `PARALLEL`, and runs it at one level only."""
    return _compiled(function, nogil=True, parallel=True)


def ieee_kernel(function: Function) -> Function:
    """Compile a serial kernel that divides as IEEE 754 says, not cached: for functions made at run time."""
    return cast("Function", numba.njit(nogil=True, error_model="numpy")(function))


@contextmanager
def parallel_over(work: int) -> Iterator[None]:
    """Hold `PARALLEL`, with no more threads than `GRAIN`s of work.

    Threads wait for the last of them at the end of a loop. Where something else runs on the machine that is
    a time slice, 10 to 100 ms: small loops, a few hundred to a search, then took all of its time.
    """
    with PARALLEL:
        threads = numba.get_num_threads()
        numba.set_num_threads(max(1, min(threads, work // GRAIN)))
        try:
            yield
        finally:
            numba.set_num_threads(threads)


def use_threads(n_threads: int) -> None:
    """Let parallel kernels that this thread calls use so many threads at most."""
    numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))


def compiling() -> Callable[[], bool]:
    """Watch from now on: returns what tells whether anything was compiled since, not read from a cache."""
    from numba.core import event

    seen = event.RecordingListener()
    event.register("numba:compile", seen)
    return lambda: bool(seen.buffer)


def _compiled(function: Function, **options: Any) -> Function:
    try:
        return cast("Function", numba.njit(cache=True, **options)(function))
    except (
        RuntimeError
    ):  # "no locator available": neither the installation nor the user's cache can be written
        return cast("Function", numba.njit(**options)(function))
