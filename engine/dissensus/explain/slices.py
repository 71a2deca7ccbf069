"""Where one prediction gained on another and where it lost: by class, and by columns of the examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.kernels.tails import mcnemar
from dissensus.pairs.significance import q_values
from dissensus.store.catalog import Store
from dissensus.store.columns import LABEL_PREFIX
from dissensus.store.facts import LABEL_NAME, Facts
from dissensus.store.splits import Rows

CLASS = "class"
MOST_VALUES = 100  # of a column that is taken without being asked for: a finer one is no group but a number
OF_EXAMPLES = ("example_id", "label", "split", LABEL_NAME)  # told by class, or the same for all

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Slices:
    """Examples by the values of something; an example of several right classes is in several.

    Attributes
    ----------
    name : str
        What it is: "class", or a column.
    values : list
        Values in their order; None, for examples without one, last.
    examples : (K,) intp
        Positions among the rows asked for.
    codes : (K,) intp
        Value of each of these, as a place in `values`.
    """

    name: str
    values: list[Any]
    examples: NDArray[np.intp]
    codes: NDArray[np.intp]

    def counts(self, flags: Flags) -> NDArray[np.int64]:
        """How many examples of each value have a flag."""
        return np.bincount(self.codes[flags[self.examples]], minlength=len(self.values))


def slices_of(store: Store, rows: Rows, by: Sequence[str] | None) -> list[Slices]:
    """Slices of some rows.

    Parameters
    ----------
    store : Store
        Under the label set whose classes are meant.
    rows : (n,) intp
        Sorted rows that the truth counts.
    by : sequence of str, optional
        "class", and columns of `Store.facts`; by default the class and all columns of groups, those of at
        most 100 values. Of those that divide the rows alike one is taken: the class, else a "…_name".

    Raises
    ------
    UnknownName, ArgumentError
        As `Facts.groups`; the same name twice.
    """
    facts = store.facts()
    if by is None:
        names = sorted(_coarse(facts), key=lambda name: not name.endswith("_name"))
        found = _different([_classes(store, rows), *(_column(facts, name, rows) for name in names)])
        return sorted(found, key=lambda one: [CLASS, *facts].index(one.name))
    if isinstance(by, str) or len(set(by)) < len(by):
        raise ArgumentError(f"by must be a list of different columns; got {by!r}: pass ['class', …]")
    return [_classes(store, rows) if name == CLASS else _column(facts, name, rows) for name in by]


def _different(slices: Sequence[Slices]) -> list[Slices]:
    """Those that divide the examples otherwise than all before them."""
    found: list[Slices] = []
    for one in slices:
        if not any(_alike(one, other) for other in found):
            found.append(one)
    return found


def _alike(one: Slices, other: Slices) -> bool:
    """Whether each value of one holds the examples of one value of the other."""
    if not np.array_equal(one.examples, other.examples):
        return False
    both = np.unique(np.stack([one.codes, other.codes]), axis=1).shape[1]
    return bool(both == len(np.unique(one.codes)) == len(np.unique(other.codes)))


def _classes(store: Store, rows: Rows) -> Slices:
    truth = store.truth.take(rows)
    examples = np.repeat(np.arange(len(rows)), truth.sizes)
    return Slices(CLASS, list(store.classes), examples, truth.classes.astype(np.intp))


def _column(facts: Facts, name: str, rows: Rows) -> Slices:
    groups = facts.groups(name)
    codes = np.empty(len(facts["example_id"]), np.intp)
    for code, some in enumerate(groups.values()):
        codes[some] = code
    return Slices(name, list(groups), np.arange(len(rows)), codes[rows])


def _coarse(facts: Facts) -> list[str]:
    """Columns that make groups: few values, one for each example, no labels."""
    names = [n for n in facts if n not in OF_EXAMPLES and not n.startswith(LABEL_PREFIX)]
    return [n for n in names if not pa.types.is_nested(facts[n].type) and _few(facts[n])]


def _few(column: pa.Array) -> bool:
    return 1 < len(column.dictionary_encode().dictionary) <= MOST_VALUES


def compared(slices: Sequence[Slices], before: Flags, after: Flags) -> pa.Table:
    """What changed within each slice.

    Parameters
    ----------
    slices : sequence of Slices
        From `slices_of`.
    before, after : (n,) bool
        Whether each example is right with one thing and with the other.

    Returns
    -------
    pyarrow.Table
        by, value, n, accuracy_before, accuracy_after, difference, gained and lost (examples right only after,
        and only before), p_value (`kernels.tails.mcnemar`; null where nothing changed), q_value (Benjamini
        and Hochberg over the slices of the same `by`). Slices without an example are left out; within a `by`
        the least p comes first.
    """
    return pa.concat_tables([_compared(one, before, after) for one in slices])


def _compared(slices: Slices, before: Flags, after: Flags) -> pa.Table:
    n, gained, lost = (slices.counts(f) for f in (np.ones_like(before), after & ~before, before & ~after))
    p = mcnemar(gained, lost)
    q = q_values(p)
    held = np.flatnonzero(n)
    order = held[np.lexsort((held, -abs(gained - lost)[held], p[held]))]  # NaN last
    old, new = (slices.counts(f)[order] / n[order] for f in (before, after))
    texts = [None if slices.values[i] is None else str(slices.values[i]) for i in order.tolist()]
    return pa.table(
        {
            "by": pa.array([slices.name] * len(order), pa.string()),
            "value": pa.array(texts, pa.string()),
            "n": n[order],
            "accuracy_before": old,
            "accuracy_after": new,
            "difference": (gained - lost)[order] / n[order],
            "gained": gained[order],
            "lost": lost[order],
            "p_value": pa.array(p[order], from_pandas=True),
            "q_value": pa.array(q[order], from_pandas=True),
        }
    )
