"""The weighted duo: the best log-linear pool of two models, fitted on one split and reported on another.

p(c) is proportional to exp(z_a(c) / T_a + z_b(c) / T_b) (Genest, Zidek 1986; Heskes 1998, "Selecting
weighting factors in logarithmic opinion pools", NeurIPS). With one right class an example the NLL is convex
in both 1 / T_a and 1 / T_b, so that Newton's method in two variables finds the best of all: temperature
scaling (Guo et al. 2017) of both members and their weights at once. Of a mixture of probabilities only the
weight would be a convex problem, for temperatures fixed before.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, CalibrationWarning, LabelsOnly
from dissensus.kernels import pools
from dissensus.kernels import probabilities as kernel
from dissensus.kernels.temperatures import COLDEST
from dissensus.store.models import again

from .calibration import temperatures
from .evaluate import Values, means
from .result import Interval, gain_interval
from .splits import select_and_report

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.splits import Rows
    from dissensus.store.truth import Truth

Coefficients = tuple[float, float]
ROWS = 2048  # examples whose probabilities are held at a time
MAX_STEPS = 60
TOLERANCE = 1e-12  # share of the NLL that Newton's step could still gain
ALONE = 1e-9  # share of the NLL that a step of one member alone may gain at its best temperature
NOTHING = (0.0, 0.0)  # all classes alike
MEAN_OF_LOGITS = (0.5, 0.5)  # where there are no best coefficients
MEAN, DUO = "mean of probabilities", "weighted duo"


@dataclass(frozen=True)
class Duo:
    """Two models and how to weigh them.

    Attributes
    ----------
    models : list of str
        The two members.
    temperatures : dict of str to float
        T_a and T_b of the pool; infinite for a member that only does harm, and so has no say.
    weights : dict of str to float
        Temperature that is best for the member alone over that in the pool: what its calibrated logits count.
        1/2 each would be their mean; members that know different things count more together than 1.
    table : pyarrow.Table
        fit_accuracy, fit_nll, report_accuracy, report_nll (nats) of each member alone, calibrated, of the
        equal-weight mean of both members' calibrated probabilities, and of the duo.
    intervals : dict of str to Interval
        Gain in "accuracy" and "nll" on the report split over the member that has the lower NLL on the fit
        split.
    splits : dict
        Names and sizes of the two splits; "same_examples" is true where they share some.
    labels : str
        Label set that decided what is right.
    """

    models: list[str]
    temperatures: dict[str, float]
    weights: dict[str, float]
    table: pa.Table
    intervals: dict[str, Interval]
    splits: dict[str, Any]
    labels: str

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        intervals = {name: asdict(interval) for name, interval in self.intervals.items()}
        return record | {"table": self.table.to_pylist(), "intervals": intervals}


def duo(
    store: Store,
    model_a: str,
    model_b: str,
    *,
    select: str = "fit",
    report: str = "report",
    allow_same_split: bool = False,
    labels: str | None = None,
) -> Duo:
    """Weigh two models: fit two temperatures of their log-linear pool on one split, report on another.

    Parameters
    ----------
    store : Store
        Models and examples.
    model_a, model_b : str
        Two models with logits or probabilities.
    select, report : str
        Splits that fit and that report, or "all". A store without splits has a seeded, stratified "fit" and
        "report".
    allow_same_split : bool
        Permit the two to share examples; the result is marked.
    labels : str, optional
        Label set that decides what is right; by default the one that `store` goes by.

    Returns
    -------
    Duo

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly

    Warns
    -----
    CalibrationWarning
        No finite temperatures are best, as of members that together are always right: the mean of logits is
        used.

    Notes
    -----
    Coefficients 1/T are at least 0: a member that the other makes useless is left out, not turned round.

    Examples
    --------
    >>> duo = ds.duo(store, "resnet50", "vit_small")  # doctest: +SKIP
    >>> duo.weights, duo.intervals["nll"].gain  # doctest: +SKIP
    """
    store = store.under(labels)
    names = _two(store, model_a, model_b)
    fit, held = select_and_report(store, select, report, allow_same_split)
    alone, coefficients, on_fit, on_report = _fitted(store, names, fit, held)
    single = min(names, key=lambda name: means(on_fit[name])["nll"])
    intervals = {
        metric: gain_interval(metric, single, on_report[DUO][metric], on_report[single][metric])
        for metric in ("accuracy", "nll")
    }
    return Duo(
        models=names,
        temperatures={m: 1 / b if b else np.inf for m, b in zip(names, coefficients, strict=True)},
        weights={m: b * alone[m] for m, b in zip(names, coefficients, strict=True)},
        table=_table(on_fit, on_report),
        intervals=intervals,
        splits={
            "select": {"name": select, "n_examples": len(fit)},
            "report": {"name": report, "n_examples": len(held)},
            "same_examples": bool(np.isin(fit, held).any()),
        },
        labels=store.truth.name,
    )


def _two(store: Store, model_a: str, model_b: str) -> list[str]:
    """Ids of two different models that have scores."""
    names = [store.model(m).model_id for m in (model_a, model_b)]
    if names[0] == names[1]:
        raise ArgumentError(f"a duo is of two different models; got {names[0]!r} twice")
    return with_scores(store, names)


def with_scores(store: Store, names: Sequence[str]) -> list[str]:
    """Ids of models, all of which have logits or probabilities."""
    models = [store.model(m) for m in names]
    hard = [model.model_id for model in models if model.kind == "labels"]
    if hard:
        raise LabelsOnly(
            f"{' and '.join(hard)} have hard labels only; a duo needs logits or probabilities of both members"
        )
    return [model.model_id for model in models]


@again
def _fitted(
    store: Store, names: list[str], fit: Rows, held: Rows
) -> tuple[dict[str, float], Coefficients, dict[str, Values], dict[str, Values]]:
    """Temperatures of each alone, coefficients of the pool, and values of each example on both splits."""
    alone = temperatures(store, names, fit)
    sides = [(codes_on(store, names, rows), store.truth.take(rows)) for rows in (fit, held)]
    coefficients = best_duo(*sides[0], (alone[names[0]], alone[names[1]]))
    if coefficients is None:
        warnings.warn(
            f"models {names[0]!r} and {names[1]!r} have no best temperatures together on these {len(fit)} "
            "examples (always right, or worse than chance); the mean of their logits is used",
            CalibrationWarning,
            stacklevel=4,
        )
        coefficients = MEAN_OF_LOGITS
    on_fit, on_report = (_values(names, *side, alone, coefficients) for side in sides)
    return alone, coefficients, on_fit, on_report


def best_duo(codes: list[kernel.Codes], truth: Truth, alone: Coefficients) -> Coefficients | None:
    """Coefficients of least NLL that are not negative, from each member's best temperature alone.

    None as for `best_pool`, and where neither member is better than no prediction at all.
    """
    here, is_best = _descended(codes, truth, (0.5 / alone[0], 0.5 / alone[1]))
    if not is_best:  # a temperature of 1 that stands for none can be too far off to descend from
        here, is_best = _descended(codes, truth, NOTHING)
    if min(here) >= 0:
        return here if is_best else None
    edges = [_edge(codes, truth, side, alone[side]) for side in (0, 1)]  # one is 0 then
    found = [b for b in edges if b is not None]
    if len(found) < 2 or not np.any(found):
        return None
    return min(found, key=lambda b: _slopes(codes, truth, np.array(b))[0])


def _edge(codes: list[kernel.Codes], truth: Truth, side: int, temperature: float) -> Coefficients | None:
    """Coefficients of one member alone, 0 if it harms; None where it is best at infinity.

    A temperature of 1 may stand for none in the range of `temperatures`: then they are looked for.
    """
    here = np.zeros(2)
    here[side] = 1 / temperature
    value, slope, curvature = _slopes(codes, truth, here)
    if slope[side] ** 2 > ALONE * value * curvature[side, side]:
        flat = [one if k == side else np.zeros_like(one) for k, one in enumerate(codes)]
        found, is_best = _descended(flat, truth, NOTHING)
        here[side] = max(0.0, found[side])
        if here[side] and not is_best:
            return None
    return float(here[0]), float(here[1])


def codes_on(store: Store, names: list[str], rows: Rows) -> list[kernel.Codes]:
    """Rows of each model, as kernels take them."""
    return [kernel.codes_of(store.logits(m).take(rows)) for m in names]


def best_pool(codes: list[kernel.Codes], truth: Truth, start: Coefficients) -> Coefficients | None:
    """Coefficients b_a, b_b of least NLL by Newton's method; None where it is least at infinity."""
    here, is_best = _descended(codes, truth, start)
    return here if is_best else None


