"""How the rows and the classes of a file lie: as the user says, as the file does, else as the store's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from .align import Aligned, Order, class_places, is_order, order_of, order_without_ids
from .id_values import without_folders
from .source import Source

if TYPE_CHECKING:
    from dissensus.store.catalog import Store


@dataclass(frozen=True)
class Arrangement:
    """What the user says of the order of rows and classes.

    Attributes
    ----------
    store
        Whose order is wanted.
    places : (C,) intp or None
        Place in the store of each class of a file.
    rows, row_ids
        As given for files without ids, and the ids that this stands for.
    """

    store: Store
    places: NDArray[np.intp] | None
    rows: str | os.PathLike[str] | None
    row_ids: list[str] | None

    def of(self, source: Source, file: Path, notes: list[str]) -> Aligned:
        """Put a file's rows and classes into the store's order; what was done is added to the notes."""
        order, places = self._order(source, file, notes), self._places(source, file, notes)
        numbers = self._numbers(source, notes)
        rows, ids = self.store.block_rows, self.store.example_ids
        return Aligned(source, order, places, self.store.classes, rows, ids, numbers)

    def _numbers(self, source: Source, notes: list[str]) -> list[int] | None:
        """Class numbers of the file where they are not 0, 1, …, unless the user says how classes lie."""
        numbers = source.facts.numbers
        if numbers is None or self.places is not None or source.dtype.kind in "OU":
            return None
        gaps = " with gaps" if numbers[-1] - numbers[0] >= len(numbers) else ""
        notes.append(
            f"the file numbers its classes {numbers[0]} to {numbers[-1]}{gaps}: taken in this order, by name"
        )
        return numbers

    def _places(self, source: Source, file: Path, notes: list[str]) -> NDArray[np.intp] | None:
        """Place in the store of each class: as the user says, else as the file does; None for the store's."""
        given, classes = source.facts.classes, self.store.classes
        if given is None or source.dtype.kind in "OU" or given == classes:
            return self.places
        if self.places is not None:
            notes.append("the file's own list of classes is not used: classes= (--classes) says their order")
            return self.places
        if given == [f"LABEL_{number}" for number in range(len(given))]:  # `transformers`, of unnamed classes
            return None
        if given == [str(number) for number in range(len(given))]:  # columns that are merely numbered
            if {*given} == {*classes}:
                raise ArgumentError(
                    f"the list of classes in {file.name} may be names of the store's classes, which are "
                    "called by other numbers than their own, or their numbers: give the store's names in the "
                    "file's order with classes= (--classes FILE)"
                )
            return None
        places = class_places(given, classes, f"the list of classes in {file.name}")
        notes.append(f"classes put from the order of the file, {given[0]!r} first, into the store's")
        return places

    def _named(self, given: list[str], notes: list[str]) -> list[str]:
        """Ids of a file as the store has them, where they differ in the folders before them only."""
        ids = self.store.example_ids
        if is_order(given, ids):
            return given
        found = without_folders(given, ids)
        if found is None or found == given:
            return given
        first = next(pair for pair in zip(given, found, strict=True) if pair[0] != pair[1])
        notes.append(f"ids differ from the store's in their folders only: {first[0]!r} is {first[1]!r}")
        return found

    def _order(self, source: Source, file: Path, notes: list[str]) -> Order:
        given, ids = source.facts.ids, self.store.example_ids
        guessed = source.facts.guessed
        if given is not None and self.rows is not None and guessed and list(given) != list(ids):
            notes.append(f"column {guessed!r} is not taken for the ids: rows= (--rows) says how rows lie")
            given = None
        if given is not None:
            if self.rows is not None:
                raise ArgumentError(f"rows must not be given for {file.name}: it has ids of its own")
            if len(given) != source.shape[0]:
                raise ArgumentError(
                    f"{file.name} has {len(given)} ids for {source.shape[0]} rows of predictions"
                )
            return order_of(self._named(given, notes), ids, file.name, guessed)
        order = order_without_ids(source.shape[0], ids, self.row_ids, file.name)
        if self.rows is None:
            notes.append("no ids in the file: its rows are taken in the store's order")
        if self.rows == "sorted" and self.row_ids != sorted(ids):
            notes.append("rows are taken in the order of the ids as numbers, 2 before 10")
        return order
