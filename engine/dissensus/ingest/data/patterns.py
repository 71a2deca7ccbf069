"""Names that stand for several files: `shard-{000..009}.tar`, `data/test-*.parquet`."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from dissensus.errors import ArgumentError

from .listing import natural_key

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(spec: str) -> list[Path]:
    """Return the files that a name stands for: itself where it exists, else what its pattern matches.

    Parameters
    ----------
    spec
        A path; `{000..009}` counts, `{a,b}` lists, `*`, `?` and `[…]` match what is there.

    Raises
    ------
    ArgumentError
        A braced name is not there (all of them were named), or nothing matches.
    """
    if Path(spec).exists():
        return [Path(spec)]
    found = [path for name in _braced(spec) for path in _matching(name, spec)]
    if len(set(found)) < len(found):
        raise ArgumentError(f"{spec} names {next(p for p in found if found.count(p) > 1)} twice")
    return found


def is_pattern(spec: str) -> bool:
    """Whether a name that is no file's stands for several."""
    return bool(_BRACES.search(spec) or glob.has_magic(spec)) and not Path(spec).exists()


def _matching(name: str, spec: str) -> list[Path]:
    if Path(name).exists():
        return [Path(name)]
    found = sorted(glob.glob(name), key=natural_key) if glob.has_magic(name) else []
    if not found:
        raise ArgumentError(f"no such data: {name}, which {spec} stands for")
    return [Path(path) for path in found]


def _braced(spec: str) -> list[str]:
    """Return the names that braces stand for, the last brace counting fastest."""
    braces = _BRACES.search(spec)
    if braces is None:
        return [spec]
    head, tail = spec[: braces.start()], _braced(spec[braces.end() :])
    return [head + middle + end for middle in _alternatives(braces[1], spec) for end in tail]


def _alternatives(text: str, spec: str) -> list[str]:
    counted = _RANGE.fullmatch(text)
    if counted is None:
        return text.split(",")
    first, last = int(counted[1]), int(counted[2])
    if last < first:
        raise ArgumentError(f"braces must count upwards, got {{{text}}} in {spec}")
    return [f"{number:0{len(counted[1])}d}" for number in range(first, last + 1)]
