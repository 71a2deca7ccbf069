"""The models that files hold: opened by their format; ids that clash are refused before anything is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dissensus.errors import ArgumentError, DissensusError

from .arrays import MEMBERS, member_entries, npy_entries
from .files import TABLES, format_of, stem_of
from .json_files import json_entries
from .source import Entry, Wanted
from .table_models import table_entries
from .tables import open_table

_READERS: dict[str, Callable[[Path, Wanted], list[Entry]]] = {
    "npy": npy_entries,
    **{name: partial(member_entries, name) for name in MEMBERS},
    "json": json_entries,
}


NAMES_FROM = ("stem", "folder")


@dataclass(frozen=True)
class Unreadable:
    """A file whose models cannot be told.

    Attributes
    ----------
    model_id, file, error
        Its stem, its path, and why.
    """

    model_id: str
    file: Path
    error: str


def find_models(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    wanted: Wanted,
    model_id: str | None,
    name_from: str = "stem",
) -> list[Entry | Unreadable]:
    """Models that files hold, in the order given.

    Parameters
    ----------
    paths
        One file or several.
    wanted
        Names to go by.
    model_id
        Name of the model, where there is just one.
    name_from : {"stem", "folder"}
        What a model is called by where its file holds no other.

    Raises
    ------
    ArgumentError
        No file, a file given twice, two models of one id, or `model_id` for several.
    """
    files = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
    if not files:
        raise ArgumentError("paths must name at least one file of predictions, got none")
    if name_from not in NAMES_FROM:
        raise ArgumentError(f"name_from must be 'stem' or 'folder'; got {name_from!r}")
    found = [entry for file in files for entry in _of_file(file, wanted)]
    if name_from == "folder":
        found = [_named_by_folder(entry) for entry in found]
    if model_id is not None:
        return [_renamed(found, model_id)]
    _refuse_clashes(found)
    return found


def _of_file(path: Path, wanted: Wanted) -> list[Entry | Unreadable]:
    try:
        format_name = format_of(path)
        if format_name in TABLES:
            return [*table_entries(open_table(path, format_name), wanted)]
        return [*_READERS[format_name](path, wanted)]
    except DissensusError as error:
        return [Unreadable(stem_of(path), path, str(error))]


def _named_by_folder(entry: Entry | Unreadable) -> Entry | Unreadable:
    if entry.model_id != stem_of(entry.file):
        return entry  # by its name in a file that holds several
    return replace(entry, model_id=entry.file.resolve().parent.name)


def _renamed(found: list[Entry | Unreadable], model_id: str) -> Entry | Unreadable:
    if len(found) > 1:
        names = ", ".join(entry.model_id for entry in found[:5])
        raise ArgumentError(
            f"model_id={model_id!r} names one model, the files hold {len(found)}: {names}; choose with "
            "columns= (--column)"
        )
    entry = found[0]
    return replace(entry, model_id=model_id)


def _refuse_clashes(found: list[Entry | Unreadable]) -> None:
    seen: dict[str, Path] = {}
    for entry in found:
        if entry.model_id in seen:
            raise ArgumentError(
                f"model id {entry.model_id!r} comes from {seen[entry.model_id]} and from {entry.file}; "
                "call them by their folders with name_from='folder' (--name-from folder), or import one of "
                "them by itself with model_id= (--model NAME) and, of several in a file, columns= (--column)"
            )
        seen[entry.model_id] = entry.file
