"""Bytes of memory that a run needs, by what takes them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Parts:
    """Bytes of one process on the host, by what takes them.

    Attributes
    ----------
    weights, loading
        Of the models of a round; of the one that is being loaded, on top.
    activations
        Of a batch in the model that takes most.
    batches
        Decoded images, prepared batches and copies of them.
    pinned
        Page-locked copies for a device.
    rows
        Being encoded, on their way to the writer, and the open blocks of every model.
    ids
        Names of the examples, the store's and the data's: alone they grow with their number.
    workers
        Processes that decode.
    process
        Python and its libraries, as far as they are not there yet.
    """

    weights: int
    loading: int
    activations: int
    batches: int
    pinned: int
    rows: int
    ids: int
    workers: int
    process: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of a device with memory of its own.

    Attributes
    ----------
    device
        As torch calls it.
    needed_bytes
        At the highest, by all processes that run on it.
    free_bytes
        What there is.
    """

    device: str
    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Memory:
    """Bytes of memory at the highest.

    Attributes
    ----------
    host_bytes, host_free_bytes
        Needed by all processes and there, beside what this process holds already.
    host_least_bytes
        What is certain of it: weights, batches and activations of known size, without buffers and copies.
    parts
        Of the process that takes most.
    devices
        Those with memory of their own.
    """

    host_bytes: int
    host_least_bytes: int
    host_free_bytes: int
    parts: Parts
    devices: list[DeviceMemory]
