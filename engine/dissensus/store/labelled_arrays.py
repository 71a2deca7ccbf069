"""Names that predictions in memory carry: data frames and the like are matched by them, never by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dissensus.errors import ArgumentError


def in_class_order(values: Any, classes: Sequence[str], what: str) -> Any:
    """Scores with their columns in the store's order, where these have names; others as they are.

    Parameters
    ----------
    values : array, or pandas, polars, Arrow or xarray table
        One column a class. Columns that are merely numbered (0, 1, …, a prefix before each or not) have no
        names.
    classes : sequence of str
        Names of the store's classes.
    what : str
        What the values are called, for the message.

    Raises
    ------
    ArgumentError
        The names are not those of the store's classes, each once; or classes are called 0, 1, … in another
        order, and so are the columns: these may be names or only counted.
    """
    names = _names(values, 1)
    if names is None or names == list(classes):
        return values
    if len(names) == len(classes) and set(names) == set(classes):
        _refuse_two_meanings(names, f"columns of {what}", f"classes {list(classes[:3])}")
        place = {name: column for column, name in enumerate(names)}
        return np.asarray(values)[:, [place[name] for name in classes]]
    if _are_numbered(names):
        return values
    lacking = [name for name in classes if name not in set(names)]
    other = [name for name in names if name not in set(classes)]
    raise ArgumentError(
        f"{what} must have one column for each of the store's {len(classes)} classes, called as these are; "
        f"missing {lacking[:3]}, unknown {other[:3]}: rename them, or pass an array whose columns are in the "
        "store's order (numpy.asarray)"
    )


def ids_of(values: Any, example_ids: Sequence[str], what: str) -> list[str] | None:
    """Ids by which the rows of predictions are named; None where they are only counted.

    Raises
    ------
    ArgumentError
        They are called otherwise than the store's examples; or these are called 0, 1, … in another order, and
        so are the rows.
    """
    names = _names(values, 0)
    if names is None or names == list(example_ids):
        return None
    if _are_counted(names, 0):
        if set(names) == set(example_ids):
            _refuse_two_meanings(names, f"rows of {what}", f"examples {list(example_ids[:3])}")
        return None
    known = set(example_ids)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ArgumentError(
            f"{what} must have rows that are called as the store's examples are, such as {example_ids[0]!r}; "
            f"{len(unknown)} are not, first {unknown[:3]}: pass example_ids=, or an array whose rows are in "
            "the store's order (numpy.asarray)"
        )
    return names


def require_in_order(values: Any, example_ids: Sequence[str], what: str) -> None:
    """Refuse some rows of a table that are named, and not as the examples which are next in the store are.

    Raises
    ------
    ArgumentError
    """
    names = _names(values, 0)
    if names is None or _are_counted(names) or len(names) != len(example_ids):  # other lengths are told later
        return
    row = next((i for i, (a, b) in enumerate(zip(names, example_ids, strict=True)) if a != b), None)
    if row is not None:
        raise ArgumentError(
            f"{what} must be in the store's order; next is example {example_ids[row]!r}, the index says "
            f"{names[row]!r}: sort them, or pass an array whose rows are in that order (numpy.asarray)"
        )


def _are_counted(names: Sequence[str], first: int | None = None) -> bool:
    """Whether names are consecutive numbers (from `first`), as rows of a table without an index have them."""
    if first is None:
        first = int(names[0]) if names and names[0].isdecimal() else 0
    return list(names) == [str(row) for row in range(first, first + len(names))]


def _refuse_two_meanings(names: Sequence[str], what: str, known: str) -> None:
    """Refuse numbers that count and are names too: which of both is meant would be a guess."""
    if _are_counted(names, 0):
        raise ArgumentError(
            f"{what} are called 0, 1, …, and the store's {known}, … by the same numbers in another order: "
            "where the numbers are these names put the table into the store's order by them; where they only "
            "count pass an array (numpy.asarray)"
        )


def _are_numbered(names: Sequence[str]) -> bool:
    """Whether columns are called 0, 1, … behind one prefix, which may be empty."""
    prefix = names[0].removesuffix("0") if names else ""
    return list(names) == [f"{prefix}{column}" for column in range(len(names))]


def _names(values: Any, axis: int) -> list[str] | None:
    """Names of the rows (axis 0) or columns (1) of a table; None of an array."""
    if isinstance(values, np.ndarray | list | tuple):
        return None
    if isinstance(getattr(values, "dims", None), tuple) and hasattr(values, "indexes"):  # xarray
        found = values.indexes.get(values.dims[axis]) if len(values.dims) > axis else None
    elif hasattr(values, "iloc"):  # pandas
        found = values.index if axis == 0 else getattr(values, "columns", None)
    else:  # polars and Arrow have names of columns only
        found = None if axis == 0 else getattr(values, "column_names", getattr(values, "columns", None))
        found = found if isinstance(found, list | tuple) and all(isinstance(n, str) for n in found) else None
    return None if found is None else [str(name) for name in found]
