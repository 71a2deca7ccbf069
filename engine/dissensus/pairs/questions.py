"""What can be asked of pairs beyond their values: tests, nulls, differences, rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnknownName

from .counts import Answers
from .intervals import check_counted, check_draws, check_level, check_seed
from .listing import Listing
from .measures import MEASURES

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Listed = tuple[Indices, Indices]
Names = tuple[str, str]


class Questions(Listing):
    """The part of `Pairs` that resamples; `Pairs` itself has the values and the tables."""

    measures: tuple[str, ...]
    _answers: Answers | Callable[[], Answers] | None

    if TYPE_CHECKING:  # what Pairs has

        def __getitem__(self, measure: str) -> Floats: ...

        def ascending(self, by: str) -> bool: ...  # noqa: D102

        def _frame(self, rows: Indices, columns: Indices, values: Mapping[str, Floats]) -> pa.Table: ...

        def _with_columns(self, columns: Mapping[str, Floats], notes: Mapping[str, str | float]) -> Self: ...

    def test(self, against: str = "independence") -> Self:
        """Test the mistakes of every pair against independence at the two accuracies.

        Parameters
        ----------
        against : {"independence"}
            What is tested against; for what accuracy and difficulty explain see `null`.

        Returns
        -------
        Pairs
            With columns `test_z` (positive: more alike), `test_p` and `test_q`, by Benjamini and Hochberg
            over all pairs; see `dissensus.pairs.significance.independence`.

        Raises
        ------
        UnknownName
        """
        from .significance import independence

        if against != "independence":
            raise UnknownName.of("test", against, ["independence"])
        return self._with_columns(independence(self.counts), {"test": against})

    def null(
        self, by: str | None = None, *, draws: int | None = None, thin: int = 4, seed: int | None = None
    ) -> Self:
        """Say whether pairs are more alike than their accuracies and the examples' difficulty explain.

        Compares with random answers in which each model is right as often, and each example as often
        answered right, as observed.

        Parameters
        ----------
        by : str, optional
            Measure whose expected value is given; the first by default. z, p and q are the same for all.
        draws : int, optional
            Random matrices, at least 4; 1,000 by default.
        thin : int
            Rounds of trades between them. With 2 some memory of the one before is left, with 4 hardly any.
        seed : int, optional
            Where the random numbers start; 0 by default.

        Returns
        -------
        Pairs
            With columns `null_expected`, `null_z` (positive: more alike), `null_p` (two-sided, a normal
            tail) and `null_q`; null where the margins leave nothing to chance. Its `notes` tell the chain's
            drift.

        Raises
        ------
        ArgumentError, UnknownName

        Warns
        -----
        RuntimeWarning
            The random matrices had not mixed.

        Notes
        -----
        z is that of the examples both get right. The expected value is the measure's at the mean of these:
        exact for measures linear in it (error inconsistency, kappa, phi, double fault, flip rates), and off
        by O(1/n) for others. The zoo is its own yardstick: what many of its models share counts as
        difficulty.
        """
        from .null import null_counts
        from .significance import scores

        by, draws, seed = self._measure(by), check_draws(draws, 4), check_seed(seed)
        if len(self.model_ids) < 3:
            raise ArgumentError(f"null needs at least 3 models; these are {len(self.model_ids)}")
        if thin < 1:
            raise ArgumentError(f"thin must be at least 1 round of trades; got {thin}")
        found = null_counts(self._resampled("null"), draws, thin, seed)
        right, n = self.counts.right.astype(np.float64), self.counts.n
        i, j, both = right[:, None], right[None, :], found.mean
        expected = MEASURES[by].formula(both, i - both, j - both, n - i - j + both)
        np.fill_diagonal(expected, np.nan)
        deviation = found.deviation * np.sqrt(1 + 1 / draws)  # the mean is itself known from the draws only
        columns = {"null_expected": expected} | scores("null", self.counts.both_right - found.mean, deviation)
        notes: dict[str, str | float] = {
            "null": by,
            "null_draws": draws,
            "null_seed": seed,
            "null_drift": found.drift,
        }
        return self._with_columns(columns, notes)

    def compare(
        self,
        a: Names,
        b: Names | Sequence[Names] | None = None,
        *,
        by: str | None = None,
        level: float | None = None,
        draws: int | None = None,
        seed: int | None = None,
    ) -> pa.Table:
        """Difference of a measure between one pair and others, with intervals from examples that they share.

        Parameters
        ----------
        a : (str, str)
            A pair of models.
        b : (str, str) or sequence of (str, str), optional
            What it is compared with; all other pairs by default.
        by : str, optional
            Measure; the first by default.
        level : float, optional
            Coverage aimed at; 0.95 by default.
        draws, seed : int, optional
            Draws of the Poisson bootstrap, at least 2, and where its random numbers start; 1,000 and 0 by
            default.

        Returns
        -------
        pyarrow.Table
            model_a, model_b, the measure, difference (a's value minus this pair's), difference_low,
            difference_high, p_value (that there is none: a normal tail of difference over the draws' standard
            deviation) and q_value (Benjamini and Hochberg over the rows). Null where undefined.

        Raises
        ------
        ArgumentError, UnknownName

        Examples
        --------
        >>> pairs.compare(("vit", "convnext"), ("vit", "swin"), by="error_consistency")  # doctest: +SKIP
        """
        from .differences import differences

        by, level = self._measure(by), check_level(level)
        draws, seed = check_draws(draws, 2), check_seed(seed)
        one, (rows, columns) = self._pair(a), self._others(a, b)
        value, formula = self[by][rows, columns], MEASURES[by].formula
        difference = self[by][one] - value
        answers = self._resampled("compare")
        found = differences(answers, one, (rows, columns), difference, formula, level, draws, seed)
        return self._frame(rows, columns, {by: value, "difference": difference} | found)

    def in_top(
        self,
        n: int = 20,
        by: str | None = None,
        *,
        ascending: bool | None = None,
        draws: int | None = None,
        seed: int | None = None,
    ) -> pa.Table:
        """Tell how surely each pair is among the n first, by a Poisson bootstrap of the examples.

        Parameters
        ----------
        n : int
            Places.
        by, ascending : optional
            A measure and its order, as in `top`.
        draws, seed : int, optional
            Draws, and where their random numbers start; 1,000 and 0 by default.

        Returns
        -------
        pyarrow.Table
            model_a, model_b, the measure and probability, the share of draws in which the pair is among the
            n first; pairs in the order of `top`, those of no draw left out.

        Raises
        ------
        ArgumentError, UnknownName
        """
        from .shared import share_in_top

        if n < 1:
            raise ArgumentError(f"n must be at least 1 pair; got {n}")
        by, draws, seed = self._measure(by), check_draws(draws), check_seed(seed)
        ascending = self.ascending(by) if ascending is None else ascending
        rows, columns = self._listed()
        order = self._order(rows, columns, self[by][rows, columns], ascending)
        rows, columns = rows[order], columns[order]
        answers, formula = self._resampled("in_top"), MEASURES[by].formula
        share = share_in_top(answers, (rows, columns), formula, n, ascending, draws, seed)
        rows, columns, share = rows[share > 0], columns[share > 0], share[share > 0]
        return self._frame(rows, columns, {by: self[by][rows, columns], "probability": share})

    def _measure(self, by: str | None) -> str:
        by = self.measures[0] if by is None else by
        self[by]
        check_counted([by], "choose by= among those of the counts")
        return by

    def _resampled(self, what: str) -> Answers:
        """What is right of each example, where the pairs came with it."""
        if self._answers is None:
            raise ArgumentError(
                f"{what} needs the answers, not counts alone; get the pairs from pairwise(store)"
            )
        if callable(self._answers):
            self._answers = self._answers()
        return self._answers

    def _pair(self, pair: Names) -> tuple[int, int]:
        """Row and column of a pair of names."""
        if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
            raise ArgumentError(f"a pair must be two different model ids; got {pair!r}")
        i, j = (int(self._with(name)[0][0]) for name in pair)
        return i, j

    def _others(self, a: Names, b: Names | Sequence[Names] | None) -> Listed:
        """Rows and columns of the pairs that one is compared with."""
        if b is None:
            rows, columns = self._listed()
            i, j = self._pair(a)
            same = (rows == i) & (columns == j) | self.symmetric & (rows == j) & (columns == i)
            if same.all():
                raise ArgumentError("compare needs another pair than a; there is none among 2 models")
            return rows[~same], columns[~same]
        if not len(b):
            raise ArgumentError("b must name at least one pair; got none")
        some = [b] if isinstance(b[0], str) else b
        found = np.array([self._pair(pair) for pair in some], np.intp)  # type: ignore[arg-type]
        return found[:, 0], found[:, 1]
