"""Measures of pairs within each value of a column of the examples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, UnknownName
from dissensus.run.devices import LOCAL, Backend, backend
from dissensus.run.memory import available_bytes, told
from dissensus.store.models import again

from .asked import Asked, Undefined, check_exact
from .counts import Answers
from .ensembles import ensemble_counts
from .labels import label_counts
from .measures import STATISTICS
from .result import Pairs
from .summed import SCORED
from .sums import grouped_score_sums, sums_bytes

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

Rows = NDArray[np.intp]

SHARE = 4  # of the memory there is, sums of groups that are made together take one part in so many


class PairsBy(Mapping[Any, Pairs]):
    """Pairs on the examples of each value of a column: `by_group[value]` is one `Pairs`, made when asked for.

    Every example that was asked for is in exactly one group, so that counts of all groups add up to those of
    the whole. Values are in their order; None, for examples without one, is last.

    Attributes
    ----------
    column : str
        The column.
    sizes : dict
        Number of examples by value.
    n_models : int
        Number of models.
    """

    def __init__(
        self,
        column: str,
        asked: Asked,
        rows: Mapping[Any, Rows],
        models: Sequence[StoredModel],
        top1: NDArray[Any],
        correct: NDArray[np.bool_],
        counting: Backend = LOCAL,
    ) -> None:
        self.column = column
        self.sizes = {value: len(some) for value, some in rows.items()}
        self.n_models = len(asked.model_ids)
        self._asked, self._rows, self._counting = asked, rows, counting
        self._models, self._top1, self._correct = models, top1, correct
        self._sums: dict[Any, Mapping[str, NDArray[Any]]] = {}
        self._change: Callable[[Pairs], Pairs] = lambda pairs: pairs

    def __repr__(self) -> str:
        return f"PairsBy({self.column!r}: {len(self)} groups, {self.n_models} models)"

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __getitem__(self, value: Any) -> Pairs:
        """Pairs on the examples that have a value.

        Raises
        ------
        UnknownName
            None of the examples asked for has it.
        """
        if value not in self._rows:
            raise UnknownName.of(f"value of column {self.column!r}:", str(value), map(str, self))
        rows, asked, wanted = self._rows[value], self._asked, self._asked.statistics
        correct = self._correct.take(rows, axis=1)
        more: dict[str, NDArray[Any]] = {}
        if any(STATISTICS[statistic] == "labels" for statistic in wanted):
            top1 = self._top1.take(rows, axis=1)
            more |= label_counts(top1, correct, asked.store.n_classes, None, wanted, self._counting)
        if not {*SCORED}.isdisjoint(wanted):
            more |= self._scores(value)
        more |= ensemble_counts(asked.store, self._models, rows, self._correct, wanted, asked.calibration)
        answers = Answers.of(correct)
        return self._change(asked.pairs(answers.counts(self._counting), answers, more))

    def _scores(self, value: Any) -> Mapping[str, NDArray[Any]]:
        """Sums of products of one group, made with those of the groups after it, as many as fit memory."""
        if value not in self._sums:
            asked = self._asked
            fit = available_bytes() // (SHARE * sums_bytes(self.n_models, asked.statistics))
            values = list(self._rows)
            values = values[values.index(value) :][: max(fit, 1)]
            groups = [self._rows[one] for one in values]
            found = grouped_score_sums(asked.store, self._models, groups, asked.statistics)
            self._sums.clear()
            self._sums.update(zip(values, found, strict=True))
        return self._sums[value]

    def map(self, change: Callable[[Pairs], Pairs]) -> PairsBy:
        """The same groups, each changed when it is made: `by_group.map(Pairs.test)`."""
        changed, make = copy.copy(self), self._change
        changed._change = lambda pairs: change(make(pairs))
        return changed

    def to_arrow(self) -> pa.Table:
        """Long table: group, n (its examples), then as `Pairs.to_arrow`.

        Raises
        ------
        ArgumentError
            More than fits the memory there is.
        """
        return self._table(Pairs.to_arrow)

    def top(
        self,
        n: int = 20,
        by: str | None = None,
        *,
        ascending: bool | None = None,
        model: str | Sequence[str] | None = None,
        max_gap: float | None = None,
    ) -> pa.Table:
        """Give the n first pairs of each group; see `Pairs.top`. Columns are those of `to_arrow`.

        A group in which no pair has accuracies as close as `max_gap` has no rows.

        Raises
        ------
        ArgumentError, UnknownName
        """

        def first(pairs: Pairs) -> pa.Table:
            if not pairs.n_pairs(model=model, max_gap=max_gap):
                return pairs.to_arrow().slice(0, 0)
            return pairs.top(n, by, ascending=ascending, model=model, max_gap=max_gap)

        table = self._table(first)
        if not table.num_rows:
            raise ArgumentError(f"max_gap {max_gap}: in no group has a pair accuracies so close")
        return table

    def _table(self, make: Callable[[Pairs], pa.Table]) -> pa.Table:
        """One table of what is made of each group's pairs, with the columns group and n before it."""
        parts: list[pa.Table] = []
        for value, size in self.sizes.items():
            table = make(self[value])
            if not parts:
                _require_room(table.nbytes * len(self))
            columns = {
                "group": pa.array([value] * table.num_rows, self._type),
                "n": pa.array([size] * table.num_rows, pa.int64()),
            }
            parts.append(pa.table(columns | dict(zip(table.column_names, table.columns, strict=True))))
        return pa.concat_tables(parts)

    @property
    def _type(self) -> pa.DataType:
        return pa.array(list(self)).type


