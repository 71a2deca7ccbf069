"""Churn: what a new model breaks that the old one got right, and which model breaks least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError
from dissensus.kernels.tails import mcnemar
from dissensus.pairs.asked import checked_examples
from dissensus.pairs.correctness import Correctness
from dissensus.pairs.delta import delta_interval
from dissensus.pairs.intervals import check_level
from dissensus.pairs.measures import MEASURES
from dissensus.store.catalog import Store
from dissensus.store.models import again

from .slices import compared, slices_of

RATES = ("positive_flip_rate", "negative_flip_rate", "relative_nfr")
TURNED = {"gained": "positive_flips", "lost": "negative_flips"}
TURNED |= {"accuracy_before": "accuracy_old", "accuracy_after": "accuracy_new"}

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Churn:
    """What changes when one model takes the place of another.

    Attributes
    ----------
    old, new : str
        The models.
    n_examples : int
        Examples counted.
    accuracy_old, accuracy_new : float
        Their accuracies.
    positive_flips, negative_flips : int
        Examples that only the new model gets right, and only the old one.
    same_class_wrong, other_class_wrong : int
        Examples both get wrong, with the same class and with another.
    rates : pyarrow.Table
        measure ("positive_flip_rate", "negative_flip_rate", "relative_nfr"), value, low, high.
    p_value : float
        That the two are equally accurate: McNemar's exact test; NaN where nothing flips.
    slices : pyarrow.Table
        by, value, n, accuracy_old, accuracy_new, difference, positive_flips, negative_flips,
        negative_flip_rate, p_value, q_value; see `slices.compared`. Within a `by` the most negative flips
        come first.
    labels : str
        Label set that decides.
    level : float
        Coverage of intervals.
    """

    old: str
    new: str
    n_examples: int
    accuracy_old: float
    accuracy_new: float
    positive_flips: int
    negative_flips: int
    same_class_wrong: int
    other_class_wrong: int
    rates: pa.Table
    p_value: float
    slices: pa.Table
    labels: str
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON; rates by name, slices as a list of rows."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        rates = {row.pop("measure"): row for row in self.rates.to_pylist()}
        return record | {"rates": rates, "slices": self.slices.to_pylist()}


def churn(
    store: Store,
    old: str,
    new: str,
    *,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    by: Sequence[str] | None = None,
    level: float | None = None,
) -> Churn:
    """Count what flips when a new model takes the place of an old one, in all and by class and group.

    Parameters
    ----------
    store : Store
        The predictions; hard labels are enough.
    old, new : str
        Two models.
    split, where, mask, labels : optional
        Examples and label set, as in `pairwise`.
    by : sequence of str, optional
        Slices: "class" and columns of the examples; by default the class and all columns of groups.
    level : float, optional
        Coverage of intervals; 0.95 by default.

    Returns
    -------
    Churn

    Raises
    ------
    ArgumentError, UnknownName

    Notes
    -----
    The negative flip rate is that of Yan et al. 2021 ("Positive-congruent training"), n10 / n: the old model
    right, the new one wrong. The relative rate divides it by what independent errors of these accuracies
    would give: NFR / ((1 - error_old) error_new). Intervals by the delta method, as of `pairwise`. All pairs
    at once: ``ds.pairwise(store, ["negative_flip_rate", "relative_nfr"])``, the old model being the row's.
    """
    level, store = check_level(level), store.under(labels)
    if store.model(old).model_id == store.model(new).model_id:
        raise ArgumentError(f"old and new are both {old!r}: name two models")
    chosen = checked_examples(store, split, mask, where)
    rows = np.arange(store.n_examples) if chosen is None else np.flatnonzero(chosen)
    slices = slices_of(store, rows, by)
    top1, right = _answers(store, old, new, rows)
    before, after = right
    counts = _table(before, after)
    wrong = ~before & ~after
    same = int((wrong & (top1[0] == top1[1])).sum())
    return Churn(
        old=old,
        new=new,
        n_examples=len(rows),
        accuracy_old=float(before.mean()),
        accuracy_new=float(after.mean()),
        positive_flips=int(counts[2, 0]),
        negative_flips=int(counts[1, 0]),
        same_class_wrong=same,
        other_class_wrong=int(wrong.sum()) - same,
        rates=_rates(counts, level),
        p_value=float(mcnemar(counts[2].astype(np.int64), counts[1].astype(np.int64))[0]),
        slices=_flips(compared(slices, before, after)),
        labels=store.truth.name,
        level=level,
    )


@again
def _answers(store: Store, old: str, new: str, rows: NDArray[np.intp]) -> tuple[NDArray[Any], Flags]:
    """Predicted classes of both, and whether these are right."""
    top1 = store.top1([old, new])
    return top1[:, rows], store.truth.correct(top1)[:, rows]


def _table(before: Flags, after: Flags) -> Floats:
    """Cells n11, n10, n01, n00, (4, 1)."""
    cells = (before & after, before & ~after, ~before & after, ~before & ~after)
    return np.array([[int(cell.sum())] for cell in cells], np.float64)


def _bounded(name: str, tables: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Value, low and high of a measure; the bounds within its range and around it."""
    measure = MEASURES[name]
    value = measure.formula(*tables)
    low, high = delta_interval(measure.formula, tables, level)
    return value, np.clip(np.minimum(low, value), measure.low, measure.high), np.maximum(high, value)


