"""`why`: what an ensemble gains, where the gain comes from, who brings it, and what to conclude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dissensus.ensemble.result import LEVEL, gain_interval

from .choice import Choice, comparable
from .costs import Costs, costs_of
from .ledger import SIGNS, Ledger, ledger_of, mean_gain
from .slices import compared, slices_of
from .words import conclusions

if TYPE_CHECKING:
    from dissensus.ensemble import Ensemble
    from dissensus.store.catalog import Store


@dataclass(frozen=True, eq=False)
class Why:
    """Why an ensemble is better than a single model, or is not.

    Attributes
    ----------
    conclusions : list of str
        What a person should conclude, one sentence each, the verdict first.
    ledger : pyarrow.Table
        metric, member_risk, diversity, ensemble_risk; see `Ledger.decomposition`.
    against : pyarrow.Table
        versus ("best single", "equal cost"), model, metric, ensemble, single, gain (positive is better), low,
        high: against the best single model on the selection split, and the strongest of at most the same cost
        if that is another one.
    members : pyarrow.Table
        What each member is and brings; see `Ledger.table`; with its cost where recorded.
    slices : pyarrow.Table
        Classes and groups against the best single model; see `slices.compared`.
    combine, labels : str
        How members are combined, and the label set that decides.
    splits : dict
        As `Ensemble.splits`; everything here is of the report split, or what `where` chose of it.
    single : str
        Best single model on the selection split.
    cost : dict
        name, members (their sum), single, equal (the strongest of at most that cost); empty if none recorded.
    level : float
        Coverage of intervals.
    notes : list of str
        What is left out, and why.
    """

    conclusions: list[str]
    ledger: pa.Table
    against: pa.Table
    members: pa.Table
    slices: pa.Table
    combine: str
    labels: str
    splits: dict[str, Any]
    single: str
    cost: dict[str, Any]
    level: float
    notes: list[str]

    def __repr__(self) -> str:
        return f"Why({self.conclusions[0]})"

    def __str__(self) -> str:
        return "\n".join([*self.conclusions, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON; tables as lists of rows."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v.to_pylist() if isinstance(v, pa.Table) else v for k, v in record.items()}


def why(
    store: Store,
    ensemble: Ensemble | Mapping[str, Any] | Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    combine: str | None = None,
    calibrate: bool | None = None,
    select: str | None = None,
    report: str | None = None,
    allow_same_split: bool | None = None,
    labels: str | None = None,
    where: str | None = None,
    by: Sequence[str] | None = None,
    cost: str | None = None,
) -> Why:
    """Explain an ensemble on the report split: its ledger, its members, where it gains, what to conclude.

    Parameters
    ----------
    store : Store
        The predictions.
    ensemble : Ensemble, mapping or sequence of str
        What `greedy` gave, its record (`Ensemble.to_dict`, the JSON of `dissensus ensemble`), or members.
    weights : sequence of float, optional
        Of members given by name, in proportion; equal by default.
    combine : {"probabilities", "votes"}, optional
        How members given by name are combined; "probabilities" by default.
    calibrate : bool, optional
        Fit a temperature for each of them on the selection split; done by default for probabilities.
    select, report : str, optional
        Splits, "fit" and "report" by default: the first calibrates, and finds the best single models.
    allow_same_split : bool, optional
        Permit the two to share examples; the result is marked.
    labels : str, optional
        Label set that decides what is right.
    where : str, optional
        Only examples of the report split for which this expression over their columns holds; see
        `Store.where`. An ensemble that was itself chosen so is explained on such examples alone.
    by : sequence of str, optional
        Slices: "class" and columns of the examples. By default the class and all columns of groups.
    cost : str, optional
        Number recorded with models that counts as their cost, as "gmacs" or "params"; by default that which
        the ensemble was chosen by, else the first of these that all members have.

    Returns
    -------
    Why

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly

    Notes
    -----
    Diversity is never a reason in itself: the realised gain over the best single model is, on examples that
    took no part in the choice. Intervals of accuracy against single models are those of `Ensemble.interval`
    (percentile bootstrap); of what members bring, the delta method; of NLL and Brier, normal.

    Examples
    --------
    >>> print(ds.why(store, ds.greedy(store, 5)))  # doctest: +SKIP
    """
    choice = Choice.of(
        store,
        ensemble,
        weights=weights,
        combine=combine,
        calibrate=calibrate,
        select=select,
        report=report,
        allow_same_split=allow_same_split,
        labels=labels,
        where=where,
    )
    slices = slices_of(choice.store, choice.report, by)
    pool = comparable(choice.store, choice.combine)
    told = choice.cost if cost is None else cost
    costs = costs_of(choice.store, choice.members, choice.single, pool, choice.select, told)
    ledger = _judged(choice, costs)
    singles = {"best single": choice.single}
    if costs.equal not in (None, choice.single):
        singles["equal cost"] = costs.equal
    against = pa.concat_tables([_against(ledger, versus, m) for versus, m in singles.items()])
    single = ledger.models.index(choice.single)
    members = ledger.table(LEVEL)
    if costs.name:
        members = members.append_column(costs.name, pa.array([costs.values[m] for m in choice.members]))
    facts: dict[str, Any] = {
        "ledger": ledger.decomposition(),
        "against": against,
        "members": members,
        "slices": compared(slices, ledger.right[single], ledger.right[-1]),
        "combine": choice.combine,
        "splits": choice.splits,
        "single": choice.single,
        "cost": costs.to_dict(),
        "level": LEVEL,
    }
    notes = _notes(ledger, choice, costs)
    return Why(conclusions(**facts), labels=choice.store.truth.name, notes=notes, **facts)


def _judged(choice: Choice, costs: Costs) -> Ledger:
    """Members, and the single models they are compared with."""
    compared_with = dict.fromkeys(m for m in (choice.single, costs.equal) if m)
    models = [*choice.members, *(m for m in compared_with if m not in choice.members)]
    weights = np.zeros(len(models), np.int64)
    weights[: len(choice.members)] = choice.weights
    temperatures = choice.temperatures_of(models)
    return ledger_of(choice.store, models, weights, choice.report, choice.combine, temperatures)


def _against(ledger: Ledger, versus: str, model: str) -> pa.Table:
    """Every metric of the ensemble beside that of a single model."""
    place, rows = ledger.models.index(model), []
    for metric in ledger.metrics:
        ours, theirs = ledger.values(metric, -1), ledger.values(metric, place)
        if metric == "accuracy":
            found = gain_interval(metric, model, ours, theirs)
            gain, low, high = found.gain, found.low, found.high
        else:
            gain, low, high = mean_gain(SIGNS[metric] * (ours - theirs), LEVEL)
        row = {"versus": versus, "model": model, "metric": metric}
        rows.append(row | {"ensemble": float(ours.mean()), "single": float(theirs.mean())})
        rows[-1] |= {"gain": gain, "low": low, "high": high}
    return pa.Table.from_pylist(rows)


def _notes(ledger: Ledger, choice: Choice, costs: Costs) -> list[str]:
    """What is left out."""
    notes = []
    if choice.combine == "votes":
        notes.append(
            "Votes have no probabilities: only right and wrong answers are explained, not NLL or Brier."
        )
    elif "brier" not in ledger.risks:
        notes.append(
            f"Labels {choice.store.truth.name!r} have several right classes: the Brier score is left out."
        )
    if not costs.name:
        notes.append("No cost is recorded for all members: models of equal cost are not compared.")
    if choice.splits["same_examples"]:
        notes.append("Selected and reported on shared examples: these numbers are too good.")
    return notes
