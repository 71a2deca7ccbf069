"""Differences of a measure between one pair and others, over draws of examples that they share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bootstrap import percentiles
from .counts import Answers
from .measures import Floats, Formula
from .shared import shared_draws
from .significance import q_values

AT_ONCE = 2**23  # differences held, 64 MiB: more pairs are taken in turns, each drawing the same weights
Indices = NDArray[np.intp]


def differences(
    answers: Answers,
    one: tuple[int, int],
    others: tuple[Indices, Indices],
    difference: Floats,
    formula: Formula,
    level: float,
    draws: int,
    seed: int,
    at_once: int = AT_ONCE,
) -> dict[str, Floats]:
    """Intervals and tests of the value of one pair minus those of P others, `difference` as observed.

    Returns
    -------
    dict of (P,) float64
        `difference_low` and `difference_high`, percentiles of the draws; `p_value`, the normal tail of the
        difference over the draws' standard deviation, which unlike a share of draws can become small enough
        to stand among many; `q_value` of these. NaN where a pair has no value, p and q also where nothing
        varies.
    """
    some = max(1, at_once // draws)
    turns = [slice(start, start + some) for start in range(0, len(difference), some)]
    found = [
        _summary(
            _drawn(answers, one, (others[0][t], others[1][t]), formula, draws, seed), difference[t], level
        )
        for t in turns
    ]
    columns = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return columns | {"q_value": q_values(columns["p_value"])}


def _drawn(
    answers: Answers,
    one: tuple[int, int],
    others: tuple[Indices, Indices],
    formula: Formula,
    draws: int,
    seed: int,
) -> Floats:
    """Differences in each draw, (P, draws)."""
    pairs = np.append(others[0], one[0]), np.append(others[1], one[1])
    values = np.empty((len(pairs[0]), draws))
    for draw, drawn in enumerate(shared_draws(answers, pairs, formula, draws, seed)):
        values[:, draw] = drawn
    values[:-1] = values[-1] - values[:-1]
    return values[:-1]


def _summary(drawn: Floats, difference: Floats, level: float) -> dict[str, Floats]:
    from dissensus.kernels.tails import two_sided

    deviation = _deviation(drawn)
    z = np.divide(difference, deviation, out=np.full(len(difference), np.nan), where=deviation > 0)
    bounds = percentiles(drawn, level)
    low, high = (np.where(np.isnan(difference), np.nan, bound) for bound in bounds)
    return {"difference_low": low, "difference_high": high, "p_value": two_sided(z)}


def _deviation(values: Floats) -> Floats:
    """Standard deviation of the defined values of each row, (P,); NaN for fewer than two."""
    defined = ~np.isnan(values)
    n = defined.sum(axis=1)
    mean = np.where(defined, values, 0).sum(axis=1) / np.maximum(n, 1)
    squares = np.where(defined, (values - mean[:, None]) ** 2, 0).sum(axis=1)
    return np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)
