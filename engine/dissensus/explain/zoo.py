"""The models of a study, checked once: categories, accuracy band, examples, and their right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dissensus.ensemble.splits import select_and_report
from dissensus.errors import ArgumentError, UnknownName
from dissensus.pairs import MEASURES, Answers, PairCounts
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

HALF_BAND = 0.03  # of accuracy, around the base's
CATEGORY, FAMILY = "category", "family"
UNRECORDED, ALL_MODELS = "not recorded", "models"
MOST_ALONE = 8  # models up to which each is its own category where none is recorded
SLACK = 1e-9  # accuracies are quotients, ends of a band decimal texts
PAPER = ("reinitialisation", "hyperparameters", "architecture", "framework", "dataset")
"""Kinds of divergence of Gontijo-Lopes et al. 2021, section 3, nearest first; compared by `_plain`."""


@dataclass(frozen=True, eq=False)
class Zoo:
    """M models on the examples that a study reports on.

    Attributes
    ----------
    store : Store
        Under the label set that decides.
    model_ids : list of str
        All models.
    base : int
        Place of the model that all are compared with.
    category : list of str
        Of each model.
    category_from : str
        The column they come from; empty for none.
    order : list of str
        Categories other than the base's own, if it has one for itself: nearest first where an order is known,
        then by mean inconsistency.
    ranked : dict of str to int
        Place of the categories in the order that was given, or that of the paper; empty for none.
    band : (float, float)
        Accuracies compared as equal, both ends inside.
    fit, rows : (n,) intp
        Rows that temperatures are fitted and ensembles chosen on, and those reported on; no `fit` where no
        model has confidences.
    select, report : str
        Their splits; `select` is empty without `fit`.
    correct : (M, n) bool
        Whether each model is right on the reported rows.
    scored : (M,) bool
        Which models have confidences.
    counts : PairCounts
        Of all pairs, on the reported rows.
    notes : list of str
        What a reader must be told.
    """

    store: Store
    model_ids: list[str]
    base: int
    category: list[str]
    category_from: str
    order: list[str]
    ranked: dict[str, int]
    band: tuple[float, float]
    fit: Rows
    rows: Rows
    select: str
    report: str
    correct: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    counts: PairCounts
    notes: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Of each model on the reported rows, (M,)."""
        return self.counts.accuracy

    @property
    def in_band(self) -> NDArray[np.bool_]:
        """Whether a model is in the accuracy band, (M,)."""
        low, high = self.band
        return (self.accuracy >= low - SLACK) & (self.accuracy <= high + SLACK)

    @property
    def others(self) -> NDArray[np.intp]:
        """All models but the base."""
        return np.delete(np.arange(len(self.model_ids)), self.base)

    def measured(self, measure: str) -> NDArray[np.float64]:
        """A measure of correctness between all models, (M, M)."""
        return MEASURES[measure].finish(self.counts)

    @classmethod
    def of(
        cls,
        store: Store,
        base: str,
        *,
        category: str | None,
        order: Sequence[str] | None,
        accuracy_band: tuple[float, float] | None,
        select: str,
        report: str | None,
        allow_same_split: bool,
        labels: str | None,
    ) -> Zoo:
        """Check what `study` was asked; see there."""
        store = store.under(labels)
        ids = store.model_ids
        if base not in ids:
            raise UnknownName.of("model", str(base), ids, "(base=, --base)")
        if len(ids) < 2:
            raise ArgumentError(f"a study compares base with other models; {store.path} holds {ids} only")
        notes: list[str] = []
        column, categories = _categories(store, ids, category, notes)
        scored = np.array([store.model(m).kind != "labels" for m in ids])
        hard = [m for m, has in zip(ids, scored, strict=True) if not has]
        if hard:
            some = ", ".join(hard[:8]) + (", …" if len(hard) > 8 else "")
            notes.append(f"Hard labels only, no confidences, left out where these are needed: {some}.")
        fit, rows = np.empty(0, np.intp), np.empty(0, np.intp)
        if scored.any():
            report = report or "report"
            fit, rows = select_and_report(store, select, report, allow_same_split)
        else:
            select, report = "", report or "all"
            rows = store.rows(report)
        correct = store.correct(ids)[:, rows]
        answers = Answers.of(np.ascontiguousarray(correct))
        counts, place = answers.counts(), ids.index(base)
        band = _band(ids, place, counts.accuracy, accuracy_band)
        inconsistency = MEASURES["error_inconsistency"].finish(counts)[place]
        names, ranked = _order(categories, place, order, inconsistency, notes)
        return cls(
            store,
            ids,
            place,
            categories,
            column,
            names,
            ranked,
            band,
            fit,
            rows,
            select,
            report,
            correct,
            scored,
            counts,
            notes,
        )


