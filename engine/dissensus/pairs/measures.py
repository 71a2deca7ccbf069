"""Measures, declared: a formula of what is summed over examples, its range, its direction, its source.

To add one, write a function under `@measure` whose parameters name what it needs (`STATISTICS`): it can be
asked for by its name at once. Here are those of the 2x2 table of correctness; `label_measures`,
`probability_measures` and `ensemble_measures` hold the others. Counts arrive as float64: products of two are
exact up to 6e7 examples (they stay below 2**53).
Formulas of the four counts are analytic, so that `delta` takes their derivatives by a complex step: no `abs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .counts import PairCounts
from .ensembles import ENSEMBLES
from .labels import LABEL_STATISTICS
from .summed import SCORED

Floats = NDArray[np.float64]
Formula = Callable[..., Floats]
Needs = Literal["counts", "labels", "probabilities"]

# What a formula may name as its parameters, and what a model must have been stored with for it.
STATISTICS: dict[str, Needs] = {
    **dict.fromkeys(("n11", "n10", "n01", "n00", "n"), "counts"),
    **dict.fromkeys(LABEL_STATISTICS, "labels"),
    **dict.fromkeys((*SCORED, *ENSEMBLES), "probabilities"),
}

_NOTHING: Mapping[str, NDArray[Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Measure:
    """One declared pair measure.

    Attributes
    ----------
    name : str
        What it is asked for by.
    formula : callable
        Its parameters are names of `STATISTICS`, float64 arrays that broadcast to (M, M), as is what it
        returns; NaN where undefined.
    low, high : float
        Range of its values.
    more_different : {"high", "low"}
        Which end of the range means that the two models make more different mistakes.
    undefined : str
        When it is undefined; empty if never.
    reference : str
        Where it comes from.
    symmetric : bool
        Whether the order of the two models does not matter.
    agreement : bool
        Whether it is an agreement that 1.0 completes, so that two identical perfect models may be given 1.0.
    """

    name: str
    formula: Formula
    low: float
    high: float
    more_different: Literal["high", "low"]
    undefined: str
    reference: str
    symmetric: bool
    agreement: bool

    @property
    def summary(self) -> str:
        """First line of the formula's docstring."""
        return (self.formula.__doc__ or "").partition("\n")[0]

    @cached_property
    def statistics(self) -> tuple[str, ...]:
        """What it is computed from, of `STATISTICS`."""
        return tuple(inspect.signature(self.formula).parameters)

    @property
    def needs(self) -> Needs:
        """What it is computed from: right or wrong alone, the predicted class, or probabilities.

        Hard labels are enough for the first two; the last needs models stored with logits or probabilities.
        """
        kinds = {STATISTICS[name] for name in self.statistics}
        return next(need for need in ("probabilities", "labels", "counts") if need in kinds)

    def finish(
        self, counts: PairCounts, undefined: str = "nan", more: Mapping[str, NDArray[Any]] = _NOTHING
    ) -> Floats:
        """Values for all pairs, (M, M) float64; entry (i, j) has the row's model first.

        Parameters
        ----------
        counts : PairCounts
            Counts of M models.
        undefined : {"nan", "identical"}
            "identical" gives an agreement of two models that are both right everywhere 1.0 instead of NaN.
        more : mapping of str to array
            Its statistics that are not in the counts, by name.
        """
        found = (more[name] if name in more else getattr(counts, name) for name in self.statistics)
        values = self.formula(*(np.asarray(statistic, np.float64) for statistic in found))
        if undefined == "identical" and self.agreement and counts.n:
            values[np.isnan(values) & (counts.n11 == counts.n)] = 1.0
        return values


MEASURES: dict[str, Measure] = {}


def measure(
    *,
    low: float,
    high: float,
    more_different: Literal["high", "low"],
    reference: str,
    undefined: str = "",
    symmetric: bool = True,
    agreement: bool = False,
) -> Callable[[Formula], Formula]:
    """Declare the decorated formula as the measure of its name."""

    def declare(formula: Formula) -> Formula:
        name = formula.__name__
        MEASURES[name] = Measure(
            name, formula, low, high, more_different, undefined, reference, symmetric, agreement
        )
        return formula

    return declare


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    quotient: Floats = np.full(shape, np.nan, np.result_type(numerator, denominator))
    np.divide(numerator, denominator, out=quotient, where=denominator.real != 0)
    return quotient


