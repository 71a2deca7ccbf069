"""Which column of a table is what: ids, classes or scores, recognised by name and by value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from dissensus.errors import ArgumentError, UnknownName, WrongClassCount

from .members import LABELS, LOGITS, PROBABILITIES, hint_of
from .source import Wanted
from .tables import TableFile

IDS = (
    "example_id", "example_ids", "id", "ids", "file_name", "filename", "file", "image", "image_id",
    "image_name", "path", "filepath", "image_path", "key", "name", "index", "", "unnamed: 0",
    "__index_level_0__",
)  # fmt: skip
WEAK_IDS = IDS[IDS.index("key") :]  # ids only where their values are those of the store
PREDICTIONS = (
    "predicted_class", "predicted_label", "prediction", "predictions", "predicted", "pred", "preds", "top1",
    "top_1", "y_pred", "y_hat", "labels_pred", "predicted_class_name", "class_id", "class", "class_name",
    "label", "labels",
)  # fmt: skip
MODEL = ("model", "model_id", "model_name")


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text."""
    if pa.types.is_dictionary(kind):
        return bool(is_text(kind.value_type))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds a list a row."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def find_ids(table: TableFile, ids: Sequence[str], given: str | None) -> str | None:
    """Column of a table that holds the store's example ids: by name, else by its values.

    Raises
    ------
    UnknownName
        The name given is not there.
    """
    names: list[str] = table.schema.names
    if given is not None:
        if given not in names:
            raise UnknownName.of(f"column of {table.path.name}", given, names)
        return given
    usable = [n for n in names if is_text(table.schema.field(n).type) or _is_whole(table, n)]
    named = sorted((n for n in usable if n.lower() in IDS), key=lambda n: IDS.index(n.lower()))
    known = set(ids)
    others = [n for n in usable if n not in named and n.lower() not in (*PREDICTIONS, *MODEL)]
    for name in (*named, *(others if len(names) < 50 else ())):
        if _holds_ids(table, name, known, distinct=name in others):
            return str(name)
    strong: list[str] = [n for n in named if n.lower() not in WEAK_IDS]
    return strong[0] if strong else None


def _is_whole(table: TableFile, name: str) -> bool:
    return bool(pa.types.is_integer(table.schema.field(name).type))


def _holds_ids(table: TableFile, name: str, known: set[str], distinct: bool) -> bool:
    batch = next(iter(table.batches([name], {name: pa.string()})), None)
    if batch is None or not batch.num_rows:
        return False
    texts = batch.column(0).cast(pa.string()).slice(0, 1000).to_pylist()
    if distinct and len(set(texts)) < len(texts):
        return False
    return sum(text in known for text in texts) > (len(texts) - 1 if distinct else len(texts) / 2)


@dataclass(frozen=True)
class Picked:
    """The columns of a table that hold predictions.

    Attributes
    ----------
    names
        One column of classes or of lists, or one column a class, in the store's order.
    hint
        Kind of predictions their name speaks of.
    """

    names: list[str]
    hint: str | None = None


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
    lists = [n for n in names if is_list(table.schema.field(n).type)]
    scores = {**{n: Picked([n], hint_of(n)) for n in lists}, **_score_sets(names, wanted.classes)}
    if scores:
        return scores[_best(table, list(scores))]
    _refuse_other_counts(table, names, len(wanted.classes))
    lower = {n.lower(): n for n in reversed(names)}
    found = next((lower[known] for known in PREDICTIONS if known in lower), None)
    others = [n for n in names if n.lower() not in IDS]
    if found is None and len(others) == 1:
        found = others[0]
    if found is None:
        raise ArgumentError(
            f"{table.path} has no column that is known to hold predictions among {some_names(names)}; name "
            "it with columns= (--column)"
        )
    return Picked([found], hint_of(found))


def _given(
    table: TableFile, given: str | Sequence[str], names: Sequence[str], classes: Sequence[str]
) -> Picked:
    wanted = [given] if isinstance(given, str) else list(given)
    sets = _score_sets(names, classes)
    if len(wanted) == 1 and wanted[0] not in names and wanted[0] in sets:
        return sets[wanted[0]]
    for name in wanted:
        if name not in names:
            raise UnknownName.of(f"column of {table.path.name}", name, names)
    if len(wanted) not in (1, len(classes)):
        raise WrongClassCount(
            f"columns must name one column, or one for each of the store's {len(classes)} classes; "
            f"got {len(wanted)}"
        )
    return Picked(wanted, hint_of(wanted[0]))


def _score_sets(names: Sequence[str], classes: Sequence[str]) -> dict[str, Picked]:
    """Sets of one column a class, by their prefix: the class's name or its number follows it."""
    numbers = [str(i) for i in range(len(classes))]
    named, numbered = _complete_sets(names, list(classes)), _complete_sets(names, numbers)
    more = {prefix for prefix in numbered if prefix + str(len(classes)) in names}  # for other classes
    return {prefix: s for prefix, s in numbered.items() if prefix not in more} | named


def _complete_sets(names: Sequence[str], endings: Sequence[str]) -> dict[str, Picked]:
    there, first = set(names), endings[0]
    prefixes = [name[: len(name) - len(first)] for name in names if name.endswith(first)]
    return {
        prefix: Picked([prefix + ending for ending in endings], hint_of(prefix))
        for prefix in prefixes
        if there.issuperset(prefix + ending for ending in endings)
    }


def _best(table: TableFile, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    for known in (*LOGITS, *PROBABILITIES, *LABELS):
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


def some_names(names: Sequence[str]) -> str:
    """Names for a message, not too many."""
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 8 else shown or "none"
