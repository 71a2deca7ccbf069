"""Digests of weights and functions: they tell a changed model from the one whose logits are stored."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import re
import types
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

if TYPE_CHECKING:
    import torch

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def text_digest(text: str) -> str:
    """Return the sha256 of a text, memory addresses (which differ from run to run) left out."""
    return hashlib.sha256(_ADDRESS.sub("", text).encode()).hexdigest()


def state_digest(state: Mapping[str, Any]) -> str:
    """Return the sha256 over a state dict in key order: names, dtypes, shapes and bytes.

    Parameters
    ----------
    state
        as of `torch.nn.Module.state_dict()`; values that are no tensors enter by their pickle.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if not hasattr(value, "detach"):
            digest.update(f"{name}:{object_digest(value)};".encode())
            continue
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(_tensor_bytes(value))
    return digest.hexdigest()


def _tensor_bytes(value: torch.Tensor) -> bytes:
    import torch

    flat = value.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()  # numpy has no bfloat16; the bytes are the same


def object_digest(value: object, what: str = "the model") -> str:
    """Return a digest of any picklable object; functions count by their code and what they close over.

    Raises
    ------
    ArgumentError
        it cannot be pickled, so that nothing would tell it from another one.
    """
    try:
        if isinstance(value, types.FunctionType):
            return _function_digest(value, what)
        if hasattr(value, "state_dict") and hasattr(value, "parameters"):
            return text_digest(repr(value) + state_digest(value.state_dict()))
        if importlib.util.find_spec("joblib") is not None:
            import joblib  # its hash does not change when an object has been saved and loaded again

            return str(joblib.hash(value))
        return hashlib.sha256(pickle.dumps(value, protocol=5)).hexdigest()
    except ArgumentError:
        raise
    except Exception as error:  # pickling runs code of every type it meets
        raise ArgumentError(
            f"{what} cannot be pickled for its fingerprint ({type(error).__name__}: {error}); "
            "pass fingerprint=, a text that names its version"
        ) from error


def _function_digest(function: types.FunctionType, what: str) -> str:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [function.__module__, function.__qualname__, _code_text(function.__code__)]
    parts += [
        object_digest(value, what) for value in (*cells, function.__defaults__, function.__kwdefaults__)
    ]
    return text_digest("\n".join(parts))


def _code_text(code: types.CodeType) -> str:
    constants = [_code_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def describe_callable(function: object) -> str:
    """Return a text that names a preprocessing function and changes when its code does."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        return f"{function.__module__}.{name} {object_digest(function)[:16]}"
    except ArgumentError:  # what cannot be pickled is known by what it shows of itself
        return _ADDRESS.sub("", repr(function))


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package that is there."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
