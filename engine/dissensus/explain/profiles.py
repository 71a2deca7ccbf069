"""Point profiles: for every example, how being right moves with the accuracy of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, UnknownName
from dissensus.pairs.correctness import Correctness
from dissensus.pairs.significance import q_values
from dissensus.store.catalog import Store
from dissensus.store.models import again

FALLBACKS = ("category", "family")  # of the models' metadata, where none is named
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def profiles(
    store: Store,
    *,
    models: Sequence[str] | None = None,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    category: str | None = None,
) -> pa.Table:
    """Say of every example who gets it right: all, the strong, the weak, or one kind of model.

    Predicted classes are enough; they are read some models at a time, and kept as one bit each.

    Parameters
    ----------
    store : Store
        The predictions.
    models : sequence of str, optional
        Two or more; all by default.
    split, where, mask, labels : optional
        Examples and label set, as in `pairwise`.
    category : str, optional
        Metadata of the models that says how they were trained. By default "category", else "family", where
        any model has it; models without it are a kind of their own.

    Returns
    -------
    pyarrow.Table
        One row an example, in the store's order.

        example_id, label_name
            The example, and the name of its class (or classes).
        n_right : int64
            Models that get it right.
        difficulty : float64
            Share of models that get it wrong, 0 to 1.
        discrimination : float64
            Correlation (point-biserial) over models of being right here and accuracy on all the other
            examples counted, -1 to 1: below 0 stronger models get it wrong. Null where all or none of the
            models are right, or their accuracies elsewhere are all the same.
        slope : float64
            Least-squares slope of being right by that accuracy: probability for 1.0 of accuracy.
        p_value, q_value : float64
            Of a discrimination other than 0, two-sided and normal; Benjamini and Hochberg over the examples.
        strongest_right : str
            The most accurate model that gets it right; null where none does.
        only_weak : bool
            Whether some models get it right, but none of at least median accuracy.
        only_category : str
            The category that all models that get it right belong to; null where there are several or none,
            and where the models compared have only one.

    Raises
    ------
    ArgumentError
        Fewer than two models, or no example left.
    UnknownName
        A model, split, column or label set that is not there; a category that no model has.

    Notes
    -----
    Classical test theory's item analysis with models for examinees: the item difficulty index is the share
    of right answers, 1 - `difficulty`, and the item discrimination is the corrected item-total correlation
    (Henrysson 1963), which leaves the item itself out of the total. Under the hypothesis that models are
    exchangeable, its variance is 1 / (M - 1). Sums are exact integers: no order of models changes a bit.

    Examples
    --------
    >>> ds.profiles(store).sort_by("discrimination").slice(0, 5)  # doctest: +SKIP
    """
    store = store.under(labels)
    sample = Correctness.of(store, models=models, split=split, where=where, mask=mask)
    rows = _rows(store, sample, split, where, mask)
    order = np.argsort(-sample.right, kind="stable")
    ordered = sample.reordered(order)
    names, groups = categories(store, ordered.model_ids, category)
    columns = _Columns.of(ordered, groups, rows)
    found = _item(columns, ordered)
    label_names = store.facts()["label_name"] if store.truth.name == store.label_sets[0] else None
    told: dict[str, Any] = {"example_id": pa.array([store.example_ids[n] for n in rows.tolist()])}
    told["label_name"] = label_names.take(pa.array(rows)) if label_names is not None else _named(store, rows)
    told |= found
    who = pa.array(ordered.model_ids, pa.string())
    told["strongest_right"] = who.take(pa.array(columns.first, mask=columns.first < 0))
    median = np.median(ordered.right)
    told["only_weak"] = (columns.first >= 0) & (ordered.right[columns.first] < median)
    several = len(set(groups.tolist())) > 1
    kinds = np.where(several, columns.group, -1)
    told["only_category"] = pa.array(names, pa.string()).take(pa.array(np.maximum(kinds, 0), mask=kinds < 0))
    return pa.table(told)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Sums over models of each example counted: as `kernels.columns.columns`, right answers less `shift`."""

    count: Counts
    weighted: Counts
    first: Counts
    group: Counts
    shift: int

    @classmethod
    def of(cls, sample: Correctness, groups: Counts, rows: NDArray[np.intp]) -> _Columns:
        from dissensus.kernels.columns import columns

        shift = int(sample.right.sum()) // len(sample.right)  # small numbers: no product below overflows
        n = 64 * sample.packed.shape[1]
        count, weighted, first, group = columns(sample.packed, sample.right - shift, groups, n)
        return cls(count[rows], weighted[rows], first[rows], group[rows], shift)


def _item(columns: _Columns, sample: Correctness) -> dict[str, Any]:
    """Columns of item analysis, from S1 = sum x, Sx = sum x r, Sr = sum r, Srr = sum r**2 over M models.

    r is the number of right answers elsewhere, R - x: all sums follow from sum x and sum x R.
    """
    from dissensus.kernels.tails import two_sided

    size, right = len(sample.right), sample.right - columns.shift
    one = columns.count
    both = columns.weighted - one
    rest, square = right.sum() - one, (right**2).sum() - 2 * columns.weighted + one
    covariance = (size * both - one * rest).astype(np.float64)
    spread_x = (one * (size - one)).astype(np.float64)
    spread_r = size * square.astype(np.float64) - rest.astype(np.float64) ** 2
    defined = (spread_x > 0) & (spread_r > 0)
    r = np.full(len(one), np.nan)
    r[defined] = (covariance / np.sqrt(np.maximum(spread_x * spread_r, 1)))[defined]
    slope = np.full(len(one), np.nan)
    slope[defined] = (covariance / np.maximum(spread_r, 1) * (sample.n - 1))[defined]
    r = np.clip(r, -1.0, 1.0)
    p = two_sided(r * np.sqrt(size - 1.0))
    values = {"discrimination": r, "slope": slope, "p_value": p, "q_value": q_values(p)}
    return {"n_right": one, "difficulty": (size - one) / size} | {
        name: pa.array(value, from_pandas=True) for name, value in values.items()
    }


def _rows(
    store: Store, sample: Correctness, split: str | None, where: str | None, mask: ArrayLike | None
) -> NDArray[np.intp]:
    """Rows that were counted."""
    rows = store.rows(split, where)
    return rows if mask is None else rows[np.asarray(mask)[rows]]


def _named(store: Store, rows: NDArray[np.intp]) -> pa.Array:
    """Names of the right classes of each row, joined where there are several."""
    truth, classes = store.truth.take(rows), store.classes
    edges, found = truth.offsets.tolist(), truth.classes.tolist()
    return pa.array(
        [", ".join(classes[c] for c in found[a:b]) for a, b in pairwise(edges)],
        pa.string(),
    )


@again
def categories(store: Store, models: Sequence[str], category: str | None) -> tuple[list[str], Counts]:
    """Names of the categories of some models, and the place of each model's.

    Raises
    ------
    UnknownName
        It is named, and no model has it.
    ArgumentError
        It is no text or number.
    """
    known = [store.model(m).metadata for m in models]
    name = category or next((n for n in FALLBACKS if any(facts.get(n) for facts in known)), None)
    values = [None if name is None else facts.get(name) for facts in known]
    if category is not None and all(value is None for value in values):
        there = sorted({key for facts in known for key in facts})
        raise UnknownName.of("metadata of the models", category, there)
    if any(isinstance(value, list | dict) for value in values):
        raise ArgumentError(f"category={category!r} must be one text or number a model; some have several")
    texts = ["(none)" if value is None else str(value) for value in values]
    names = sorted(set(texts))
    return names, np.array([names.index(text) for text in texts], np.int64)
