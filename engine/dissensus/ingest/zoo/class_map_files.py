"""Class maps from files: the names of a model's outputs, or pairs of class and output."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError

from .class_map import ClassMap

HEADER = ["class", "output"]


def read_class_map(path: str | os.PathLike[str], classes: Sequence[str]) -> ClassMap:
    """Read which output of a model stands for each class of a store.

    Parameters
    ----------
    path
        Text, the name of one output of the model a line, in their order; a JSON object {class of the store:
        output}; or a CSV file of these pairs with the header `class,output`. An output is a number from 0,
        or the model's own name for it.
    classes
        The store's.

    Returns
    -------
    ClassMap
        A warning tells which classes have no output.

    Raises
    ------
    ArgumentError, UnknownName
        The file cannot be read, or as of `ClassMap.of_names` and `ClassMap.of_pairs`.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"class map {file} cannot be read as text: {error}") from error
    readers = {".json": _from_json, ".csv": _from_csv}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        found = ClassMap.of_names(_lines(text, file), classes)
    else:
        found = ClassMap.of_pairs(_distinct(reader(text, file), file), classes)
    _tell_missing(found, file)
    return found


def _lines(text: str, file: Path) -> list[str]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines or "" in lines:
        where = f"line {lines.index('') + 1} is blank" if lines else "it is empty"
        raise ArgumentError(f"class map {file} must name one output of the model a line; {where}")
    return lines


def _from_json(text: str, file: Path) -> list[tuple[str, Any]]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        raise ArgumentError(f"class map {file} is not valid JSON: {error}") from error
    if not text.lstrip().startswith("{"):
        raise ArgumentError(f'class map {file} must be a JSON object {{"class of the store": output, …}}')
    for name, output in pairs:
        if not isinstance(output, int | str) or isinstance(output, bool):
            raise ArgumentError(f"class map {file} gives {name!r} no number and no name but {output!r:.60}")
    return list(pairs)


def _from_csv(text: str, file: Path) -> list[tuple[str, Any]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if not rows or rows[0] != HEADER:
        first = ",".join(rows[0]) if rows else "nothing"
        raise ArgumentError(
            f"class map {file} must begin with the line {','.join(HEADER)}, got {first!r:.60}"
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2:
            raise ArgumentError(f"row {number} of class map {file} must have 2 cells, got {len(row)}")
    return [(name, int(output) if output.isdecimal() else output) for name, output in rows[1:]]


def _distinct(pairs: Iterable[tuple[str, Any]], file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, output in pairs:
        if name in found:
            raise ArgumentError(f"class map {file} gives class {name!r} twice")
        found[name] = output
    return found


def _tell_missing(found: ClassMap, file: Path) -> None:
    missing = found.missing
    if missing:
        some = f"{', '.join(missing[:5])}{', …' if missing[5:] else ''}"
        warnings.warn(
            f"class map {file}: {len(missing)} of {len(found.classes)} classes of the store have no output "
            f"and are never predicted: {some}",
            stacklevel=3,
        )
