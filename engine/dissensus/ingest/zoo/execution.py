"""How torch models are executed: precision, memory layout, compilation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Execution:
    """Settings of a run that change speed, and the last digits of the logits.

    Attributes
    ----------
    precision
        "float32" runs models in the precision of their weights; "bfloat16" and "float16" under autocast.
    channels_last
        Keep images and weights of convolutions with their channels last, which tensor cores like.
    compile
        Compile models with `torch.compile`: pays where a model runs for minutes.

    Raises
    ------
    ArgumentError
        There is no such precision.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ArgumentError(f"precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}")

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the logits depend on beyond rounding: nothing in the models' own precision."""
        return {} if self.precision == "float32" else {"precision": self.precision}

    @property
    def metadata(self) -> dict[str, Any]:
        """What is recorded with a model, where it is not the default."""
        switches = {"channels_last": self.channels_last, "compiled": self.compile}
        return {**self.fingerprint, **{name: True for name, on in switches.items() if on}}

    def arrange(self, module: Any) -> Any:
        """Return a module laid out and compiled as asked for."""
        import torch

        if self.channels_last and hasattr(module, "to"):
            module = module.to(memory_format=torch.channels_last)
        return torch.compile(module) if self.compile else module

    def arrange_batch(self, batch: torch.Tensor) -> torch.Tensor:
        """Return a batch laid out as asked for."""
        import torch

        if self.channels_last and batch.ndim == 4:
            return batch.contiguous(memory_format=torch.channels_last)
        return batch

    def casting(self, device: torch.device) -> AbstractContextManager[Any]:
        """Autocast on this device where a lower precision is asked for."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, self.precision))
