"""One digest for any Python object: the same in every process, and after saving and loading.

Objects are taken apart as pickle takes them apart, but their parts are hashed by value: fields of records one
by one (the padding between them is whatever lay in memory), sets and mappings without an order, functions by
their code. Equal parts count as equal whether or not they are one object. Caches and counters are left out.
"""

from __future__ import annotations

import copyreg
import hashlib
import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray)
_MODULE_OWN = frozenset(("training", "_parameters", "_buffers", "_modules"))


def text_digest(text: str) -> str:
    """Return the sha256 of a text, memory addresses (which differ from run to run) left out."""
    return hashlib.sha256(_ADDRESS.sub("", text).encode()).hexdigest()


def canonical_digest(value: object) -> str:
    """Return the sha256 (hex) of an object's type and content.

    Parameters
    ----------
    value
        Numbers, texts, arrays, tensors, containers, functions (code, defaults, closure; not what they
        read from globals), torch modules, and all that pickle can take apart. Classes count by their names.

    Raises
    ------
    Exception
        Whatever the object raises when it cannot be taken apart, mostly TypeError.
    """
    return _Digester().digest(value).hex()


def canonical_text(value: object) -> str:
    """Return plain data as JSON that is the same in every process, whatever the order of sets and mappings.

    Parameters
    ----------
    value
        Numbers, texts, None, sequences, sets and mappings of these. Other objects enter by their `repr` where
        it has no parts of its own (a dtype, a class, a path), else by their type and `canonical_digest`.

    Raises
    ------
    Exception
        Whatever an object raises that cannot be taken apart, mostly TypeError.
    """
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(canonical_text, value))}
    torch = sys.modules.get("torch")
    named = (type, PurePath, np.generic, *((torch.dtype, torch.device) if torch is not None else ()))
    if isinstance(value, named):
        return repr(value)
    return f"{_name(type(value))} {canonical_digest(value)[:16]}"


@dataclass(frozen=True)
class _Parts:
    """An object taken apart: what it is, bytes of its own, and other objects."""

    tag: str
    raw: bytes = b""
    children: Iterable[object] = ()
    ordered: bool = True


class _Digester:
    def __init__(self) -> None:
        self._done: dict[int, tuple[object, bytes]] = {}  # holds the objects, so that no id comes twice
        self._open: dict[int, int] = {}

    def digest(self, value: object) -> bytes:
        key = id(value)
        if key in self._done:
            return self._done[key][1]
        if key in self._open:  # a cycle: how far up it closes
            return hashlib.sha256(f"up {len(self._open) - self._open[key]}".encode()).digest()
        self._open[key] = len(self._open)
        parts = _take_apart(value)
        found = [self.digest(child) for child in parts.children]
        del self._open[key]
        result = _combined(parts, found if parts.ordered else sorted(found))
        if found:
            self._done[key] = (value, result)
        return result


def _combined(parts: _Parts, children: list[bytes]) -> bytes:
    tag = parts.tag.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(f"{len(tag)} {len(parts.raw)} {len(children)} ".encode() + tag)
    digest.update(parts.raw)
    digest.update(b"".join(children))
    return digest.digest()


