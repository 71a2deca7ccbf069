"""Image folders: one sub-folder a class, one file an example."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_SCAN_SLAB = 512
_MAX_THREADS = 8
_NAMED = 5


class ImageFolder:
    """Examples in class sub-folders: `root/<class>/**/<image>`.

    The class of an example is the sub-folder it lies in, classes are in sorted order, ids are paths relative
    to the root. Every file is hashed and fully decoded once when the source is made, in threads, so that
    damaged images are known before any inference; later each batch is decoded when its turn comes.

    Parameters
    ----------
    path
        The root folder.
    on_bad_image
        "stop" refuses a folder with images that cannot be decoded; "skip" leaves them out, with a warning
        that says how many and which.
    progress
        Show the scan on stderr.

    Raises
    ------
    UnreadableImage
        Images cannot be decoded: how many, and the first paths.
    ArgumentError
        The folder is missing or empty, has no class sub-folders, or one of them has no image.

    Examples
    --------
    >>> from dissensus.ingest import ImageFolder
    >>> examples = ImageFolder("imagenet/val", on_bad_image="skip")  # doctest: +SKIP
    """

    splits: list[str] | None = None

    def __init__(
        self, path: str | Path, on_bad_image: Literal["stop", "skip"] = "stop", *, progress: bool = True
    ) -> None:
        if on_bad_image not in ("stop", "skip"):
            raise ArgumentError(f"on_bad_image must be 'stop' or 'skip', got {on_bad_image!r}")
        self.path = Path(path)
        self.classes = _class_folders(self.path)
        listed = [
            (label, file) for label, name in enumerate(self.classes) for file in _image_files(self.path, name)
        ]
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
            return image
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


def _class_folders(path: Path) -> list[str]:
    if not path.is_dir():
        raise ArgumentError(f"image folder not found: {path}")
    names = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if names:
        return names
    state = "is empty" if not any(path.iterdir()) else "has no class sub-folders"
    raise ArgumentError(f"image folder {path} {state}; expected {path}/<class>/<image>")


def _image_files(root: Path, name: str) -> list[str]:
    found = sorted(
        Path(folder, file).relative_to(root).as_posix()
        for folder, _, files in os.walk(root / name)
        for file in files
        if Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith(".")
    )
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ArgumentError(f"class folder {root / name} holds no images ({suffixes}); fill or remove it")
    odd = next((file for file in found if not _is_text(file)), None)
    if odd is not None:
        raise ArgumentError(
            f"file names must be UTF-8, since they are the ids of examples; rename {root / odd!r}"
        )
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


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
