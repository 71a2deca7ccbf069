"""WebDataset shards: tar files in which the files of a sample share a key, read by offset, never unpacked."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from .decoding import DecodedExamples, OnBadImage, check_on_bad_image, decoded
from .examples import checked_labels
from .listing import natural_key
from .patterns import expand, is_pattern
from .tar_index import index_tar

if TYPE_CHECKING:
    from PIL.Image import Image


class TarExamples(DecodedExamples):
    """Examples in tar files as WebDataset lays them out: `KEY.jpg` (or any image) beside `KEY.cls`.

    A sample's key is its file names up to the first dot of the last part; keys are the ids, and must be
    distinct over all shards. Its class is in `.cls` or `.cls.txt`, or the field `label` of `.json`: a number,
    or a name among `classes`. Other files of a sample do not count. Headers are read once, when the source is
    made; after that images are read by their offsets, so that memory holds the index only. See
    `DecodedExamples` for its attributes.

    Parameters
    ----------
    path
        A tar file, a folder of them (taken in the order of their names, 2 before 10), a pattern such as
        `shard-{000..009}.tar`, or a list of tar files.
    on_bad_image
        "stop" refuses images that cannot be decoded; "skip" leaves them out, with a warning; `skipped` keeps
        the list, and so does a store made for the source.
    classes
        Class names in the order of their numbers; by default "0" … up to the largest.
    progress
        Show the scan on stderr.

    Raises
    ------
    UnreadableImage
        Images cannot be decoded: how many, and the first of them.
    ArgumentError
        A tar file is missing, compressed, damaged or truncated; a key comes twice; a sample has no image, two
        of them, no label, or one that is no class.

    Examples
    --------
    >>> from dissensus.ingest import TarExamples
    >>> examples = TarExamples("shards/val-{000..009}.tar")  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        on_bad_image: OnBadImage = "stop",
        *,
        classes: Sequence[str] | None = None,
        progress: bool = True,
    ) -> None:
        check_on_bad_image(on_bad_image)
        self._shards = shards(path)
        numbers = {} if classes is None else {name: number for number, name in enumerate(classes)}
        keys: list[str] = []
        labels, places = array("q"), array("q")
        for shard, file in enumerate(self._shards):
            for key, image, label in index_tar(file):
                keys.append(key)
                labels.append(_class_number(label, numbers, f"sample {key!r} of {file}"))
                places.extend((shard, *image))
        self._keys = keys
        self._places: NDArray[np.int64] = np.array(places, np.int64).reshape(-1, 3)
        self._refuse_doubles()
        self._look(
            str(path if isinstance(path, str | Path) else self._shards[0]), keys, on_bad_image, progress
        )
        self.labels = checked_labels(np.array(labels, np.int64)[self._kept], len(self), classes)
        names = map(str, range(int(self.labels.max()) + 1)) if classes is None else classes
        self.classes: list[str] = list(names)

    def _load(self, item: int) -> tuple[str, Image]:
        shard, start, size = self._places[item].tolist()
        file = os.open(
            self._shards[shard], os.O_RDONLY
        )  # opening costs little beside decoding, and nothing is shared
        try:
            return decoded(os.pread(file, size, start))
        finally:
            os.close(file)

    def _place(self, item: int) -> str:
        return f"{self._shards[self._places[item, 0]]}: {self._keys[item]}"

    def _refuse_doubles(self) -> None:
        first: dict[str, int] = {}
        for item, key in enumerate(self._keys):
            other = first.setdefault(key, item)
            if other != item:
                files = [self._shards[self._places[i, 0]] for i in (other, item)]
                raise ArgumentError(
                    f"keys must be distinct over all shards, since they are the ids of examples; {key!r} is "
                    f"in {files[0]} and {files[1]}: write one of them again with keys of its own"
                )


def shards(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the tar files that a path, folder, pattern or list names, in their order.

    Raises
    ------
    ArgumentError
        There is none, or not all of those named.
    """
    if not isinstance(path, str | Path):
        return [Path(file) for file in path]
    if not Path(path).is_dir():
        return expand(str(path)) if is_pattern(str(path)) else [Path(path)]
    found = sorted(Path(path).glob("*.tar"), key=lambda file: natural_key(file.name))
    if not found:
        raise ArgumentError(f"no .tar files in {path}")
    return found


def _class_number(label: str, numbers: Mapping[str, int], what: str) -> int:
    """Return the number of a class that is given by number or name: digits are a number, always."""
    if label.isascii() and label.isdigit():
        return int(label)
    if label not in numbers:
        rule = "is none of the classes" if numbers else "is no class number; pass classes= (--classes)"
        raise ArgumentError(f"label {label!r} of {what} {rule}")
    return numbers[label]
