"""Digests of weights and functions: they tell a changed model from the one whose logits are stored."""

from __future__ import annotations

import hashlib
import pickle
import types
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dissensus.errors import ArgumentError

from .canonical import canonical_digest, module_attributes, module_content, tensor_bytes

if TYPE_CHECKING:
    from torch import nn

_PIECE = 16 << 20  # bytes of a file read at once
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, np.ndarray, np.generic)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def state_digest(state: Mapping[str, Any]) -> str:
    """Return the sha256 over a state dict in key order: names, dtypes, shapes and bytes.

    Parameters
    ----------
    state
        as of `torch.nn.Module.state_dict()`; values that are no tensors enter by `object_digest`.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if not hasattr(value, "detach"):
            digest.update(f"{name}:{object_digest(value)};".encode())
            continue
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(tensor_bytes(value))
    return digest.hexdigest()


def file_digest(*paths: Path) -> str:
    """Return the sha256 over the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.stat().st_size};".encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def module_digest(module: nn.Module, what: str = "the model") -> str:
    """Return a digest of a module: parameters, buffers (persistent or not), and its plain attributes.

    Plain attributes are numbers, texts, arrays, tensors, functions and containers of these, of every
    submodule; other objects that a module holds do not enter.

    Raises
    ------
    ArgumentError
        A function among the attributes closes over something that cannot be told from another.
    """
    attributes = {name: value for name, value in module_attributes(module).items() if _is_plain(value)}
    return _digest(module_content(module, attributes), what, "pass weights=, a text that names their version")


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(entry) for pair in value.items() for entry in pair)
    return isinstance(value, _PLAIN + _FUNCTIONS) or hasattr(value, "detach")


def object_digest(
    value: object, what: str = "the model", remedy: str = "pass fingerprint=, a text that names its version"
) -> str:
    """Return a digest of any object, the same after the object was saved and loaded: see `canonical`.

    Parameters
    ----------
    value
        An estimator, a function, a callable object, …
    what, remedy
        For the message.

    Raises
    ------
    ArgumentError
        nothing would tell the object from another one, or its digest changes when it is saved and loaded.
    """
    found = _digest(value, what, remedy)
    if type(value) not in (*_FUNCTIONS, types.MethodType) and _digest(_twin(value), what, remedy) != found:
        raise ArgumentError(
            f"{what}: the digest of {type(value).__qualname__} changes when it is saved and loaded; {remedy}"
        )
    return found


def _twin(value: object) -> object:
    """Return the object as saving and loading gives it back; itself if it cannot be saved."""
    try:
        return pickle.loads(pickle.dumps(value, protocol=5))
    except Exception:  # pickling runs code of every type it meets
        return value


def _digest(value: object, what: str, remedy: str) -> str:
    try:
        return canonical_digest(value)
    except Exception as error:  # taking apart runs code of every type it meets
        reason = f"{type(error).__name__}: {error}"
        raise ArgumentError(
            f"{what} cannot be told from another for its fingerprint ({reason}); {remedy}"
        ) from error


def describe_callable(function: object, version_given: bool = False) -> str:
    """Return a text that names a preprocessing function and changes when its code does.

    Parameters
    ----------
    function
        Also a partial, a bound method, a callable object or a torch module.
    version_given
        The user gave a text for the version of the model: what cannot be taken apart goes by its name.

    Raises
    ------
    ArgumentError
        Nothing would tell the function from another one.
    """
    name = getattr(function, "__qualname__", type(function).__qualname__)
    full = f"{getattr(function, '__module__', type(function).__module__)}.{name}"
    remedy = (
        "pass fingerprint= (TorchModel: weights=), a text that names the version of model and preprocessing"
    )
    try:
        return f"{full} {object_digest(function, f'preprocessing {full}', remedy)[:16]}"
    except ArgumentError:
        if version_given:
            return full
        raise


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package that is there."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
