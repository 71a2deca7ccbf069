"""The paper's claims as statements tested on a zoo: estimate, interval, verdict, and what confounds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .measuring import Measured
from .tables import numbers
from .trends import LEAST, LEVEL, Estimate, rank_trend, ratio_trend, slope_trend

Floats = NDArray[np.float64]
HOLDS, NOT, UNSURE = "holds", "does not hold", "cannot tell"
WEAK = 0.02  # of accuracy below the strong model on the selection split
ROUNDING = 0.5  # added examples of either kind: Agresti and Min 2005, for paired shares


@dataclass(frozen=True)
class View:
    """One look at a claim.

    Attributes
    ----------
    sample : str
        Which models, and by which measure.
    main : bool
        Whether the verdict of the claim rests on it; other views are told only.
    estimate : Estimate
        The number, with its 95 % interval, and from how many models or examples.
    unit : str
        Of the number.
    verdict : str
        "holds" where the interval lies above 0, "does not hold" where it lies below, else "cannot tell".
    """

    sample: str
    main: bool
    estimate: Estimate
    unit: str

    @property
    def verdict(self) -> str:
        """By the interval."""
        return HOLDS if self.estimate.low > 0 else NOT if self.estimate.high < 0 else UNSURE


@dataclass(frozen=True)
class Claim:
    """A claim with all looks at it.

    Attributes
    ----------
    name : str
        Short name.
    statement : str
        What the paper says, as it is tested here.
    confound : str
        What else could make it so, or hide it.
    needs : str
        What it cannot be tested without.
    views : tuple of View
        The first is the plainest.
    """

    name: str
    statement: str
    confound: str
    needs: str
    views: tuple[View, ...]

    @property
    def verdict(self) -> str:
        """ "holds" or "does not hold" where all main views say so, else "cannot tell"."""
        said = {view.verdict for view in self.views if view.main}
        return said.pop() if len(said) == 1 else UNSURE

    @property
    def is_tested(self) -> bool:
        """Whether a view has anything to look at."""
        return any(view.estimate.n for view in self.views)

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON."""
        views = [
            {"sample": view.sample, "main": view.main}
            | asdict(view.estimate)
            | {"unit": view.unit, "verdict": view.verdict}
            for view in self.views
        ]
        record: dict[str, Any] = {
            "claim": self.name,
            "statement": self.statement,
            "verdict": self.verdict,
            "tested": self.is_tested,
        }
        return record | {"confound": self.confound, "views": views}


CONFIDENCES = "confidences of the base and of models inside the band"
SLOPE = "slope beside the model's accuracy"
BAND, ALL, KAPPA = "inside the band", "all models", "inside the band, by kappa"
TIED = (
    "error inconsistency moves with accuracy (|a - b| <= EI), so the band and kappa are looked at as well; "
    "intervals are over models, not examples"
)


def claims(found: Measured, models: pa.Table) -> list[Claim]:
    """All claims on this zoo; `models` is the table of the first two figures."""
    columns = {
        name: numbers(models, name) for name in models.column_names if name not in ("model", "category")
    }
    columns["different"] = -columns["error_consistency"]
    ranked = found.zoo.ranked
    columns["rank"] = np.array([ranked.get(c, math.nan) for c in models["category"].to_pylist()], np.float64)
    return [
        _by_category(columns),
        _with_inconsistency(columns, "improvement"),
        _with_inconsistency(columns, "conversion_rate"),
        _separation(columns),
        _weak_partner(found),
        _first_pick(found),
    ]


def _by_category(columns: dict[str, Floats]) -> Claim:
    return Claim(
        "categories",
        "Error inconsistency with the base grows with how different the training is (order of categories)",
        TIED,
        "categories of a known order inside the band: the paper's, or --order",
        _views(columns, lambda x: ("rank", x), rank_trend, "rank correlation"),
    )