def pairwise_by(
    store: Store,
    measures: str | Sequence[str],
    column: str,
    *,
    models: Sequence[str] | None = None,
    split: str | None = None,
    mask: ArrayLike | None = None,
    where: str | None = None,
    undefined: Undefined = "nan",
    labels: str | None = None,
    calibrate: bool | str = False,
    ci: Literal["delta", "bootstrap"] | None = None,
    level: float | None = None,
    draws: int | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> PairsBy:
    """Compute measures of all pairs within each value of a column of the examples.

    Parameters
    ----------
    store : Store
        The predictions.
    measures : str or sequence of str
        As in `pairwise`. Measures of probabilities read the logits once for all groups whose sums fit memory.
    column : str
        A column of `Store.facts`: a group, a split, "label", "label_name", …; at most 1,000 values.
    models, split, mask, where, undefined, labels, calibrate, ci, level, draws, seed, device : optional
        As in `pairwise`. Values that none of the examples asked for has are no groups.

    Returns
    -------
    PairsBy

    Raises
    ------
    UnknownName, ArgumentError, LabelsOnly
        As `pairwise`; no such column, one of sets, or one of more than 1,000 values.

    Examples
    --------
    >>> ds.pairwise_by(store, "error_consistency", "label_name").top(3)  # doctest: +SKIP
    """
    asked = Asked.checked(
        store,
        measures,
        models=models,
        split=split,
        mask=mask,
        where=where,
        undefined=undefined,
        labels=labels,
        calibrate=calibrate,
        ci=ci,
        level=level,
        draws=draws,
        seed=seed,
    )
    if device is not None:
        check_exact("device", asked.measures)
    counting = backend(device)
    groups = asked.store.facts().groups(column)
    if asked.examples is not None:
        groups = {value: rows[asked.examples[rows]] for value, rows in groups.items()}
    groups = {value: rows for value, rows in groups.items() if len(rows)}
    return PairsBy(column, asked, groups, *_predicted(asked.store, asked.model_ids), counting)


@again
def _predicted(
    store: Store, model_ids: Sequence[str]
) -> tuple[list[StoredModel], NDArray[Any], NDArray[np.bool_]]:
    """Models, what each predicts and whether it is right: of one version of each."""
    models = [store.model(model_id) for model_id in model_ids]
    top1 = store.top1_of(models)
    return models, top1, store.truth.correct(top1)


def _require_room(table_bytes: int) -> None:
    needed, there = 2 * table_bytes, available_bytes()  # the parts and the whole
    if needed > there:
        raise ArgumentError(
            f"a table of all groups needs {told(needed)}, {told(there)} are available: list "
            "the first pairs of each group (top) or go through the groups one by one"
        )
