"""What is known of each example, by name: what expressions choose by and groups are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnknownName

LABEL_NAME = "label_name"
OWN_OF_CLASSES = ("class_id", "name")
MOST_GROUPS = 1_000


class Facts(Mapping[str, pa.Array]):
    """Columns of the examples as plain Arrow arrays in row order, by name.

    Beside the examples' own columns and those added: `label_name`, the name of the class that `label` gives,
    and what the class table knows of that class (its group). A column of the examples goes before one of the
    classes of the same name. Sets of at most one class are plain values, null where empty; NaN is null.
    Durations are seconds.

    Parameters
    ----------
    examples : pyarrow.Table
        Examples in row order, with the columns added to them.
    classes : pyarrow.Table
        Classes in the order of their numbers: class_id, name, and any further columns.
    """

    def __init__(self, examples: pa.Table, classes: pa.Table) -> None:
        self._examples = examples
        named = {LABEL_NAME: "name"} | {n: n for n in classes.column_names if n not in OWN_OF_CLASSES}
        self._of_class = {
            name: classes[source] for name, source in named.items() if name not in examples.column_names
        }

    def __iter__(self) -> Iterator[str]:
        yield from self._examples.column_names
        yield from self._of_class

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> pa.Array:
        """One column.

        Raises
        ------
        UnknownName
            Naming the nearest.
        """
        if name in self._of_class:
            return _plain(_by_class(_plain(self._examples["label"]), _plain(self._of_class[name])))
        if name not in self._examples.column_names:
            raise UnknownName.of("column of the examples", name, self)
        return _plain(self._examples[name])

    def groups(self, name: str) -> dict[Any, NDArray[np.intp]]:
        """Sorted row numbers by value of a column, in the order of the values; None, if any, last.

        Raises
        ------
        UnknownName
            There is no such column.
        ArgumentError
            More than 1,000 values, or a column of sets.
        """
        column = self[name]
        if pa.types.is_nested(column.type):
            raise ArgumentError(
                f"column {name!r} holds several values for an example, which then belongs to several groups; "
                f"group by a column of single values: {', '.join(self._single())}"
            )
        encoded = column.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if len(values) > MOST_GROUPS:
            raise ArgumentError(
                f"column {name!r} has {len(values):,} different values, groups are at most {MOST_GROUPS:,}: "
                "choose a coarser column, or add one"
            )
        codes = np.array(encoded.indices.fill_null(len(values)).to_pylist(), np.intp)
        rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
        found = dict(zip([*values, None], rows, strict=False))
        ordered = sorted(value for value in found if value is not None)
        return {value: found[value] for value in [*ordered, *([None] if None in found else [])]}

    def _single(self) -> list[str]:
        return [name for name in self if not pa.types.is_nested(self[name].type) and name != "example_id"]


def _by_class(labels: pa.Array, values: pa.Array) -> pa.Array:
    """Value of each example's class, or of each of its classes."""
    if pa.types.is_list(labels.type):
        return pa.ListArray.from_arrays(labels.offsets, values.take(labels.values))
    return values.take(labels)


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """In one piece, decoded, text and lists of one type, durations in seconds; null where a number is NaN."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kinds = pa.types
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _plain_list(array.type) != array.type:
        array = pa.array(array.to_pylist(), _plain_list(array.type))
    if kinds.is_duration(array.type):
        per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[array.type.unit]
        array = pa.array(
            [None if n is None else n / per_second for n in array.cast(pa.int64()).to_pylist()], pa.float64()
        )
    if kinds.is_large_string(array.type) or kinds.is_string_view(array.type):
        return array.cast(pa.string())
    if kinds.is_list(array.type) and not array.null_count and (np.diff(_offsets(array)) <= 1).all():
        sizes = np.diff(_offsets(array))
        places = np.where(sizes == 1, _offsets(array)[:-1], 0)
        array = array.values.take(pa.array(places, mask=sizes == 0))
    if kinds.is_decimal(array.type) or kinds.is_float16(array.type):
        array = array.cast(pa.float64())
    if kinds.is_floating(array.type):
        import pyarrow.compute as pc

        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def _plain_list(kind: pa.DataType) -> pa.DataType:
    """The type that lists of other widths, or of text of other widths, are read as; another type as it is."""
    kinds = pa.types
    is_other = kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    if not (is_other or kinds.is_list(kind) or kinds.is_list_view(kind) or kinds.is_large_list_view(kind)):
        return kind
    held = kind.value_type.value_type if kinds.is_dictionary(kind.value_type) else kind.value_type
    held = pa.string() if kinds.is_large_string(held) or kinds.is_string_view(held) else held
    return kind if kinds.is_list(kind) and held == kind.value_type else pa.list_(held)


def _offsets(array: pa.Array) -> NDArray[np.int64]:
    return np.array(array.offsets.to_pylist(), np.int64)
