"""Rows of a file put into the store's order, and its classes into the store's: by name, never by guess."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, ExamplesMismatch, UnknownName

from .columns import are_other_numbers
from .id_values import REMEDY, bare
from .source import ArraySource, Source, require_memory

HELD_BYTES = 64 << 20  # what may be held in memory rather than read twice

Order = NDArray[np.intp] | None  # row of the file for each example; None where they agree


def is_order(given: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether ids of rows are the store's, each once."""
    return len(given) == len(wanted) and set(given) == set(wanted)


def order_of(given: Sequence[str], wanted: Sequence[str], what: str, guessed: str | None = None) -> Order:
    """Row of a file for each of the store's examples.

    Parameters
    ----------
    given : sequence of str
        Id of each row of the file.
    wanted : sequence of str
        Ids of the store, in its order.
    what : str
        The file, for the message.
    guessed : str, optional
        Column that was taken for the ids by its values only, for the message.

    Returns
    -------
    (N,) intp or None
        None where the rows are in the store's order already.

    Raises
    ------
    ExamplesMismatch
        Ids that come twice, are unknown or are missing, with their number and the first few.
    """
    if given == wanted:
        return None
    place = {name: row for row, name in enumerate(given)}
    known = set(wanted)
    twice = [name for name, n in Counter(given).items() if n > 1] if len(place) < len(given) else []
    lists = {
        ("comes more than once", "come more than once"): twice,
        ("is not in the store", "are not in the store"): [name for name in place if name not in known],
        ("of the store has no row", "of the store have no row"): [n for n in wanted if n not in place],
    }
    wrong = [
        (f"1 id {one}" if len(names) == 1 else f"{len(names):,} ids {many}") + f", first {names[:3]}"
        for (one, many), names in lists.items()
        if names
    ]
    if wrong:
        raise ExamplesMismatch(
            f"{what} has {len(given):,} rows, the store {len(wanted):,} examples: {'; '.join(wrong)}; give "
            f"one row for each of the store's ids, which are like {wanted[0]!r}{_hint(given, known, guessed)}"
        )
    return np.fromiter((place[name] for name in wanted), np.intp, len(wanted))


def _hint(given: Sequence[str], known: set[str], guessed: str | None) -> str:
    """What else may help: ids that differ in their outer form only, ids known by their values only."""
    bares = {bare(name): name for name in known}
    alike = [(name, bares[bare(name)]) for name in given if name not in known and bare(name) in bares]
    hint = ""
    if len(alike) * 2 > len(given):
        hint = (
            f". But for folder, ending, blanks and capitals {len(alike)} agree, first {alike[0][0]!r} with "
            f"{alike[0][1]!r}: write them in the file as they are in the store"
        )
    if guessed is not None:
        hint += f". They are column {guessed!r}, taken for the ids by its values; {REMEDY}"
    return hint


def _sorted_ids(ids: Sequence[str]) -> list[str]:
    """Ids sorted as text; as numbers where all of them are whole numbers."""
    if all(name.isascii() and name.isdecimal() for name in ids):
        return sorted(ids, key=lambda name: (int(name), name))
    return sorted(ids)


