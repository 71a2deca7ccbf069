"""`calibrate`: what calibration does to every model, and to their ranking."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, LabelsOnly
from dissensus.run.progress import Progress
from dissensus.store.catalog import Store
from dissensus.store.splits import ALL, Rows

from . import splits
from .calibration import CalibrationWarning, temperatures
from .reliability import Forecasts
from .scaling import Scaled, fit_vector
from .switches import whole
from .weighted import check_folds, check_weights, checked_examples, weights_of
from .weights import Weights

METHODS = ("temperature", "vector")
SCORES = ("accuracy", "ece", "nll", "brier")


@dataclass(frozen=True)
class Calibration:
    """What calibration does to models, on examples that it was not fitted on.

    Attributes
    ----------
    table : pyarrow.Table
        One row a model, best NLL after calibration first: model, temperature; accuracy, ece, nll and brier
        before and after, as ``nll_before`` and ``nll_after``; rank_before, rank_after by NLL, 1 the best,
        equal ones alike. Brier is null under label sets with several right classes.
    method : str
        "temperature" or "vector".
    pairs, reversed_pairs : int
        Pairs of models, and those whose order by NLL calibration turns round (post-hoc reversal).
    best_before, best_after : str
        Best model by NLL.
    labels : str
        Label set that decided what is right.
    splits : dict
        Names and sizes of the splits fitted and reported on.
    left_out : list of str
        Models with hard labels only.
    where : str or None
        Expression that chose the examples.
    example_weights : str or None
        Column that weighs them, or "given".
    """

    table: pa.Table
    method: str
    pairs: int
    reversed_pairs: int
    best_before: str
    best_after: str
    labels: str
    splits: dict[str, Any]
    left_out: list[str]
    where: str | None = None
    example_weights: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "table"}
        return {"models": self.table.to_pylist(), **record}


def calibrate(
    store: Store,
    models: Sequence[str] | None = None,
    *,
    method: str = "temperature",
    where: str | None = None,
    example_weights: str | ArrayLike | None = None,
    select: str | None = None,
    report: str | None = None,
    folds: int | None = None,
    allow_same_split: bool = False,
    labels: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Calibration:
    """Calibrate models on one split and show on another what it changed. The store stays as it is.

    Parameters
    ----------
    store : Store
        Models with logits or probabilities.
    models : sequence of str, optional
        Which; by default all that have.
    method : {"temperature", "vector"}
        One temperature a model, or a factor and an offset for each class, with a weak penalty.
    where : str, optional
        Fit and report only on examples for which this expression over their columns holds; see `Store.where`.
    example_weights : str or (N,) array-like, optional
        What each example of the store counts, as in `greedy`: in what is fitted, and in every score. Bins of
        the calibration error then hold equal weights.
    select, report : str, optional
        Splits to fit and to report on, as in `greedy`.
    folds : int, optional
        Cross-fit: each fold of `select` (by default of all examples) is reported on under what was fitted on
        the others. Temperatures shown are then those of all of them.
    allow_same_split : bool
        Permit the two to share examples.
    labels : str, optional
        Label set that decides what is right.
    seed : int
        Seed of the folds.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Calibration

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly

    Notes
    -----
    Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017). The calibration error is that of the
    first class over 15 bins of equal mass. Ranjan et al., "Post-Hoc Reversal" (NeurIPS 2024), show why models
    should be ranked after calibration.

    Examples
    --------
    >>> ds.calibrate(store).table.to_pandas()        # doctest: +SKIP
    """
    if method not in METHODS:
        raise ArgumentError(f"method must be {' or '.join(map(repr, METHODS))}, got {method!r}")
    folds, seed = None if folds is None else whole("folds", folds, 2), whole("seed", seed, 0)
    store = store.under(labels)
    names, left_out = _scored(store, models)
    given = checked_examples(store, example_weights)
    every, parts, used = _parts(store, select, report, folds, allow_same_split, seed, where)
    _check_parts(given, used, parts)
    rows = []
    with Progress(len(names), "calibration", enabled=progress) as bar:
        for name in names:
            rows.append(_row(store, name, method, every, parts, given))
            bar.advance(1)
    about = {"method": method, "labels": store.truth.name, "splits": used, "left_out": left_out}
    by = "given" if given is not None and not isinstance(example_weights, str) else example_weights
    return _summed_up(rows, where=where, example_weights=by, **about)


def _scored(store: Store, models: Sequence[str] | None) -> tuple[list[str], list[str]]:
    names = store.resolve(models)
    hard = [m for m in names if store.model(m).kind == "labels"]
    if not names:
        raise ArgumentError("there are no models to calibrate: add some, or name at least one")
    if hard and (models is not None or len(hard) == len(names)):
        raise LabelsOnly(
            f"{', '.join(hard[:5])} ({len(hard)}) have hard labels only: there are no probabilities to "
            "calibrate; leave them out"
        )
    return [m for m in names if m not in hard], hard


def _parts(
    store: Store,
    select: str | None,
    report: str | None,
    folds: int | None,
    shared: bool,
    seed: int,
    where: str | None,
) -> tuple[Rows, list[tuple[Rows, Rows]], dict[str, Any]]:
    """Rows that the shown temperature is fitted on; (fitted on, reported on) of each part; their names."""
    if folds is None:
        fit, held = splits.select_and_report(store, select or "fit", report or "report", shared, where)
        parts, name, n_examples = [(fit, held)], report or "report", len(held)
    elif report is not None:
        raise ArgumentError(f"folds={folds} report on every fold in turn: leave out report={report!r}")
    else:
        fit, parts = splits.folds(store, select or ALL, folds, seed, where)
        name, n_examples = f"{folds} folds of {select or ALL}", len(fit)
    used = {
        "select": {"name": select or ("fit" if folds is None else ALL), "n_examples": len(fit)},
        "report": {"name": name, "n_examples": n_examples},
        "same_examples": bool(np.isin(*parts[0]).any()),
    }
    return fit, parts, used


def _check_parts(
    given: NDArray[np.float64] | None, used: dict[str, Any], parts: list[tuple[Rows, Rows]]
) -> None:
    """Refuse weights that are all 0 where something is fitted or reported."""
    select = used["select"]["name"]
    if len(parts) > 1:
        check_folds(given, select, parts)
    else:
        check_weights(given, select, parts[0][0])
        check_weights(given, used["report"]["name"], parts[0][1])


def _row(
    store: Store,
    name: str,
    method: str,
    every: Rows,
    parts: list[tuple[Rows, Rows]],
    given: NDArray[np.float64] | None,
) -> dict[str, Any]:
    before, after = [], []
    for fit, held in parts:
        each = weights_of(given, fit)
        temperature = temperatures(store, [name], fit, each)[name]
        log_p, truth = _log_p(store, name, held), store.truth.take(held)
        before.append(Forecasts.of(log_p, truth))
        after.append(Forecasts.of(_calibrated(store, name, method, fit, temperature, log_p, each), truth))
    shown = (
        temperature if len(parts) == 1 else temperatures(store, [name], every, weights_of(given, every))[name]
    )
    counted = weights_of(given, np.concatenate([held for _, held in parts]))
    both = [Forecasts.joined(some).scores(counted) for some in (before, after)]
    scores = {
        f"{score}_{when}": of[score]
        for score in SCORES
        for when, of in zip(("before", "after"), both, strict=True)
    }
    return {"model": name, "temperature": shown} | scores


def _calibrated(
    store: Store,
    name: str,
    method: str,
    fit: Rows,
    temperature: float,
    log_p: NDArray[np.float64],
    each: Weights | None,
) -> NDArray[np.float64]:
    """Scores of other examples, calibrated on the rows `fit`."""
    if method == "temperature":
        return log_p / temperature
    scaled: Scaled = fit_vector(_log_p(store, name, fit), store.truth.take(fit), temperature, each)
    if not scaled.converged:
        warnings.warn(
            f"vector scaling of model {name!r} did not converge on {len(fit)} examples; "
            "the last step is used",
            CalibrationWarning,
            stacklevel=4,
        )
    return log_p * scaled.factors + scaled.offsets


def _log_p(store: Store, name: str, rows: Rows) -> NDArray[np.float64]:
    z = store.logits(name).take(rows).astype(np.float64)
    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))  # centred: the largest is 0
    return np.asarray(z)


def _summed_up(rows: list[dict[str, Any]], **about: Any) -> Calibration:
    before, after = (np.array([row[f"nll_{when}"] for row in rows]) for when in ("before", "after"))
    for row, first, then in zip(rows, _ranks(before), _ranks(after), strict=True):
        row |= {"rank_before": first, "rank_after": then}
        row |= {name: None for name in ("brier_before", "brier_after") if np.isnan(row[name])}
    turned = np.sign(before[:, None] - before) * np.sign(after[:, None] - after) < 0
    ordered = sorted(rows, key=lambda row: (row["rank_after"], row["rank_before"]))
    names = [row["model"] for row in rows]
    return Calibration(
        table=pa.Table.from_pylist(ordered, pa.schema({name: _type(name) for name in ordered[0]})),
        pairs=len(rows) * (len(rows) - 1) // 2,
        reversed_pairs=int(turned.sum()) // 2,
        best_before=names[int(before.argmin())],
        best_after=names[int(after.argmin())],
        **about,
    )


def _ranks(values: NDArray[np.float64]) -> list[int]:
    return [1 + int((values < value).sum()) for value in values]


def _type(name: str) -> pa.DataType:
    return pa.string() if name == "model" else pa.int64() if name.startswith("rank") else pa.float64()
