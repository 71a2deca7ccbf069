"""What accuracy and difficulty explain: pairs among random answers with the same margins."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .counts import Answers

SETTLE = 10  # kept matrices' worth of trades before the first one is kept
Sums = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NullCounts:
    """Examples that both models of a pair get right, over random matrices with the observed margins.

    Attributes
    ----------
    mean, deviation : (M, M) float64
        Mean over the draws, and standard deviation.
    drift : float
        Squared difference between the means of the first and second half of the draws, in units of what
        independent draws give, averaged over pairs: about 1 for a chain that has mixed.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    drift: float


def null_counts(answers: Answers, draws: int, thin: int, seed: int) -> NullCounts:
    """Count pairs in random answers in which each model is right as often, and each example as often solved.

    Parameters
    ----------
    answers : Answers
        Right answers of M models, at least 3: the margins of two leave nothing to chance.
    draws : int
        Matrices kept, at least 4.
    thin : int
        Rounds between them; in a round every model trades with a random other one.
    seed : int
        Where the random numbers start; threads change nothing.

    Notes
    -----
    Trades are those of the curveball algorithm (Strona et al. 2014), in rounds of disjoint pairs (Carstens,
    Hamann, Meyer, Penschuck, Tran, Wagner 2018), whose chain has the uniform distribution over all matrices
    with these margins (Carstens 2015). That is the distribution of independent answers in the Rasch model,
    where log odds of being right are skill minus difficulty, given the margins: p-values are exact for it.
    Beside one matrix of answers it keeps four (M, M) matrices.
    """
    from dissensus.kernels.counts import both_right
    from dissensus.kernels.swaps import trade_all

    stream, packed = np.random.default_rng(seed), answers.packed.copy()
    size, observed = len(packed), both_right(packed)
    halves, squares = [np.zeros_like(observed) for _ in range(2)], np.zeros_like(observed)
    for draw in range(draws):
        for _ in range(thin + (SETTLE * thin if draw == 0 else 0)):
            keys = stream.integers(0, 2**64, size // 2, dtype=np.uint64)
            trade_all(packed, stream.permutation(size), keys)
        moved = both_right(packed) - observed  # small numbers, so that their squares lose nothing
        halves[2 * draw // draws] += moved
        squares += moved**2
    return _summary(observed, halves, squares, draws, thin)


def _summary(observed: Sums, halves: list[Sums], squares: Sums, draws: int, thin: int) -> NullCounts:
    mean = (halves[0] + halves[1]) / draws
    variance = np.maximum(squares / draws - mean**2, 0) * draws / (draws - 1)
    first = (draws + 1) // 2
    apart = halves[0] / first - halves[1] / (draws - first)
    varies = np.triu(variance > 0, 1)
    drift = 1.0
    if varies.any():
        drift = float(np.mean(apart[varies] ** 2 / variance[varies]) / (1 / first + 1 / (draws - first)))
    _warn_of_drift(drift, len(observed), thin)
    return NullCounts(observed + mean, np.sqrt(variance), drift)


def _warn_of_drift(drift: float, size: int, thin: int) -> None:
    """Warn where the halves differ by more than chance: M models have about M - 1 free numbers."""
    most = 1 + 6 * (2 / (size - 1)) ** 0.5
    if drift > most:
        warnings.warn(
            f"the random matrices had not mixed: their halves differ {drift:.1f} times as much as they "
            f"should (chance: below {most:.1f}); raise thin (now {thin}) or draws",
            RuntimeWarning,
            stacklevel=4,
        )