def ids_of_rows(rows: str | os.PathLike[str] | None, ids: Sequence[str]) -> list[str] | None:
    """Ids that the user says the rows of files without ids have; None where they are the store's order.

    Raises
    ------
    ArgumentError
        The file of ids cannot be read.
    """
    if rows is None or rows == "store":
        return None
    if rows == "sorted":
        return _sorted_ids(ids)
    try:
        text = Path(rows).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(
            f"rows must be 'store', 'sorted' or a text file with one id a line; {str(rows)!r}: {reason}"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def order_without_ids(n_rows: int, ids: Sequence[str], row_ids: Sequence[str] | None, what: str) -> Order:
    """Row of a file that has no ids for each of the store's examples.

    Raises
    ------
    ExamplesMismatch
        It has another number of rows.
    """
    if row_ids is not None:
        order = order_of(row_ids, ids, "rows=")
        if n_rows == len(ids):
            return order
    if n_rows != len(ids):
        raise ExamplesMismatch(
            f"{what} has {n_rows:,} rows, the store {len(ids):,} examples, and no ids say which are which; "
            "give one row an example, or a column of ids"
        )
    return None


def class_places(
    given: Sequence[str] | None, classes: Sequence[str], what: str = "classes"
) -> NDArray[np.intp] | None:
    """Place in the store of each class of a file, (C,); None where no order was given.

    Raises
    ------
    ArgumentError
        The names are not the store's.
    """
    if given is None:
        return None
    place = {name: i for i, name in enumerate(classes)}
    twice = next((name for name, n in Counter(given).items() if n > 1), None)
    if twice is not None:
        raise ArgumentError(
            f"{what} must name each class once, in the file's order; {twice!r} comes "
            f"{list(given).count(twice)} times"
        )
    unknown = [name for name in given if name not in place]
    if unknown:
        is_own = what != "classes"  # the file's, which the user may overrule
        remedy = "(or give the store's names in the file's order: classes=, --classes FILE)"
        what = f"class in {what}:" if is_own else "class"
        raise UnknownName.of(what, str(unknown[0]), classes, remedy if is_own else "")
    if len(set(given)) < len(classes) or len(given) != len(classes):
        missing = [name for name in classes if name not in set(given)]
        raise ArgumentError(
            f"{what} must name each of the store's {len(classes)} classes once, in the file's order; got "
            f"{len(given)} names, of the store's {len(missing)} are missing, first {missing[:3]}"
        )
    return np.array([place[name] for name in given], np.intp)


class Aligned:
    """Predictions in the store's order of rows and classes; names of classes as numbers.

    Parameters
    ----------
    source : Source
        The file's rows.
    order : (N,) intp or None
        Row of the file for each example.
    places : (C,) intp or None
        Place in the store of each class of the file.
    classes : sequence of str
        Class names of the store.
    block_rows : int
        Rows to give at a time.
    ids : sequence of str
        Ids of the store's examples, for messages.
    numbers : (C,) sequence of int, optional
        Class numbers of the file, ascending, where they are not 0, 1, …
    """

    def __init__(
        self,
        source: Source,
        order: Order,
        places: NDArray[np.intp] | None,
        classes: Sequence[str],
        block_rows: int,
        ids: Sequence[str] = (),
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._given = None if numbers is None else np.asarray(numbers)
        self._source, self._order = _readable(source, order), order
        self._places, self._columns = places, None if places is None else np.argsort(places)
        self._numbers = {name: i for i, name in enumerate(classes)}
        self._block_rows, self._ids = block_rows, ids
        is_single = source.shape[1:] in ((), (1,))
        if is_single and places is None and source.dtype.kind in "iuf" and are_other_numbers(classes):
            raise ArgumentError(
                "the file holds one number a row, and the classes are named by other numbers, first "
                f"{list(classes)[:3]}: if its are names save them as text (Parquet, JSON), if class "
                "numbers give the classes in the order of the numbers with classes= (--classes FILE)"
            )
        if places is not None and (source.dtype.kind in "OU" or source.facts.in_order):
            what = "columns are named by class, or were given in the store's order,"
            what = what if source.facts.in_order else "predictions are names of classes"
            raise ArgumentError(f"classes (--classes) must not be given where {what} already")

    def blocks(self, first: int = 0) -> Iterator[NDArray[Any]]:
        """Rows (n,) or (n, C), from one example to the last."""
        n_rows = self._source.shape[0]
        for start in range(first, n_rows, self._block_rows):
            stop = min(start + self._block_rows, n_rows)
            block = self._read(start, stop)
            if len(block) != stop - start:
                raise ExamplesMismatch(f"the file ends after {start + len(block)} of {n_rows} rows")
            yield self._in_store_classes(block, start)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        if self._order is not None and isinstance(self._source, ArraySource):
            return self._source.take(self._order[start:stop])
        return self._source.read(start, stop)

    def _in_store_classes(self, block: NDArray[Any], start: int) -> NDArray[Any]:
        if block.ndim == 2 and block.shape[1] == 1:
            block = block[:, 0]
        if block.dtype.kind in "OU":
            return self._named(block, start)
        if self._given is not None and block.ndim == 1:
            block = self._ranked(block, self._given, start)
        if self._columns is None or self._places is None:
            return block
        if block.ndim == 2:
            return block[:, self._columns]
        if block.dtype.kind == "f":
            raise ArgumentError("classes reorders class numbers or scores; got one float a row")
        inside = (block >= 0) & (block < len(self._places))
        return np.where(inside, self._places[np.where(inside, block, 0)], block)

    def _ranked(self, block: NDArray[Any], given: NDArray[Any], start: int) -> NDArray[np.intp]:
        """Class numbers of the file as 0, 1, …"""
        ranks = np.minimum(np.searchsorted(given, block), len(given) - 1)
        odd = np.flatnonzero(given[ranks] != block)
        if len(odd):
            raise ArgumentError(
                f"class number {block[odd[0]]} of {self._example(start + int(odd[0]))} is none of those that "
                f"the file names, {given[0]} to {given[-1]}; if its numbers are others give the names in "
                "their order with classes= (--classes FILE)"
            )
        return ranks

    def _example(self, row: int) -> str:
        return f"example {self._ids[row]!r}" if len(self._ids) else f"row {row}"

    def _named(self, block: NDArray[Any], start: int) -> NDArray[np.int64]:
        try:
            return np.array([self._numbers[name] for name in block.tolist()], np.int64)
        except KeyError:
            off = [row for row, name in enumerate(block.tolist()) if name not in self._numbers]
            place = self._example(start + off[0])
            what = f"class of {place} ({len(off)} of the rows {start} to {start + len(block) - 1} are off):"
            raise UnknownName.of(what, str(block[off[0]]), self._numbers) from None


def _readable(source: Source, order: Order) -> Source:
    """Source that can be read twice and in any order; in memory where the file gives rows only in turn."""
    if isinstance(source, ArraySource):
        return source
    n_bytes = int(np.prod(source.shape)) * source.dtype.itemsize
    if order is None and n_bytes > HELD_BYTES:
        return source
    # the blocks, and the array they are joined to
    what = f"putting the rows of this {source.facts.format} file into the store's order"
    require_memory(2 * n_bytes, what, "sort it by the store's order, or convert it to .npy")
    return ArraySource(source.read(0, source.shape[0]), source.facts)
