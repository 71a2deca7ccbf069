"""Random matrices of right answers with the margins of a given one: curveball trades on packed bits.

A trade lets two models exchange answers on the examples where exactly one of them is right: each keeps its
number of right answers, each example its number of models. Repeated, all matrices with these margins become
equally likely.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, prange
from numpy.typing import NDArray

from .bits import Packed
from .counts import popcount
from .jit import PARALLEL, kernel, parallel_kernel

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def trade_all(packed: Packed, order: NDArray[np.intp], keys: Packed) -> None:
    """Trade between the models order[0] and order[1], order[2] and order[3], and so on, on numba's threads.

    Parameters
    ----------
    packed : (M, W) uint64
        From `kernels.counts.pack`; changed in place.
    order : (M,) intp
        Each model once, in random order; the last of an odd number trades with nobody.
    keys : (M // 2,) uint64
        Where each trade's random numbers start: they do not depend on which thread makes it.
    """
    with PARALLEL:
        _trade_all(packed, order, keys)


if config.DISABLE_JIT:

    def uniform(key: Any, index: Any) -> Any:
        """Number in [0, 1) of a key and an index, in Python's integers: NumPy's would warn of wrapping."""
        z = (int(key) + (int(index) + 1) * GOLDEN) % 2**64
        z = ((z ^ z >> 30) * FIRST) % 2**64
        z = ((z ^ z >> 27) * SECOND) % 2**64
        return ((z ^ z >> 31) >> 11) * 2.0**-53

else:

    @kernel
    def uniform(key: Any, index: Any) -> Any:
        """Number in [0, 1) of a key and an index: splitmix64 (Steele, Lea, Flood 2014)."""
        z = key + (np.uint64(index) + np.uint64(1)) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND)
        return np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@parallel_kernel
def _trade_all(packed: Packed, order: NDArray[np.intp], keys: Packed) -> None:
    """(M, W), (M,), (M // 2,): the pairs are disjoint, so that they can be traded at once."""
    for t in prange(len(keys)):
        trade(packed[order[2 * t]], packed[order[2 * t + 1]], keys[t])


@kernel
def trade(a: Packed, b: Packed, key: Any) -> None:
    """(W,), (W,): give each model, in place, a random share of what only one of both has, as many as it had.

    Selection sampling (Knuth, algorithm S): bit by bit in order, so that nothing is allocated.
    """
    left, left_a = 0, 0
    for w in range(len(a)):
        left += popcount(a[w] ^ b[w])
        left_a += popcount(a[w] & ~b[w])
    index = 0
    for w in range(len(a)):
        rest, to_a = a[w] ^ b[w], np.uint64(0)
        common, apart = a[w] & b[w], rest
        while rest != np.uint64(0):
            bit = rest & (~rest + np.uint64(1))
            if uniform(key, index) * left < left_a:
                to_a |= bit
                left_a -= 1
            rest ^= bit
            left -= 1
            index += 1
        a[w], b[w] = common | to_a, common | (apart ^ to_a)
