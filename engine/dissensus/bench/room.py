"""How much disk a store of a sweep may still take."""

from __future__ import annotations

import shutil
from pathlib import Path


def room(folder: Path, stores: Path, store: Path, most_bytes: float) -> float:
    """Bytes that a store may grow to: what it has counts as free, what else lies beside it does not.

    Parameters
    ----------
    folder : Path
        The sweep's; it need not be there yet.
    stores, store : Path
        Where all stores of the sweep lie, and the one that is to be filled.
    most_bytes : float
        Most that they may take together.
    """
    own, others = held(store), held(stores)
    if stores in store.parents:
        others -= own
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return max(min(most_bytes - others, shutil.disk_usage(place).free + own), 0.0)


def held(folder: Path) -> int:
    """Bytes of the files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