def _rates(table: Floats, level: float) -> pa.Table:
    found = [_bounded(name, table, level) for name in RATES]
    columns = {end: [float(one[i][0]) for one in found] for i, end in enumerate(("value", "low", "high"))}
    return pa.table({"measure": list(RATES)} | {n: pa.array(v, from_pandas=True) for n, v in columns.items()})


def _flips(table: pa.Table) -> pa.Table:
    """Slices in the words of churn, the most negative flips of each kind first."""
    table = table.rename_columns([TURNED.get(name, name) for name in table.column_names])
    rate = np.array(table["negative_flips"]) / np.array(table["n"])
    table = table.add_column(
        table.column_names.index("p_value"), "negative_flip_rate", pa.array(rate, pa.float64())
    )
    kinds = list(dict.fromkeys(table["by"].to_pylist()))
    place = np.array([kinds.index(kind) for kind in table["by"].to_pylist()], np.intp)
    order = np.lexsort((np.arange(len(place)), -np.array(table["negative_flips"]), place))
    return table.take(pa.array(order))


def replacements(
    store: Store,
    old: str,
    *,
    max_negative_flips: float | None = None,
    models: Sequence[str] | None = None,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    level: float | None = None,
) -> pa.Table:
    """List the models that could take the place of one, the best first.

    Parameters
    ----------
    store : Store
        The predictions; hard labels are enough.
    old : str
        The model to replace.
    max_negative_flips : float, optional
        Largest negative flip rate that is allowed, as 0.02; models above it come after those within.
    models : sequence of str, optional
        Candidates; all others by default.
    split, where, mask, labels : optional
        Examples and label set, as in `pairwise`.
    level : float, optional
        Coverage of intervals; 0.95 by default.

    Returns
    -------
    pyarrow.Table
        model, accuracy, gain (of accuracy over the old model), positive_flip_rate, negative_flip_rate,
        negative_flip_rate_low and _high, relative_nfr (null where undefined), allowed. Allowed ones come
        first, then the more accurate, then fewer negative flips, then the order of the models.

    Raises
    ------
    ArgumentError, UnknownName

    Notes
    -----
    What is allowed goes by the rate that was counted; the chosen model is sure to keep below the limit, at
    that level, where negative_flip_rate_high does too. Choosing the best of many makes its gain look larger
    than it is: confirm it on another split.
    """
    level = check_level(level)
    if max_negative_flips is not None and not 0 <= max_negative_flips <= 1:
        raise ArgumentError(
            f"max_negative_flips must be a share of the examples from 0 to 1; got {max_negative_flips!r}"
        )
    store = store.under(labels)
    first = store.model(old).model_id
    others = [m for m in store.resolve(models) if m != first]
    if not others:
        raise ArgumentError(f"there is no model to take the place of {old!r}: add one, or name other models")
    sample = Correctness.of(store, models=[first, *others], split=split, where=where, mask=mask)
    tables = _against_first(sample)
    negative, low, high = _bounded("negative_flip_rate", tables, level)
    values = {name: MEASURES[name].formula(*tables) for name in RATES}
    allowed = np.ones(len(others), np.bool_) if max_negative_flips is None else negative <= max_negative_flips
    order = np.lexsort((tables[1], -sample.right[1:], ~allowed))
    columns = {
        "model": pa.array(others, pa.string()),
        "accuracy": sample.accuracy[1:],
        "gain": (sample.right[1:] - sample.right[0]) / sample.n,
        "positive_flip_rate": values["positive_flip_rate"],
        "negative_flip_rate": negative,
        "negative_flip_rate_low": low,
        "negative_flip_rate_high": high,
        "relative_nfr": pa.array(values["relative_nfr"], from_pandas=True),
        "allowed": allowed,
    }
    return pa.table(columns).take(pa.array(order))


def _against_first(sample: Correctness) -> Floats:
    """Cells n11, n10, n01, n00 of the first model with each of the others, (4, M - 1)."""
    old = sample.packed[0]
    both = np.array([np.bitwise_count(row & old).sum(dtype=np.int64) for row in sample.packed[1:]])
    right, n = sample.right, sample.n
    return np.array([both, right[0] - both, right[1:] - both, n - right[0] - right[1:] + both], np.float64)
