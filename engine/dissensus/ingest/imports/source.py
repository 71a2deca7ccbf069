"""What an import reads from: the predictions of one model in a file, row by row in the file's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.run.memory import available_bytes

BLOCK_ROWS = 4096  # rows that a source hands over at a time where it may choose


@dataclass(frozen=True)
class Wanted:
    """What the reader of a file may go by: the store's names, and the user's words.

    Attributes
    ----------
    ids, classes
        Example ids and class names of the store, in its order.
    id_column, columns
        Names the user gave for the ids and for the predictions; None where the names must be recognised.
    has_rows
        Whether the user says how rows of files without ids lie.
    """

    ids: Sequence[str]
    classes: Sequence[str]
    id_column: str | None = None
    columns: str | Sequence[str] | None = None
    has_rows: bool = False

    @property
    def taken(self) -> list[str]:
        """Columns that the user says are predictions."""
        return [self.columns] if isinstance(self.columns, str) else list(self.columns or ())

    def refuse_columns(self, path: Path) -> None:
        """Refuse names of columns for a file that has none."""
        for argument, value in (("id_column", self.id_column), ("columns", self.columns)):
            if value is not None:
                raise ArgumentError(
                    f"{argument} must not be given for {path.name}: it has no named columns; got {value!r}"
                )


class Rows(Protocol):
    """An array that need not be in memory: a shape, a dtype, and rows by slice or by number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,) or (N, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of what indexing gives."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Rows of a slice or of an array of row numbers."""


@dataclass
class Facts:
    """What is known of a source beside its numbers.

    Attributes
    ----------
    format
        Name of the file format.
    ids
        Example id of each row, where the file says.
    hint
        "logits", "probabilities" or "labels" where a name in the file says so.
    notes
        What the user should know about how the file was read.
    in_order
        Whether the file says which class each column of scores is.
    is_weak
        Whether the predictions have a name that right answers go by too.
    guessed
        Column (or array) that was taken for the ids by its values, not by its name.
    classes
        Names of the classes in the order of the scores or class numbers, where the file lists them.
    numbers
        Class numbers that stand for them in the file, where these are not 0, 1, …
    """

    format: str
    ids: list[str] | None = None
    hint: str | None = None
    notes: list[str] = field(default_factory=list)
    in_order: bool = False
    is_weak: bool = False
    guessed: str | None = None
    classes: list[str] | None = None
    numbers: list[int] | None = None


class ArraySource:
    """Predictions that can be read anywhere: an array in memory or mapped.

    Parameters
    ----------
    array : (N,) or (N, C)
        Class numbers, class names or scores.
    facts : Facts
        What else is known.
    """

    def __init__(self, array: Rows, facts: Facts) -> None:
        self.array, self.facts = array, facts
        self.shape, self.dtype = tuple(array.shape), array.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop in the file's order."""
        return np.asarray(self.array[start:stop])

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Rows of any numbers."""
        return np.asarray(self.array[rows])


class StreamSource:
    """Predictions that can only be read from the start on, such as the lines of a CSV file.

    Parameters
    ----------
    shape : tuple of int
        (N,) or (N, C).
    dtype : dtype
        Of the blocks.
    blocks : callable
        Starts again at the first row and gives blocks of any size.
    facts : Facts
        What else is known.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        blocks: Callable[[], Iterator[NDArray[Any]]],
        facts: Facts,
    ) -> None:
        self.shape, self.dtype, self.facts = shape, np.dtype(dtype), facts
        self._open = blocks
        self._position, self._rest = 0, np.empty(0)
        self._blocks: Iterator[NDArray[Any]] = iter(())

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop; quick where start is 0 or where the last read ended."""
        if start != self._position or start == 0:
            self._position, self._blocks = 0, self._open()
            self._rest = np.empty((0, *self.shape[1:]), self.dtype)
        while self._position < start:
            self._next(min(BLOCK_ROWS, start - self._position))
        return self._next(stop - start)

    def _next(self, n: int) -> NDArray[Any]:
        parts, held = [self._rest], len(self._rest)
        while held < n:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            held += len(block)
        rows = np.concatenate([part for part in parts if len(part)] or parts)
        self._rest = rows[n:]
        self._position += len(rows[:n])
        return rows[:n]


Source = ArraySource | StreamSource


@dataclass(frozen=True)
class Entry:
    """A model found in a file, its rows not yet touched.

    Attributes
    ----------
    model_id
        Name it will have in the store.
    file
        Where it was found.
    load
        Opens it.
    """

    model_id: str
    file: Path
    load: Callable[[], Source]


def require_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Refuse to hold more than the memory there is.

    Raises
    ------
    ArgumentError
        With both numbers and the remedy.
    """
    there = available_bytes()
    if n_bytes > there:
        raise ArgumentError(
            f"{what} needs {n_bytes / 1e9:,.2f} GB of memory, {there / 1e9:,.2f} GB are free; {remedy}"
        )
