"""Arrays in files: .npy and .safetensors mapped, .npz streamed; what is told of named ones by `members`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .bits import Bfloat16
from .files import reading, stem_of
from .members import Member, entries_of, is_by_example, stacked, with_classes
from .names import VALUE
from .plain_objects import read_objects
from .source import BLOCK_ROWS, ArraySource, Entry, Facts, Source, StreamSource, Wanted, require_memory
from .torch_file import torch_members

_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_OBJECT_BYTES = 100  # of a number as an object, in its array, in a list and as text


def npy_entries(path: Path, wanted: Wanted) -> list[Entry]:
    """Model of an .npy file, mapped."""
    wanted.refuse_columns(path)

    def load() -> Source:
        with reading(path, "npy"):
            with path.open("rb") as file:
                if file.read(6) != b"\x93NUMPY":
                    raise ValueError("it does not begin as a NumPy array does; write it with numpy.save")
                file.seek(0)
                shape, _, dtype = _npy_header(file)
                if dtype.hasobject:
                    return ArraySource(_objects(path, file, shape), Facts("npy"))
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
    return shape, fortran, dtype


def _objects(path: Path, file: IO[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    need = _OBJECT_BYTES * int(np.prod(shape))
    require_memory(need, f"{path.name}, which holds Python objects,", "save a plain array")
    return read_objects(file, shape)


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
        if dtype.hasobject:
            with reading(path, "npz"), zipfile.ZipFile(path) as archive, archive.open(name) as file:
                _npy_header(file)
                return ArraySource(_objects(path, file, shape), facts)
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
    texts = header.pop("__metadata__", {})
    return with_classes(
        {name: _tensor_member(path, 8 + size, tensor) for name, tensor in header.items()}, texts
    )


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
    if is_by_example(members, wanted):
        members = stacked(path, members)
    return entries_of(path, format_name, members, wanted)
