"""What a column of an Arrow table may hold, by its type."""

from __future__ import annotations

import pyarrow as pa


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text."""
    if pa.types.is_dictionary(kind):
        return bool(is_text(kind.value_type))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds a list a row."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def as_text(column: pa.Array) -> pa.Array:
    """Text of a column, of numbered texts too; Arrow cannot cast those that polars writes."""
    if pa.types.is_dictionary(column.type):
        names, numbers = column.dictionary.cast(pa.string()), column.indices
        return names.take(numbers)
    return column.cast(pa.string())
