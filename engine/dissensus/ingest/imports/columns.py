"""Which columns of a table hold predictions: classes or scores, recognised by name and by value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName, WrongClassCount

from .arrow_types import is_list
from .names import IDS, LOGITS, PREDICTIONS, PROBABILITIES, TOP_CLASSES, TRUTH, hint_of
from .source import Wanted
from .table_file import TableFile
from .top_classes import find_top


def are_other_numbers(classes: Sequence[str]) -> bool:
    """Whether classes are called by numbers that are not their own."""
    return all(name.isdecimal() for name in classes) and list(classes) != [
        str(i) for i in range(len(classes))
    ]


@dataclass(frozen=True)
class Picked:
    """The columns of a table that hold predictions.

    Attributes
    ----------
    names
        One column of classes or of lists, or one column a class, in the store's order.
    hint
        Kind of predictions their name speaks of.
    in_order
        Whether their names or the user say which class each column is.
    is_weak
        Whether their name may as well be that of the right answers.
    n_top
        How many of the first classes of each example the table has, where it has no more; else 0.
    """

    names: list[str]
    hint: str | None = None
    in_order: bool = False
    is_weak: bool = False
    n_top: int = 0


def find_predictions(table: TableFile, wanted: Wanted, taken: Sequence[str | None]) -> Picked:
    """Columns of a table that hold predictions.

    Raises
    ------
    ArgumentError
        None can be recognised, or several that exclude each other.
    WrongClassCount
        Numbered columns, but not one for each class of the store.
    """
    names = [name for name in table.schema.names if name not in taken]
    if wanted.columns is not None:
        return _given(table, wanted.columns, names, wanted.classes)
    top = find_top(table, names, wanted.classes)
    if (
        top is not None
        and not any(n.lower() in PREDICTIONS for n in names)
        and not _has_rival(table, names, top)
    ):
        return Picked([top[0]], is_weak=top[1] == 1 and top[0].lower() in TRUTH, n_top=top[1])
    lists = [n for n in names if is_list(table.schema.field(n).type)]
    scores = {**{n: Picked([n], hint_of(n)) for n in lists}, **_score_sets(names, wanted.classes)}
    if scores:
        return scores[_best(table, list(scores))]
    _refuse_other_counts(table, names, len(wanted.classes))
    lower = {n.lower(): n for n in reversed(names)}
    found = next((lower[known] for known in PREDICTIONS if known in lower), None)
    if found is None:
        _refuse_partly_named(table, names, wanted.classes)
    return _one(_only_candidate(table, names) if found is None else found)


def _has_rival(table: TableFile, names: Sequence[str], top: tuple[str, int]) -> bool:
    """Whether, beside one class of each example, another column may be the predictions and it the truth."""
    others = [n for n in names if n.lower() not in (*IDS, *TOP_CLASSES)]
    return top[1] == 1 and top[0].lower() in TRUTH and any(_may_be_classes(table, n) for n in others)


def _one(name: str) -> Picked:
    return Picked([name], hint_of(name), is_weak=name.lower() in TRUTH)


def _only_candidate(table: TableFile, names: Sequence[str]) -> str:
    """The one column that may hold predicted classes."""
    if not names:
        raise ArgumentError(f"{table.path} has no column beside the ids; predictions are needed too")
    others = [n for n in names if n.lower() not in IDS]
    candidates = others if len(others) == 1 else [n for n in others if _may_be_classes(table, n)]
    if len(candidates) != 1:
        raise ArgumentError(
            f"{table.path} has no column that is known to hold predictions among "
            f"{some_names(candidates or names)}; name it with columns= (--column), or call columns of scores "
            "as the store's classes are called, or 0, 1, … in their order"
        )
    return candidates[0]


def _may_be_classes(table: TableFile, name: str) -> bool:
    kind = table.schema.field(name).type
    if pa.types.is_floating(kind):
        batch = next(iter(table.batches([name], {name: kind})), None)
        return batch is None or all(v is None or v % 1 == 0 for v in batch.column(0).to_pylist())
    return not (pa.types.is_boolean(kind) or pa.types.is_temporal(kind))


def _given(
    table: TableFile, given: str | Sequence[str], names: Sequence[str], classes: Sequence[str]
) -> Picked:
    wanted = [given] if isinstance(given, str) else list(given)
    sets = _score_sets(names, classes)
    if len(wanted) == 1 and wanted[0] not in names:
        for prefix in (wanted[0], f"{wanted[0]}."):  # the second is that of an object's columns
            if prefix in sets:
                return sets[prefix]
    for name in wanted:
        if name not in names:
            raise UnknownName.of(f"column of {table.path.name}", name, names)
    if len(wanted) not in (1, len(classes)):
        raise WrongClassCount(
            f"columns must name one column, or one for each of the store's {len(classes)} classes; "
            f"got {len(wanted)}"
        )
    return Picked(wanted, hint_of(wanted[0]), in_order=len(wanted) > 1)


def _score_sets(names: Sequence[str], classes: Sequence[str]) -> dict[str, Picked]:
    """Sets of one column a class, by their prefix: the class's name or its number follows it."""
    numbers = [str(i) for i in range(len(classes))]
    named, numbered = _complete_sets(names, list(classes), True), _complete_sets(names, numbers, False)
    more = {prefix for prefix in numbered if prefix + str(len(classes)) in names}  # for other classes
    held = [one.names for one in named.values()]  # of classes called "digit 0", "digit 1", …
    return {p: one for p, one in numbered.items() if p not in more and one.names not in held} | named