def _by_chance(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Disagreements expected of independent models with these accuracies, times n**2: an integer."""
    return (n11 + n10) * (n10 + n00) + (n11 + n01) * (n01 + n00)


def _kappa(disagreements: Floats, n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Kappa of given disagreements at the table's accuracies: integers up to one last division."""
    chance = _by_chance(n11, n10, n01, n00)
    return ratio(chance - disagreements * (n11 + n10 + n01 + n00), chance)


CONSTANT = "both models right on every example, or both wrong on every one"
GEIRHOS = "Geirhos, Meding, Wichmann 2020, Beyond accuracy (NeurIPS)"
KLEIN = "Klein et al. 2025, Quantifying uncertainty in error consistency (NeurIPS; arXiv 2507.06645)"
KUNCHEVA = "Kuncheva, Whitaker 2003, Measures of diversity in classifier ensembles (Machine Learning 51)"
CHURN = "Yan et al. 2021, Positive-congruent training (CVPR)"


@measure(
    low=0,
    high=1,
    more_different="high",
    reference="Gontijo-Lopes, Dauphin, Cubuk 2021, No one representation to rule them all (ICLR 2022)",
)
def error_inconsistency(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Share of examples that exactly one of the two models gets right: (n10 + n01) / n.

    Equals Kuncheva's disagreement (DESlib's `disagreement_measure`), WiSE-FT's prediction diversity, and
    scipy's `pdist(correct, "hamming")`. Disagreement of the predicted labels is another thing.
    """
    return ratio(n10 + n01, n11 + n10 + n01 + n00)


@measure(low=-1, high=1, more_different="low", reference=GEIRHOS, undefined=CONSTANT, agreement=True)
def error_consistency(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Cohen's kappa of the two models' correctness: agreement beyond what their accuracies give by chance.

    1 - EI / (a_i (1 - a_j) + a_j (1 - a_i)). Equals sklearn's `cohen_kappa_score` on correctness and
    model-vs-human's error consistency, which sets undefined pairs to 1. Not the overlap of errors that other
    papers call error consistency: that is `error_iou`.
    """
    return _kappa(n10 + n01, n11, n10, n01, n00)


@measure(
    low=-2,
    high=1,
    more_different="low",
    reference=KLEIN,
    undefined=f"{CONSTANT}; or kappa is 1 - n, as on one or two examples",
    agreement=True,
)
def error_consistency_unbiased(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Kappa corrected for its bias on few examples: n kappa / ((n - 1) + kappa)."""
    n, chance = n11 + n10 + n01 + n00, _by_chance(n11, n10, n01, n00)
    agreement = chance - (n10 + n01) * n  # kappa is agreement / chance
    # n * chance and (n - 1) * chance + chance round apart beyond 2**53: identical models are exactly 1
    return np.minimum(ratio(n * agreement, (n - 1) * chance + agreement), 1.0)


@measure(low=0, high=1, more_different="low", reference=KLEIN, undefined=CONSTANT, agreement=True)
def error_consistency_max(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Largest kappa that two models of these accuracies can have: one's errors all among the other's."""
    return _kappa(np.maximum(n10 - n01, n01 - n10), n11, n10, n01, n00)


@measure(low=-1, high=1, more_different="low", reference=KLEIN, undefined=CONSTANT, agreement=True)
def error_consistency_min(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Smallest kappa that two models of these accuracies can have: errors as far apart as they fit.

    Never above 0, except for the 1.0 of two perfect models under ``undefined="identical"``.
    """
    right, wrong = 2 * n11 + n10 + n01, 2 * n00 + n10 + n01
    return _kappa(np.minimum(right, wrong), n11, n10, n01, n00)


@measure(
    low=-1,
    high=1,
    more_different="low",
    reference=KUNCHEVA,
    undefined="a model right on every example or on none",
    agreement=True,
)
def phi(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Pearson correlation of the two models' errors (error correlation, Matthews coefficient of correctness).

    Equals `np.corrcoef` on correctness and DESlib's `correlation_coefficient`.
    """
    spread_i, spread_j = (n11 + n10) * (n01 + n00), (n11 + n01) * (n10 + n00)
    return ratio(n11 * n00 - n10 * n01, np.sqrt(spread_i * spread_j))


@measure(
    low=-1,
    high=1,
    more_different="low",
    reference=KUNCHEVA,
    undefined="n11 n00 and n10 n01 are both 0, as with a model right on every example or on none",
    agreement=True,
)
def q_statistic(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Yule's Q of the two models' correctness: (n11 n00 - n10 n01) / (n11 n00 + n10 n01).

    Equals DESlib's `Q_statistic`.
    """
    together, apart = n11 * n00, n10 * n01
    return ratio(together - apart, together + apart)


@measure(low=0, high=1, more_different="low", reference=KUNCHEVA)
def double_fault(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Share of examples both models get wrong: n00 / n.

    Equals DESlib's `double_fault`.
    """
    return ratio(n00, n11 + n10 + n01 + n00)


@measure(
    low=0,
    high=1,
    more_different="low",
    reference="Jaccard index of the two sets of errors",
    undefined="both models right on every example",
    agreement=True,
)
def error_iou(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Overlap of the two models' errors, intersection over union: n00 / (n - n11).

    Called error consistency in some papers; Geirhos's is `error_consistency`. Equals sklearn's
    `jaccard_score` on errors, and 1 minus scipy's `pdist(errors, "jaccard")`.
    """
    return ratio(n00, n10 + n01 + n00)


@measure(low=0, high=1, more_different="high", reference=KUNCHEVA)
def oracle_accuracy(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Share of examples at least one of the two gets right, as a perfect choice would: 1 - n00 / n."""
    return ratio(n11 + n10 + n01, n11 + n10 + n01 + n00)


@measure(low=0, high=1, more_different="high", reference=CHURN, symmetric=False)
def positive_flip_rate(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Share of examples the first (old) model gets wrong and the second (new) right: n01 / n."""
    return ratio(n01, n11 + n10 + n01 + n00)


@measure(low=0, high=1, more_different="high", reference=CHURN, symmetric=False)
def negative_flip_rate(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Share of examples the first (old) model gets right and the second (new) wrong: n10 / n."""
    return ratio(n10, n11 + n10 + n01 + n00)


@measure(
    low=0,
    high=inf,
    more_different="high",
    reference=CHURN,
    symmetric=False,
    undefined="the first model wrong on every example, or the second right on every one",
)
def relative_nfr(n11: Floats, n10: Floats, n01: Floats, n00: Floats) -> Floats:
    """Negative flips over those of independent errors: (n10 / n) / ((1 - error_i) error_j)."""
    return ratio(n10 * (n11 + n10 + n01 + n00), (n11 + n10) * (n10 + n00))
