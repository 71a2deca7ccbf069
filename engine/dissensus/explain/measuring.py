"""What a study measures of a zoo: ensembles of two with some seeds, confidences, greedy curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.ensemble import evaluate
from dissensus.ensemble.calibration import temperatures
from dissensus.ensemble.combine import COMBINE
from dissensus.ensemble.limits import Limits
from dissensus.ensemble.members import Scores
from dissensus.ensemble.metrics import METRICS
from dissensus.ensemble.path import Steps, forward
from dissensus.ensemble.selection import Selection
from dissensus.pairs import MEASURES
from dissensus.pairs.pair_hits import pair_hits
from dissensus.run.progress import Progress
from dissensus.store.splits import Rows

from .ledger import ledger_of
from .theta import Auroc, angles, auroc
from .zoo import Zoo

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
GAINS = ("pair_accuracy", "improvement", "conversion_rate")
MOST_SEEDS = 24  # models whose best partner is looked for
MOST_CURVES = 4  # of them, the first are the starts of greedy curves
STEPS = 5  # members of a greedy curve
CURVED = "accuracy"


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
    fit, report : dict of str to (A, S) int64, or None
        "pair_right" and "converted" of the ensembles of each seed with each model with confidences, on both
        splits; see `pairs.pair_hits`. None where no model has any.
    confidence : (S, n) float32 or None
        Calibrated probability of their first classes, on the reported rows.
    curves : pyarrow.Table or None
        start, step, member, fit_accuracy, report_accuracy; a curve starts from a seed alone.
    """

    zoo: Zoo
    temperatures: dict[str, float]
    seeds: list[int]
    fit: Mapping[str, Counts] | None
    report: Mapping[str, Counts] | None
    confidence: NDArray[np.float32] | None
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
        """Measures of the ensembles of the base with each model, (M,); NaN without confidences."""
        shape = (len(self.zoo.model_ids),) * 2
        more = {name: np.full(shape, np.nan) for name in ("pair_right", "converted")}
        if self.report is not None and self.base_seed is not None:
            for name, values in more.items():
                values[self.zoo.base, self.places] = self.report[name][self.base_seed]
        return {n: MEASURES[n].finish(self.zoo.counts, more=more)[self.zoo.base] for n in GAINS}

    def turned(self, anchor: int, model: int) -> tuple[int, int]:
        """Reported examples right by the ensemble of two models and not by the first, and the other way."""
        pair, zoo = [self.zoo.model_ids[i] for i in (anchor, model)], self.zoo
        right = ledger_of(
            zoo.store, pair, np.array([1, 1]), zoo.rows, "probabilities", self.temperatures
        ).right
        return int((right[-1] & ~right[0]).sum()), int((right[0] & ~right[-1]).sum())

    def theta(self, model: int) -> Floats | None:
        """Angle of the base's confidence over a model's on the reported rows; None without confidences."""
        if self.confidence is None or not (self.zoo.scored[model] and self.zoo.scored[self.zoo.base]):
            return None
        first, second = (self.confidence[np.searchsorted(self.places, m)] for m in (self.zoo.base, model))
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
        return Measured(zoo, {}, [], None, None, None, None)
    seeds = _seeds(zoo)
    fitted: dict[str, float] = {}
    with Progress(len(ids), "temperatures", enabled=progress) as bar:
        for one in ids:
            fitted |= temperatures(zoo.store, [one], zoo.fit)
            bar.advance(1, one)
    confidence = np.empty((len(ids), len(zoo.rows)), np.float32)
    fit = _ensembles(zoo, seeds, zoo.fit, fitted, None, progress)
    report = _ensembles(zoo, seeds, zoo.rows, fitted, confidence, progress)
    starts = seeds[:MOST_CURVES]
    with Progress(len(starts) * min(STEPS, len(ids)), "greedy curves", enabled=progress) as bar:
        curves = _curves(zoo, ids, starts, fitted, lambda: bar.advance(1))
    return Measured(zoo, fitted, seeds, fit, report, confidence, curves)


def _ensembles(
    zoo: Zoo,
    seeds: Sequence[int],
    rows: Rows,
    fitted: Mapping[str, float],
    confidence: NDArray[np.float32] | None,
    progress: bool,
) -> dict[str, Counts]:
    """Count ensembles of each seed with each model with confidences, in the order of the models."""
    places = np.flatnonzero(zoo.scored)
    order = np.array([*seeds, *(i for i in places if i not in seeds)], np.intp)
    back = np.argsort(order)
    models = [zoo.store.model(zoo.model_ids[i]) for i in order]
    correct = zoo.store.correct([m.model_id for m in models])
    found = None if confidence is None else np.empty_like(confidence)
    options: dict[str, Any] = {"anchors": len(seeds), "confidence": found, "progress": progress}
    counts, _ = pair_hits(zoo.store, models, rows, fitted, correct, **options)
    if confidence is not None and found is not None:
        confidence[:] = found[back]
    return {name: values[:, back] for name, values in counts.items()}


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


def _curves(
    zoo: Zoo,
    ids: Sequence[str],
    starts: Sequence[int],
    fitted: Mapping[str, float],
    advance: Callable[[], None],
) -> pa.Table:
    """Greedy curves from some models, as `greedy` has them; all from views that are made once.

    Each model is a member once, chosen on one split and reported on the other.
    """
    score = COMBINE["probabilities"].scores
    empty = Selection(score(zoo.store, ids, zoo.fit, fitted))
    limits = Limits(np.arange(len(ids)), replacement=False)
    first = [ids.index(zoo.model_ids[start]) for start in starts]
    states = [
        forward(empty, Steps(min(STEPS, len(ids)), CURVED, (one,)), limits, advance)[0] for one in first
    ]
    used = list(dict.fromkeys(m for state in states for m in state.chosen))
    held = score(zoo.store, [ids[m] for m in used], zoo.rows, fitted)
    return pa.concat_tables([_curve(ids, state, used, held) for state in states])


def _curve(ids: Sequence[str], state: Selection, used: Sequence[int], held: Scores) -> pa.Table:
    """One curve; `held` has the models `used` on the reported rows."""
    reported = evaluate.steps(held, [used.index(m) for m in state.chosen], [CURVED])
    return pa.table(
        {
            "start": [ids[state.chosen[0]]] * len(state.chosen),
            "step": np.arange(1, len(state.chosen) + 1),
            "member": [ids[m] for m in state.chosen],
            "fit_accuracy": [METRICS[CURVED].value(state, score) for score in state.history[CURVED]],
            "report_accuracy": [evaluate.means(values)[CURVED] for values in reported],
        }
    )
