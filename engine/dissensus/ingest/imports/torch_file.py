"""Files of torch.save: tensors, dicts of them, and what loops over batches collect, without running code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dissensus.errors import ArgumentError

from .bits import Bfloat16
from .files import reading
from .members import Member, with_classes
from .names import VALUE
from .plain_objects import BUILDERS, unwrapped
from .source import ArraySource, Facts, Source, require_memory


def torch_members(path: Path) -> dict[str, Member]:
    """Arrays of a .pt file: of a dict by its keys, of a tuple by their places, a lone one as "value".

    Lists of batches are joined, also where each batch is a dict or a tuple.
    """
    content = _load(path)
    if isinstance(content, list | tuple):
        content = _joined(content)
    if not isinstance(content, dict):
        return {VALUE: _member(content)}
    members = {str(name): _member(value) for name, value in content.items()}
    stated = {str(name): _by_text(value) for name, value in content.items() if isinstance(value, dict)}
    return with_classes(members, stated)


def _by_text(content: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in content.items()}


def _load(path: Path) -> Any:
    import torch

    with reading(path, "torch"):
        is_zip = zipfile.is_zipfile(path)  # the format before 1.6 cannot be mapped
        try:
            with _arrays_too():
                return unwrapped(torch.load(path, weights_only=True, mmap=is_zip, map_location="cpu"))
        except pickle.UnpicklingError as error:  # torch's own advice is to run what the file holds
            raise ValueError(
                "it is damaged or holds more than tensors and arrays, which is not loaded; save a tensor, or "
                "a dict of tensors"
            ) from error


def _arrays_too() -> AbstractContextManager[Any]:
    """Have torch read NumPy arrays among its tensors, which it can from 2.6 on."""
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        return nullcontext()
    allowed: list[Any] = [(value, name) for name, value in BUILDERS.items()]
    return torch.serialization.safe_globals(allowed)


def _joined(content: Sequence[Any]) -> Any:
    """What a list of batches holds, by name or by place; one list of values as it is."""
    first = content[0] if content else None
    if isinstance(first, dict) and all(
        isinstance(one, dict) and one.keys() == first.keys() for one in content
    ):
        return {name: [one[name] for one in content] for name in first}
    if isinstance(first, list | tuple) and _are_batches(content):
        return {str(i): [one[i] for one in content] for i in range(len(first))}
    if isinstance(content, tuple) or not _are_alike(content):
        return {str(i): value for i, value in enumerate(content)}
    return content


def _are_batches(content: Sequence[Any]) -> bool:
    """Whether each part holds as many values or more, of which one is a tensor."""
    sizes = {len(one) if isinstance(one, list | tuple) else -1 for one in content}
    return len(sizes) == 1 and all(any(map(_is_array, one)) for one in content)


def _are_alike(values: Sequence[Any]) -> bool:
    """Whether arrays can be joined: all have one shape beside their first dimension."""
    return not any(map(_is_array, values)) or (
        all(map(_is_array, values)) and len({(value.ndim, tuple(value.shape[1:])) for value in values}) == 1
    )


def _is_array(value: Any) -> bool:
    return hasattr(value, "detach") or isinstance(value, np.ndarray)


def _member(value: Any) -> Member:
    if _is_array(value):
        return Member(tuple(value.shape), lambda facts: _source(value, facts))
    if isinstance(value, list | tuple) and value:
        return _of_list(value)
    array = np.asarray(value if isinstance(value, str | int | float) else 0)
    return Member((), lambda facts: ArraySource(array, facts))


def _of_list(values: Sequence[Any]) -> Member:
    """Member of the values of all batches, or of one value an example."""
    if all(map(_is_array, values)) and _are_alike(values):
        shape = _joined_shape(values)
        return Member(shape, lambda facts: _source(_join(values, shape), facts))
    if all(isinstance(one, list | tuple) for one in values):  # names of the files of each batch
        values = list(chain.from_iterable(values))
    if values and all(isinstance(one, str | int | float) for one in values):
        array = np.asarray(values)
        return Member(array.shape, lambda facts: ArraySource(array, facts))
    return Member((), lambda facts: ArraySource(np.empty(0), facts))


def _are_rows(values: Sequence[Any]) -> bool:
    """Whether each array is of one example: a number, or scores; class numbers are of a batch."""
    first = values[0]
    if first.ndim != 1:
        return bool(first.ndim == 0)
    is_float = first.is_floating_point() if hasattr(first, "detach") else first.dtype.kind == "f"
    return bool(is_float) and len({len(value) for value in values}) == 1


def _joined_shape(values: Sequence[Any]) -> tuple[int, ...]:
    if _are_rows(values):
        return len(values), *values[0].shape
    return sum(len(value) for value in values), *values[0].shape[1:]


def _join(values: Sequence[Any], shape: tuple[int, ...]) -> Any:
    import torch

    tensors = [torch.as_tensor(value).detach() for value in values]
    require_memory(tensors[0].element_size() * int(np.prod(shape)), "a list of batches", "save one tensor")
    return torch.stack(tensors) if _are_rows(values) else torch.cat(tensors)


def _source(tensor: Any, facts: Facts) -> Source:
    if isinstance(tensor, np.ndarray):
        return ArraySource(tensor, facts)
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return ArraySource(Bfloat16(tensor.view(torch.int16).numpy().view(np.uint16)), facts)
    try:
        return ArraySource(tensor.numpy(), facts)
    except TypeError as error:  # float8 and the like
        raise ArgumentError(f"tensors of {tensor.dtype} are not read; save float32 or float16") from error