def _with_inconsistency(columns: dict[str, Floats], measure: str) -> Claim:
    told = {
        "improvement": "The more inconsistent a model, the more its ensemble with the base gains over their "
        "mean, at equal accuracy",
        "conversion_rate": "The more inconsistent a model, the larger the share of inconsistent examples "
        "that its ensemble with the base gets right, at equal accuracy",
    }
    why = {
        "improvement": "improvement = EI (conversion - 1/2) + a share of both-wrong examples, exactly: with "
        "a constant conversion above 1/2 it grows by itself",
        "conversion_rate": "few inconsistent examples make a noisy conversion rate",
    }
    return Claim(
        measure.replace("_rate", ""),
        told[measure],
        f"{why[measure]}; {TIED}",
        CONFIDENCES,
        _views(columns, lambda x: (x, measure, "accuracy"), slope_trend, SLOPE),
    )


def _separation(columns: dict[str, Floats]) -> Claim:
    return Claim(
        "specialisation",
        "The more differently a model is trained (inconsistent with the base), the better theta tells which "
        "of the two is right",
        "an AUROC over few inconsistent examples is noisy, and those models are the similar ones; " + TIED,
        CONFIDENCES,
        _views(columns, lambda x: (x, "theta_auroc"), rank_trend, "rank correlation with the AUROC"),
    )


def _views(
    columns: dict[str, Floats],
    names: Callable[[str], tuple[str, ...]],
    statistic: Callable[..., Estimate],
    unit: str,
) -> tuple[View, ...]:
    """The statistic inside the band, by kappa, and for all models."""
    inside = columns["in_band"] > 0
    looks = (
        (BAND, True, "error_inconsistency", inside),
        (KAPPA, True, "different", inside),
        (ALL, False, "error_inconsistency", np.ones(len(inside), np.bool_)),
    )
    views = []
    for sample, main, x, chosen in looks:
        used = [columns[name] for name in names(x)]
        there = chosen & ~np.isnan(used).any(axis=0)
        views.append(View(sample, main, statistic(*(c[there] for c in used)), unit))
    return tuple(views)


def _weak_partner(found: Measured) -> Claim:
    """The strongest model with the best of the much weaker ones, both chosen on the selection split."""
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    statement = f"A model at least {100 * WEAK:.0f} points weaker raises the strongest one"
    gain = kappa = nothing
    if found.fit is not None and found.report is not None:
        places, accuracy = found.places, found.fit_accuracy
        seed = max(range(len(found.seeds)), key=lambda s: accuracy[found.seeds[s]])
        strong = found.seeds[seed]
        weak = np.flatnonzero(accuracy[places] <= accuracy[strong] - WEAK)
        if len(weak):
            pick = weak[found.fit["pair_right"][seed, weak].argmax()]
            names = found.zoo.model_ids[strong], found.zoo.model_ids[places[pick]]
            statement += f" ({names[0]} with {names[1]}, chosen on {found.zoo.select!r})"
            n = len(found.zoo.rows)
            gain = paired_gain(*found.turned(strong, int(places[pick])), n)
            different = -found.zoo.measured("error_consistency")[strong, places[weak]]
            gains = found.report["pair_right"][seed, weak] / n - found.zoo.accuracy[strong]
            columns = [c[~np.isnan(different)] for c in (different, gains, found.zoo.accuracy[places[weak]])]
            kappa = slope_trend(*columns)
    return Claim(
        "weak partner",
        statement,
        "the gain can come from any second model; the second look asks whether weak models bring more the "
        "lower their kappa, at equal accuracy; the first interval is over examples",
        f"confidences of the strongest model and of one {100 * WEAK:.0f} points weaker",
        (
            View("weaker models, best on the selection split", True, gain, "gain in accuracy"),
            View("weaker models, gain by kappa", False, kappa, SLOPE),
        ),
    )


def paired_gain(gained: int, lost: int, n: int) -> Estimate:
    """Difference of two accuracies on the same n examples with its 95 % interval.

    Agresti, Min 2005: half an example is added to either kind of change, so that no change has an interval.
    """
    g, lo, total = gained + ROUNDING, lost + ROUNDING, n + 2 * ROUNDING
    centre = (g - lo) / total
    reach = 1.96 * math.sqrt(max(g + lo - (g - lo) ** 2 / total, 0)) / total
    return Estimate((gained - lost) / n, centre - reach, centre + reach, n)


