"""What the demo tells, as tables: models by category, distance from the base model, complementary pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .recipes import BASE, CATEGORIES, Recipe

if TYPE_CHECKING:
    from dissensus.pairs import Pairs
    from dissensus.store.catalog import Store

BAND = 0.03
"""Half the width of the accuracy band: inconsistency is tied to accuracy, so only equals are compared."""

MEASURES = ("error_inconsistency", "error_consistency")


@dataclass(frozen=True)
class Band:
    """The accuracy band around the base model, on the report split.

    Attributes
    ----------
    base
        Name of the base model.
    accuracy
        Its accuracy.
    low, high
        Ends of the band, both inside.
    inside, outside
        Number of other models in the band and out of it.
    """

    base: str
    accuracy: float
    low: float
    high: float
    inside: int
    outside: int


@dataclass(frozen=True)
class Findings:
    """What is told about a zoo; all numbers on the report split unless said otherwise.

    Attributes
    ----------
    band
        The accuracy band.
    models
        Model, category, note, fit_accuracy, report_accuracy, in_band; by category, best first.
    categories
        Category, n_models, n_in_band, accuracy, error_inconsistency and error_consistency (kappa) to the base
        model as means over the models in the band (null where there is none), with the least and largest
        inconsistency.
    pairs
        Model_a, model_b, their categories and accuracies, error_inconsistency, error_consistency,
        oracle_accuracy (share of examples that one of the two gets right): lowest kappa on the fit split
        first, both in the band.
    """

    band: Band
    models: pa.Table
    categories: pa.Table
    pairs: pa.Table


@dataclass(frozen=True)
class _Zoo:
    """Models of the zoo with what both splits say about their pairs, in one order."""

    recipes: Sequence[Recipe]
    fit: Pairs
    report: Pairs
    in_band: NDArray[np.bool_]

    def columns(self, rows: NDArray[np.intp], side: str) -> dict[str, list[str] | NDArray[np.float64]]:
        return {
            f"model_{side}": [self.recipes[row].model_id for row in rows],
            f"category_{side}": [self.recipes[row].category for row in rows],
            f"accuracy_{side}": self.report.accuracy[rows],
        }


def findings(store: Store, recipes: Sequence[Recipe], n_pairs: int = 5) -> Findings:
    """Return what the demo tells about the models of these recipes that are in the store.

    Parameters
    ----------
    store
        With the splits `fit` and `report`.
    recipes
        The base model's among them; those whose model is not in the store are left out.
    n_pairs
        Length of the table of pairs.
    """
    from dissensus.pairs import pairwise

    present = set(store.model_ids)
    recipes = [recipe for recipe in recipes if recipe.model_id in present]
    ids = [recipe.model_id for recipe in recipes]
    fit, report = (pairwise(store, MEASURES, models=ids, split=split) for split in ("fit", "report"))
    base = next(row for row, recipe in enumerate(recipes) if recipe.category == BASE)
    low, high = report.accuracy[base] - BAND, report.accuracy[base] + BAND
    in_band = (report.accuracy >= low) & (report.accuracy <= high)
    inside = int(in_band.sum()) - 1
    zoo = _Zoo(recipes, fit, report, in_band)
    band = Band(
        ids[base], float(report.accuracy[base]), float(low), float(high), inside, len(ids) - 1 - inside
    )
    return Findings(band, _models(zoo), _categories(zoo, base), _pairs(zoo, n_pairs))


def _models(zoo: _Zoo) -> pa.Table:
    order = sorted(
        range(len(zoo.recipes)),
        key=lambda row: (CATEGORIES.index(zoo.recipes[row].category), -zoo.report.accuracy[row]),
    )
    return pa.table(
        {
            "model": [zoo.recipes[row].model_id for row in order],
            "category": [zoo.recipes[row].category for row in order],
            "note": [zoo.recipes[row].note for row in order],
            "fit_accuracy": zoo.fit.accuracy[order],
            "report_accuracy": zoo.report.accuracy[order],
            "in_band": zoo.in_band[order],
        }
    )


def _categories(zoo: _Zoo, base: int) -> pa.Table:
    of_category = np.array([recipe.category for recipe in zoo.recipes])
    rows = [
        {"category": category, **_distance(zoo, base, np.flatnonzero(of_category == category))}
        for category in CATEGORIES
        if category != BASE and (of_category == category).any()
    ]
    return pa.Table.from_pylist(rows)


def _distance(zoo: _Zoo, base: int, members: NDArray[np.intp]) -> Mapping[str, float | int | None]:
    """Return means over the members in the band: accuracy, and both measures to the base model."""
    inside = members[zoo.in_band[members]]
    inconsistency, kappa = (zoo.report[measure][base, inside] for measure in MEASURES)
    return {
        "n_models": len(members),
        "n_in_band": len(inside),
        "accuracy": _mean(zoo.report.accuracy[inside]),
        "error_inconsistency": _mean(inconsistency),
        "error_consistency": _mean(kappa),
        "least_inconsistency": float(inconsistency.min()) if len(inside) else None,
        "largest_inconsistency": float(inconsistency.max()) if len(inside) else None,
    }


def _pairs(zoo: _Zoo, n: int) -> pa.Table:
    inside = np.flatnonzero(zoo.in_band)
    first, second = (inside[side] for side in np.triu_indices(len(inside), 1))
    order = np.argsort(zoo.fit["error_consistency"][first, second], kind="stable")[:n]  # NaN comes last
    first, second = first[order], second[order]
    neither = zoo.report.counts.n00[first, second] / zoo.report.counts.n
    measured = {measure: zoo.report[measure][first, second] for measure in MEASURES}
    sides = {**zoo.columns(first, "a"), **zoo.columns(second, "b")}
    return pa.table({**sides, **measured, "oracle_accuracy": 1 - neither})


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
