"""Tests of all pairs at once: p-values, and what is left of them when there are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .counts import PairCounts
from .measures import Floats


def independence(counts: PairCounts) -> dict[str, Floats]:
    """Test each pair's mistakes against independence at the two accuracies.

    Parameters
    ----------
    counts : PairCounts
        Counts of M models.

    Returns
    -------
    dict of (M, M) float64
        `test_z`, positive where two models agree more than independent ones would; `test_p`, two-sided;
        `test_q`, by `q_values` over all pairs. NaN for a model that is right on every example or on none,
        and on the diagonal.

    Notes
    -----
    With both accuracies given, n11 has mean n_i n_j / n and variance n_i (n - n_i) n_j (n - n_j) / (n**2 (n
    - 1)) if the mistakes are independent; z is its distance from the mean in standard deviations, phi
    sqrt(n - 1), and p is a normal tail: rough where fewer than about five examples are expected in a cell.
    One test serves kappa = 0, phi = 0 and an error inconsistency different from that of independence: they
    are one hypothesis. Examples differ in difficulty, so that nearly all pairs of real models fail it; see
    `Pairs.null`.
    """
    right, n = counts.right.astype(np.float64), counts.n
    spread = right * (n - right)
    excess = n * counts.both_right.astype(np.float64) - right[:, None] * right
    return scores("test", excess * np.sqrt(max(n - 1, 0)), np.sqrt(spread[:, None] * spread))


def scores(prefix: str, excess: Floats, deviation: Floats) -> dict[str, Floats]:
    """Compute `<prefix>_z`, `_p` and `_q` of what exceeds an expectation; NaN where it cannot vary.

    Parameters
    ----------
    prefix : str
        What the names start with.
    excess, deviation : (M, M) float64
        Symmetric: observed minus expected, and its standard deviation.
    """
    from dissensus.kernels.tails import two_sided

    z = np.divide(excess, deviation, out=np.full(excess.shape, np.nan), where=deviation > 0)
    np.fill_diagonal(z, np.nan)
    p = two_sided(z)
    q, above = np.full_like(p, np.nan), np.triu_indices(len(p), 1)
    q[above] = q_values(p[above])
    q.T[above] = q[above]
    return {f"{prefix}_z": z, f"{prefix}_p": p, f"{prefix}_q": q}


def q_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest share of false discoveries at which each test is still one, (P,); NaN for NaN.

    Notes
    -----
    Benjamini, Hochberg 1995: the least p_(k) m / k among k no smaller than the test's place, m being the
    tests that are defined. It holds for independent tests and for tests that depend positively (Benjamini,
    Yekutieli 2001); pairs that share a model do not depend worse than that in practice, which is no proof.
    """
    order = np.argsort(p, kind="stable")  # NaN last
    m = int(np.count_nonzero(~np.isnan(p)))
    scaled = p[order[:m]] * m / np.arange(1, m + 1)
    q = np.full(len(p), np.nan)
    q[order[:m]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
