"""Tables whose rows belong to examples: their ids, read as text, taken apart from the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from dissensus.errors import ArgumentError

from .id_columns import find_ids, ids_of
from .names import STRONG_IDS, WEAK_IDS
from .table_file import TableFile
from .whole import open_whole, read_columns


@dataclass(frozen=True)
class Keyed:
    """Columns of a file, and the examples that its rows belong to.

    Attributes
    ----------
    table
        The columns beside the ids, in the file's order of rows.
    ids, id_name
        Example id of each row, and the column that holds them; None where the file has none.
    n_rows
        Number of rows.
    notes
        How the file was read.
    """

    table: pa.Table
    ids: list[str] | None
    id_name: str | None
    n_rows: int
    notes: tuple[str, ...] = ()


def read_keyed(
    path: str | os.PathLike[str], given: str | None = None, example_ids: Sequence[str] = ()
) -> Keyed:
    """Read a table with its ids.

    Parameters
    ----------
    path
        The file.
    given
        Name of the column of ids, where the user says it.
    example_ids
        Ids of the store, where there is one, by whose values the column is recognised.

    Raises
    ------
    ArgumentError, UnknownName
        The file cannot be read, the column given is not there, or a column of ids has one twice or none.
    """
    file = open_whole(path)
    if given is not None or len(example_ids):
        name = find_ids(file, example_ids, given, has_rows=True)
        ids = None if name is None else ids_of(file, name)
    else:
        name, ids = _own_ids(file)
    table = read_columns(file, [n for n in file.schema.names if n != name])
    return Keyed(table, ids, name, table.num_rows if ids is None else len(ids), file.notes)


def _own_ids(file: TableFile) -> tuple[str | None, list[str] | None]:
    """Ids by the name of their column; one whose name may be another thing's only if they are distinct."""
    lower = {n.lower(): n for n in reversed(file.schema.names)}
    strong = next((lower[known] for known in STRONG_IDS if known in lower), None)
    if strong is not None:
        return strong, _distinct(ids_of(file, strong), strong, file)
    for name in (lower[known] for known in WEAK_IDS if known in lower):
        try:
            return name, _distinct(ids_of(file, name), name, file)
        except ArgumentError:
            continue
    return None, None


def _distinct(ids: list[str], name: str, file: TableFile) -> list[str]:
    if len(set(ids)) < len(ids):
        first, n = next(item for item in Counter(ids).items() if item[1] > 1)
        raise ArgumentError(
            f"column {name!r} of {file.path} has the id {first!r} {n} times; ids must be distinct: correct "
            "them, or name another column with id_column= (--id-column)"
        )
    return ids
