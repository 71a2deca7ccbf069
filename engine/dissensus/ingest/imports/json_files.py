"""JSON files: a list of classes or of rows, a list of records, an object of models, or one value a line."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from dissensus.errors import ArgumentError

from .files import array_of, reading, stem_of
from .json_frames import table_of_columns, table_of_frame
from .members import Member, entries_of
from .nested_json import (
    are_classes,
    are_mostly,
    scores_by_class,
    table_by_class,
    table_by_example,
    table_of_records,
)
from .source import ArraySource, Entry, Facts, Source, Wanted, require_memory
from .table_models import table_entries
from .tables import memory_table

_EXPANSION = 8  # Python objects take about this many times the bytes of their text
_PACKED = 4  # and text takes about so many times what it does packed


def read_json(path: Path) -> Any:
    """Content of a JSON file; of JSON lines, the list of their values.

    Raises
    ------
    ArgumentError
        It is broken, or larger than the memory there is.
    """
    need = _EXPANSION * path.stat().st_size * (_PACKED if path.suffix == ".gz" else 1)
    require_memory(need, f"{path.name}, which is text,", "convert it to .npy or Parquet")
    with reading(path, "json"):
        with _opened(path) as file:
            text = file.read()
        try:
            return json.loads(text, object_pairs_hook=_distinct)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
        lines = [line for line in text.splitlines() if line.strip()]
        return [json.loads(line, object_pairs_hook=_distinct) for line in lines]


def _opened(path: Path) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    file: IO[str] = opener(path, "rt", encoding="utf-8-sig")
    return file


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Object of its pairs; JSON readers keep the last of two of one key without a word."""
    content = dict(pairs)
    if len(content) < len(pairs):
        name, n = next(item for item in Counter(key for key, _ in pairs).items() if item[1] > 1)
        raise ValueError(f"an object has the key {name!r} {n} times; keys must be distinct")
    return content


def json_entries(path: Path, wanted: Wanted) -> list[Entry]:
    """Models of a JSON file. Lists stay unread until their turn; objects are read for their names."""
    if _begins_with(path) == "[":
        return _list_entries(path, wanted)
    return _entries(path, read_json(path), wanted)


def _begins_with(path: Path) -> str:
    with reading(path, "json"), _opened(path) as file:
        head = file.read(4096)
        body = head.lstrip()
        return "records" if body[:1] == "[" and body[1:].lstrip().startswith("{") else body[:1]


def _list_entries(path: Path, wanted: Wanted) -> list[Entry]:
    wanted.refuse_columns(path)

    def load() -> Source:
        values = read_json(path)
        if not values:
            raise ArgumentError(f"{path} holds an empty list")
        return _source(path, values, "list", wanted)

    return [Entry(stem_of(path), path, load)]


def _source(path: Path, values: list[Any], what: str, wanted: Wanted) -> Source:
    """Rows of a list: of classes, of lists of scores, or of scores by class as `transformers` has them."""
    if isinstance(scores_by_class(values[0]), dict):
        (entry,) = _table_entries(path, table_of_records(path, list(map(scores_by_class, values))), wanted)
        return entry.load()
    what = f"{path}, a JSON list," if what == "list" else f"{path}, JSON lines,"
    return ArraySource(array_of(values, what), Facts("json"))


def _entries(path: Path, content: Any, wanted: Wanted) -> list[Entry]:
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return _table_entries(path, table_of_records(path, content), wanted)
    if isinstance(content, list):
        wanted.refuse_columns(path)
        return [Entry(stem_of(path), path, lambda: _source(path, content, "lines", wanted))]
    frame = table_of_frame(path, content) if isinstance(content, dict) else None
    if frame is not None:
        return _table_entries(path, frame, wanted)
    if not isinstance(content, dict) or not content:
        raise ArgumentError(f"{path} must hold a list, or an object of lists; it holds {content!r:.40}")
    if are_classes(path, content, wanted.ids, wanted.classes):
        return _table_entries(path, table_by_class(path, content), wanted)
    if are_mostly(content, wanted.ids):
        return _by_example(path, content, wanted)
    frame = table_of_columns(path, content)
    if frame is not None:
        return _table_entries(path, frame, wanted)
    if all(isinstance(v, dict) and are_mostly(v, wanted.ids) for v in content.values()):
        return [
            replace(one, model_id=name)
            for name, of_model in content.items()
            for one in _by_example(path, of_model, wanted)
        ]
    return entries_of(path, "json", {n: _member(path, n, v) for n, v in content.items()}, wanted)


def _table_entries(path: Path, table: pa.Table, wanted: Wanted) -> list[Entry]:
    return table_entries(memory_table(path, "json", table), wanted)


def _by_example(path: Path, content: dict[str, Any], wanted: Wanted) -> list[Entry]:
    """An object whose keys are example ids."""
    if any(isinstance(scores_by_class(value), dict) for value in content.values()):
        return _table_entries(path, table_by_example(path, content), wanted)
    wanted.refuse_columns(path)
    array = array_of(list(content.values()), f"{path}, by example id,")
    return [Entry(stem_of(path), path, lambda: ArraySource(array, Facts("json", list(content))))]


def _member(path: Path, name: str, value: Any) -> Member:
    def load(facts: Facts) -> Source:
        return ArraySource(array_of(value, f"{name!r} of {path}"), facts)

    if not isinstance(value, list) or not value:
        return Member((), lambda facts: ArraySource(np.empty(0), facts))
    return Member((len(value),), load)
