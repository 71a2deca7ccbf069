"""The ledger of an ensemble: risk of the members, what their differences take off, what each is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.pairs.delta import delta_interval
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.models import again
from dissensus.store.splits import Rows
from dissensus.store.truth import Truth

BLOCK_BYTES = 64 << 20  # fixed-point probabilities of all members on one block of rows
SIGNS = {"accuracy": 1.0, "nll": -1.0, "brier": -1.0}  # of a gain: more accuracy, less NLL and Brier

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ledger:
    """Each example under an ensemble, its members and models compared with it.

    Attributes
    ----------
    models : list of str
        Members, then models that are only compared.
    weights : (M,) int64
        Whole weights; 0 for the latter.
    right : (M + 1, n) bool
        Of each model, and last of the ensemble.
    without : (M, n) bool
        Of the ensemble without each member.
    risks : dict of str to (M + 1, n) float64
        "nll" in nats and "brier" of each example; neither for votes, no Brier where examples have several
        right classes.
    risks_without : dict of str to (M, n) float64
        The same of the ensemble without each member, NaN where nothing is left.
    spread : (n,) float64
        Weighted mean squared distance of members to the ensemble.
    """

    models: list[str]
    weights: NDArray[np.int64]
    right: Flags
    without: Flags
    risks: dict[str, Floats]
    risks_without: dict[str, Floats]
    spread: Floats

    @property
    def members(self) -> NDArray[np.intp]:
        """Places of models that have a weight."""
        return np.flatnonzero(self.weights)

    @property
    def shares(self) -> Floats:
        """Weights that sum to 1, (M,)."""
        shares: Floats = self.weights / self.weights.sum()
        return shares

    @property
    def metrics(self) -> list[str]:
        """What can be told of each example: "accuracy", then the risks."""
        return ["accuracy", *self.risks]

    def values(self, metric: str, place: int) -> Floats:
        """Metric of each example, (n,): of a model, or of the ensemble at -1."""
        values: Floats = self.right[place].astype(np.float64)
        if metric != "accuracy":
            values = self.risks[metric][place]
        return values

    def decomposition(self) -> pa.Table:
        """What members lose on the mean, what their differences take off, and what the ensemble loses.

        Returns
        -------
        pyarrow.Table
            metric ("error", "nll", "brier"), member_risk, diversity, ensemble_risk.

        Notes
        -----
        member_risk - diversity = ensemble_risk. For the Brier score diversity is the weighted mean of squared
        distances to the ensemble (Krogh, Vedelsby 1995), for the NLL the Jensen gap, mean log of ensemble
        over member (Wood et al. 2023, "A unified theory of diversity in ensemble learning"); neither can be
        negative or depends on more than the members. Of errors (0-1 loss) there is no such term: what is
        given is the difference, their "diversity effect", which is negative where members outvote the truth.
        """
        found = {"error": (1.0 - self.right).mean(axis=1)}
        found |= {name: values.mean(axis=1) for name, values in self.risks.items()}
        member = {name: float(self.shares @ risk[:-1]) for name, risk in found.items()}
        ensemble = {name: float(risk[-1]) for name, risk in found.items()}
        diversity = {name: member[name] - ensemble[name] for name in found}
        if "brier" in diversity:
            diversity["brier"] = float(self.spread.mean())
        parts = (list(part.values()) for part in (member, diversity, ensemble))
        names = ("member_risk", "diversity", "ensemble_risk")
        return pa.table({"metric": list(found), **dict(zip(names, parts, strict=True))})

    def table(self, level: float) -> pa.Table:
        """What each member is, and what the ensemble would be without it.

        Returns
        -------
        pyarrow.Table
            One row a member: member, weight, its own accuracy, nll and brier; only_right (examples that none
            of the other members gets right), corrected and spoiled (examples the ensemble gets right, and
            wrong, only because of it); and value_<metric> with _low and _high: metric with it against without
            it, the others' weights kept in proportion, positive where it helps.
        """
        rows = [self._row(int(m), level) for m in self.members]
        return pa.table({name: pa.array([row[name] for row in rows], from_pandas=True) for name in rows[0]})

    def _row(self, m: int, level: float) -> dict[str, Any]:
        others = self.right[self.members[self.members != m]]
        row: dict[str, Any] = {"member": self.models[m], "weight": float(self.shares[m])}
        row |= {metric: float(self.values(metric, m).mean()) for metric in self.metrics}
        row["only_right"] = int((self.right[m] & ~others.any(axis=0)).sum())
        with_it, left = self.right[-1], len(self.members) > 1
        row["corrected"] = int((with_it & ~self.without[m]).sum()) if left else None
        row["spoiled"] = int((~with_it & self.without[m]).sum()) if left else None
        for metric in self.metrics:
            value, low, high = self._value(metric, m, level) if left else (np.nan,) * 3
            row |= {f"value_{metric}": value, f"value_{metric}_low": low, f"value_{metric}_high": high}
        return row

    def _value(self, metric: str, m: int, level: float) -> tuple[float, float, float]:
        """Gain by a member, with its interval."""
        if metric == "accuracy":
            return accuracy_gain(self.right[-1], self.without[m], level)
        return mean_gain(self.risks_without[metric][m] - self.risks[metric][-1], level)


def accuracy_gain(one: Flags, other: Flags, level: float) -> tuple[float, float, float]:
    """Accuracy of the one minus that of the other on the same examples, low and high.

    The delta method on the four counts of both, as of the measures of pairs.
    """
    table = np.array([[(one & other).sum()], [(one & ~other).sum()], [(~one & other).sum()], [0]], np.float64)
    table[3] = len(one) - table.sum()
    low, high = delta_interval(_difference, table, level)
    value = float(_difference(*table)[0])
    return value, max(-1.0, min(float(low[0]), value)), min(1.0, max(float(high[0]), value))


def _difference(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    return (n10 - n01) / (n11 + n10 + n01 + n00)


def mean_gain(gains: Floats, level: float) -> tuple[float, float, float]:
    """Mean of examples' gains, low and high: a normal interval; NaN bounds for a single example."""
    value = float(gains.mean())
    if len(gains) < 2:
        return value, np.nan, np.nan
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(gains.std(ddof=1)) / len(gains) ** 0.5
    return value, value - reach, value + reach


