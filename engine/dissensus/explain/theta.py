"""Who is more confident where: the angle in the confidence-confidence plane, and how well it separates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95


def angles(first: ArrayLike, second: ArrayLike) -> Floats:
    """theta = arctan2(conf1, conf2) in radians: above pi/4 where the first model is more confident.

    Gontijo-Lopes et al. 2021, section 4.2; theta(1, 2) + theta(2, 1) = pi/2.
    """
    return np.arctan2(np.asarray(first, np.float64), np.asarray(second, np.float64))


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve of a score for one group of examples against another.

    Attributes
    ----------
    value : float
        Chance that a member of the first group has the larger score, ties counted half; NaN for an empty
        group.
    low, high : float
        Ends of its 95 % interval within 0..1; NaN for fewer than two members in a group.
    """

    value: float
    low: float
    high: float


def auroc(first: Floats, second: Floats) -> Auroc:
    """AUROC of scores, with the closed-form interval of DeLong, DeLong, Clarke-Pearson 1988.

    Where all placements are equal (a perfect separation) the interval has no width, as theirs has none.
    """
    m, n = len(first), len(second)
    if not m or not n:
        return Auroc(math.nan, math.nan, math.nan)
    of_first, of_second = _placements(first, np.sort(second)), 1 - _placements(second, np.sort(first))
    value = float(of_first.mean())
    if min(m, n) < 2:
        return Auroc(value, math.nan, math.nan)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(
        of_first.var(ddof=1) / m + of_second.var(ddof=1) / n
    )
    return Auroc(value, max(0.0, value - reach), min(1.0, value + reach))


def _placements(scores: Floats, others: Floats) -> Floats:
    """Share of the sorted others below each score, equal ones counted half."""
    below, up_to = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    placed: Floats = (below + up_to) / (2 * len(others))
    return placed


def entropy_bits(counts: ArrayLike) -> float:
    """Entropy in bits of where examples lie, from their number in each class; NaN for none."""
    found = np.asarray(counts, np.float64)
    shares = found[found > 0] / max(found.sum(), 1)
    return float(-(shares * np.log2(shares)).sum() + 0.0) if len(shares) else math.nan


def entropy_if_even(n: int, sizes: ArrayLike, draws: int = 200, seed: int = 0) -> float:
    """Mean entropy in bits of n examples drawn from classes of these sizes: what chance alone leaves.

    The entropy of few examples is low whatever they are; a found one means something below this.
    """
    shares = np.asarray(sizes, np.float64)
    if not n:
        return math.nan
    drawn = np.random.default_rng(seed).multinomial(n, shares / shares.sum(), size=draws)
    return float(np.mean([entropy_bits(row) for row in drawn]))


def share_of_classes(counts: ArrayLike, part: float) -> float:
    """Smallest share of the classes that holds `part` of the examples; NaN for no example."""
    found = np.sort(np.asarray(counts, np.int64))[::-1]
    total = int(found.sum())
    if not total:
        return math.nan
    reached = np.cumsum(found) >= part * total - 1e-9 * total
    return float((np.argmax(reached) + 1) / len(found))
