"""Image folders: one sub-folder a class, one file an example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .decoding import DecodedExamples, OnBadImage, check_on_bad_image, decoded
from .listing import list_images

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageFolder(DecodedExamples):
    """Examples in class sub-folders: `root/<class>/**/<image>`.

    The class of an example is the sub-folder of the root that it lies in, at any depth; links to folders are
    followed. Classes come in timm's order: numbers in names count as numbers (2 before 10), and letter case
    does not, so that labels are those of weights trained with timm on such a folder. Ids are paths relative
    to the root. Names that begin with a dot do not count, nor do images beside the class folders (with a
    warning). Every file is hashed and fully decoded once when the source is made, in threads, so that damaged
    images are known before any inference; later each batch is decoded when its turn comes, 16-bit grey scaled
    to 8 bits, EXIF orientation left alone. See `DecodedExamples` for its attributes.

    Parameters
    ----------
    path
        The root folder.
    on_bad_image
        "stop" refuses a folder with images that cannot be decoded; "skip" leaves them out, with a warning
        that says how many and which; `skipped` keeps the list, and so does a store made for the source.
    classes
        All class names in the order of their labels, where the sub-folders are only some of them.
    progress
        Show the scan on stderr.

    Raises
    ------
    UnreadableImage
        Images cannot be decoded: how many, and the first paths.
    ArgumentError
        The folder is missing or empty, has no class sub-folders, one of them has no image or cannot be
        read, or is none of `classes`.

    Examples
    --------
    >>> from dissensus.ingest import ImageFolder
    >>> examples = ImageFolder("imagenet/val", on_bad_image="skip")  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        on_bad_image: OnBadImage = "stop",
        *,
        classes: Sequence[str] | None = None,
        progress: bool = True,
    ) -> None:
        check_on_bad_image(on_bad_image)
        self.path = Path(path)
        self.classes, listed = list_images(self.path, classes)
        self._files = [file for _, file in listed]
        self._look(str(self.path), self._files, on_bad_image, progress)
        self.labels: NDArray[np.int64] = np.array([label for label, _ in listed], np.int64)[self._kept]

    def _load(self, item: int) -> tuple[str, Image]:
        return decoded((self.path / self._files[item]).read_bytes())

    def _place(self, item: int) -> str:
        return str(self.path / self._files[item])
