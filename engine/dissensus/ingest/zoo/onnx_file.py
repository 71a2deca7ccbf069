"""The weights in an ONNX file, by its bytes: names of fields and values are enough, no reader is needed.

An ONNX file is a protobuf message: numbered fields, each a number or so many bytes, so that what is not
wanted is stepped over. Weights are the initialisers of the graph, of the graphs inside it (branches and
loops), and the constants among its nodes.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeAlias

_GRAPH = 7  # of the model
_NODE, _INITIALISER = 1, 5  # of a graph
_ATTRIBUTE = 5  # of a node
_TENSOR, _SUBGRAPH, _SUBGRAPHS = 5, 6, 11  # of an attribute
_DIMS, _TYPE, _EXTERNAL = 1, 2, 13  # of a tensor
_KEY, _VALUE = 1, 2  # of an entry
_NO_WEIGHTS = {0, 7, 8, 9, 13}  # types: undefined, int64, text, bool, uint64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Span: TypeAlias = "tuple[int, int]"
_Field: TypeAlias = "tuple[int, int | _Span]"  # number of the field, and a number or where its bytes are


@dataclass(frozen=True)
class Weights:
    """What the tensors of an ONNX file add up to.

    Attributes
    ----------
    params
        Numbers in all arrays of them: running statistics of normalisations count, which ONNX has among the
        weights; single numbers and 64-bit integers, of which shapes and indices are made, do not.
    files
        Names of files beside it that hold some of them, sorted.
    """

    params: int
    files: list[str]


def read_weights(path: Path) -> Weights:
    """Return what the tensors of an ONNX file add up to.

    Parameters
    ----------
    path
        The .onnx file.

    Raises
    ------
    ValueError
        It is no ONNX file, or it is cut off.
    """
    found = _Found(0, set())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _walk(data, (0, len(data)), {_GRAPH: lambda graph: _graph(data, graph, found)})
    return Weights(found.params, sorted(found.files))


@dataclass
class _Found:
    params: int
    files: set[str]


def _graph(data: mmap.mmap, span: _Span, found: _Found) -> None:
    inside: dict[int, Callable[[_Span], None]] = {
        _TENSOR: lambda tensor: _tensor(data, tensor, found),
        _SUBGRAPH: lambda graph: _graph(data, graph, found),
        _SUBGRAPHS: lambda graph: _graph(data, graph, found),
    }
    node = {_ATTRIBUTE: lambda attribute: _walk(data, attribute, inside)}
    parts = {_NODE: lambda one: _walk(data, one, node), _INITIALISER: inside[_TENSOR]}
    _walk(data, span, parts)


def _walk(data: mmap.mmap, span: _Span, parts: dict[int, Callable[[_Span], None]]) -> None:
    for number, value in _fields(data, span):
        if number in parts and isinstance(value, tuple):
            parts[number](value)


def _tensor(data: mmap.mmap, span: _Span, found: _Found) -> None:
    dims: list[int] = []
    kind = 0
    for number, value in _fields(data, span):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _varints(data, value)
        elif number == _TYPE and isinstance(value, int):
            kind = value
        elif number == _EXTERNAL and isinstance(value, tuple):
            _entry(data, value, found)
    if dims and kind not in _NO_WEIGHTS:
        found.params += prod(dims)


def _entry(data: mmap.mmap, span: _Span, found: _Found) -> None:
    texts = {
        number: data[value[0] : value[1]].decode("utf-8", "replace")
        for number, value in _fields(data, span)
        if isinstance(value, tuple)
    }
    if texts.get(_KEY) == "location" and _VALUE in texts:
        found.files.add(texts[_VALUE])


def _fields(data: mmap.mmap, span: _Span) -> Iterator[_Field]:
    """Yield the fields of a message; those of a fixed width, which no field wanted here has, are left out."""
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise ValueError(f"cut off at byte {end}")
            yield number, (at, at + length)
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"no field begins at byte {at}")


def _varints(data: mmap.mmap, span: _Span) -> list[int]:
    numbers, at = list[int](), span[0]
    while at < span[1]:
        value, at = _varint(data, at, span[1])
        numbers.append(value)
    return numbers


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return the number of seven bits a byte that begins at a place, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError(f"no number ends at byte {at}")
