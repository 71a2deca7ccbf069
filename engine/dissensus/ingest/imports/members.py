"""Files that hold named arrays: one model with its ids, or several models side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dissensus.errors import ArgumentError, UnknownName

from .files import id_texts, stem_of
from .id_values import SAMPLE, KnownIds
from .names import (
    CLASS_ORDERS,
    LOGITS,
    MEMBER_IDS,
    PREDICTIONS,
    PROBABILITIES,
    TRUTH_ARRAYS,
    UNNAMED,
    VALUE,
    hint_of,
)
from .nested_json import are_mostly
from .source import ArraySource, Entry, Facts, Source, Wanted
from .stated_classes import CLASS_NUMBERS, classes_in_texts


@dataclass(frozen=True)
class Member:
    """One named array of a file.

    Attributes
    ----------
    shape
        Its shape; () for what is no array.
    load
        Opens it, given what else is known of it.
    numbers
        Of a list of classes: the class numbers that stand for them, where these are not 0, 1, …
    """

    shape: tuple[int, ...]
    load: Callable[[Facts], Source]
    numbers: list[int] | None = None


def with_classes(members: Mapping[str, Member], texts: Mapping[str, Any]) -> dict[str, Member]:
    """Members, and the classes that metadata beside them state as one more, where no member lists them."""
    stated = classes_in_texts(texts)
    if stated is None or any(name.lower() in CLASS_ORDERS for name in members):
        return dict(members)
    listed = np.asarray(stated.names)
    order = Member(listed.shape, lambda facts: ArraySource(listed, facts), stated.numbers)
    rest = {name: member for name, member in members.items() if name.lower() not in CLASS_NUMBERS}
    return {**rest, CLASS_ORDERS[0]: order}


def is_by_example(members: Mapping[str, Member], wanted: Wanted) -> bool:
    """Whether arrays are called by the store's ids, and each holds what one example was given."""
    shapes = {member.shape for member in members.values()}
    return (
        len(members) > 1
        and shapes in ({()}, {(len(wanted.classes),)})
        and are_mostly(members, wanted.ids)
        and wanted.columns is None
    )


def stacked(path: Path, members: Mapping[str, Member]) -> dict[str, Member]:
    """One array of those of all examples, and their ids.

    Raises
    ------
    ArgumentError
        They lie in an archive, which would be opened for each of them.
    """
    first = next(iter(members))
    if path.suffix == ".npz":
        raise ArgumentError(
            f"{path} holds an array for each example, first {first!r}; save one array of all rows and one of "
            "the ids: numpy.savez(path, logits=numpy.stack(list(rows.values())), ids=list(rows))"
        )

    def load(facts: Facts) -> Source:
        rows = [getattr(member.load(Facts("")), "array", None) for member in members.values()]
        return ArraySource(np.stack([np.asarray(row[...]) for row in rows if row is not None]), facts)

    ids = np.asarray(list(members))
    return {
        VALUE: Member((len(members), *members[first].shape), load),
        MEMBER_IDS[0]: Member(ids.shape, lambda facts: ArraySource(ids, facts)),
    }


def entries_of(path: Path, format_name: str, members: Mapping[str, Member], wanted: Wanted) -> list[Entry]:
    """Models among the named arrays of a file.

    Parameters
    ----------
    path, format_name
        The file.
    members : mapping of str to Member
        Its arrays by name.
    wanted : Wanted
        `columns` names the array of predictions, `id_column` that of the ids.

    Raises
    ------
    ArgumentError
        There is no array of predictions, or what is there are a network's weights.
    UnknownName
        A name the user gave is not there.
    """
    arrays = {name: member for name, member in members.items() if member.shape}
    if any(name.endswith((".weight", ".running_mean", "state_dict")) or name == "weight" for name in members):
        raise ArgumentError(
            f"{path} holds a network's weights, not predictions; run it with `dissensus ingest`"
        )
    if not arrays:
        what = f"; what it has are no lists: {', '.join(list(members)[:5])}" if members else ""
        raise ArgumentError(f"{path} holds no arrays of predictions{what}")
    id_name = _id_member(path, arrays, wanted)
    is_named = id_name is not None
    has_more = len(arrays) > 1 + is_named
    order_name = _order_member(arrays, wanted, id_name) if has_more else None
    others = {name: member for name, member in arrays.items() if name != order_name}
    if id_name is None and len(others) > 1:  # classes called by numbers may look like ids
        id_name = _by_value(path, others, wanted)
    chosen = _chosen(path, others, wanted, id_name)
    unused = [name for name in members if name not in (*chosen, id_name, order_name)]
    single = len(chosen) == 1
    loader = _Loader(path, format_name, arrays, id_name, is_named, order_name, unused)
    return [
        Entry(
            stem_of(path) if single else name,
            path,
            partial(loader.load, name),
        )
        for name in chosen
    ]


