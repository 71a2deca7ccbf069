"""Objects in JSON as rows of a table: predictions by example id, scores by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.errors import ArgumentError

from .files import reading
from .names import STRONG_IDS

MOST = 100  # keys that are looked at


def are_mostly(keys: Mapping[str, Any], known: Sequence[str]) -> bool:
    """Whether most keys of an object are known ids."""
    names, first = set(known), list(keys)[:MOST]
    return sum(key in names for key in first) * 2 > len(first)


def are_classes(path: Path, content: Mapping[str, Any], ids: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether the keys of an object are classes; where they may be ids too, what it holds of each tells.

    Raises
    ------
    ArgumentError
        Nothing tells: there are as many examples as classes, and both go by the same names.
    """
    if len(content) < 2 or set(content) != set(classes):
        return False
    if not are_mostly(content, ids):
        return True
    if any(not isinstance(value, list | dict) or len(value) != len(ids) for value in content.values()):
        return False
    if len(ids) == len(classes):
        raise ArgumentError(
            f"{path} may hold scores by class or by example: the store's classes and examples go by the same "
            'names; write a list of objects, each with its "id"'
        )
    return True


def table_of_records(path: Path, records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Table of the names that any record has."""
    names = dict.fromkeys(name for record in records for name in record)
    with reading(path, "json"):
        return pa.table({name: [scores_by_class(record.get(name)) for record in records] for name in names})


def scores_by_class(value: Any) -> Any:
    """Object of a list of {"label": …, "score": …}, as `transformers` has it; other values unchanged."""
    if not isinstance(value, list) or not value:
        return value
    if not all(isinstance(one, dict) and one.keys() == {"label", "score"} for one in value):
        return value
    if not all(isinstance(one["label"], str | int) for one in value):
        return value
    found = {str(one["label"]): one["score"] for one in value}
    return found if len(found) == len(value) else value


def table_by_example(path: Path, content: Mapping[str, Any]) -> pa.Table:
    """Table of an object that holds a record of each example, or its scores by class."""
    content = {key: scores_by_class(value) for key, value in content.items()}
    _require_objects(path, content)
    taken = {name for record in content.values() for name in record}
    column = next((name for name in STRONG_IDS if name not in taken), None)
    if column is None:
        raise ArgumentError(f"{path} has ids as keys and in its objects too; write one of them")
    return table_of_records(path, [{column: key, **record} for key, record in content.items()])


def table_by_class(path: Path, content: Mapping[str, Any]) -> pa.Table:
    """Table of an object that holds of each class the scores of all examples, in order or by their ids."""
    if all(isinstance(scores, list) for scores in content.values()):
        with reading(path, "json"):
            return pa.table(dict(content))
    _require_objects(path, content)
    ids = dict.fromkeys(key for scores in content.values() for key in scores)
    by_example = {key: {name: scores.get(key) for name, scores in content.items()} for key in ids}
    return table_by_example(path, by_example)


def _require_objects(path: Path, content: Mapping[str, Any]) -> None:
    odd = next((key for key, value in content.items() if not isinstance(value, dict)), None)
    if odd is not None:
        raise ArgumentError(
            f"{path} must hold an object for each of its keys, as it does for some; {odd!r} has "
            f"{content[odd]!r:.40}"
        )
