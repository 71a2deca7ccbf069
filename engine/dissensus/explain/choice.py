"""The ensemble that is to be explained, checked once: members, whole weights, and what they are judged on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dissensus.ensemble import Ensemble, calibration
from dissensus.ensemble.checks import BY_VOTE
from dissensus.ensemble.splits import select_and_report
from dissensus.errors import ArgumentError, LabelsOnly
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

WAYS = ("probabilities", "votes")
MOST_PARTS = 4096  # weights that are so many parts of a whole, or fewer, are taken for counts of members
FINE = 2**30  # parts of other weights: with 2**31 of a probability they fit int64
RECORDED = ("members", "weights", "combine", "labels", "splits", "temperatures", "single")


@dataclass(frozen=True, eq=False)
class Choice:
    """An ensemble on the examples it is judged by.

    Attributes
    ----------
    store : Store
        Under the label set that decides.
    members : list of str
        Distinct models.
    weights : (M,) int64
        Whole weights, in proportion to those given.
    combine : {"probabilities", "votes"}
        How members are combined.
    temperatures : dict of str to float
        Of members; others, when they are compared, are calibrated on the selection split.
    calibrated : bool
        Whether temperatures are fitted.
    single : str
        Best single model on the selection split.
    select, report : (n,) intp
        Rows.
    splits : dict
        As `Ensemble.splits`; the report also has "where", if part of it was chosen.
    cost : str or None
        What its cost was counted by, where it was chosen by one.
    """

    store: Store
    members: list[str]
    weights: NDArray[np.int64]
    combine: str
    temperatures: dict[str, float]
    calibrated: bool
    single: str
    select: Rows
    report: Rows
    splits: dict[str, Any]
    cost: str | None

    @classmethod
    def of(
        cls,
        store: Store,
        ensemble: Ensemble | Mapping[str, Any] | Sequence[str],
        *,
        weights: Sequence[float] | None,
        combine: str | None,
        calibrate: bool | None,
        select: str | None,
        report: str | None,
        allow_same_split: bool | None,
        labels: str | None,
        where: str | None,
    ) -> Self:
        """Check what is asked: a result of `greedy`, its record, or members with options."""
        given = {
            "weights": weights,
            "combine": combine,
            "calibrate": calibrate,
            "select": select,
            "report": report,
            "allow_same_split": allow_same_split,
            "labels": labels,
        }
        if isinstance(ensemble, Ensemble | Mapping):
            clash = [name for name, value in given.items() if value is not None]
            if clash:
                raise ArgumentError(
                    f"{', '.join(clash)} cannot be given with an ensemble, which has its own: leave out, or "
                    "pass its members as a list"
                )
            record = ensemble.to_dict() if isinstance(ensemble, Ensemble) else ensemble
            return cls._recorded(store, record, where)
        names = select or "fit", report or "report", where
        store, shared = store.under(labels), bool(allow_same_split)
        return cls._listed(store, ensemble, weights, combine, calibrate, names, shared)

    @classmethod
    def _recorded(cls, store: Store, record: Mapping[str, Any], where: str | None) -> Self:
        _check_record(record)
        store, told = store.under(record["labels"]), record["splits"]
        members = store.resolve(record["members"])
        way = _way(store, members, record["combine"])
        chosen = (record.get("search") or {}).get("where")
        names = told["select"]["name"], told["report"]["name"], _both(chosen, where)
        fit, held = _rows(store, *names, told["same_examples"], chosen)
        temperatures = dict(record["temperatures"])
        lost = [m for m in members if way == "probabilities" and m not in temperatures]
        if lost:
            raise ArgumentError(f"the record of an ensemble has no temperature for {', '.join(lost)}")
        return cls(
            store=store,
            members=members,
            weights=whole_weights(record["weights"], members),
            combine=way,
            temperatures=temperatures,
            calibrated=any(t != 1.0 for t in temperatures.values()),
            single=store.model(record["single"]).model_id,
            select=fit,
            report=held,
            splits=_splits(names, fit, held),
            cost=(record.get("costs") or {}).get("name"),
        )

    @classmethod
    def _listed(
        cls,
        store: Store,
        ensemble: Sequence[str],
        weights: Sequence[float] | None,
        combine: str | None,
        calibrate: bool | None,
        names: tuple[str, str, str | None],
        allow_same_split: bool,
    ) -> Self:
        members = store.resolve(ensemble)
        if not members:
            raise ArgumentError("members is empty: name at least one model")
        way = _way(store, members, combine or "probabilities")
        if way == "votes" and calibrate:
            raise ArgumentError("calibrate=True changes no vote: leave it out, or combine probabilities")
        fit, held = _rows(store, *names, allow_same_split)
        calibrated = way == "probabilities" and calibrate is not False
        return cls(
            store=store,
            members=members,
            weights=whole_weights([1] * len(members) if weights is None else weights, members),
            combine=way,
            temperatures=calibration.temperatures(store, members, fit) if calibrated else {},
            calibrated=calibrated,
            single=strongest(store, comparable(store, way), fit),
            select=fit,
            report=held,
            splits=_splits(names, fit, held),
            cost=None,
        )

    def temperatures_of(self, models: Sequence[str]) -> dict[str, float]:
        """Temperature of members and of models compared with them."""
        lacking = [m for m in models if m not in self.temperatures]
        fitted = calibration.temperatures(self.store, lacking, self.select) if self.calibrated else {}
        return dict.fromkeys(lacking, 1.0) | fitted | self.temperatures


def _check_record(record: Mapping[str, Any]) -> None:
    """Refuse what is no record of an ensemble, before anything is read."""
    lacking = [name for name in RECORDED if name not in record]
    if lacking:
        raise ArgumentError(
            f"the record of an ensemble lacks {', '.join(lacking)}: pass what `dissensus ensemble "
            "--format json` wrote, or a list of members"
        )
    splits, temperatures, search = record["splits"], record["temperatures"], record.get("search") or {}
    if isinstance(splits, Mapping) and "folds" in splits:
        raise ArgumentError(
            "an ensemble that was cross-fitted has no split that it is reported on: pass its members "
            "as a list (--member), and splits to calibrate and to report on"
        )
    sound = (
        isinstance(splits, Mapping)
        and all(isinstance(splits.get(k), Mapping) and "name" in splits[k] for k in ("select", "report"))
        and "same_examples" in splits
        and isinstance(temperatures, Mapping)
        and all(isinstance(t, int | float) and 0 < t < math.inf for t in temperatures.values())
        and isinstance(record.get("costs") or {}, Mapping)
        and isinstance(search, Mapping)
        and isinstance(search.get("where", ""), str)
    )
    if not sound:
        raise ArgumentError(
            "the record of an ensemble must have splits with the names of select and report, positive "
            "temperatures, and costs by name if any: pass what `dissensus ensemble --format json` wrote, "
            "unchanged"
        )
    if "example_weights" in search:
        raise ArgumentError(
            "an ensemble that was chosen with example_weights is judged by them, and an explanation counts "
            "all examples alike: pass its members as a list, with weights= (--member, --weight)"
        )


def _rows(
    store: Store, select: str, report: str, where: str | None, shared: bool, chosen: str | None = None
) -> tuple[Rows, Rows]:
    """Rows of an ensemble `chosen` where an expression holds, and those to report on that another chooses."""
    fit, held = select_and_report(store, select, report, shared, chosen)
    return fit, held if where is None else store.rows(report, where)


def _both(chosen: str | None, where: str | None) -> str | None:
    """Return an expression that holds where both do."""
    if chosen is None or where is None:
        return where if chosen is None else chosen
    return f"({chosen}) and ({where})"


def _splits(names: tuple[str, str, str | None], fit: Rows, held: Rows) -> dict[str, Any]:
    """Names and sizes of the splits, as `Ensemble.splits`; of the report also the expression, if any."""
    sizes = zip(("select", "report"), names, (fit, held), strict=False)
    named: dict[str, Any] = {kind: {"name": name, "n_examples": len(rows)} for kind, name, rows in sizes}
    if names[2] is not None:
        named["report"]["where"] = names[2]
    return {**named, "same_examples": bool(np.isin(fit, held).any())}


def comparable(store: Store, combine: str) -> list[str]:
    """Models that can be compared with such an ensemble: with probabilities, or all for votes."""
    return [m for m in store.model_ids if combine == "votes" or store.model(m).kind != "labels"]


def strongest(store: Store, models: Sequence[str], rows: Rows) -> str:
    """Model with most right answers on some rows, the first of equal ones."""
    right = store.correct(models)[:, rows].sum(axis=1)
    return models[int(right.argmax())]


def whole_weights(weights: Sequence[float], members: Sequence[str]) -> NDArray[np.int64]:
    """Weights as whole numbers in the same proportion, (M,) int64.

    Shares that are multiples of 1/n, n at most 4,096, become the counts they came from, so that ties between
    classes stay ties; others are rounded to 2**-30 of the whole.

    Raises
    ------
    ArgumentError
        Another number of them than of members, or one that is not positive and finite.
    """
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError):  # texts, or lists of several lengths
        values = np.empty(0)
    if values.shape != (len(members),) or not np.isfinite(values).all() or (values <= 0).any():
        raise ArgumentError(
            f"weights must be one positive number for each of the {len(members)} members; got {weights!r:.80}"
        )
    shares = values / values.sum()
    counts: NDArray[np.int64]
    for parts in range(len(members), MOST_PARTS + 1):
        counts = np.rint(shares * parts).astype(np.int64)
        if (np.abs(shares * parts - counts) < 1e-9 * parts).all() and counts.min() >= 1:
            return counts
    counts = np.maximum(np.rint(shares * FINE).astype(np.int64), 1)
    return counts


def _way(store: Store, members: Sequence[str], combine: Any) -> str:
    """Check how members are combined, and that they can be."""
    if combine not in WAYS:
        raise ArgumentError(f"combine must be one of {', '.join(WAYS)} to be explained; got {combine!r}")
    hard = [m for m in members if combine == "probabilities" and store.model(m).kind == "labels"]
    if hard:
        raise LabelsOnly(
            f"members {', '.join(hard[:5])} ({len(hard)}) have hard labels only, and no probabilities to "
            f"average: leave them out, or pass {BY_VOTE}"
        )
    return str(combine)
