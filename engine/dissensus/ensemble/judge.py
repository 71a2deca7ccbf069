"""What an ensemble is worth on examples that took no part in its choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dissensus.store.splits import Rows

from . import evaluate
from .evaluate import Values
from .found import Found, Task
from .metrics import BALANCED_ACCURACY
from .mixture import mixed
from .weighted import fold_means
from .weights import Weights


@dataclass(frozen=True)
class Judged:
    """Values of each example reported on.

    Attributes
    ----------
    curve : list of Values
        After each step.
    ensemble : Values
        In the end.
    single : Values
        Best single model by the metric on the selection rows.
    equal_cost : Values or None
        Best single model that costs at most what the ensemble does; None without costs.
    """

    curve: list[Values]
    ensemble: Values
    single: Values
    equal_cost: Values | None


def judge(task: Task, found: Found, rows: Rows) -> Judged:
    """Values on rows of one search."""
    alone, equal = found.singles[0], equal_cost(task, found)
    used = list(dict.fromkeys([*found.state.chosen, alone, *([] if equal is None else [equal])]))
    scores = task.scores(used, rows, found.temperatures)
    examples = task.weights_on(rows)
    curve = evaluate.steps(scores, [used.index(m) for m in found.state.chosen], task.judged, examples)
    weights = {used.index(m): w for m, w in found.weights.items()}
    return Judged(
        curve,
        curve[found.length - 1]
        if found.is_plain
        else evaluate.standing(mixed(scores, weights, examples), task.judged),
        evaluate.single(scores, used.index(alone), task.judged, examples),
        None if equal is None else evaluate.single(scores, used.index(equal), task.judged, examples),
    )


def together(task: Task, parts: Sequence[Judged], folds: Sequence[Rows]) -> Judged:
    """Folds as one: each example under the ensemble chosen without it, fold by fold.

    Where trajectories are not equally long, those that ended stay as they are.
    """
    longest = max(len(part.curve) for part in parts)
    join = _Folds(task, folds).joined
    equal = [part.equal_cost for part in parts if part.equal_cost is not None]
    return Judged(
        [join([part.curve[min(step, len(part.curve) - 1)] for part in parts]) for step in range(longest)],
        join([part.ensemble for part in parts]),
        join([part.single for part in parts]),
        join(equal) if len(equal) == len(parts) else None,
    )


class _Folds:
    """What examples of all folds count: those of a fold were weighed among themselves."""

    def __init__(self, task: Task, folds: Sequence[Rows]) -> None:
        rows = np.concatenate(folds)
        self._means = fold_means(task.example_weights, folds)
        self._truth = task.store.truth.take(rows)
        self._weights = task.weights_on(rows) or Weights.equal(len(rows))

    def joined(self, parts: Sequence[Values]) -> Values:
        """Values of all folds; classes are balanced over all examples, since a fold may lack some."""
        scaled = [
            {name: each * mean for name, each in part.items()}
            for part, mean in zip(parts, self._means, strict=True)
        ]
        values, name = evaluate.joined(scaled), BALANCED_ACCURACY.name
        if name in values:
            weights = self._weights.balanced(self._truth)
            values[name] = (values["accuracy"] > 0) * (weights.each * (len(weights.each) / weights.total))
        return values


def equal_cost(task: Task, found: Found) -> int | None:
    """Best single candidate that costs at most what the members do together."""
    if task.pool.costs is None:
        return None
    most = task.limits.cost(found.weights)
    return next((m for m in found.singles if task.pool.costs[m] <= most), None)
