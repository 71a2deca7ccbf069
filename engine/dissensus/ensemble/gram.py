"""The Gram matrix of members' probabilities, from which follows the Brier score of any weights.

Sum over examples and classes of (mean p - truth)**2 = w'Gw - 2 w'b + n, with G the sums of products p_i p_j,
b those of p_i at the truth and w the shares. All in integers: probabilities rounded to 20 bits, whose
products float64 sums exactly in any order over 4,096 examples, and int64 over all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.store.truth import Truth

from .running import Block

BITS = 20
HALF = 1 << (30 - BITS)
EXACT_ROWS = 4096  # 2**12 examples of products that sum to about 2**40: below 2**53
BRIER_ONE = 2**52  # fixed-point 1.0 of the sum over examples


@dataclass(frozen=True, eq=False)
class Gram:
    """Sums over examples of M models' probabilities, u = (q + 1024) >> 11 of q = rint(p * 2**31).

    Attributes
    ----------
    products : (M, M) int64
        Sum over examples and classes of u_i u_j.
    at_truth : (M,) int64
        Sum of u at the right class.
    n : int
        Examples.
    """

    products: NDArray[np.int64]
    at_truth: NDArray[np.int64]
    n: int

    @classmethod
    def of(cls, blocks: Iterable[Block], n_models: int, truth: Truth) -> Gram:
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
        products, at_truth = np.zeros((n_models, n_models), np.int64), np.zeros(n_models, np.int64)
        for block in blocks:
            for start in range(block.start, block.stop, EXACT_ROWS):
                stop = min(start + EXACT_ROWS, block.stop)
                u = (block.q[:, start - block.start : stop - block.start] + np.uint32(HALF)) >> (31 - BITS)
                flat = u.reshape(n_models, -1).astype(np.float64)
                products += (flat @ flat.T).astype(np.int64)
                at_truth += u[:, np.arange(stop - start), truth.labels[start:stop]].sum(
                    axis=1, dtype=np.int64
                )
        return cls(products, at_truth, len(truth))

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
        size = int(counts.sum())
        if candidates is None:
            return np.array([_score(squares, right, size, self.n)], object)
        return np.array(
            [
                _score(
                    squares + 2 * with_members[m] + int(self.products[m, m]),
                    right + int(self.at_truth[m]),
                    size + 1,
                    self.n,
                )
                for m in candidates.tolist()
            ],
            object,
        )

    def _times(self, counts: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return products times counts, as Python integers: int64 could overflow."""
        high, low = (self.products >> 32) @ counts, (self.products & 0xFFFFFFFF) @ counts
        times: NDArray[np.object_] = high.astype(object) * 2**32 + low.astype(object)
        return times


def _score(squares: int, right: int, size: int, n: int) -> int:
    """Minus the sum over examples and classes of (sum u - size * 2**20 * truth)**2, in fixed point."""
    total = squares - 2 * (size << BITS) * right + n * (size << BITS) ** 2
    return -(total * (BRIER_ONE >> 2 * BITS) // (size * size))
