"""An error as one line of text: what a report keeps of it."""

from __future__ import annotations

from dataclasses import dataclass

from dissensus.errors import DissensusError

from .checkpoints import one_line

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@dataclass(frozen=True)
class Failure:
    """Why something failed; it crosses threads and processes, and keeps nothing of what failed in memory.

    Attributes
    ----------
    text
        One line.
    """

    text: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Our own messages as they are, those of others with the name of their class."""
        if isinstance(error, DissensusError):
            return cls(str(error))
        return cls(f"{type(error).__name__}: {one_line(error)}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on the host or on a device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _NO_MEMORY)
