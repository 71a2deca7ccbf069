"""Labels from files: class numbers, class names, or sets of them, with ids and what else the table holds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName

from .arrow_types import is_list, is_text
from .columns import are_other_numbers
from .keyed import read_keyed
from .names import TRUTH, VALUE
from .stated_classes import Stated, classes_of_column

LABELS = (*TRUTH, VALUE)
_NUMBERS = r"[\d\s;|]*|\[[\d\s,]*\]"  # a class number, or a set of them
_NO_NAME = r"\[.*\]|-\d+|(-?\d+\s*[,;|\s]\s*)+-?\d+"  # written like numbers, but no set that is known


@dataclass(frozen=True)
class LabelFile:
    """Labels of a file.

    Attributes
    ----------
    labels
        Of each row in the file's order: a class number, or a list of them (an empty one is not counted).
    ids
        Example id of each row; None where the file has none.
    classes
        Class names in the order of the numbers, where labels are names; else None.
    columns
        The other columns, in the file's order of rows.
    notes
        How the file was read.
    """

    labels: list[Any]
    ids: list[str] | None
    classes: list[str] | None
    columns: pa.Table
    notes: list[str] = field(default_factory=list)


def read_labels(
    path: str | os.PathLike[str],
    *,
    id_column: str | None = None,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
    example_ids: Sequence[str] = (),
) -> LabelFile:
    """Read labels: class numbers, class names, or sets of them.

    A set is a list (JSON, Parquet, Arrow), or in text several classes with ``;`` or ``|`` between them, for
    numbers also spaces. An empty entry is an example that is not to be counted.

    Parameters
    ----------
    path
        .npy, CSV, TSV, Parquet, Arrow, JSON or JSON lines.
    id_column, label_column
        Names of columns, where they are not recognised.
    classes
        Class names in their order; without them names are numbered as they sort.
    example_ids
        Ids of the store, where there is one, by whose values the column of ids is recognised.

    Returns
    -------
    LabelFile

    Raises
    ------
    ArgumentError, UnknownName
        The file cannot be read, no column is known to hold labels, or a class is unknown.
    """
    path = Path(path)
    keyed = read_keyed(path, id_column, example_ids)
    name = _label_column(keyed.table, path, label_column)
    rest = keyed.table.select([n for n in keyed.table.column_names if n != name])
    is_lone = keyed.ids is None and not rest.column_names
    if is_lone and path.suffix in (".csv", ".tsv", ".txt") and name in keyed.table[name].to_pylist():
        raise ArgumentError(
            f"{path} has no line of column names: its first is {name!r}, as others are; begin it with 'label'"
        )
    notes = [] if is_lone else [*keyed.notes, f"labels are column {name!r}, ids are {_said(keyed.id_name)}"]
    entries = keyed.table[name].combine_chunks()
    stated = classes_of_column(keyed.table.schema, name)
    if stated is not None and classes is not None and not {*stated.names} & {*classes}:
        notes.append(
            f"{path.name} calls classes otherwise, first {stated.names[0]!r}: numbers are taken as they are"
        )
        stated = None
    labels, names = _as_numbers(entries, f"column {name!r} of {path}", classes, stated)
    return LabelFile(labels, keyed.ids, names, rest, notes)


def _said(id_name: str | None) -> str:
    return "the row numbers" if id_name is None else f"column {id_name!r}"


def _label_column(table: pa.Table, path: Path, given: str | None) -> str:
    names = table.column_names
    if given is not None:
        if given not in names:
            raise UnknownName.of(f"column of {path.name}", given, names)
        return given
    lower = {name.lower(): name for name in reversed(names)}
    found = next((lower[known] for known in LABELS if known in lower), names[0] if len(names) == 1 else None)
    if found is None:
        raise ArgumentError(
            f"{path} has no column that is known to hold labels among {', '.join(names) or 'none'}; name it "
            "with label_column= (--label-column)"
        )
    return str(found)


def _as_numbers(
    entries: pa.Array, what: str, classes: Sequence[str] | None, stated: Stated | None
) -> tuple[list[Any], list[str] | None]:
    """Class numbers of entries, and the class names if the entries are names or the file states them."""
    kind = entries.type
    is_set = is_list(kind) and pa.types.is_integer(kind.value_type)
    if stated is not None and (is_set or pa.types.is_integer(kind)):
        sets = [row if isinstance(row, list) else [row] for row in entries.to_pylist()]
        return _from_names(_called(sets, what, stated), what, stated.names if classes is None else classes)
    if pa.types.is_null(kind):
        raise ArgumentError(f"{what} is empty in every row; no example would be counted")
    if pa.types.is_floating(kind):
        _refuse_ambiguous(what, classes)
        return _whole_floats(entries, what), None
    if pa.types.is_integer(kind) or is_set:
        _refuse_ambiguous(what, classes)
        return entries.to_pylist(), None
    if is_list(kind) and pa.types.is_null(kind.value_type):
        raise ArgumentError(f"{what} is empty in every row; no example would be counted")
    if is_text(kind):
        return _from_text(entries.to_pylist(), what, classes)
    if is_list(kind) and is_text(kind.value_type):
        return _from_names([row or [] for row in entries.to_pylist()], what, classes)
    raise ArgumentError(f"{what} must hold class numbers, class names or lists of them; it holds {kind}")


def _called(sets: list[list[int | None]], what: str, stated: Stated) -> list[list[str]]:
    """Names of class numbers; none, and -1, as `datasets` has it, are an example that is not counted."""
    given = [[number for number in one if number not in (None, -1)] for one in sets]
    names = stated.by_number
    odd = next(((row, n) for row, one in enumerate(given) for n in one if n not in names), None)
    if odd is not None:
        counted = "" if stated.numbers is None else f", which it numbers {min(names)} to {max(names)}"
        raise ArgumentError(
            f"{what} must hold numbers of its {len(names)} classes, first {stated.names[0]!r}{counted}; got "
            f"{odd[1]} in row {odd[0]}"
        )
    return [[names[number] for number in one] for one in given]


def _refuse_ambiguous(what: str, classes: Sequence[str] | None) -> None:
    """Refuse numbers that may be names of classes."""
    if classes is not None and are_other_numbers(classes):
        raise ArgumentError(
            f"{what} holds numbers, and the classes are named by other numbers, first {list(classes)[:3]}: "
            "do these name classes or count them from 0? Write names as text (Parquet, JSON), or call the "
            "classes by words"
        )


def _whole_floats(entries: pa.Array, what: str) -> list[int | None]:
    """Whole numbers that a missing one has turned into floats."""
    values = [None if v is None or v != v else v for v in entries.to_pylist()]
    odd = next(((i, v) for i, v in enumerate(values) if v is not None and not float(v).is_integer()), None)
    if odd is not None:
        raise ArgumentError(f"{what} must hold class numbers; got {odd[1]!r} in row {odd[0]}")
    return [None if v is None else int(v) for v in values]


def _from_text(
    texts: list[str | None], what: str, classes: Sequence[str] | None
) -> tuple[list[Any], list[str] | None]:
    known = set(classes or ())
    filled = [text.strip() if text else "" for text in texts]
    unknown = [text for text in filled if text not in known]
    is_all = len(unknown) == len(filled)
    if is_all and all(re.fullmatch(_NUMBERS, text) for text in filled):
        _refuse_ambiguous(what, classes)
        return [[int(number) for number in re.findall(r"\d+", text)] for text in filled], None
    strange = (text for text in unknown if not re.fullmatch(_NUMBERS, text))
    odd = next((text for text in strange if re.fullmatch(_NO_NAME, text)), None)
    if odd is not None:
        raise ArgumentError(
            f"{what} holds {odd!r:.60}, which is neither a class nor a set of them; write sets as 0;1 or "
            "[0, 1], count classes from 0, and leave empty what is not to be counted"
        )
    return _from_names([[text] if text in known else _split(text) for text in filled], what, classes)


def _split(text: str) -> list[str]:
    return [name.strip() for name in re.split(r"[;|]", text) if name.strip()]


def _from_names(
    sets: list[list[str]], what: str, classes: Sequence[str] | None
) -> tuple[list[Any], list[str] | None]:
    names = sorted({name for one in sets for name in one}) if classes is None else list(classes)
    number = {name: i for i, name in enumerate(names)}
    unknown = next((name for one in sets for name in one if name not in number), None)
    if unknown is not None:
        raise UnknownName.of(f"class in {what}:", unknown, names)
    rows: list[Any] = [[number[name] for name in one] for one in sets]
    if all(len(row) == 1 for row in rows):
        rows = [row[0] for row in rows]
    return rows, names
