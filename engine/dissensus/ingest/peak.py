"""How much memory a model's forward pass takes beside its weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that operators make, and the most that are alive at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage(), given)
        return result

    def _count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key = storage._cdata
        if key in given or key in self._known:  # a view, or written in place
            return
        n_bytes = storage.nbytes()
        self._known.add(key)
        self.now += n_bytes
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, key, n_bytes)

    def _free(self, key: int, n_bytes: int) -> None:
        self._known.discard(key)
        self.now -= n_bytes


def activation_bytes(call: Callable[[Any], Any], batch_of_one: Any) -> int | None:
    """Return the most bytes of tensors alive at once in a forward pass of one example.

    Parameters
    ----------
    call
        A model, as a function of a batch.
    batch_of_one
        As the model takes it, on its device.

    Returns
    -------
    int or None
        What operators make, their own workspace not counted; None where the pass fails or makes nothing that
        torch sees.
    """
    live = _Live()
    try:
        with torch.inference_mode(), live:
            call(batch_of_one)
    except Exception:  # the first batch of the run says what is wrong
        return None
    return live.most or None
