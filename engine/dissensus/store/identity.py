"""Names of examples: text, distinct, one a row."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError


def id_strings(example_ids: Iterable[Any], n: int) -> list[str]:
    """Ids as text: strings as they are, whole numbers in decimal.

    Parameters
    ----------
    example_ids : iterable of str or int
        One for each example, distinct; lists, arrays, Arrow and pandas columns alike.
    n : int
        How many there must be.

    Raises
    ------
    ArgumentError
        Another number of them, bytes or other kinds, text that is not Unicode, an id that comes twice.
    """
    if isinstance(example_ids, str | bytes):
        raise ArgumentError(f"example_ids must be a list of ids; got {example_ids!r}")
    ids = [_text(value) for value in example_ids]
    if len(ids) != n:
        raise ArgumentError(f"example_ids must have one entry for each of the {n} rows; got {len(ids)}")
    if len(set(ids)) < n:
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ArgumentError(f"example_ids must be distinct; {twice!r} comes more than once")
    return ids


def checked_name(name: Any, what: str) -> str:
    """Check a name that a user gives: text that can be written, not blank.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(f"{what} is a non-empty string; got {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{what} must be valid Unicode; {name!r} is not") from error
    return name


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path.

    Raises
    ------
    ArgumentError
        It holds a zero byte, which no file system takes.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise ArgumentError(f"a path must hold no zero byte; got {text!r}")
    return Path(os.path.abspath(text))


def _text(value: Any) -> str:
    value = value.as_py() if hasattr(value, "as_py") else value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ArgumentError(
            f"example_ids must be strings or whole numbers; got {value!r} ({type(value).__name__})"
        )
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"example_ids must be valid Unicode; {value!r} is not") from error
    return str(value)
