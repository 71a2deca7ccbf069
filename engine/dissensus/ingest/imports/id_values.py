"""Which values are the ids of a store's examples: told by the values, whatever their column is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dissensus.errors import ArgumentError

SAMPLE = 1000  # first values looked at
LEAST_TEXTS, LEAST_NUMBERS = 0.5, 0.8  # share of them that are known and distinct: numbers may be anything
REMEDY = (
    "name another column with id_column= (--id-column), or, if rows lie in the store's order, say "
    "rows='store' (--rows store)"
)


def bare(name: str) -> str:
    """Id without the folders before it, the ending after it, blanks around it and capitals."""
    last = name.strip().casefold().replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    stem, dot, ending = last.rpartition(".")
    is_ending = ending.isalnum() and not ending.isdecimal()  # 0.48 is a number, no file
    return stem if dot and stem and is_ending else last


def without_folders(given: Sequence[str], ids: Sequence[str]) -> list[str] | None:
    """Ids of the store for names that have more or fewer folders before them; None where that fails for one.

    Each name must be the end of one id, or end in one, and be that of no other.
    """
    by_end: dict[str, list[str]] = {}
    for name in ids:
        for end in _ends(name):
            by_end.setdefault(end, []).append(name)
    whole = {_plain(name): name for name in ids}
    found: list[str] = []
    for text in given:
        shorter = {*by_end.get(_plain(text), ())}
        alike = shorter | {whole[end] for end in _ends(text) if end in whole}
        if len(alike) != 1:
            return None
        found += alike
    return found if len(set(found)) == len(found) else None


def _ends(name: str) -> list[str]:
    """What is left of a name without none, one, … of the folders before it."""
    parts = _plain(name).split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


@dataclass(frozen=True)
class KnownIds:
    """Ids of a store, to compare values of files with.

    Attributes
    ----------
    ids
        Example ids of the store, in its order.
    """

    ids: Sequence[str]

    @cached_property
    def names(self) -> frozenset[str]:
        """The ids."""
        return frozenset(self.ids)

    @cached_property
    def bare_names(self) -> frozenset[str]:
        """The ids in their bare form."""
        return frozenset(map(bare, self.ids))

    @cached_property
    def are_row_numbers(self) -> bool:
        """Whether they are 0, 1, … in order: class numbers and ranks are such numbers too."""
        return list(self.ids) == [str(i) for i in range(len(self.ids))]

    def share(self, texts: Sequence[str]) -> float:
        """Share of some values that are ids; 0 of none."""
        return sum(text in self.names for text in texts) / len(texts) if texts else 0.0

    def are_like(self, texts: Sequence[str], groups: Sequence[str] | None = None) -> bool:
        """Whether values are ids nearly all, also where some are foreign, come twice, or lack a folder.

        Parameters
        ----------
        texts
            Values of the first rows.
        groups
            What each row is of, where a file has rows of several models; an id comes once in each.
        """
        are_numbers = all(text.isdecimal() for text in texts)
        if not texts or (are_numbers and self.are_row_numbers):
            return False
        least = LEAST_NUMBERS if are_numbers else LEAST_TEXTS
        names = [bare(text) for text in texts]
        distinct = len(set(names) if groups is None else set(zip(groups, names, strict=True)))
        return distinct > least * len(texts) and (
            self.share(texts) > least or sum(name in self.bare_names for name in names) > least * len(texts)
        )

    def refuse_other_numbers(self, texts: Sequence[str], what: str) -> None:
        """Refuse numbers that are each of the ids once, in another order: ids, or ranks, nobody can tell.

        Raises
        ------
        ArgumentError
            Naming both remedies.
        """
        if len(texts) != len(self.ids) or list(texts) == list(self.ids):
            return
        if frozenset(texts) == self.names and all(map(str.isdecimal, texts)):
            raise ArgumentError(
                f"{what} holds each of the store's ids, which are numbers, once and in another order: "
                "name it with id_column= (--id-column) if it is the ids; if rows lie in the store's order, "
                "say rows='store' (--rows store)"
            )
