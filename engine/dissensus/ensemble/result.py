"""What a selection gives back, and how sure one can be of its gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .metrics import METRICS
from .mixture import Certificate

if TYPE_CHECKING:
    from dissensus.explain.why import Why
    from dissensus.store.catalog import Store

LEVEL = 0.95
DRAWS = 10_000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """Percentile bootstrap interval, over examples, of the ensemble's gain on the report split.

    Attributes
    ----------
    metric : str
        "accuracy": ensemble minus single; "nll": single minus ensemble, in nats; positive is better.
    versus : str
        The single model compared with: the best one on the selection split.
    gain, low, high : float
        Gain and the ends of its interval.
    level : float
        Coverage aimed at.
    n_examples : int
        Examples reported on.
    """

    metric: str
    versus: str
    gain: float
    low: float
    high: float
    level: float
    n_examples: int


@dataclass(frozen=True)
class Costs:
    """What an ensemble costs: the sum over its distinct members, each run once an example.

    Attributes
    ----------
    name : str
        Recorded number that is added up.
    total : float
        Of the ensemble.
    members : dict of str to float
        Of each member.
    limit : float or None
        Most that was allowed.
    """

    name: str
    total: float
    members: dict[str, float]
    limit: float | None


@dataclass(frozen=True)
class Ensemble:
    """A suggested ensemble.

    Attributes
    ----------
    members : list of str
        Distinct models in the order first chosen.
    weights : list of float
        Share of each member in the mean of probabilities, or of the votes; sums to 1.
    fit, report : dict of str to float
        "accuracy" and "nll" (nats; not of votes) on the selection split and on the report split.
    single : str
        Best single model on the selection split by the metric.
    single_fit, single_report : dict of str to float
        Its numbers.
    interval : Interval
        Gain over `single` on the report split.
    curve : pyarrow.Table
        One row a step: step, member, fit_accuracy, report_accuracy, and fit_nll, report_nll but for votes.
    temperatures : dict of str to float
        Temperature of each candidate, fitted on the selection split (1.0 without calibration, as for votes).
    metric : str
        What was optimised.
    combine : str
        How members are combined: "probabilities" or "votes".
    labels : str
        Label set that decided what is right.
    splits : dict
        Names and sizes of the two splits; "same_examples" is true where selection and report share some.
    left_out : list of str
        Models that could not be candidates because they have hard labels only, which is enough for votes.
    length : int
        Steps of the curve that make the ensemble; those after were taken back (`best_prefix`, `patience`).
    stopped : str
        Why the search ended: "size"; "candidates", where no further one was allowed; or "patience".
    dropped : list of str
        Members that `prune` dropped, in order.
    costs : Costs or None
        What the ensemble costs, where a cost was named; the curve then has a column `cost`.
    equal_cost : Interval or None
        Gain over the best single candidate that costs at most as much as the ensemble.
    certificate : Certificate or None
        Proof that optimal weights are the best.
    stability : pyarrow.Table or None
        Over bags or folds: model, chosen and available (searches), share.
    search : dict
        Options of the search that are not the default ones.
    work : pyarrow.Table
        What each exact comparison of candidates by accuracy took: step, and numbers of (candidate, example)
        pairs: pairs, pruned, certified, open, resolved (`CertifiedRunning`). No rows for brute force, votes,
        bags and other metrics.
    """

    members: list[str]
    weights: list[float]
    fit: dict[str, float]
    report: dict[str, float]
    single: str
    single_fit: dict[str, float]
    single_report: dict[str, float]
    interval: Interval
    curve: pa.Table
    temperatures: dict[str, float]
    metric: str
    combine: str
    labels: str
    splits: dict[str, Any]
    left_out: list[str]
    length: int
    stopped: str
    dropped: list[str]
    costs: Costs | None
    equal_cost: Interval | None
    certificate: Certificate | None
    stability: pa.Table | None
    search: dict[str, Any]
    work: pa.Table

    @property
    def pareto(self) -> pa.Table | None:
        """Steps of the curve that none is as cheap as and better than, cheapest first; None without costs.

        By the metric on the selection split, exactly; the shortest of equal ones.
        """
        if self.costs is None:
            return None
        sign = -1 if METRICS[self.metric].rises else 1
        cost, loss = (self.curve[name].to_pylist() for name in ("cost", f"fit_{self.metric}"))
        front, least = [], math.inf
        for step in sorted(range(len(cost)), key=lambda k: (cost[k], sign * loss[k], k)):
            if sign * loss[step] < least:
                front.append(step)
                least = sign * loss[step]
        return self.curve.take(front)

    def why(
        self,
        store: Store,
        *,
        where: str | None = None,
        by: Sequence[str] | None = None,
        cost: str | None = None,
    ) -> Why:
        """Explain it, on the report split of the store that it was chosen from; see `dissensus.why`."""
        from dissensus.explain.why import why

        return why(store, self, where=where, by=by, cost=cost)

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        parts: dict[str, Any] = {
            name: getattr(self, name) for name in ("interval", "equal_cost", "costs", "certificate")
        }
        tables = {name: getattr(self, name) for name in ("curve", "stability", "pareto", "work")}
        chosen = {m: self.temperatures[m] for m in dict.fromkeys([*self.members, self.single])}
        return record | {
            **{name: None if value is None else asdict(value) for name, value in parts.items()},
            **{name: None if table is None else table.to_pylist() for name, table in tables.items()},
            "temperatures": chosen,
        }


def gain_interval(
    metric: str, versus: str, ensemble: NDArray[np.float64], single: NDArray[np.float64]
) -> Interval:
    """Bootstrap the mean difference over examples.

    Parameters
    ----------
    metric, versus : str
        Recorded in the result.
    ensemble, single : (n,) float64
        Value of each example, larger is better.

    Notes
    -----
    Resampling rows is a multinomial draw over distinct differences; for accuracy there are three, so that a
    draw costs O(1) instead of O(n) with the same distribution.
    """
    difference = ensemble - single
    distinct, counts = np.unique(difference, return_counts=True)
    rng = np.random.default_rng(SEED)
    n_draws = DRAWS if len(distinct) <= 3 else DRAWS // 10
    means = np.array(
        [rng.multinomial(len(difference), counts / len(difference)) @ distinct for _ in range(n_draws)]
    ) / len(difference)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(metric, versus, float(difference.mean()), float(low), float(high), LEVEL, len(difference))
