"""What a study measures of a zoo: ensembles of two with some seeds, confidences, greedy curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.ensemble.calibration import temperatures
from dissensus.ensemble.select import greedy
from dissensus.run.progress import Progress

from .against import Against, against
from .theta import Auroc, angles, auroc
from .zoo import Zoo

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
MOST_SEEDS = 24  # models whose best partner is looked for
MOST_CURVES = 4  # of them, the first are the starts of greedy curves
STEPS = 5  # members of a greedy curve
UNITS = 100  # of progress, a pass over the logits


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured, on the models with confidences.

    Attributes
    ----------
    zoo : Zoo
        The models and their right answers.
    temperatures : dict of str to float
        Of the models with confidences; fitted on the selection split.
    seeds : list of int
        Places (among all models) of the models that partners are looked for; the first are those that
        curves start from. The base is among them if it has confidences, and so is the model most accurate
        on the selection split.
    fit, report : Against or None
        Each seed with each model with confidences, on both splits; None where no model has any.
    curves : pyarrow.Table or None
        start, step, member, fit_accuracy, report_accuracy; a curve starts from a seed alone.
    """

    zoo: Zoo
    temperatures: dict[str, float]
    seeds: list[int]
    fit: Against | None
    report: Against | None
    curves: pa.Table | None

    @cached_property
    def places(self) -> Indices:
        """Places among all models of those with confidences, (S,)."""
        return np.flatnonzero(self.zoo.scored)

    @property
    def base_seed(self) -> int | None:
        """Place of the base among the seeds; None where it has hard labels only."""
        return self.seeds.index(self.zoo.base) if self.zoo.base in self.seeds else None

    @cached_property
    def fit_accuracy(self) -> Floats:
        """Of each model on the selection split, (M,)."""
        zoo = self.zoo
        return zoo.store.correct(zoo.model_ids)[:, zoo.fit].mean(axis=1) if len(zoo.fit) else zoo.accuracy

    def with_base(self) -> dict[str, Floats]:
        """pair_accuracy, improvement and conversion_rate of the base with each model, (M,); NaN without."""
        zoo, place = self.zoo, self.base_seed
        empty = np.full(len(zoo.model_ids), np.nan)
        if self.report is None or place is None:
            return dict.fromkeys(("pair_accuracy", "improvement", "conversion_rate"), empty)
        pair, converted = empty.copy(), empty.copy()
        pair[self.places] = self.report.right[place] / len(zoo.rows)
        counts = zoo.counts
        inconsistent = (counts.n10 + counts.n01)[zoo.base][self.places]
        np.divide(
            self.report.converted[place],
            inconsistent,
            out=(some := np.full(len(self.places), np.nan)),
            where=inconsistent > 0,
        )
        converted[self.places] = some
        mean = (zoo.accuracy + zoo.accuracy[zoo.base]) / 2
        return {"pair_accuracy": pair, "improvement": pair - mean, "conversion_rate": converted}

    def theta(self, model: int) -> Floats | None:
        """Angle of the base's confidence over a model's on the reported rows; None without confidences."""
        if self.report is None or not (self.zoo.scored[model] and self.zoo.scored[self.zoo.base]):
            return None
        first, second = (
            self.report.confidence[np.searchsorted(self.places, m)] for m in (self.zoo.base, model)
        )
        return angles(first, second)

    def only(self, model: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Reported rows where only the base, and where only the model is right."""
        base, other = self.zoo.correct[self.zoo.base], self.zoo.correct[model]
        return base & ~other, other & ~base

    @cached_property
    def aurocs(self) -> list[Auroc | None]:
        """AUROC of theta for only-base-right against only-model-right, of each model."""
        found: list[Auroc | None] = []
        for model in range(len(self.zoo.model_ids)):
            theta = None if model == self.zoo.base else self.theta(model)
            only_base, only_model = self.only(model)
            found.append(None if theta is None else auroc(theta[only_base], theta[only_model]))
        return found


def measure(zoo: Zoo, progress: bool = False) -> Measured:
    """Calibrate, and go through the logits of both splits once; then the greedy curves."""
    ids = [zoo.model_ids[i] for i in np.flatnonzero(zoo.scored)]
    if not ids:
        return Measured(zoo, {}, [], None, None, None)
    seeds = _seeds(zoo)
    with Progress(len(ids) + (2 + len(seeds[:MOST_CURVES])) * UNITS, "study", enabled=progress) as bar:
        fitted: dict[str, float] = {}
        for one in ids:
            fitted |= temperatures(zoo.store, [one], zoo.fit)
            bar.advance(1, "temperatures")
        anchors = [ids.index(zoo.model_ids[s]) for s in seeds]
        fit, report = (
            against(zoo.store, ids, anchors, rows, fitted, _parts(bar, "pairs with the seeds"))
            for rows in (zoo.fit, zoo.rows)
        )
        curves = [_curve(zoo, ids, seed, bar) for seed in seeds[:MOST_CURVES]]
    return Measured(zoo, fitted, seeds, fit, report, pa.concat_tables(curves))


def _parts(bar: Progress, status: str) -> Callable[[float], None]:
    """Count parts of a pass in whole units."""
    done = [0.0]

    def advance(part: float) -> None:
        before, done[0] = round(done[0] * UNITS), done[0] + part
        bar.advance(round(done[0] * UNITS) - before, status)

    return advance


def _seeds(zoo: Zoo) -> list[int]:
    """The base, the best model, the best of further categories, then others, by accuracy on the fit split."""
    accuracy = zoo.store.correct(zoo.model_ids)[:, zoo.fit].mean(axis=1)
    accuracy[~zoo.scored] = -1
    best_first = [int(i) for i in np.argsort(-accuracy, kind="stable") if zoo.scored[i]]
    seeds = [zoo.base] if zoo.scored[zoo.base] else []
    seeds += [i for i in best_first[:1] if i not in seeds]
    for model in best_first:
        if zoo.category[model] not in {zoo.category[s] for s in seeds}:
            seeds.append(model)
    seeds += [i for i in best_first if i not in seeds]
    return seeds[:MOST_SEEDS]


def _curve(zoo: Zoo, ids: Sequence[str], seed: int, bar: Progress) -> pa.Table:
    """Greedy curve from one model: each member once, chosen on one split and reported on the other."""
    start = zoo.model_ids[seed]
    best = greedy(
        zoo.store,
        min(STEPS, len(ids)),
        candidates=ids,
        start=[start],
        replacement=False,
        select=zoo.select,
        report=zoo.report,
        allow_same_split=True,  # `Zoo.of` has refused it, or was told to allow it
    )
    bar.advance(UNITS, f"greedy from {start}")
    curve = best.curve
    columns: dict[str, Any] = {"start": [start] * curve.num_rows}
    columns |= {n: curve[n] for n in ("step", "member", "fit_accuracy", "report_accuracy")}
    return pa.table(columns)
