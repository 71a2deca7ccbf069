"""IDX files (the format of MNIST and its relatives), plain or gzip, mapped rather than read."""

from __future__ import annotations

import gzip
import math
import struct
import tempfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError

from .examples import ArrayExamples, row_ids

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = {"train": "train", "test": "t10k"}
_PIECE_BYTES = 1 << 20

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_idx(path: str | Path) -> NDArray[Any]:
    """Return the array of an IDX file as a read-only memory map.

    Parameters
    ----------
    path
        Plain or gzip (told by its first bytes). A gzip file is unpacked once, into an unnamed temporary file.

    Returns
    -------
    np.memmap
        Shape and dtype of the header: uint8, int8, or big-endian int16, int32, float32, float64.

    Raises
    ------
    ArgumentError
        The file is missing, no IDX file, damaged, or shorter or longer than its header says.
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(f"IDX file not found: {path}")
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return _mapped(file, path)
    with tempfile.TemporaryFile() as unpacked:
        _unpack(path, unpacked)
        return _mapped(unpacked, path)


def idx_examples(
    path: str | Path,
    labels: str | Path | ArrayLike | None = None,
    which: Literal["train", "test"] | None = None,
    classes: Sequence[str] | None = None,
) -> ArrayExamples:
    """Return the examples of a pair of IDX files.

    Parameters
    ----------
    path
        The file of images, or a folder with the four MNIST names (`train-images-idx3-ubyte`,
        `t10k-labels-…`, each plain or .gz), as Debian's `dataset-fashion-mnist` and torchvision
        (`FashionMNIST/raw/`) lay them out.
    labels
        File of labels, or the labels themselves; by default found by name beside the images.
    which
        Part of a folder: "test" by default, "train" where only that is there. Not for a single file.
    classes
        Class names; by default those of Fashion-MNIST where a folder is called that, else the label numbers.

    Raises
    ------
    ArgumentError
        Files are missing or damaged, or images and labels differ in number.

    Examples
    --------
    >>> from dissensus.ingest import idx_examples
    >>> examples = idx_examples("/usr/share/datasets/fashion-mnist")  # doctest: +SKIP
    """
    path = Path(path)
    if path.is_dir():
        part, images_file = _choose_part(path, which)
    elif which is not None:
        raise ArgumentError(f"which={which!r} chooses a part of a folder, but {path} is not a folder")
    else:
        part, images_file = path.name.split("-")[0].split(".")[0], path
    images = read_idx(images_file)
    if images.ndim < 2:
        raise ArgumentError(
            f"{images_file} holds an array of shape {images.shape}, expected images (N, H, W)"
        )
    truth = _labels_of(images_file, labels)
    if classes is None and _is_fashion(images_file):
        classes = FASHION_CLASSES
    ids = row_ids(len(images), f"{part}-")
    return ArrayExamples(
        images, truth, ids=ids, classes=classes, reopen=partial(read_idx, images_file.absolute())
    )


def find_idx(folder: str | Path) -> dict[str, Path]:
    """Return the image files of a folder by part ("train", "test"); an empty mapping where there are none.

    Looked for in the folder itself, in `raw/`, and in `*/raw/` (torchvision's layout).

    Raises
    ------
    ArgumentError
        Several data sets lie under the folder.
    """
    root = Path(folder)
    found = [parts for place in (root, root / "raw") if (parts := _parts_in(place))]
    if found:
        return found[0]
    below = [(place, parts) for place in sorted(root.glob("*/raw")) if (parts := _parts_in(place))]
    if len(below) > 1:
        names = ", ".join(str(place.parent.name) for place, _ in below)
        raise ArgumentError(f"{root} holds several IDX data sets ({names}); pass the path of one of them")
    return below[0][1] if below else {}


def is_idx(path: str | Path) -> bool:
    """Whether a file's name or first bytes are those of an IDX file."""
    path = Path(path)
    if "-idx" in path.name or ".idx" in path.name:
        return True
    with path.open("rb") as file:
        head = file.read(4)
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _DTYPES and 0 < head[3] < 9


def _is_fashion(path: Path) -> bool:
    names = {part.lower().replace("-", "").replace("_", "") for part in path.absolute().parent.parts}
    return "fashionmnist" in names


def _choose_part(folder: Path, which: str | None) -> tuple[str, Path]:
    parts = find_idx(folder)
    if not parts:
        raise ArgumentError(
            f"no IDX files in {folder}: expected train-images-idx3-ubyte or t10k-images-idx3-ubyte with "
            "their labels, plain or .gz, there or in raw/"
        )
    if which is not None and which not in _PARTS:
        raise ArgumentError(f"which must be 'train' or 'test', got {which!r}")
    part = which or ("test" if "test" in parts else "train")
    if part not in parts:
        raise ArgumentError(f"{folder} has no {part} images ({_PARTS[part]}-images-idx3-ubyte)")
    return part, parts[part]


def _parts_in(folder: Path) -> dict[str, Path]:
    found = {part: _variant(folder, f"{stem}-images-idx3-ubyte") for part, stem in _PARTS.items()}
    return {part: path for part, path in found.items() if path is not None}


def _variant(folder: Path, name: str) -> Path | None:
    """Return the file of this name, plain or .gz, also with the dot that some archives write before idx."""
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz")
    return next((folder / n for n in names if (folder / n).is_file()), None)


def _labels_of(images_file: Path, labels: str | Path | ArrayLike | None) -> NDArray[Any]:
    if labels is None:
        name = images_file.name.removesuffix(".gz").replace(".idx", "-idx")
        wanted = name.replace("images-idx3", "labels-idx1")
        beside = _variant(images_file.parent, wanted) if wanted != name else None
        if beside is None:
            raise ArgumentError(f"no labels found beside {images_file}; pass labels=, an IDX file of labels")
        labels = beside
    if not isinstance(labels, str | Path):
        return np.asarray(labels)
    if str(labels).endswith(".npy"):
        raise ArgumentError(f"labels of an IDX file must be an IDX file too, got {labels}")
    return np.asarray(read_idx(labels))


def _mapped(file: Any, path: Path) -> NDArray[Any]:
    dtype, shape, offset = _header(file, path)
    expected = offset + math.prod(shape) * dtype.itemsize
    size = file.seek(0, 2)
    if size != expected:
        fault = "truncated" if size < expected else "longer than its header says"
        raise ArgumentError(
            f"{path} is {fault}: {size} bytes, but an array {shape} of {dtype.name} takes {expected}"
        )
    if 0 in shape:
        raise ArgumentError(f"{path} holds no examples: shape {shape}")
    return np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape)


def _header(file: Any, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    file.seek(0)
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        codes = ", ".join(f"{code:02x}" for code in _DTYPES)
        raise ArgumentError(
            f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}, expected 00 00, a type "
            f"({codes}) and the number of dimensions"
        )
    raw = file.read(4 * magic[3])
    if len(raw) < 4 * magic[3]:
        raise ArgumentError(f"{path} is truncated: its header ends after {4 + len(raw)} bytes")
    return np.dtype(_DTYPES[magic[2]]), struct.unpack(f">{magic[3]}I", raw), 4 + len(raw)


def _unpack(path: Path, out: Any) -> None:
    try:
        with gzip.open(path, "rb") as packed:
            while piece := packed.read(_PIECE_BYTES):
                out.write(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArgumentError(f"{path} is damaged or truncated: {error}; fetch it again") from error
    out.flush()
