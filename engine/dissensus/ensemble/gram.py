"""The Gram matrix of members' probabilities, from which follows the Brier score of any weights.

Sum over examples and classes of v (mean p - truth)**2 = w'Gw - 2 w'b + sum v, with v what an example counts,
G the sums of v p_i p_j, b those of v p_i at the truth and w the shares of members. All in integers:
probabilities are rounded to 20 bits, weights taken 8 bits at a time, and of as many examples at once as
float64 sums exactly in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.store.truth import Truth

from .running import Block
from .weights import Weights

BITS = 20
HALF = 1 << (30 - BITS)
EXACT_ROWS = 4096  # 2**12 examples of products that sum to about 2**40: below 2**53
DIGIT = 8  # bits of weights that are multiplied at a time
LIMB, LIMBS = 32, 3  # products are sums of at most 2**94: 3 numbers of 32 bits each
CUT = 31  # bits at which sums of digits are cut in two, which int64 holds
BRIER_ONE = 2**52  # fixed-point 1.0 of the sum over examples


@dataclass(frozen=True, eq=False)
class Gram:
    """Sums over examples of M models' probabilities, u = (q + 1024) >> 11 of q = rint(p * 2**31).

    Attributes
    ----------
    products : (3, M, M) int64
        Weighted sum over examples and classes of u_i u_j, in limbs of 32 bits, the lowest first. Those of
        several blocks add up; they then are no more below 2**32.
    at_truth : (M,) Python integers
        Weighted sum of u at the right class.
    total : int
        Weight of all examples.
    """

    products: NDArray[np.int64]
    at_truth: NDArray[np.object_]
    total: int

    @classmethod
    def of(cls, blocks: Iterable[Block], n_models: int, truth: Truth, weights: Weights) -> Gram:
        """Sum them up in one pass.

        Raises
        ------
        ArgumentError
            An example has several right classes.
        """
        if not truth.is_single:
            raise ArgumentError(
                f"metric 'brier' needs one right class an example; labels {truth.name!r} have sets of them: "
                "choose metric='accuracy' or 'nll', or labels= with one"
            )
        sums, at_truth = _Digits(n_models, weights), np.zeros(n_models, object)
        for block in blocks:
            for start in range(block.start, block.stop, sums.rows):
                stop = min(start + sums.rows, block.stop)
                u = (block.q[:, start - block.start : stop - block.start] + np.uint32(HALF)) >> (31 - BITS)
                each = weights.each[start:stop]
                sums.add(u.astype(np.float64), each)
                right = u[:, np.arange(stop - start), truth.labels[start:stop]].astype(np.int64)
                at_truth += _exact_product(right, each)
        return cls(sums.limbs, at_truth, weights.total)

    @property
    def numbers(self) -> NDArray[np.object_]:
        """The products as Python integers: (M, M)."""
        return _of_limbs(self.products)

    def scores(self, counts: NDArray[np.int64], candidates: NDArray[np.intp] | None) -> NDArray[np.object_]:
        """Minus the Brier score of members taken so many times (M,), in fixed point of 2**52 an example.

        Parameters
        ----------
        counts : (M,) int64
            How often each model is a member.
        candidates : (k,) intp or None
            Models to add once each; None: the members as they are.

        Returns
        -------
        (k,) or (1,) Python integers, larger is better
        """
        with_members = self._times(counts)
        squares, right = int(counts.astype(object) @ with_members), int(self.at_truth.astype(object) @ counts)
        size, own = int(counts.sum()), _of_limbs(self.products.diagonal(axis1=1, axis2=2))
        if candidates is None:
            return np.array([_score(squares, right, size, self.total)], object)
        return np.array(
            [
                _score(
                    squares + 2 * with_members[m] + own[m],
                    right + int(self.at_truth[m]),
                    size + 1,
                    self.total,
                )
                for m in candidates.tolist()
            ],
            object,
        )

    def _times(self, counts: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return products times counts, as Python integers: int64 could overflow."""
        return _of_limbs(self.products @ counts)


class _Digits:
    """Weighted sums of products, for each digit of the weights by itself.

    Attributes
    ----------
    rows : int
        Examples that may be added at a time.
    """

    def __init__(self, n_models: int, weights: Weights) -> None:
        n_bits = max(int(weights.each.max(initial=1)).bit_length(), 1)
        self._bits = min(DIGIT, n_bits)
        self.rows = EXACT_ROWS // ((1 << self._bits) - 1)
        self._small = weights.total < 1 << 22  # of 2**40 each: below 2**63
        shape = -(-n_bits // self._bits), n_models, n_models
        self._high, self._low = np.zeros(shape, np.int64), np.zeros(shape, np.int64)

    def add(self, u: NDArray[np.float64], each: NDArray[np.int64]) -> None:
        """Add examples (M, r, C) with their weights (r,)."""
        for place in range(len(self._low)):
            digit = each >> place * self._bits & (1 << self._bits) - 1
            some = u if digit.all() else u[:, digit > 0]
            flat = some.reshape(len(u), -1)
            of_one = (digit <= 1).all()
            by = flat if of_one else (some * digit[digit > 0][:, None]).reshape(len(u), -1)
            sums = (flat @ by.T).astype(np.int64)
            self._high[place] += sums >> CUT
            self._low[place] += sums & (1 << CUT) - 1

    @property
    def limbs(self) -> NDArray[np.int64]:
        """Sums of all digits, in limbs."""
        total: NDArray[Any] = np.zeros(self._low.shape[1:], np.int64 if self._small else object)
        for place in range(len(self._low)):
            high, low = (part[place].astype(total.dtype) for part in (self._high, self._low))
            total += ((high << CUT) + low) << place * self._bits
        last, mask = LIMBS - 1, (1 << LIMB) - 1
        parts = [total >> min(LIMB * k, 63) if self._small else total >> LIMB * k for k in range(LIMBS)]
        return np.stack([part if k == last else part & mask for k, part in enumerate(parts)]).astype(np.int64)


def _of_limbs(limbs: NDArray[np.int64]) -> NDArray[np.object_]:
    """Python integers of limbs along the first axis."""
    numbers: NDArray[np.object_] = sum(part.astype(object) << LIMB * k for k, part in enumerate(limbs))
    return numbers


def _exact_product(values: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return values (M, r) of 20 bits times weights (r,) of 54, as Python integers (M,), which have room."""
    high, low = values @ (weights >> 27), values @ (weights & (1 << 27) - 1)
    return np.asarray((high.astype(object) << 27) + low)


def _score(squares: int, right: int, size: int, weight: int) -> int:
    """Minus the weighted sum of (sum u - size * 2**20 * truth)**2, in fixed point."""
    total = squares - 2 * (size << BITS) * right + weight * (size << BITS) ** 2
    return -(total * (BRIER_ONE >> 2 * BITS) // (size * size))
