"""What sources of encoded images share: one look at every image, then decoding batch by batch."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, DissensusError, ExamplesMismatch, UnreadableImage

from .examples import eight_bits, refuse_doubles

if TYPE_CHECKING:
    from PIL.Image import Image

    from .examples import Images

OnBadImage: TypeAlias = Literal["stop", "skip"]

CONTENT_DIGITS = 16  # of an image's sha256 are kept: 64 bits tell any image from what it was
_SCAN_SLAB = 512
_MAX_THREADS = 8
_NAMED = 5


class DecodedExamples(ABC):
    """Base of the sources whose images are decoded as they are read.

    Every item is decoded and hashed once when the source is made, so that damaged images are known before any
    inference. `read` decodes again, in threads, and refuses an item that is not what was seen then. It may be
    called from several threads, and by unpickled copies in other processes.

    A child calls `_look` in its `__init__`, and takes its labels at the items `_kept`.

    Attributes
    ----------
    decoding
        True: `read` takes a processor's time.
    threads
        In which one call of `read` decodes; worker processes set it to 1.
    ids
        One name per example, those left out not counted.
    skipped
        Why each image that was left out could not be read, by its id.
    contents
        (N,) first 16 hex digits of the sha256 of each image.
    fingerprint
        The sha256 over ids and the images' own sha256.
    """

    decoding = True
    splits: list[str] | None = None
    threads: int
    ids: list[str]
    skipped: dict[str, str]
    contents: NDArray[np.bytes_]
    fingerprint: str
    _kept: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> Images:
        """Decode images start … stop - 1, in threads.

        Raises
        ------
        UnreadableImage
            An item cannot be decoded any more.
        ExamplesMismatch
            An item changed since the source was made.
        """
        return self._decode(range(len(self))[start:stop])

    def _decode(self, rows: Sequence[int]) -> list[Any]:
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self._again, rows))

    @abstractmethod
    def _load(self, item: int) -> tuple[str, Any]:
        """Return the sha256 (hex) and the decoded image of one item; raise anything where that fails."""

    @abstractmethod
    def _place(self, item: int) -> str:
        """Return where an item lies, for messages."""

    def _look(self, where: str, names: Sequence[str], on_bad_image: OnBadImage, progress: bool) -> None:
        """Decode and hash every item once: sets all attributes but labels and classes, and `_kept`."""
        from dissensus.run.progress import Progress

        refuse_doubles(names)
        self.threads = min(_MAX_THREADS, os.cpu_count() or 1)
        found, items = _Found(), range(len(names))
        with (
            warnings.catch_warnings(),
            Progress(len(names), f"reading {where}", enabled=progress) as bar,
            ThreadPoolExecutor(self.threads) as pool,
        ):
            # Pillow also warns of some damage; what cannot be decoded is reported below, by path.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            for start in range(0, len(names), _SCAN_SLAB):  # a pool holds all it is given: give it a little
                slab = items[start : start + _SCAN_SLAB]
                for item, (content, fault) in zip(slab, pool.map(self._inspect, slab), strict=True):
                    found.add(item, names[item], content, fault)
                bar.advance(len(slab), status=f"{len(found.bad)} unreadable" if found.bad else "")
        self._report_bad(found.bad, len(names), on_bad_image)
        self._kept = np.array(found.kept, np.int64)
        self.ids = [names[item] for item in found.kept]
        self.skipped = {names[item]: found.bad[item] for item in sorted(found.bad, key=names.__getitem__)}
        self.contents = np.array(found.contents, f"S{CONTENT_DIGITS}")
        self.fingerprint = found.digest.hexdigest()

    def _inspect(self, item: int) -> tuple[str, str]:
        """Return the sha256 of an item, and why it cannot be decoded (empty if it can)."""
        try:
            return self._load(item)[0], ""
        except (MemoryError, DissensusError):
            raise
        except Exception as error:  # decoders raise anything on damaged bytes
            return "", reason(error)

    def _again(self, row: int) -> Any:
        item = int(self._kept[row])
        try:
            content, image = self._load(item)
        except (MemoryError, DissensusError):
            raise
        except Exception as error:
            raise UnreadableImage(
                f"{self._place(item)} could not be decoded any more ({reason(error)}); it was sound when the "
                "data was scanned: restore it, then run the same command again"
            ) from error
        if content[:CONTENT_DIGITS].encode() != self.contents[row]:
            raise ExamplesMismatch(
                f"{self._place(item)} is not what it was when the data was scanned; data must stay as they "
                "are while models run, and give the same at every reading (no random transform)"
            )
        return image

    def _report_bad(self, bad: dict[int, str], n: int, on_bad_image: OnBadImage) -> None:
        if not bad:
            return
        first = "; ".join(f"{self._place(item)} ({bad[item]})" for item in sorted(bad)[:_NAMED])
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        text = f"{len(bad)} of {n} images could not be decoded: {first}{more}"
        if on_bad_image == "stop":
            raise UnreadableImage(
                f"{text}; repair or remove them, or leave them out with on_bad_image='skip' "
                "(--on-bad-image skip)"
            )
        if len(bad) == n:
            raise UnreadableImage(f"{text}; no readable image is left")
        warnings.warn(f"left out: {text}", stacklevel=4)


class _Found:
    """What the first look at all items finds."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.contents: list[bytes] = []
        self.bad: dict[int, str] = {}
        self.digest = hashlib.sha256()

    def add(self, item: int, name: str, content: str, fault: str) -> None:
        if fault:
            self.bad[item] = fault
            return
        self.kept.append(item)
        self.contents.append(content[:CONTENT_DIGITS].encode())
        self.digest.update(f"{name}\0{content}\n".encode())


def decoded(data: bytes) -> tuple[str, Image]:
    """Return the sha256 of an image file's bytes, and the image: its first frame, 16-bit grey as 8 bits.

    The file is told by its content, not its name. EXIF orientation is left alone, as timm and torchvision do.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.load()
    return hashlib.sha256(data).hexdigest(), eight_bits(image)


def check_on_bad_image(value: str) -> None:
    """Refuse anything but "stop" and "skip"."""
    if value not in ("stop", "skip"):
        raise ArgumentError(f"on_bad_image must be 'stop' or 'skip', got {value!r}")


def reason(error: Exception) -> str:
    """Return in one line why an image could not be read, the same at every reading."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"  # Pillow names the buffer's address
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
