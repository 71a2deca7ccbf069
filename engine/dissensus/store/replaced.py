"""Telling damage from a model that has left while it was being read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dissensus.errors import CorruptionError, ModelReplaced

from . import format as fmt
from .sealed import sha256_of


@contextlib.contextmanager
def unless_replaced(folder: Path, model_id: str, digest: str) -> Iterator[None]:
    """Turn damage into `ModelReplaced` where the folder holds another commit record by now, or none.

    Parameters
    ----------
    folder : Path
        Where the model lay.
    model_id, digest : str
        The model, and the SHA-256 of the commit record it was opened with.

    Raises
    ------
    CorruptionError, ModelReplaced
    """
    try:
        yield
    except CorruptionError as error:
        if sha256_of(folder / fmt.COMMIT_JSON) == digest:
            raise
        raise ModelReplaced(
            f"model {model_id!r} was replaced or removed while it was read; ask again"
        ) from error