@dataclass(frozen=True)
class _Loader:
    """Opens the arrays of predictions of one file, with the ids and classes that it has for all of them."""

    path: Path
    format: str
    arrays: Mapping[str, Member]
    id_name: str | None
    is_named: bool
    order_name: str | None
    unused: Sequence[str]

    def load(self, name: str) -> Source:
        """Open one array."""
        guessed = None if self.is_named else self.id_name
        notes = [f"ids are array {guessed!r}"] if guessed is not None else []
        notes += [f"not used: {', '.join(self.unused)}"] if self.unused else []
        facts = Facts(self.format, self._texts(self.id_name), hint_of(name), notes, guessed=guessed)
        facts.classes = self._texts(self.order_name)
        facts.numbers = None if self.order_name is None else self.arrays[self.order_name].numbers
        return self.arrays[name].load(facts)

    def _texts(self, name: str | None) -> list[str] | None:
        if name is None:
            return None
        source = self.arrays[name].load(Facts(self.format))
        return id_texts(source.read(0, source.shape[0]), f"array {name!r} of {self.path.name}")


def _order_member(arrays: Mapping[str, Member], wanted: Wanted, id_name: str | None) -> str | None:
    """Array that lists the classes in the file's order: distinct texts, or as many distinct numbers."""
    lower = {name.lower(): name for name in reversed(list(arrays))}
    for name in (lower[known] for known in CLASS_ORDERS if known in lower):
        if name in (id_name, *wanted.taken) or len(arrays[name].shape) != 1:
            continue
        texts = _texts(arrays[name], arrays[name].shape[0])
        is_number = arrays[name].load(Facts("")).dtype.kind in "iu"
        if texts and len(set(texts)) == len(texts) and (not is_number or len(texts) == len(wanted.classes)):
            return name
    return None


def _id_member(path: Path, arrays: Mapping[str, Any], wanted: Wanted) -> str | None:
    if wanted.id_column is not None:
        if wanted.id_column not in arrays:
            raise UnknownName.of(f"array in {path.name}", wanted.id_column, arrays)
        return wanted.id_column
    lower = {name.lower(): name for name in reversed(list(arrays))}
    found = (lower[known] for known in MEMBER_IDS if known in lower)
    return next((name for name in found if len(arrays[name].shape) == 1), None)  # pixels are no ids


def _by_value(path: Path, arrays: Mapping[str, Member], wanted: Wanted) -> str | None:
    """Array of no known name whose values nearly all are the store's ids."""
    known = KnownIds(wanted.ids)
    passed_over = {*PREDICTIONS, *TRUTH_ARRAYS}
    others = [
        n
        for n, m in arrays.items()
        if len(m.shape) == 1 and n.lower() not in passed_over and n not in wanted.taken
    ]
    texts = {name: _texts(arrays[name], SAMPLE) for name in others}
    for name in others if not wanted.has_rows else ():
        if known.share(texts[name]) == 1:
            whole = _texts(arrays[name], arrays[name].shape[0])
            known.refuse_other_numbers(whole, f"array {name!r} of {path}")
    return next((name for name in others if known.are_like(texts[name])), None)


def _texts(member: Member, n_rows: int) -> list[str]:
    """First values of an array as text; none of one that holds no ids."""
    try:
        array = member.load(Facts("")).read(0, min(n_rows, member.shape[0]))
        return id_texts(array, "")
    except ArgumentError:
        return []


def _chosen(path: Path, arrays: Mapping[str, Any], wanted: Wanted, id_name: str | None) -> list[str]:
    """Array of predictions of the one model, or those of several."""
    if wanted.columns is not None:
        names = [wanted.columns] if isinstance(wanted.columns, str) else list(wanted.columns)
        for name in names:
            if name not in arrays:
                raise UnknownName.of(f"array in {path.name}", name, arrays)
        return names
    lower = {name.lower(): name for name in arrays}
    for known in (*LOGITS, *PROBABILITIES, *PREDICTIONS):
        if known in lower:
            return [lower[known]]
    chosen = [name for name in arrays if name != id_name and name.lower() not in TRUTH_ARRAYS]
    if not chosen:
        raise ArgumentError(
            f"{path} holds no arrays of predictions, only {', '.join(arrays)}; if one is "
            "name it with columns= (--column)"
        )
    scores = [name for name in chosen if len(arrays[name].shape) == 2]
    if len(scores) == 1 and all(re.fullmatch(UNNAMED, name) for name in chosen):
        return scores  # the others are no models beside it, but labels and the like
    return chosen
