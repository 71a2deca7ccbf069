"""Pickled arrays, as pandas and scikit-learn save texts and numbers: built anew, without running code.

NumPy's own builders are never called: they believe what a file says of a type's inside, and follow bytes as
if they were pointers where it lies. What stands for them here takes types by their letter only.
"""

from __future__ import annotations

import _codecs
import pickle
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .files import array_of

_CORES = ("numpy.core", "numpy._core")  # of NumPy 1 and 2
_KINDS = "biufUSO"


class PickledType:
    """Stands for `numpy.dtype`: a letter, a size and an order of bytes."""

    def __init__(self, text: str, *_: Any) -> None:
        self._dtype = np.dtype(text) if isinstance(text, str) else np.dtype("V")
        if self._dtype.kind not in _KINDS:
            raise ValueError(f"it holds values of type {text!r:.40}, which are not loaded; save plain arrays")

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] in ("<", ">"):
            self._dtype = self._dtype.newbyteorder(state[1])

    def array(self, shape: Sequence[int], data: Any, order: Any = "C") -> NDArray[Any]:
        """Array of bytes, or of a list of objects, in rows ("C") or in columns ("F")."""
        if not self._dtype.hasobject:
            return np.frombuffer(data, self._dtype).reshape(tuple(shape), order=order).copy()
        values = np.empty(len(data), object)
        for i, value in enumerate(data):
            values[i] = _flat(value)
        return values.reshape(tuple(shape), order=order)


class PickledArray:
    """Stands for an array until its content comes."""

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, kind, is_fortran, data = state
        self.array = kind.array(shape, data, "F" if is_fortran else "C")


def _flat(value: Any) -> Any:
    """Value of an array of objects: a number, a text, or a list of these, which cannot grow when unfolded."""
    value = value.array if isinstance(value, PickledArray) else value
    values: Any = value.ravel() if isinstance(value, np.ndarray) else value
    is_list = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.hasobject)
    if is_list and any(isinstance(one, list | tuple | dict | np.ndarray | PickledArray) for one in values):
        raise ValueError("it holds lists of lists as objects, which are not loaded; save plain arrays")
    return value


def _number(kind: PickledType, data: bytes) -> Any:
    return kind.array((1,), data)[0]


def _from_buffer(data: Any, kind: PickledType, shape: Sequence[int], order: str) -> NDArray[Any]:
    return kind.array(shape, data, order)


BUILDERS: dict[str, Any] = {  # what stands for the objects that such a pickle names, by their full names
    "numpy.ndarray": PickledArray,
    "numpy.dtype": PickledType,
    "_codecs.encode": _codecs.encode,
    **{f"{core}.multiarray._reconstruct": PickledArray for core in _CORES},
    **{f"{core}.multiarray.scalar": _number for core in _CORES},
    **{f"{core}.numeric._frombuffer": _from_buffer for core in _CORES},
}


class _Plain(pickle.Unpickler):
    """Reads what is built of numbers, texts and arrays; anything else could run code."""

    def find_class(self, module: str, name: str, /) -> Any:
        if f"{module}.{name}" not in BUILDERS:
            raise ValueError(
                f"it holds Python objects of {module}.{name}, which are not loaded; save plain arrays"
            )
        return BUILDERS[f"{module}.{name}"]


def unwrapped(content: Any, known: dict[int, Any] | None = None) -> Any:
    """Content of a file with arrays where something stands for them; what comes twice is turned once."""
    known = {} if known is None else known
    if isinstance(content, PickledArray):
        return content.array
    if type(content) not in (dict, list, tuple):
        return content
    if id(content) not in known:
        known[id(content)] = (
            {name: unwrapped(value, known) for name, value in content.items()}
            if isinstance(content, dict)
            else type(content)(unwrapped(value, known) for value in content)
        )
    return known[id(content)]


def read_objects(file: IO[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    """Array of numbers or texts that follows the header of an array of objects.

    Parameters
    ----------
    file
        Behind the header.
    shape
        As the header has it.

    Raises
    ------
    ArgumentError, ValueError
        It holds anything else.
    """
    content = _Plain(file).load()
    if not isinstance(content, PickledArray) or content.array.shape != shape:
        raise ValueError("it does not hold the array that its header tells of")
    return array_of(content.array.tolist(), "an array of objects")
