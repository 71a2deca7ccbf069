"""Arrays in files: .npy and .safetensors mapped, .npz streamed, .pt through torch's safe loader."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from .files import reading, stem_of
from .members import Member, entries_of
from .names import CLASS_ORDERS, VALUE
from .source import BLOCK_ROWS, ArraySource, Entry, Facts, Source, StreamSource, Wanted, require_memory
from .stated_classes import classes_in_texts

_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class Bfloat16:
    """Rows of bfloat16, kept as their bits, given as float32.

    Parameters
    ----------
    bits : (N,) or (N, C) uint16
        Upper halves of float32 numbers.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, bits: NDArray[np.uint16]) -> None:
        self._bits, self.shape = bits, bits.shape

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        return (np.asarray(self._bits[rows]).astype(np.uint32) << 16).view(np.float32)


def npy_entries(path: Path, wanted: Wanted) -> list[Entry]:
    """Model of an .npy file, mapped."""
    wanted.refuse_columns(path)

    def load() -> Source:
        with reading(path, "npy"):
            with path.open("rb") as file:
                if file.read(6) != b"\x93NUMPY":
                    raise ValueError("it does not begin as a NumPy array does; write it with numpy.save")
                file.seek(0)
                _npy_header(file)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        return ArraySource(array, Facts("npy"))

    return [Entry(stem_of(path), path, load)]


def npz_members(path: Path) -> dict[str, Member]:
    """Arrays of an .npz file; each is read from the archive as a stream."""
    with reading(path, "npz"), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        headers = {name: _npy_header(archive.open(name)) for name in names}
    return {
        name.removesuffix(".npy"): Member(shape, _npz_loader(path, name, shape, fortran, dtype))
        for name, (shape, fortran, dtype) in headers.items()
    }


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded; save plain arrays")
    return shape, fortran, dtype


def _npz_loader(path: Path, name: str, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> Any:
    def blocks() -> Iterator[NDArray[Any]]:
        row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
        with reading(path, "npz"), zipfile.ZipFile(path) as archive, archive.open(name) as file:
            _npy_header(file)
            for start in range(0, shape[0], BLOCK_ROWS):
                n = min(BLOCK_ROWS, shape[0] - start)
                data = file.read(n * row_bytes)
                if len(data) < n * row_bytes:
                    raise EOFError(
                        f"array {name!r} ends after {start + len(data) // row_bytes} of {shape[0]} rows"
                    )
                yield np.frombuffer(data, dtype).reshape(n, *shape[1:])

    def load(facts: Facts) -> Source:
        if fortran and len(shape) > 1:  # columns first: rows come together only when all is read
            n_bytes = dtype.itemsize * int(np.prod(shape))
            require_memory(
                n_bytes, f"{path.name} in column order", "save it in C order (np.ascontiguousarray)"
            )
            with reading(path, "npz"), np.load(path, allow_pickle=False) as archive:
                return ArraySource(archive[name.removesuffix(".npy")], facts)
        return StreamSource(shape, dtype, blocks, facts)

    return load


def safetensors_members(path: Path) -> dict[str, Member]:
    """Arrays of a .safetensors file, mapped."""
    from safetensors import safe_open

    with reading(path, "safetensors"):
        with safe_open(path, framework="numpy"):  # checks header, offsets and length
            pass
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    stated = classes_in_texts(header.pop("__metadata__", {}))
    members = {name: _tensor_member(path, 8 + size, tensor) for name, tensor in header.items()}
    if stated is None or CLASS_ORDERS[0] in members:
        return members
    listed = np.asarray(stated)
    order = Member(listed.shape, lambda facts: ArraySource(listed, facts))
    return {**members, CLASS_ORDERS[0]: order}  # as the formats that hold texts have it


def _tensor_member(path: Path, base: int, tensor: dict[str, Any]) -> Member:
    shape = tuple(tensor["shape"])

    def load(facts: Facts) -> Source:
        with reading(path, "safetensors"):
            if tensor["dtype"] not in _SAFETENSORS:
                raise ValueError(f"tensors of dtype {tensor['dtype']} are not read; save float32 or float16")
            dtype = np.dtype(_SAFETENSORS[tensor["dtype"]])
            array: Any = np.memmap(path, dtype, "r", base + tensor["data_offsets"][0], shape)
        if tensor["dtype"] == "BF16":
            return ArraySource(Bfloat16(array), facts)
        return ArraySource(array, facts)

    return Member(shape, load)


def torch_members(path: Path) -> dict[str, Member]:
    """Tensors of a .pt file, a lone one as "value"; loaded without running code from the file."""
    content = _torch_load(path)
    if hasattr(content, "detach"):
        return {VALUE: _torch_member(content)}
    named = content if isinstance(content, dict) else {}
    return {str(name): _torch_member(value) for name, value in named.items()}


MEMBERS: dict[str, Callable[[Path], dict[str, Member]]] = {
    "npz": npz_members,
    "safetensors": safetensors_members,
    "torch": torch_members,
}


def member_entries(format_name: str, path: Path, wanted: Wanted) -> list[Entry]:
    """Models of a file of named arrays."""
    members = MEMBERS[format_name](path)
    if list(members) == [VALUE]:
        wanted.refuse_columns(path)
    return entries_of(path, format_name, members, wanted)


def _torch_load(path: Path) -> Any:
    import torch

    with reading(path, "torch"):
        is_zip = zipfile.is_zipfile(path)  # the format before 1.6 cannot be mapped
        try:
            return torch.load(path, weights_only=True, mmap=is_zip, map_location="cpu")
        except pickle.UnpicklingError as error:  # torch's own advice is to run what the file holds
            raise ValueError(
                "it is damaged or holds more than tensors, which is not loaded; save a tensor, or a dict of "
                "tensors"
            ) from error


def _torch_member(value: Any) -> Member:
    if hasattr(value, "detach"):
        return Member(tuple(value.shape), lambda facts: _torch_source(value, facts))
    if isinstance(value, list | tuple) and value and isinstance(value[0], str | int):
        array = np.asarray(value)
        return Member(array.shape, lambda facts: ArraySource(array, facts))
    return Member((), lambda facts: ArraySource(np.empty(0), facts))


def _torch_source(tensor: Any, facts: Facts) -> Source:
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return ArraySource(Bfloat16(tensor.view(torch.int16).numpy().view(np.uint16)), facts)
    try:
        return ArraySource(tensor.numpy(), facts)
    except TypeError as error:  # float8 and the like
        raise ArgumentError(f"tensors of {tensor.dtype} are not read; save float32 or float16") from error