def _first_pick(found: Measured) -> Claim:
    """Whether the best partner of each seed is of another category, more often than chance would have it."""
    excess = different = banded = Estimate(math.nan, math.nan, math.nan, 0)
    if found.fit is not None:
        every = np.ones(len(found.places), np.bool_)
        picks = _picks(found, every)
        inside = _picks(found, found.zoo.in_band[found.places])
        excess, banded = (_share_above(_other(found, some), some) for some in (picks, inside))
        different = by_pick(_closer(found, picks), [p for _, p, _ in picks])
    return Claim(
        "first pick",
        "The first greedy pick is trained differently than the seed (of another category)",
        "chance: the share of the candidates in another category; a pick can be of another category for its "
        "accuracy alone, so picks inside the band and kappa are looked at; one model is often the pick of "
        "many seeds, so intervals go by the number of different picks, which n is",
        "two models with confidences",
        (
            View("all candidates", True, excess, "share above chance"),
            View("candidates inside the band", False, banded, "share above chance"),
            View("all candidates, by kappa", True, different, "kappa of the candidates less the pick's"),
        ),
    )


def _picks(found: Measured, allowed: NDArray[np.bool_]) -> list[tuple[int, int, NDArray[np.intp]]]:
    """(seed, pick, candidates) as places among all models; the pick is best on the selection split."""
    assert found.fit is not None
    picks = []
    for place, seed in enumerate(found.seeds):
        candidates = np.flatnonzero(allowed & (found.places != seed))
        if len(candidates):
            pick = candidates[found.fit["pair_right"][place, candidates].argmax()]
            picks.append((seed, int(found.places[pick]), found.places[candidates]))
    return picks


def _other(found: Measured, picks: Sequence[tuple[int, int, NDArray[np.intp]]]) -> Floats:
    """Of each seed, whether the pick is of another category, and the share of such candidates, (S, 2)."""
    category = np.array(found.zoo.category, object)
    rows = [(category[p] != category[s], (category[c] != category[s]).mean()) for s, p, c in picks]
    return np.array(rows, np.float64).reshape(-1, 2)


def _share_above(other: Floats, picks: Sequence[tuple[int, int, NDArray[np.intp]]]) -> Estimate:
    """Share of picks of another category above that of the candidates."""
    share, chance = other.mean(axis=0) if len(other) else (math.nan, math.nan)
    return share_above(float(share), float(chance), len({p for _, p, _ in picks}))


def share_above(share: float, chance: float, n: int) -> Estimate:
    """A share above chance, with the interval of Wilson 1927 for n trials; no interval for few of them.

    Not a bootstrap: where all of them agree it would have no width, whatever chance is.
    """
    if n < LEAST:
        return Estimate(share - chance, math.nan, math.nan, n)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(share - chance, centre - reach - chance, centre + reach - chance, n)


def _closer(found: Measured, picks: Sequence[tuple[int, int, NDArray[np.intp]]]) -> Floats:
    """Of each seed, mean kappa of the candidates minus that of the pick: above 0 for a different pick."""
    kappa = found.zoo.measured("error_consistency")
    return np.array([_mean_of(kappa[s, c]) - kappa[s, p] for s, p, c in picks], np.float64)


def _mean_of(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def by_pick(values: Floats, picks: Sequence[int]) -> Estimate:
    """Mean over seeds; its interval is over picks, with all of their seeds, since one may serve many."""
    known = np.flatnonzero(~np.isnan(values))
    _, of = np.unique(np.asarray(picks, np.intp)[known], return_inverse=True)
    sums, counts = (np.bincount(of, w).astype(np.float64) for w in (values[known], np.ones(len(known))))
    return replace(ratio_trend(sums, counts), value=_mean_of(values))


def claims_table(found: list[Claim]) -> pa.Table:
    """One row a view of a claim."""
    rows = [
        {
            "claim": claim.name,
            "verdict": claim.verdict,
            "sample": view.sample,
            "estimate": _null(view.estimate.value),
            "low": _null(view.estimate.low),
            "high": _null(view.estimate.high),
            "n": view.estimate.n,
            "says": view.verdict if claim.is_tested else "not tested",
            "main": view.main,
            "unit": view.unit,
            "statement": claim.statement,
            "confound": claim.confound,
        }
        for claim in found
        for view in claim.views
    ]
    kinds = dict.fromkeys(("estimate", "low", "high"), pa.float64()) | {"n": pa.int64(), "main": pa.bool_()}
    return pa.Table.from_pylist(rows, pa.schema([(key, kinds.get(key, pa.string())) for key in rows[0]]))


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