def _categories(
    store: Store, ids: Sequence[str], column: str | None, notes: list[str]
) -> tuple[str, list[str]]:
    """Column that categories come from, and the category of each model."""
    table = store.models()
    known = [name for name in table.column_names if name not in ("model", "kind", "accuracy")]
    if column is not None and column not in known:
        raise UnknownName.of("category column", column, known, "(columns that models were stored with)")
    used = column or next((name for name in (CATEGORY, FAMILY) if name in known), "")
    if used == FAMILY and column is None:
        notes.append("No model has a recorded category: the family recorded at ingest stands in for it.")
    if not used:
        alone = len(ids) <= MOST_ALONE
        notes.append(
            "No model has a recorded category or family: "
            + ("each is a category of its own." if alone else "all are one category.")
        )
        return "", list(ids) if alone else [ALL_MODELS] * len(ids)
    of = dict(zip(table["model"].to_pylist(), table[used].to_pylist(), strict=True))
    values = [UNRECORDED if of[m] is None else str(of[m]) for m in ids]
    if UNRECORDED in values:
        notes.append(f"{values.count(UNRECORDED)} models have no recorded {used}.")
    return used, values


def _band(
    ids: Sequence[str],
    base: int,
    accuracy: NDArray[np.float64],
    given: tuple[float, float] | None,
) -> tuple[float, float]:
    """Check the accuracy band; around the base's accuracy by default."""
    own = float(accuracy[base])
    low, high = (max(0.0, own - HALF_BAND), min(1.0, own + HALF_BAND)) if given is None else given
    if not 0 <= low < high <= 1:
        raise ArgumentError(f"accuracy_band must be LO < HI within 0..1; got {low} {high}")
    inside = (accuracy >= low - SLACK) & (accuracy <= high + SLACK)
    if inside[np.arange(len(ids)) != base].any():
        return low, high
    others = [i for i in range(len(ids)) if i != base]
    nearest = min(others, key=lambda i: max(low - accuracy[i], accuracy[i] - high))
    raise ArgumentError(
        f"accuracy_band {low:.4f} {high:.4f} holds no model but the base (accuracy {own:.4f}); nearest is "
        f"{ids[nearest]!r} with {accuracy[nearest]:.4f}: widen it (--accuracy-band LO HI)"
    )


def _order(
    categories: Sequence[str],
    base: int,
    given: Sequence[str] | None,
    inconsistency: NDArray[np.float64],
    notes: list[str],
) -> tuple[list[str], dict[str, int]]:
    """Categories to show, and the place of those whose order is known."""
    found = dict.fromkeys(c for i, c in enumerate(categories) if i != base)
    for name in given or ():
        if name not in found:
            raise UnknownName.of("category", name, found, "(order)")
    if given is not None and len(set(given)) < len(given):
        raise ArgumentError(f"order names a category twice: {list(given)}")
    ranked = {name: place for place, name in enumerate(given or ())}
    if given is None:
        ranked = {name: PAPER.index(_plain(name)) for name in found if _plain(name) in PAPER}
    if len(ranked) < 2:
        ranked = {}
    of = {name: [i for i, c in enumerate(categories) if c == name and i != base] for name in found}
    single = [name for name, members in of.items() if len(members) == 1]
    if single and len(found) > 1 and len(single) < len(categories) - 1:
        notes.append(f"Categories of one model, whose mean has no interval: {', '.join(single[:8])}.")
    by_mean = {name: float(inconsistency[members].mean()) for name, members in of.items()}
    return sorted(found, key=lambda name: (ranked.get(name, len(ranked)), by_mean[name])), ranked


def _plain(name: str) -> str:
    """A category's name without marks, in one spelling and number."""
    letters = "".join(c for c in name.lower() if c.isalnum()).replace("z", "s")
    return letters if letters in PAPER or letters + "s" not in PAPER else letters + "s"
