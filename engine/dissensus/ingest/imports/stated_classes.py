"""Class names that a file states beside its numbers: in the metadata of a table's schema or of tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from .names import CLASS_ORDERS, TRUTH

_HUGGINGFACE = "huggingface"  # of `datasets`: features, and the names of those that are classes
_ATTRS = "pandas_attrs"  # of `DataFrame.attrs`
CLASS_NUMBERS = _NUMBERED, _NAMED = (
    "id2label",
    "label2id",
)  # of `transformers`: the name of each number, the number of each
LONGEST = 9  # digits of a class number: more are no number of a class
_LISTS = [name for name in CLASS_ORDERS if name != "columns"]  # in metadata those are a table's columns


@dataclass(frozen=True)
class Stated:
    """Classes as a file states them.

    Attributes
    ----------
    names
        One a class, distinct, in the order of the numbers.
    numbers
        What the file calls them by in its class numbers, ascending; None where these are 0, 1, …
    """

    names: list[str]
    numbers: list[int] | None = None

    @property
    def by_number(self) -> dict[int, str]:
        """Name of each class number."""
        numbers = range(len(self.names)) if self.numbers is None else self.numbers
        return dict(zip(numbers, self.names, strict=True))


def classes_in_texts(texts: Mapping[str, Any]) -> Stated | None:
    """Names in the order of the numbers, from entries of metadata; None where none states them.

    Parameters
    ----------
    texts : mapping
        "classes", "class_names" and the like hold a list, or as "id2label" an object of the name of each
        number, "label2id" one of the number of each name; as JSON where they are text.
    """
    lower = {name.lower(): _parsed(value) for name, value in texts.items()}
    for name in (known for known in _LISTS if known in lower):
        found = _in_order(lower[name]) if isinstance(lower[name], list) else _by_number(lower[name])
        if found is not None:
            return found
    return _by_number(lower.get(_NUMBERED)) or _by_number(_turned(lower.get(_NAMED)))


def classes_of_column(schema: pa.Schema, column: str) -> Stated | None:
    """Names of the class numbers that one column holds, where the schema states them."""
    own = classes_in_texts(_texts(schema.field(column).metadata))
    return _names_of(_features(schema).get(column)) if own is None else own


def classes_of_scores(schema: pa.Schema, column: str, classes: Sequence[str]) -> Stated | None:
    """Names of the classes in the order of the scores or numbers of a column of predictions.

    What is stated of the column itself comes first, then of the table, then of its right answers: a file of
    predictions counts classes as its labels do. Labels of another number of classes are another
    question's, and those of other names say nothing of the store's classes.
    """
    own = classes_of_column(schema, column)
    if own is not None:
        return own
    texts = _texts(schema.metadata)
    whole = classes_in_texts({**texts, **_object(texts.get(_ATTRS))})
    if whole is not None:
        return whole
    told = (_names_of(f) for name, f in _features(schema).items() if name.lower() in TRUTH)
    alike = (one.names for one in told if one is not None and {*one.names} & {*classes})
    return _the_one(names for names in alike if len(names) == len(classes))


def _the_one(found: Iterable[list[str]]) -> Stated | None:
    distinct = list(dict.fromkeys(map(tuple, found)))
    return Stated(list(distinct[0])) if len(distinct) == 1 else None


def _features(schema: pa.Schema) -> dict[str, Any]:
    info = _object(_texts(schema.metadata).get(_HUGGINGFACE)).get("info")
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def _names_of(feature: Any) -> Stated | None:
    """Names of a feature that is a class, or a list of them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names_of(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") != "ClassLabel":
        return _names_of(feature.get("feature"))
    names = feature.get("names")
    return _in_order(names) if isinstance(names, list) else None


def _in_order(names: list[Any]) -> Stated | None:
    return Stated([str(name) for name in names]) if _are_distinct(names) else None


def _by_number(content: Any) -> Stated | None:
    """Names of an object whose keys number them, from 0 or otherwise."""
    if not isinstance(content, dict) or not all(map(_is_number, content)):
        return None
    by_number = {int(key): content[key] for key in sorted(content, key=int)}
    found = _in_order(list(by_number.values())) if len(by_number) == len(content) else None
    if found is None or list(by_number) == list(range(len(by_number))):
        return found
    return Stated(found.names, list(by_number))


def _is_number(key: Any) -> bool:
    return str(key).isdecimal() and len(str(key)) <= LONGEST


def _turned(content: Any) -> Any:
    """Object of the name of each number, of one of the number of each name; None where two share one."""
    if not isinstance(content, dict):
        return None
    names = {str(number): name for name, number in content.items()}
    return names if len(names) == len(content) else None


def _are_distinct(names: list[Any]) -> bool:
    plain = all(isinstance(name, str | int) and not isinstance(name, bool) for name in names)
    return plain and 0 < len(names) == len(set(map(str, names)))


def _texts(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    pairs = (metadata or {}).items()
    return {key.decode(errors="replace").lower(): value.decode(errors="replace") for key, value in pairs}


def _object(text: str | None) -> dict[str, Any]:
    content = _parsed(text)
    return content if isinstance(content, dict) else {}


def _parsed(value: Any) -> Any:
    """Content of JSON text; None of other text, and what is no text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
