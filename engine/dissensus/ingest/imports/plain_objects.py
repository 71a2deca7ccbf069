"""Arrays of Python objects, as pandas and scikit-learn save texts and numbers: read without running code."""

from __future__ import annotations

import _codecs
import pickle
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .files import array_of

# What a pickled array of numbers or texts is built by; numpy 1 and 2 have it in modules of two names.
_BUILDERS = ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
_CORES = ("numpy.core", "numpy._core")


def builders() -> dict[str, Any]:
    """Objects that a pickle of numbers, texts and arrays of them may name, by their full names."""
    core: Any = np._core if hasattr(np, "_core") else np.core
    found: dict[str, Any] = {
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": _codecs.encode,
    }
    for path in _BUILDERS:
        module, name = path.split(".")
        found |= {f"{prefix}.{path}": getattr(getattr(core, module), name) for prefix in _CORES}
    return found


class _Plain(pickle.Unpickler):
    """Reads what is built of numbers, texts and arrays; anything else could run code."""

    def find_class(self, module: str, name: str, /) -> Any:
        known = builders()
        if f"{module}.{name}" not in known:
            raise ValueError(
                f"it holds Python objects of {module}.{name}, which are not loaded; save plain arrays"
            )
        return known[f"{module}.{name}"]


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
    if not isinstance(content, np.ndarray) or content.shape != shape:
        raise ValueError("it does not hold the array that its header tells of")
    return array_of(content.tolist(), "an array of objects")
