"""What a pairwise query returns: matrices by measure, and tables of pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, MissingDependency, UnknownName
from dissensus.store.tables import floats, texts

from .counts import Answers, PairCounts
from .intervals import Interval
from .measures import MEASURES
from .questions import Questions

if TYPE_CHECKING:
    import pandas
    import xarray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Pairs(Questions):
    """Measures of all pairs among M models; `pairs[name]` is one (M, M) float64 matrix.

    Attributes
    ----------
    model_ids : list of str
        The models, in the order of rows and columns.
    counts : PairCounts
        The exact counts everything is computed from.
    measures : tuple of str
        The measures computed.
    columns : dict of str to (M, M) float64
        What else is known of each pair, in the order of the tables: `<measure>_low` and `<measure>_high`,
        and what `test` and `null` add. Tables can be sorted by any of them.
    notes : dict of str to str or number
        Split and expression that chose the examples, where temperatures come from, and how intervals and
        tests were computed.
    """

    def __init__(
        self,
        model_ids: Sequence[str],
        counts: PairCounts,
        values: Mapping[str, Floats],
        *,
        interval: Interval | None = None,
        answers: Answers | Callable[[], Answers] | None = None,
        notes: Mapping[str, str | float] | None = None,
    ) -> None:
        self.model_ids = list(model_ids)
        self.counts = counts
        self.measures = tuple(values)
        self.columns: dict[str, Floats] = {}
        self.notes: dict[str, str | float] = dict(notes or {})
        self._values = dict(values)
        self._answers = answers
        if interval is not None:
            bounds = interval.bounds(self.measures, counts)
            for name, (low, high) in bounds.items():
                self.columns |= {f"{name}_low": low, f"{name}_high": high}
            self.notes |= {"ci": interval.method, "level": interval.level}
            if interval.method == "bootstrap":
                self.notes |= {"draws": interval.draws, "seed": interval.seed}

    def __repr__(self) -> str:
        return f"Pairs({len(self.model_ids)} models, {self.counts.n} examples: {', '.join(self.measures)})"

    def __getitem__(self, measure: str) -> Floats:
        """Matrix of one measure, (M, M) float64: row model first; NaN where undefined."""
        if measure not in self._values:
            raise UnknownName.of("measure", measure, self.measures, "(only measures asked for were computed)")
        return self._values[measure]

    @property
    def accuracy(self) -> Floats:
        """Share of the examples each model gets right, (M,)."""
        return self.counts.accuracy

    @property
    def low(self) -> Mapping[str, Floats]:
        """Lower bounds by measure, (M, M) float64; NaN where undefined and on the diagonal.

        Raises
        ------
        ArgumentError
            No intervals were computed.
        """
        return self._bounds("low")

    @property
    def high(self) -> Mapping[str, Floats]:
        """Upper bounds by measure, as `low`."""
        return self._bounds("high")

    def _bounds(self, end: str) -> Mapping[str, Floats]:
        if "ci" not in self.notes:
            raise ArgumentError(f'{end} needs intervals; ask for them with pairwise(..., ci="delta")')
        return _ByMeasure((name, self.columns[f"{name}_{end}"]) for name in self.measures)

    @property
    def symmetric(self) -> bool:
        """Whether every measure is symmetric: tables then list each pair once, else in both orders."""
        return all(MEASURES[m].symmetric for m in self.measures)

    @property
    def undefined(self) -> dict[str, int]:
        """Pairs of different models each measure is undefined for; (i, j) and (j, i) are one if symmetric."""
        counts = {}
        for name, values in self._values.items():
            nan = np.isnan(values)
            pairs = int(nan.sum() - nan.diagonal().sum())
            counts[name] = pairs // 2 if MEASURES[name].symmetric else pairs
        return counts

    def to_arrow(self) -> pa.Table:
        """Long table: the models, their accuracies, the measures, `columns`; undefined values are null."""
        return self._table(*self._listed())

    def between(self, model: str) -> pa.Table:
        """One model against every other: its row of the matrices as a table, with it as model_a.

        Raises
        ------
        UnknownName
        """
        return self._table(*self._with(model))

    def top(
        self,
        n: int = 20,
        by: str | None = None,
        *,
        ascending: bool | None = None,
        model: str | Sequence[str] | None = None,
        max_gap: float | None = None,
    ) -> pa.Table:
        """Give the n first pairs by a measure.

        Parameters
        ----------
        n : int
            How many pairs.
        by : str, optional
            One of `measures` or `columns`; the first measure by default.
        ascending : bool, optional
            Smallest values first. By default the more different pairs come first, whichever end that is; for
            p and q values the smallest, for z scores the largest.
        model : str or sequence of str, optional
            Only pairs of this model, which then is model_a, or of any of these.
        max_gap : float, optional
            Only pairs whose accuracies differ by at most so much.

        Returns
        -------
        pyarrow.Table
            As `to_arrow`; undefined pairs come last, ties in the order of the models' names, those of p and
            q values after their z scores.

        Raises
        ------
        ArgumentError, UnknownName
        """
        if n < 1:
            raise ArgumentError(f"n must be at least 1 pair; got {n}")
        by = self.measures[0] if by is None else by
        rows, columns = self._chosen(model, max_gap)
        if not len(rows):
            raise self._none_near(model, max_gap)
        values = self.columns[by] if by in self.columns else self[by]
        ascending = self.ascending(by) if ascending is None else ascending
        order = self._order(rows, columns, values[rows, columns], ascending, self._ties(by, rows, columns))
        first = order[:n]
        return self._table(rows[first], columns[first])

    def ascending(self, by: str) -> bool:
        """Whether the first pairs by a measure or column are by default those of its smallest values."""
        if by in self.columns:
            measure, _, kind = by.rpartition("_")
            return kind in ("p", "q") if measure not in MEASURES else self.ascending(measure)
        return MEASURES[by].more_different == "low"

    def _ties(self, by: str, rows: Indices, columns: Indices) -> Floats | None:
        """What orders pairs of one p or q value, which are many: their z scores, the surest first."""
        test, _, kind = by.rpartition("_")
        if by not in self.columns or kind not in ("p", "q") or f"{test}_z" not in self.columns:
            return None
        return -np.abs(self.columns[f"{test}_z"][rows, columns])

    def _with_columns(self, columns: Mapping[str, Floats], notes: Mapping[str, str | float]) -> Self:
        """The same pairs with more columns."""
        more = type(self)(self.model_ids, self.counts, self._values, answers=self._answers)
        more.columns, more.notes = self.columns | dict(columns), self.notes | dict(notes)
        return more

    def to_pandas(self) -> pandas.DataFrame:
        """Long table as `to_arrow`, as a pandas data frame; undefined values are NaN."""
        try:
            import pandas  # noqa: F401
        except ImportError as error:
            raise MissingDependency("to_pandas needs pandas; run: pip install pandas") from error
        return self.to_arrow().to_pandas()

    def to_xarray(self) -> xarray.Dataset:
        """Matrices as a dataset over model_a and model_b, with the accuracies as coordinates."""
        try:
            import xarray
        except ImportError as error:
            raise MissingDependency("to_xarray needs xarray; run: pip install xarray") from error
        coordinates: dict[str, Any] = {f"model_{side}": self.model_ids for side in "ab"}
        coordinates |= {f"accuracy_{side}": (f"model_{side}", self.accuracy) for side in "ab"}
        matrices = {
            name: (("model_a", "model_b"), values, _described(name))
            for name, values in self._matrices().items()
        }
        return xarray.Dataset(matrices, coordinates, {"n_examples": self.counts.n} | self.notes)

    def _matrices(self) -> dict[str, Floats]:
        """Measures, each followed by its bounds, and what was added."""
        columns, ordered = dict(self.columns), {}
        for name, values in self._values.items():
            ordered[name] = values
            ordered |= {end: columns.pop(end) for end in (f"{name}_low", f"{name}_high") if end in columns}
        return ordered | columns

    def _table(self, rows: Indices, columns: Indices) -> pa.Table:
        table = {"accuracy_a": self.accuracy[rows], "accuracy_b": self.accuracy[columns]}
        table |= {name: values[rows, columns] for name, values in self._matrices().items()}
        return self._frame(rows, columns, table)

    def _frame(self, rows: Indices, columns: Indices, values: Mapping[str, Floats]) -> pa.Table:
        """Table of listed pairs with some values of each; NaN becomes null."""
        names = {
            f"model_{side}": texts([self.model_ids[i] for i in some.tolist()])
            for side, some in (("a", rows), ("b", columns))
        }
        return pa.table(names | {name: floats(column) for name, column in values.items()})


def _described(name: str) -> dict[str, str]:
    """What a measure is and which end is more different, as attributes; none of a bound or a test."""
    measure = MEASURES.get(name)
    return {} if measure is None else {"long_name": measure.summary, "more_different": measure.more_different}


class _ByMeasure(dict[str, Floats]):
    """Matrices by measure; another name gets the nearest ones."""

    def __missing__(self, measure: str) -> Floats:
        raise UnknownName.of("measure", measure, self, "(only measures asked for were computed)")