def _take_apart(value: Any) -> _Parts:
    if type(value) in _ATOMS:
        return _Parts(type(value).__name__, _atom_bytes(value))
    rule = _EXACT.get(type(value))
    if rule is not None:
        return rule(value)
    for kind, general in _GENERAL:
        if isinstance(value, kind):
            return general(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _Parts(f"tensor {value.dtype} {tuple(value.shape)}", tensor_bytes(value))
    if torch is not None and isinstance(value, torch.nn.Module):
        return _Parts("module", children=(type(value), module_content(value, module_attributes(value))))
    return _reduced(value)


def _atom_bytes(value: Any) -> bytes:
    return (
        bytes(value) if isinstance(value, bytes | bytearray) else repr(value).encode("utf-8", "surrogatepass")
    )


def tensor_bytes(value: Any) -> bytes:
    """Return the bytes of a tensor's values, in order."""
    import torch

    flat = value.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16; the bytes are the same


def module_content(module: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a torch module computes with: its layers as shown, parameters, all buffers, attributes."""
    tensors = {**module.state_dict(), **dict(module.named_parameters()), **dict(module.named_buffers())}
    return {"layers": text_digest(repr(module)), "tensors": tensors, "attributes": dict(attributes)}


def module_attributes(module: Any) -> dict[str, Any]:
    """Return the plain attributes of a module and its submodules by their paths."""
    import torch

    own = _MODULE_OWN | vars(torch.nn.Module()).keys()
    return {
        f"{path}.{name}": value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in own
    }


def _array(value: NDArray[Any]) -> _Parts:
    if value.dtype.names is not None:
        return _Parts(
            f"records {value.shape}", children=[(name, np.asarray(value[name])) for name in value.dtype.names]
        )
    if value.dtype.hasobject:
        return _Parts(f"objects {value.shape}", children=list(value.flat))
    return _Parts(f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes())


def _function(value: types.FunctionType) -> _Parts:
    cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
    name = f"{value.__module__}.{value.__qualname__}"
    return _Parts(
        "function", name.encode(), (value.__code__, cells, value.__defaults__, value.__kwdefaults__)
    )


def _builtin(value: Any) -> _Parts:
    owner = getattr(value, "__self__", None)
    return _Parts(
        "builtin", _name(value).encode(), () if isinstance(owner, types.ModuleType | type(None)) else (owner,)
    )


def _reduced(value: Any) -> _Parts:
    reducer = copyreg.dispatch_table.get(type(value))
    found = reducer(value) if reducer else value.__reduce_ex__(4)
    if isinstance(found, str):  # known by name; a wrapper also by what it wraps
        return _Parts(f"global {_name(type(value))}", found.encode(), (getattr(value, "__wrapped__", None),))
    make, arguments, state, items, pairs = (*found, None, None, None)[:5]
    maker = _name(make) if hasattr(make, "__qualname__") else make
    rest = (_kept(value, state), list(items or ()), dict(pairs or ()))
    return _Parts(f"object {_name(type(value))}", children=(maker, arguments, *rest))


def _kept(value: Any, state: Any) -> Any:
    """Return an object's state without what changes when it is used or saved."""
    kind = type(value)
    if isinstance(state, dict):
        caches = {name for name in state if isinstance(getattr(kind, str(name), None), cached_property)}
        return {name: entry for name, entry in state.items() if name not in caches | {"_sklearn_version"}}
    if isinstance(state, tuple) and re.fullmatch(r"sklearn\.neighbors\._\w+_tree", kind.__module__):
        return tuple(entry for entry in state if not isinstance(entry, int))  # counters of past queries
    return state


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{value.__qualname__}"


_EXACT: dict[type, Callable[[Any], _Parts]] = {
    list: lambda value: _Parts("list", children=value),
    tuple: lambda value: _Parts("tuple", children=value),
    set: lambda value: _Parts("set", children=value, ordered=False),
    frozenset: lambda value: _Parts("frozenset", children=value, ordered=False),
    dict: lambda value: _Parts("dict", children=list(value.items()), ordered=False),
    types.CodeType: lambda value: _Parts("code", value.co_code, (value.co_names, value.co_consts)),
    types.FunctionType: _function,
    types.MethodType: lambda value: _Parts("method", children=(value.__func__, value.__self__)),
    types.BuiltinFunctionType: _builtin,
    types.ModuleType: lambda value: _Parts("python module", value.__name__.encode()),
}
_GENERAL: tuple[tuple[type, Callable[[Any], _Parts]], ...] = (
    (type, lambda value: _Parts("class", _name(value).encode())),
    (np.ma.MaskedArray, lambda value: _Parts("masked", children=(value.data, np.ma.getmaskarray(value)))),
    (np.ndarray, lambda value: _array(np.asarray(value))),
    (set, lambda value: _Parts(f"set {_name(type(value))}", children=value, ordered=False)),
    (frozenset, lambda value: _Parts(f"frozenset {_name(type(value))}", children=value, ordered=False)),
    (np.generic, lambda value: _Parts("scalar", children=(np.asarray(value),))),
)
