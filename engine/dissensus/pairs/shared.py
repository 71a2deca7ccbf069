"""Resampling examples that all pairs share: what differences between pairs and rankings of pairs need."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dissensus.run.threads import in_order

from .counts import Answers
from .measures import Floats, Formula

Indices = NDArray[np.intp]
Packed = NDArray[np.uint64]
WORD = 64


def weight_planes(n_words: int, seed: int, draw: int) -> Packed:
    """Bits of the weights of one draw, (B, W) uint64: an example weighs the sum of 2**b over its bits b.

    Weights are Poisson numbers of mean 1, a stream for each (seed, draw), as small integers: B is 3 or 4.
    """
    from dissensus.kernels.bits import pack

    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(draw,)))
    weights = stream.poisson(1.0, n_words * WORD)
    bits = np.arange(int(weights.max(initial=1)).bit_length())
    return pack((weights >> bits[:, None] & 1).astype(np.bool_))


def shared_draws(
    answers: Answers,
    pairs: tuple[Indices, Indices],
    formula: Formula,
    draws: int,
    seed: int,
    threads: int | None = None,
) -> Iterator[Floats]:
    """Values of a measure for P pairs in each draw of a Poisson bootstrap, (P,) float64.

    Parameters
    ----------
    answers : Answers
        Right answers of M models.
    pairs : (P,) intp, (P,) intp
        First and second models.
    formula : callable
        A measure of the four counts.
    draws, seed : int
        How many draws, and where their random numbers start: a draw is the same whatever the pairs and
        threads.
    threads : int, optional
        All processors by default.

    Notes
    -----
    Each example gets one weight for all pairs, so that values of a draw belong together (Hanley, MacGibbon
    2006; Chamandy et al. 2012). A weighted count is a sum of popcounts over the bits of the weights: exact
    integers, by the kernel that counts pairs, and three or four times its work; a float32 matrix product is
    exact below 2**24 only, and takes thirty times longer.
    """
    first, rows = np.unique(pairs[0], return_inverse=True)
    second, columns = np.unique(pairs[1], return_inverse=True)
    one = partial(_draw, answers, first, second, rows, columns, formula, seed)
    yield from in_order(one, range(draws), threads)


def _draw(
    answers: Answers,
    first: Indices,
    second: Indices,
    rows: Indices,
    columns: Indices,
    formula: Formula,
    seed: int,
    draw: int,
) -> Floats:
    planes = weight_planes(answers.packed.shape[1], seed, draw) & answers.chosen
    a, b = answers.packed[first], answers.packed[second]
    both = _weighted(a, b, planes)[rows, columns]
    right_a, right_b = (_weighted(x, answers.chosen[None], planes)[:, 0] for x in (a, b))
    n = int(_weighted(answers.chosen[None], answers.chosen[None], planes)[0, 0])
    i, j = right_a[rows], right_b[columns]
    return formula(*np.array([both, i - both, j - both, n - i - j + both], np.float64))


def _weighted(a: Packed, b: Packed, planes: Packed) -> NDArray[np.int64]:
    """Sum the weights of examples that both sets of models have: (A, W), (B, W), (bits, W) -> (A, B)."""
    from dissensus.kernels.counts import both_right_rectangle

    total, some = np.zeros((len(a), len(b)), np.int64), np.empty((len(a), len(b)), np.int64)
    for bit, plane in enumerate(planes):
        both_right_rectangle(a & plane, b, some)
        total += some << bit
    return total


def share_in_top(
    answers: Answers,
    pairs: tuple[Indices, Indices],
    formula: Formula,
    k: int,
    ascending: bool,
    draws: int,
    seed: int,
) -> Floats:
    """Share of draws in which each of P pairs is among the first k, (P,) float64; undefined values come last.

    Of pairs that tie at the k-th place those listed first are taken. Holds one draw at a time.
    """
    hits = np.zeros(len(pairs[0]), np.int64)
    for values in shared_draws(answers, pairs, formula, draws, seed):
        hits[np.argsort(values if ascending else -values, kind="stable")[:k]] += 1
    return hits / draws
