"""What counts all pairs: numba's threads by default, torch where a device is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, MissingDependency

from .memory import available_bytes

if TYPE_CHECKING:
    from dissensus.kernels.bits import Counts, Packed, Planes

FEW = 2e8  # M * M * W words that NumPy counts in the time it takes to load numba


@dataclass(frozen=True)
class Backend:
    """Counts all pairs of models, exactly.

    Attributes
    ----------
    both_right : callable
        (M, W) uint64 -> (M, M) int64: examples both get right; see `kernels.counts.both_right`.
    same : callable
        (M, P, W), (M, W) uint64 -> (M, M) int64: examples given the same class; see `kernels.labels.same`.
    """

    both_right: Callable[[Packed], Counts]
    same: Callable[[Planes, Packed], Counts]


def backend(device: str | None) -> Backend:
    """Find what counts on a device; threads of this process for None.

    Parameters
    ----------
    device : str or None
        "cpu", "cuda", "cuda:1", …, as torch names them.

    Raises
    ------
    ArgumentError
        There is no such device.
    MissingDependency
        torch is not installed.
    """
    if device is None:
        return LOCAL
    found = torch_device(device, "counts")
    from dissensus.kernels import torch_counts as kernels

    return Backend(partial(kernels.both_right, device=found), partial(kernels.same, device=found))


def torch_device(device: str, does: str) -> Any:
    """Device of torch, which is there.

    Parameters
    ----------
    device : str
        As torch names it.
    does : str
        What is done on it, for messages: "counts", "compares candidates".

    Raises
    ------
    ArgumentError, MissingDependency
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependency(
            f"device= {does} by torch, which cannot be imported; run: pip install torch. Without device= "
            "the threads of this process do it"
        ) from error
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device must be 'cpu', 'cuda' or 'cuda:<number>'; got {device!r}") from error
    if found.type not in ("cpu", "cuda"):
        raise ArgumentError(f"device must be 'cpu', 'cuda' or 'cuda:<number>'; got {device!r}")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= there:
        raise ArgumentError(
            f"device {device!r} is not there: torch {torch.__version__} sees {there} CUDA devices; "
            "without device= the threads of this process do it"
        )
    return found


def free_bytes(device: Any) -> int:
    """Memory of a device of torch that a job may use: three quarters of what is free, half on a processor."""
    if device.type == "cpu":
        return available_bytes() // 2
    import torch

    return int(torch.cuda.mem_get_info(device)[0] * 3 // 4)


class _Rent:
    """Words counted by NumPy in this process so far: beyond `FEW`, loading numba would have paid."""

    spent = 0.0


def _both_right(packed: Packed) -> Counts:
    """Count by numba; the first small questions of a process, which loading it would outlast, by NumPy."""
    work = float(packed.size * len(packed))
    if "dissensus.kernels.counts" not in sys.modules and _Rent.spent + work <= FEW:
        from dissensus.kernels.numpy_counts import both_right

        _Rent.spent += work
    else:
        from dissensus.kernels.counts import both_right
    return both_right(packed)


def _same(planes: Planes, counted: Packed) -> Counts:
    from dissensus.kernels.labels import same

    return same(planes, counted)


LOCAL = Backend(_both_right, _same)
