"""Image folders: one sub-folder a class, one file an example."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnreadableImage

from .examples import eight_bits
from .listing import list_images

if TYPE_CHECKING:
    from PIL.Image import Image

_SCAN_SLAB = 512
_MAX_THREADS = 8
_NAMED = 5


class ImageFolder:
    """Examples in class sub-folders: `root/<class>/**/<image>`.

    The class of an example is the sub-folder of the root that it lies in, at any depth; links to folders are
    followed. Classes come in timm's order: numbers in names count as numbers (2 before 10), and letter case
    does not, so that labels are those of weights trained with timm on such a folder. Ids are paths relative
    to the root. Names that begin with a dot do not count, nor do images beside the class folders (with a
    warning). Every file is hashed and fully decoded once when the source is made, in threads, so that damaged
    images are known before any inference; later each batch is decoded when its turn comes, 16-bit grey scaled
    to 8 bits.

    Parameters
    ----------
    path
        The root folder.
    on_bad_image
        "stop" refuses a folder with images that cannot be decoded; "skip" leaves them out, with a warning
        that says how many and which.
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

    splits: list[str] | None = None

    def __init__(
        self,
        path: str | Path,
        on_bad_image: Literal["stop", "skip"] = "stop",
        *,
        classes: Sequence[str] | None = None,
        progress: bool = True,
    ) -> None:
        if on_bad_image not in ("stop", "skip"):
            raise ArgumentError(f"on_bad_image must be 'stop' or 'skip', got {on_bad_image!r}")
        self.path = Path(path)
        self.classes, listed = list_images(self.path, classes)
        digest, bad = _scan(self.path, [file for _, file in listed], progress)
        self.skipped = sorted(bad)
        self._report_bad(bad, len(listed), on_bad_image)
        kept = [(label, file) for label, file in listed if file not in bad]
        self.ids = [file for _, file in kept]
        self.labels: NDArray[np.int64] = np.array([label for label, _ in kept], np.int64)
        self.fingerprint = digest

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> list[Image]:
        """Decode images start … stop - 1, in threads.

        Raises
        ------
        UnreadableImage
            A file changed since the scan and cannot be decoded any more.
        """
        files = self.ids[start:stop]
        with ThreadPoolExecutor(_threads()) as pool:
            return list(pool.map(self._decode, files))

    def _decode(self, file: str) -> Image:
        try:
            image: Image = _decoded((self.path / file).read_bytes())
            return eight_bits(image)
        except Exception as error:  # decoders raise anything on damaged bytes
            raise UnreadableImage(
                f"{self.path / file} could not be decoded any more ({error}); the folder was scanned before"
            ) from error

    def _report_bad(self, bad: dict[str, str], n_files: int, on_bad_image: str) -> None:
        if not bad:
            return
        first = "; ".join(f"{self.path / file} ({why})" for file, why in sorted(bad.items())[:_NAMED])
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        text = f"{len(bad)} of {n_files} images could not be decoded: {first}{more}"
        if on_bad_image == "stop":
            raise UnreadableImage(
                f"{text}; repair or remove them, or leave them out with on_bad_image='skip'"
            )
        if len(bad) == n_files:
            raise UnreadableImage(f"{text}; no readable image is left")
        warnings.warn(f"left out: {text}", stacklevel=3)


def _scan(root: Path, files: list[str], progress: bool) -> tuple[str, dict[str, str]]:
    """Hash and decode every file once; return the digest of the good ones, and the faults of the others."""
    from dissensus.run.progress import Progress

    digest, bad = hashlib.sha256(), {}
    with (
        warnings.catch_warnings(),
        Progress(len(files), f"reading {root}", enabled=progress) as bar,
        ThreadPoolExecutor(_threads()) as pool,
    ):
        # Pillow also warns of some damage; what cannot be decoded is reported below, by path.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        for start in range(0, len(files), _SCAN_SLAB):  # a pool holds all it is given: give it a little
            slab = files[start : start + _SCAN_SLAB]
            found = pool.map(_inspect, (root / file for file in slab))
            for file, (content, fault) in zip(slab, found, strict=True):
                if fault:
                    bad[file] = fault
                else:
                    digest.update(f"{file}\0{content}\n".encode())
            bar.advance(len(slab), status=f"{len(bad)} unreadable" if bad else "")
    return digest.hexdigest(), bad


def _inspect(path: Path) -> tuple[str, str]:
    """Return the sha256 of a file's bytes, and why it cannot be decoded (empty if it can)."""
    try:
        data = path.read_bytes()
        _decoded(data)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on damaged bytes
        return "", "not an image" if type(error).__name__ == "UnidentifiedImageError" else str(error)
    return hashlib.sha256(data).hexdigest(), ""


def _decoded(data: bytes) -> Any:
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _threads() -> int:
    return min(_MAX_THREADS, os.cpu_count() or 1)