def _complete_sets(names: Sequence[str], endings: Sequence[str], in_order: bool) -> dict[str, Picked]:
    there, first = set(names), endings[0]
    prefixes = [name[: len(name) - len(first)] for name in names if name.endswith(first)]
    return {
        prefix: Picked([prefix + ending for ending in endings], hint_of(prefix), in_order)
        for prefix in prefixes
        if there.issuperset(prefix + ending for ending in endings)
    }


def _best(table: TableFile, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    for known in (*LOGITS, *PROBABILITIES, *PREDICTIONS):
        hits = [name for name in names if name.lower().strip("_. ") in (known, known.rstrip("s"))]
        if len(hits) == 1:
            return hits[0]
    raise ArgumentError(
        f"{table.path} has several columns or sets of columns that may be predictions: {some_names(names)}; "
        "name one with columns= (--column)"
    )


def _refuse_other_counts(table: TableFile, names: Sequence[str], n_classes: int) -> None:
    numbered: dict[str, set[int]] = {}
    for name in names:
        match = re.fullmatch(r"(.*?)(\d+)", name)
        if match:
            numbered.setdefault(match[1], set()).add(int(match[2]))
    for prefix, numbers in numbered.items():
        if len(numbers) > 1 and numbers in (set(range(len(numbers))), set(range(1, len(numbers) + 1))):
            raise WrongClassCount(
                f"{table.path} has {len(numbers)} columns {prefix + str(min(numbers))!r} to "
                f"{prefix + str(max(numbers))!r}; the store needs one for each of its {n_classes} classes, "
                f"numbered 0 to {n_classes - 1} or named by them"
            )


def _refuse_partly_named(table: TableFile, names: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse columns that most classes, but not all, have given their names: by capitals only, perhaps."""
    folded = {name.strip().casefold(): name for name in names}
    alike = [folded[c.strip().casefold()] for c in classes if c.strip().casefold() in folded]
    lacking = [c for c in classes if c not in names]
    if len(alike) > 1 and 2 * len(alike) > len(classes) and lacking:
        raise WrongClassCount(
            f"{table.path} has columns that classes gave their names to, such as {alike[0]!r}, but "
            f"{len(lacking)} of the store's {len(classes)} classes have no column of exactly their name: "
            f"{some_names(lacking)}; rename or add these columns"
        )


def some_names(names: Sequence[str]) -> str:
    """Names for a message, not too many."""
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 8 else shown or "none"
