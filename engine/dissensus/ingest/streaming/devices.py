"""Moving batches to a device and rows back, beside the computation; the host does the same without moving.

On CUDA both directions have a stream of their own and page-locked memory, so that a model never waits for a
copy and the calling thread never waits for the device: whoever takes the rows does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.run.memory import available_bytes, peak_of

if TYPE_CHECKING:
    import torch

Results = list[NDArray[Any]]


class Clock(Protocol):
    """Times one piece of work on a device."""

    def stop(self) -> None:
        """Mark the end of the work."""

    def seconds(self) -> float:
        """Time between start and end, once the work is done."""


class Host:
    """The processor: nothing is moved, everything is done when a call returns.

    Parameters
    ----------
    device
        "cpu", or a device without streams of ours (its own tensors' `cpu` waits for it).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pins = False

    def upload(self, batch: Any) -> Any:
        """Return the batch on the device; what is no tensor stays where it is."""
        return batch.to(self.device) if hasattr(batch, "to") else batch

    def download(self, tensors: Sequence[torch.Tensor]) -> Callable[[], Results]:
        """Return a function that gives the tensors as arrays."""
        arrays = [tensor.cpu().numpy() for tensor in tensors]
        return lambda: arrays

    def encodes(self, output: Any) -> bool:
        """Whether rows are made of a model's output where it lies: not on the processor, which computes."""
        return bool(getattr(getattr(output, "device", None), "type", "cpu") != "cpu")

    def start(self) -> Clock:
        """Start a clock."""
        return _HostClock()

    def free_bytes(self) -> int:
        """Memory that models may still take."""
        return available_bytes()

    def peak_of(self, run: Callable[[], None]) -> int | None:
        """Run something and return the bytes that it took at the highest beside what was held before.

        None where that cannot be told.
        """
        return peak_of(run)

    def release(self) -> None:
        """Give back what models left behind."""


class Cuda(Host):
    """A CUDA device with one stream a direction, beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        import torch

        super().__init__(device)
        self.pins = True
        self._cuda: Any = torch.cuda
        self._up, self._down = self._cuda.Stream(device), self._cuda.Stream(device)

    def upload(self, batch: Any) -> Any:
        """Return the batch on the device, its copy under way; what computes next waits for it there."""
        if not hasattr(batch, "pin_memory"):
            return super().upload(batch)
        computing = self._cuda.current_stream(self.device)
        with self._cuda.stream(self._up):
            there = batch.to(self.device, non_blocking=True)
        computing.wait_stream(self._up)
        there.record_stream(computing)  # its memory is not given out again before that stream is done with it
        return there

    def download(self, tensors: Sequence[torch.Tensor]) -> Callable[[], Results]:
        """Return a function that waits for the copies and gives the tensors as arrays."""
        import torch

        self._down.wait_stream(self._cuda.current_stream(self.device))
        with self._cuda.stream(self._down):
            here = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            for own, there in zip(here, tensors, strict=True):
                own.copy_(there, non_blocking=True)
                there.record_stream(self._down)
            copied = self._cuda.Event()
            copied.record(self._down)

        def wait() -> Results:
            copied.synchronize()
            return [np.array(own.numpy()) for own in here]  # page-locked memory goes back at once

        return wait

    def start(self) -> Clock:
        """Start a clock on the computing stream."""
        return _CudaClock(self._cuda, self.device)

    def free_bytes(self) -> int:
        """Memory free on the device, what torch holds in reserve included, and no more than the host has."""
        free = int(self._cuda.mem_get_info(self.device)[0])
        reserve = self._cuda.memory_reserved(self.device) - self._cuda.memory_allocated(self.device)
        return min(free + int(reserve), super().free_bytes())

    def peak_of(self, run: Callable[[], None]) -> int | None:
        """Run something and return the bytes of the device that it took at the highest."""
        before = self._cuda.memory_allocated(self.device)
        self._cuda.reset_peak_memory_stats(self.device)
        run()
        return int(self._cuda.max_memory_allocated(self.device)) - int(before)

    def release(self) -> None:
        """Give torch's reserve back to the device."""
        self._cuda.empty_cache()


def lane_of(device: torch.device) -> Host:
    """Return what moves batches and rows for a device."""
    return Cuda(device) if device.type == "cuda" else Host(device)


class _HostClock:
    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._end = self._begin

    def stop(self) -> None:
        self._end = time.perf_counter()

    def seconds(self) -> float:
        return self._end - self._begin


class _CudaClock:
    def __init__(self, cuda: Any, device: torch.device) -> None:
        self._stream = cuda.current_stream(device)
        self._begin, self._end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self._begin.record(self._stream)

    def stop(self) -> None:
        self._end.record(self._stream)

    def seconds(self) -> float:
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end)) / 1e3
