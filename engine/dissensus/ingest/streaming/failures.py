"""An error as one line of text: what a report keeps of it."""

from __future__ import annotations

from dataclasses import dataclass

from dissensus.errors import DissensusError

from ..zoo.checkpoints import one_line

_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "status_alloc_failed",  # cuBLAS and cuDNN
)


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
        try:
            if isinstance(error, DissensusError):
                return cls(" ".join(str(error).splitlines()))
            return cls(f"{type(error).__name__}: {one_line(error)}")
        except Exception:  # it cannot tell itself
            return cls(type(error).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on the host or on a device, in whatever words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = Failure.of(error).text.lower()
    return any(sign in text for sign in _NO_MEMORY) or (
        error.__cause__ is not None and is_out_of_memory(error.__cause__)
    )


def no_memory(what_for: str, error: BaseException) -> Failure:
    """Say what memory did not suffice for, and what to do."""
    return Failure(
        f"memory does not suffice {what_for} ({Failure.of(error).text}); use a device with more memory "
        "(device=, --device), or end what else takes it"
    )
