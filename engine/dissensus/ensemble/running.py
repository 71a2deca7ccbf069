"""The running sum of the members chosen: what adding each candidate would do to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import candidates as kernel
from dissensus.kernels.probabilities import ONE
from dissensus.store.truth import Truth

Indices = NDArray[np.intp]
Integers = NDArray[np.int64]


def leading(candidates: Indices, scores: Integers) -> Indices:
    """Those candidates whose score is the largest, in the order given."""
    best: Indices = candidates[scores == scores.max()]
    return best


@dataclass(frozen=True)
class Block:
    """Rows ``start:stop`` of the chosen rows.

    Attributes
    ----------
    start, stop : int
        Positions among the chosen rows.
    q : (M, stop - start, C) uint32 or int64
        Fixed-point probabilities of every candidate, or logits.
    """

    start: int
    stop: int
    q: NDArray[Any]


class Running(Protocol):
    """Sum of the members chosen so far, by example and class.

    Attributes
    ----------
    work : list of dict of str to int
        Of each comparison of candidates, what it took: see `CertifiedRunning`; empty for brute force.
    """

    work: list[dict[str, int]]

    @property
    def total(self) -> Integers:
        """The sum, (n, C) int64; not to be changed."""

    @property
    def n_bytes(self) -> int:
        """Memory that a copy takes in this process."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether its largest entry, the lowest class on ties, is a right one: (n,) bool."""

    def hits_if_added(self, candidates: Indices, weights: Integers) -> Integers:
        """Weight of the examples right with each candidate added, the lowest class on ties: (k,) int64."""

    def leaders(self, candidates: Indices, weights: Integers) -> Indices:
        """Those candidates for which `hits_if_added` is largest, in the order given."""

    def add(self, candidate: int) -> None:
        """Add a member."""

    def remove(self, candidate: int) -> None:
        """Take a member out again."""

    def copy(self) -> Running:
        """Return another sum, the same for now."""


class Blocks(Protocol):
    """Probabilities of all candidates, gone through as often as is asked.

    Attributes
    ----------
    truth : Truth
        Right classes of the n examples.
    n_classes : int
        Number of classes C.
    """

    truth: Truth
    n_classes: int

    def blocks(self) -> Iterator[Block]:
        """All rows in order, in blocks."""


class FullRunning:
    """Brute force: every step compares every class of every candidate.

    Parameters
    ----------
    source : Blocks
        Where the probabilities come from.
    total : (n, C) int64, optional
        Sum to begin with.
    """

    def __init__(self, source: Blocks, total: Integers | None = None) -> None:
        self._source = source
        self.work: list[dict[str, int]] = []
        self.total = np.zeros((len(source.truth), source.n_classes), np.int64) if total is None else total

    @property
    def n_bytes(self) -> int:
        """Memory that a copy takes."""
        return self.total.nbytes

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether its largest entry, the lowest class on ties, is a right one: (n,) bool."""
        first: NDArray[np.intp] = self.total.argmax(axis=1)
        return self._source.truth.correct(first)

    def hits_if_added(self, candidates: Indices, weights: Integers) -> Integers:
        """Weight of the examples right with each candidate added. One pass over probabilities."""
        out = np.zeros(len(candidates), np.int64)
        offsets, classes = self._source.truth.offsets, self._source.truth.classes
        for block in self._source.blocks():
            rows, ends = slice(block.start, block.stop), slice(block.start, block.stop + 1)
            kernel.hits_if_added(
                self.total[rows], block.q, candidates, offsets[ends], classes, weights[rows], out
            )
        return out

    def leaders(self, candidates: Indices, weights: Integers) -> Indices:
        """Those candidates for which `hits_if_added` is largest, in the order given."""
        return leading(candidates, self.hits_if_added(candidates, weights))

    def add(self, candidate: int) -> None:
        """Add a member."""
        for block in self._source.blocks():
            self.total[block.start : block.stop] += block.q[candidate]

    def remove(self, candidate: int) -> None:
        """Take a member out again."""
        for block in self._source.blocks():
            self.total[block.start : block.stop] -= block.q[candidate]

    def copy(self) -> FullRunning:
        """Return another sum, the same for now."""
        return FullRunning(self._source, self.total.copy())


class VoteRunning:
    """Votes: all of a member's weight on its top-1 class.

    Parameters
    ----------
    truth : Truth
        Right classes of the n examples.
    n_classes : int
        Number of classes C.
    top1 : (M, n) int32
        First class of each candidate.
    total : (n, C) int64, optional
        Counts to begin with, in units of 2**31.
    """

    def __init__(
        self, truth: Truth, n_classes: int, top1: NDArray[np.int32], total: Integers | None = None
    ) -> None:
        self._truth, self._top1 = truth, top1
        self.work: list[dict[str, int]] = []
        self.total = np.zeros((len(truth), n_classes), np.int64) if total is None else total

    @property
    def n_bytes(self) -> int:
        """Memory that a copy takes."""
        return self.total.nbytes

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the class with most votes, the lowest on ties, is a right one: (n,) bool."""
        return self._truth.correct(self.total.argmax(axis=1))

    def hits_if_added(self, candidates: Indices, weights: Integers) -> Integers:
        """Weight of the examples right with each candidate's votes added: (k,) int64.

        One vote more can only bring its own class to the front: the largest count and the lowest class that
        has it are all that must be known of the others, whatever the number of classes.
        """
        rows, first = np.arange(len(self.total)), self.total.argmax(axis=1)
        most = self.total[rows, first]
        out = np.empty(len(candidates), np.int64)
        for place, vote in enumerate(self._top1[candidate] for candidate in candidates):
            count = self.total[rows, vote] + ONE
            ahead = (count > most) | ((count == most) & (vote < first))
            out[place] = weights[self._truth.correct(np.where(ahead, vote, first))].sum()
        return out

    def leaders(self, candidates: Indices, weights: Integers) -> Indices:
        """Those candidates for which `hits_if_added` is largest, in the order given."""
        return leading(candidates, self.hits_if_added(candidates, weights))

    def add(self, candidate: int) -> None:
        """Count a member's votes."""
        self.total[np.arange(len(self.total)), self._top1[candidate]] += ONE

    def remove(self, candidate: int) -> None:
        """Take a member's votes out again."""
        self.total[np.arange(len(self.total)), self._top1[candidate]] -= ONE

    def copy(self) -> VoteRunning:
        """Return other counts, the same for now."""
        return VoteRunning(self._truth, self.total.shape[1], self._top1, self.total.copy())
