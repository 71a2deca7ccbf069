"""Which output of a model stands for which class of a store, where they are not the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dissensus.errors import ArgumentError, UnknownName, WrongClassCount


@dataclass(frozen=True)
class ClassMap:
    """Which output of a model stands for each class of a store.

    Parameters
    ----------
    classes
        the store's, in its order.
    outputs
        for each class the model's column, by number or by the model's own name for it; None where the model
        does not know the class.
    n_outputs
        how many columns the model has, where the map tells.

    Raises
    ------
    ArgumentError
        The lengths differ, no class has an output, an output stands for two classes, or a number is out of
        range.

    Examples
    --------
    >>> from dissensus.ingest import ClassMap
    >>> ClassMap.of_names(["dog", "fish", "cat"], classes=["cat", "dog"]).outputs
    (2, 0)
    """

    classes: tuple[str, ...]
    outputs: tuple[int | str | None, ...]
    n_outputs: int | None = None

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.outputs):
            raise ArgumentError(
                f"class map must name an output for each of {len(self.classes)} classes, got "
                f"{len(self.outputs)}"
            )
        used = [output for output in self.outputs if output is not None]
        if not used:
            raise ArgumentError(
                f"class map gives none of the store's classes ({_some(self.classes)}) an output of the model"
            )
        output, count = Counter(used).most_common(1)[0]
        if count > 1:
            both = [c for c, o in zip(self.classes, self.outputs, strict=True) if o == output]
            raise ArgumentError(f"class map gives output {output!r} to several classes: {_some(both)}")
        check_range([o for o in used if isinstance(o, int)], self.n_outputs)

    @classmethod
    def of_names(cls, names: Sequence[str], classes: Sequence[str]) -> ClassMap:
        """Map by name: `names` are those of all outputs of the model, in their order.

        Raises
        ------
        ArgumentError
            A name comes twice, none is a class of the store, or one differs from a class by case or
            punctuation only.
        """
        name, count = Counter(names).most_common(1)[0] if names else ("", 0)
        if count > 1:
            raise ArgumentError(f"class map names {name!r} {count} times; outputs must have distinct names")
        place = {name: column for column, name in enumerate(names)}
        if not place.keys() & {*classes}:
            raise ArgumentError(
                f"class map and store have no class in common: the map has {_some(names)}, the store "
                f"{_some(classes)}"
            )
        _refuse_spellings(names, classes)
        return cls(tuple(classes), tuple(place.get(c) for c in classes), len(names))

    @classmethod
    def of_pairs(cls, pairs: Mapping[str, int | str], classes: Sequence[str]) -> ClassMap:
        """Map by pairs of a class of the store and an output, a number from 0 or the model's name for it.

        Raises
        ------
        UnknownName
            The store has no such class.
        ArgumentError
            As of `ClassMap`.
        """
        for name in pairs:
            if name not in classes:
                raise UnknownName.of("class in the class map", name, classes, "(class of the store)")
        return cls(tuple(classes), tuple(pairs.get(c) for c in classes))

    @property
    def missing(self) -> list[str]:
        """Classes of the store that the model does not know."""
        return [c for c, output in zip(self.classes, self.outputs, strict=True) if output is None]

    def columns(self, names: Sequence[str] | None, n_outputs: int | None) -> list[int]:
        """Return the model's column for each class, -1 where there is none.

        Parameters
        ----------
        names
            What the model calls its outputs, if it tells.
        n_outputs
            How many it has, if it tells.

        Raises
        ------
        WrongClassCount
            The map was made for another number of outputs.
        UnknownName, ArgumentError
            An output is not among the model's, or named where the model has no names.
        """
        if None not in (n_outputs, self.n_outputs) and n_outputs != self.n_outputs:
            raise wrong_length(self.n_outputs, n_outputs)
        found = [_column(output, names) for output in self.outputs]
        known = [column for column in found if column >= 0]
        check_range(known, n_outputs)
        if len({*known}) != len(known):
            twice = next(column for column in known if known.count(column) > 1)
            raise ArgumentError(
                f"class map gives output {twice} of the model to several classes (by number and by name); "
                "give each output to one class"
            )
        return found


def _column(output: int | str | None, names: Sequence[str] | None) -> int:
    if output is None or isinstance(output, int):
        return -1 if output is None else output
    if names is None:
        raise ArgumentError(
            f"class map names output {output!r}, but the model carries no class names; give columns by number"
        )
    if output not in names:
        raise UnknownName.of("output in the class map", output, names, "(of the model)")
    return list(names).index(output)


def check_range(columns: Iterable[int], n_outputs: int | None) -> None:
    """Refuse columns that a model of `n_outputs` outputs does not have."""
    for column in columns:
        if column < 0 or (n_outputs is not None and column >= n_outputs):
            limit = "0 or more" if n_outputs is None else f"0 … {n_outputs - 1} for {n_outputs} outputs"
            raise ArgumentError(f"columns of a class map must be {limit}, got {column}")


def wrong_length(wanted: int | None, got: int | None) -> WrongClassCount:
    """Return the error for a map that was made for another number of outputs."""
    return WrongClassCount(
        f"the class map is for {wanted} outputs, the model has {got}; name every output of the model, in "
        "order"
    )


def _refuse_spellings(names: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse a class that the map spells otherwise: it would be taken for missing in silence."""
    spelled = {_plain(name): name for name in names if name not in classes}
    for name in classes:
        other = spelled.get(_plain(name))
        if name not in names and other is not None:
            raise ArgumentError(
                f"class {name!r} of the store is spelled {other!r} in the class map; write it as the "
                "store does"
            )


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}" or "nothing"