def _descended(codes: list[kernel.Codes], truth: Truth, start: Coefficients) -> tuple[Coefficients, bool]:
    """Where Newton's method leads to, and whether the NLL is least there and not at infinity."""
    here = np.array(start)
    value, slope, curvature = _slopes(codes, truth, here)
    for _ in range(MAX_STEPS):
        step = _newton_step(slope, curvature)
        if -slope @ step <= TOLERANCE * value and value > 0:
            return (float(here[0]), float(here[1])), True
        length = 1.0
        while True:  # halved until the NLL falls as it should (Armijo): sure to end, for the step descends
            new = here + length * step
            found = _slopes(codes, truth, new)
            if found[0] <= value + 1e-4 * length * (slope @ step) or length < 1e-12:
                break
            length /= 2
        here, (value, slope, curvature) = new, found
        if np.abs(here).max() > 1 / COLDEST:
            break
    return (float(here[0]), float(here[1])), False


def _slopes(
    codes: list[kernel.Codes], truth: Truth, b: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Mean NLL, its slopes (2,), its second derivatives (2, 2)."""
    moments = pools.pool_moments(
        codes[0], codes[1], (float(b[0]), float(b[1])), truth.offsets, truth.classes
    ).mean(axis=0)
    return float(moments[0]), moments[1:3], moments[[3, 4, 4, 5]].reshape(2, 2)


def _newton_step(slope: NDArray[np.float64], curvature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Descending step; copies of one model have no curvature between them, sets of right classes any."""
    values, axes = np.linalg.eigh(curvature)
    size = np.maximum(np.abs(values), 1e-9 * max(np.abs(values).max(), 1e-300))
    step: NDArray[np.float64] = -(axes @ ((axes.T @ slope) / size))
    return step


def _values(
    names: list[str],
    codes: list[kernel.Codes],
    truth: Truth,
    alone: Mapping[str, float],
    coefficients: Coefficients,
) -> dict[str, Values]:
    """Right or wrong and log-likelihood of each example: of either member, their mean, and the duo."""
    pooled = {
        names[0]: (1 / alone[names[0]], 0.0),
        names[1]: (0.0, 1 / alone[names[1]]),
        DUO: coefficients,
    }
    found = {name: of_pool(codes, truth, b) for name, b in pooled.items()}
    mean = _of_mean(codes, truth, [alone[m] for m in names])
    return {names[0]: found[names[0]], names[1]: found[names[1]], MEAN: mean, DUO: found[DUO]}


def of_pool(codes: list[kernel.Codes], truth: Truth, b: Coefficients) -> Values:
    """Right or wrong and log-likelihood of each example under one pool."""
    nll = pools.pool_moments(codes[0], codes[1], b, truth.offsets, truth.classes)[:, 0]
    right = truth.correct(pools.pool_top1(codes[0], codes[1], b))
    return {"accuracy": right.astype(np.float64), "nll": -nll}


def _of_mean(codes: list[kernel.Codes], truth: Truth, temperature: list[float]) -> Values:
    """As two members of a greedy ensemble: exact sums of fixed-point probabilities."""
    tables = [kernel.exponentials(one.dtype, t) for one, t in zip(codes, temperature, strict=True)]
    n, n_classes = codes[0].shape
    top1, p_truth = np.empty(n, np.int64), np.empty((2, n))
    for start in range(0, n, ROWS):
        rows, ends = slice(start, start + ROWS), slice(start, start + ROWS + 1)
        q = np.empty((2, len(codes[0][rows]), n_classes), np.uint32)
        for m in range(2):
            offsets = truth.offsets[ends]
            kernel.fixed_point(codes[m][rows], tables[m], offsets, truth.classes, q[m], p_truth[m, rows])
        top1[rows] = q.sum(axis=0, dtype=np.int64).argmax(axis=1)
    likelihood = np.log(np.maximum(p_truth.sum(axis=0), kernel.TINIEST)) - np.log(2)
    return {"accuracy": truth.correct(top1).astype(np.float64), "nll": likelihood}


def _table(on_fit: Mapping[str, Values], on_report: Mapping[str, Values]) -> pa.Table:
    columns: dict[str, Any] = {"model": list(on_fit)}
    for split, values in (("fit", on_fit), ("report", on_report)):
        for metric in ("accuracy", "nll"):
            columns[f"{split}_{metric}"] = [means(one)[metric] for one in values.values()]
    return pa.table(columns)
