"""What a model costs: parameters, bytes of weights, multiply-accumulates of one example."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# Kernels that multiply matrices under a name that torch's counter has no formula for.
_MULTIPLIES = re.compile(r"mm|mv|dot|conv|rnn|lstm|gru|attention|linear|fft|cdist|embedding_bag|inverse")
_HARMLESS = re.compile(r"^_?upsample|^linalg_(vector|matrix)_norm$")

_OWN = ("aten", "prim", "prims")


def module_costs(module: nn.Module, input_size: Sequence[int] | None = None) -> dict[str, Any]:
    """Return what a module costs, for its metadata; what is not known is left out.

    Parameters
    ----------
    module
        On the device it runs on.
    input_size
        Shape of one example, (channels, height, width), where it is known before the first batch.

    Returns
    -------
    dict
        `params`, `weights_bytes`; `input_size` ("3x224x224") and `gmacs` where the size is known.
    """
    costs: dict[str, Any] = {
        "params": sum(p.numel() for p in module.parameters()),
        "weights_bytes": weights_bytes(module),
    }
    if input_size is None:
        return costs
    costs["input_size"] = size_text(input_size)
    gmacs = count_gmacs(module, example_of(module, input_size))
    return costs if gmacs is None else {**costs, "gmacs": gmacs}


def size_text(size: Sequence[int]) -> str:
    """Return a size as metadata has it: 3x224x224."""
    return "x".join(map(str, size))


def weights_bytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers; what is shared counts once."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def count_gmacs(module: Callable[[Any], Any], batch_of_one: torch.Tensor) -> float | None:
    """Return the multiply-accumulates of one example in units of 1e9, as model tables give them.

    Half the floating-point operations of matrix products, convolutions and attention that torch's own counter
    finds in one forward pass; biases, activations and normalisation do not count. The module keeps its
    buffers, attributes and mode, torch's random state does not move, no gradient is taken.

    Parameters
    ----------
    module
        Takes a batch; runs once, on its own device.
    batch_of_one
        (1, …) tensor, as the module takes it, on the same device.

    Returns
    -------
    float or None
        None where it cannot be told: the pass fails, the module is compiled, or it calls kernels without a
        formula (custom and quantized operators, recurrent layers, FFT).

    Notes
    -----
    A kernel that is launched past torch's dispatcher (Triton called directly, NumPy) is not seen.
    """
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    if any(map(_hides_its_operators, parts)):
        return None
    seen, counter = _Seen(), FlopCounterMode(display=False, custom_mapping=_custom_formulas())
    try:
        with unchanged(parts, batch_of_one.device), torch.inference_mode(), seen, counter:
            module(batch_of_one)
    except Exception:  # runs code of any model
        return None
    flops = int(counter.get_total_flops())
    has_matrices = any(p.ndim > 1 for part in parts for p in part.parameters(recurse=False))
    if seen.uncounted(counter.flop_registry) or (flops == 0 and has_matrices):
        return None
    return flops / 2e9 / max(len(batch_of_one), getattr(module, "fewest_examples", 1))


def count_outputs(module: Callable[[Any], Any], batch_of_one: torch.Tensor) -> int | None:
    """Return how many columns a module gives; it is left as `count_gmacs` leaves it.

    Parameters
    ----------
    module, batch_of_one
        See `count_gmacs`.

    Returns
    -------
    int or None
        None where the pass fails, or gives something else than a row an example.
    """
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    try:
        with unchanged(parts, batch_of_one.device), torch.inference_mode():
            output = module(batch_of_one)
        return int(output.shape[1]) if output.ndim == 2 and len(output) == len(batch_of_one) else None
    except Exception:  # runs code of any model
        return None


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the operators that are executed, below the counter that takes composite ones apart."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operators: set[Any] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._operators.add(func)
        return func(*args, **(kwargs or {}))

    def uncounted(self, formulas: Any) -> list[str]:
        """Return the operators that may multiply and have no formula."""
        return [str(f) for f in self._operators if f.overloadpacket not in formulas and _may_multiply(f)]


def _hides_its_operators(part: nn.Module) -> bool:
    """Whether a module runs kernels of its own: compiled, or TorchScript made for one library."""
    if isinstance(part, torch.jit.ScriptModule):
        names = re.findall(r"(\w+)::(\w+)", str(getattr(part, "inlined_graph", "")))
        return any(space not in _OWN or "mkldnn" in name.lower() for space, name in names)
    return "_orig_mod" in vars(part)["_modules"] or getattr(part, "_compiled_call_impl", None) is not None


def _may_multiply(operator: Any) -> bool:
    namespace, _, name = operator.overloadpacket._qualified_op_name.partition("::")
    if namespace not in _OWN:
        return True
    return bool(_MULTIPLIES.search(name)) and not _HARMLESS.search(name)


def _custom_formulas() -> dict[Any, Any]:
    """Return formulas for the operators torch's counter lacks: attention as the CPU computes it."""
    operator = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    return {} if operator is None else {operator: _attention_flops}


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count both products of attention: (batch, heads, n, d) with (…, m, d), then with (…, m, e)."""
    batch, heads, n, d = query
    return int(2 * batch * heads * n * key[-2] * (d + value[-1]))


@contextmanager
def unchanged(parts: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Give modules back their attributes and buffers, and torch its random state and settings."""
    plain = [part for part in parts if not isinstance(part, torch.jit.ScriptModule)]
    attributes = [dict(vars(part)) for part in plain]
    buffers = [{name: (b, _copy(b)) for name, b in part._buffers.items()} for part in plain]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one kernel for a whole layer: nothing to count
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for part, own, kept in zip(plain, attributes, buffers, strict=True):
            vars(part).clear()
            vars(part).update(own)
            _restore(part, kept)


@torch.inference_mode()  # buffers may have been made in it
def _restore(part: nn.Module, kept: dict[str, tuple[torch.Tensor | None, torch.Tensor | None]]) -> None:
    part._buffers.clear()
    for name, (buffer, values) in kept.items():
        part._buffers[name] = buffer
        if buffer is not None and values is not None and not torch.equal(buffer, values):
            buffer.copy_(values)


def _copy(buffer: torch.Tensor | None) -> torch.Tensor | None:
    return None if buffer is None or buffer.is_meta else buffer.detach().clone()


def example_of(module: nn.Module, size: Sequence[int]) -> torch.Tensor:
    """Return a batch of one black example of a size, of a module's dtype and on its device."""
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(1, *size, dtype=first.dtype, device=first.device)
