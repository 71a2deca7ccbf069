"""How much memory a forward pass takes beside weights and input, without computing it."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .costs import unchanged


def activation_bytes(module: nn.Module, batch_of_one: torch.Tensor) -> int | None:
    """Return the most bytes of tensors that live at once during a pass of one example.

    Weights, buffers and the input do not count, nor does the working memory of kernels.

    Parameters
    ----------
    module
        Takes a batch; runs once, on its own device. On torch's "meta" device nothing is computed.
    batch_of_one
        (1, …) tensor, as the module takes it, on the same device.

    Returns
    -------
    int or None
        None where the pass fails.
    """
    try:
        live = _Live([*module.parameters(), *module.buffers(), batch_of_one])
        with torch.inference_mode(), unchanged(list(module.modules()), batch_of_one.device), live:
            module(batch_of_one)
    except Exception:  # runs code of any model
        return None
    return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operators make, and takes them off as they are freed."""

    def __init__(self, given: list[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = {tensor.untyped_storage()._cdata for tensor in given}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor):
                self._hold(leaf.untyped_storage())
        return output

    def _hold(self, storage: Any) -> None:
        if storage._cdata in self._seen:
            return
        self._seen.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, storage._cdata, storage.nbytes()).atexit = False

    def _free(self, place: int, n_bytes: int) -> None:
        self._seen.discard(place)
        self.now -= n_bytes
