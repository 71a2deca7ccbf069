"""What an ensemble is worth on examples that took no part in its choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dissensus.store.splits import Rows
from dissensus.store.truth import Truth

from . import evaluate
from .evaluate import Values
from .found import Found, Task
from .metrics import BALANCED_ACCURACY
from .mixture import mixed
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


def together(parts: Sequence[Judged], truth: Truth) -> Judged:
    """Folds as one: each example, of which `truth` is in their order, under the ensemble chosen without it.

    Where trajectories are not equally long, those that ended stay as they are.
    """
    longest = max(len(part.curve) for part in parts)
    curve = [
        _joined([part.curve[min(step, len(part.curve) - 1)] for part in parts], truth)
        for step in range(longest)
    ]
    equal = [part.equal_cost for part in parts if part.equal_cost is not None]
    return Judged(
        curve,
        _joined([part.ensemble for part in parts], truth),
        _joined([part.single for part in parts], truth),
        _joined(equal, truth) if len(equal) == len(parts) else None,
    )


def _joined(parts: Sequence[Values], truth: Truth) -> Values:
    """Values of all folds; classes are balanced over all examples, since a fold may lack some."""
    values, name = evaluate.joined(parts), BALANCED_ACCURACY.name
    if name in values:
        weights = Weights.equal(len(truth)).balanced(truth)
        values[name] = values["accuracy"] * (weights.each * (len(truth) / weights.total))
    return values


def equal_cost(task: Task, found: Found) -> int | None:
    """Best single candidate that costs at most what the members do together."""
    if task.pool.costs is None:
        return None
    most = task.limits.cost(found.weights)
    return next((m for m in found.singles if task.pool.costs[m] <= most), None)