@again
def ledger_of(
    store: Store,
    models: Sequence[str],
    weights: NDArray[np.int64],
    rows: Rows,
    combine: str,
    temperatures: Mapping[str, float],
) -> Ledger:
    """Judge an ensemble and its members on some rows, block by block.

    Parameters
    ----------
    store : Store
        Under the label set that decides.
    models : sequence of str
        Members, then models to compare.
    weights : (M,) int64
        Whole weights, 0 for the latter.
    rows : (n,) intp
        Sorted rows that the truth counts.
    combine : {"probabilities", "votes"}
        How members are combined.
    temperatures : mapping of str to float
        Of each model; of no use to votes.
    """
    from dissensus.kernels.ledger import judge

    truth, shape = store.truth.take(rows), (len(models), len(rows))
    right, without = np.empty((len(models) + 1, len(rows)), np.bool_), np.empty(shape, np.bool_)
    brier, brier_without = np.empty((len(models) + 1, len(rows))), np.empty(shape)
    p_truth, spread = np.empty(shape), np.empty(len(rows))
    if combine == "votes":
        blocks = _votes(store, models, rows)
    else:
        blocks = _probabilities(store, models, rows, truth, temperatures, p_truth)
    for start, q in blocks:
        some = slice(start, start + q.shape[1])
        outputs = (right[:, some], without[:, some], brier[:, some], brier_without[:, some], spread[some])
        judge(q, weights, truth.offsets[start : some.stop + 1], truth.classes, *outputs)
    risks: dict[str, Floats] = {}
    risks_without: dict[str, Floats] = {}
    if combine != "votes":
        risks["nll"], risks_without["nll"] = _nll(p_truth, weights)
        if truth.is_single:
            risks["brier"], risks_without["brier"] = brier, brier_without
    return Ledger(list(models), weights, right, without, risks, risks_without, spread)


def _step(n_models: int, n_classes: int) -> int:
    return max(1, BLOCK_BYTES // (n_models * n_classes * 4))


def _probabilities(
    store: Store,
    models: Sequence[str],
    rows: Rows,
    truth: Truth,
    temperatures: Mapping[str, float],
    p_truth: Floats,
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Fixed-point probabilities of each block; fills those of the truth."""
    from dissensus.kernels import probabilities as kernel

    logits, tables = [store.logits(m) for m in models], {}
    for block in read_blocks(logits, rows, _step(len(models), store.n_classes)):
        some = slice(block.start, block.stop)
        offsets = truth.offsets[block.start : block.stop + 1]
        q = np.empty((len(models), block.stop - block.start, store.n_classes), np.uint32)
        for m, (model_id, centred) in enumerate(zip(models, block.centred, strict=True)):
            codes = kernel.codes_of(centred)
            if m not in tables:
                tables[m] = kernel.exponentials(codes.dtype, temperatures[model_id])
            kernel.fixed_point(codes, tables[m], offsets, truth.classes, q[m], p_truth[m, some])
        yield block.start, q


def _votes(store: Store, models: Sequence[str], rows: Rows) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """All of the weight on the first class of each model, block by block."""
    from dissensus.kernels.probabilities import ONE

    top1 = store.top1(models)[:, rows]
    step = _step(len(models), store.n_classes)
    for start in range(0, len(rows), step):
        classes = top1[:, start : start + step].astype(np.intp)
        q = np.zeros((*classes.shape, store.n_classes), np.uint32)
        np.put_along_axis(q, classes[:, :, None], ONE, axis=2)
        yield start, q


def _nll(p_truth: Floats, weights: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """NLL of each model and last of the ensemble, (M + 1, n), and without each member, (M, n)."""
    weighted = p_truth * weights[:, None]
    before = np.cumsum(weighted, axis=0)
    after = np.cumsum(weighted[::-1], axis=0)[::-1]
    others = np.zeros_like(weighted)  # sums of the others, not differences: nothing cancels
    others[1:] += before[:-1]
    others[:-1] += after[1:]
    left = (weights.sum() - weights).astype(np.float64)
    left[left == 0] = np.nan
    whole = np.concatenate([p_truth, before[-1:] / weights.sum()])
    return _minus_log(whole), _minus_log(others / left[:, None])


def _minus_log(p: Floats) -> Floats:
    from dissensus.kernels.probabilities import TINIEST

    out: Floats = -np.log(np.maximum(p, TINIEST))
    return out
