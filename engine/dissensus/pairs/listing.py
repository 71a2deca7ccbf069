"""Which pairs a table lists: all, those of some models, those of like accuracy; and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnknownName

from .counts import PairCounts

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class Listing:
    """The part of `Pairs` that chooses pairs, as indices of rows and columns of the matrices."""

    model_ids: list[str]
    counts: PairCounts

    if TYPE_CHECKING:  # what Pairs has

        @property
        def symmetric(self) -> bool: ...  # noqa: D102

    def n_pairs(self, *, model: str | Sequence[str] | None = None, max_gap: float | None = None) -> int:
        """Count the pairs that `top` chooses from; arguments as there."""
        return len(self._chosen(model, max_gap)[0])

    def _listed(self) -> tuple[Indices, Indices]:
        """Row and column indices of the pairs that tables list."""
        size = len(self.model_ids)
        rows, columns = np.triu_indices(size, 1) if self.symmetric else np.nonzero(~np.eye(size, dtype=bool))
        return rows, columns

    def _chosen(self, model: str | Sequence[str] | None, max_gap: float | None) -> tuple[Indices, Indices]:
        """Row and column indices of the pairs of some models and of like accuracy."""
        rows, columns = self._listed() if model is None else self._with_any(model)
        if max_gap is None:
            return rows, columns
        if not 0 <= max_gap <= 1:
            raise ArgumentError(f"max_gap must lie in 0..1, as 0.01 for one point of accuracy; got {max_gap}")
        near = (
            self._gaps(rows, columns) <= max_gap * self.counts.n + 1e-6
        )  # in answers: 0.8 and 0.75 are 0.05
        return rows[near], columns[near]

    def _gaps(self, rows: Indices, columns: Indices) -> NDArray[np.int64]:
        """By how many right answers two models differ."""
        right = self.counts.right
        return np.maximum(right[rows], right[columns]) - np.minimum(right[rows], right[columns])

    def _none_near(self, model: str | Sequence[str] | None, max_gap: float | None) -> ArgumentError:
        rows, columns = self._chosen(model, None)
        gaps = self._gaps(rows, columns)
        closest = int(gaps.argmin())
        a, b = (self.model_ids[some[closest]] for some in (rows, columns))
        return ArgumentError(
            f"max_gap {max_gap}: no pair has accuracies so close; {a} and {b} are the closest, "
            f"{gaps[closest] / self.counts.n:.4g} apart"
        )

    def _with_any(self, model: str | Sequence[str]) -> tuple[Indices, Indices]:
        """Row and column indices of one or several models against every other."""
        names = [model] if isinstance(model, str) else list(dict.fromkeys(model))
        if not names:
            raise ArgumentError("model must name at least one model; got none")
        rows, columns = (np.concatenate(parts) for parts in zip(*map(self._with, names), strict=True))
        if not self.symmetric:
            return rows, columns
        turn = np.full(len(self.model_ids), len(names))
        turn[[self.model_ids.index(name) for name in names]] = np.arange(len(names))
        once = turn[rows] < turn[columns]  # two of the models named are one pair
        return rows[once], columns[once]

    def _with(self, model: str) -> tuple[Indices, Indices]:
        """Row and column indices of one model against every other."""
        if model not in self.model_ids:
            raise UnknownName.of("model", model, self.model_ids, "(only models asked for were compared)")
        row = self.model_ids.index(model)
        others = np.delete(np.arange(len(self.model_ids)), row)
        return np.full_like(others, row), others

    def _order(
        self, rows: Indices, columns: Indices, values: Floats, ascending: bool, ties: Floats | None = None
    ) -> Indices:
        """Places of listed pairs sorted by a value, `ties` and names; NaN last in both directions."""
        rank = np.argsort(np.argsort(np.array(self.model_ids)))
        between = () if ties is None else (ties if ascending else -ties,)
        return np.lexsort((rank[columns], rank[rows], *between, values if ascending else -values))
