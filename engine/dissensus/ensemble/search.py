"""Greedy forward selection (Caruana et al. 2004), exact and deterministic.

Every step scores every candidate on every example; equal scores fall to a stated order. The numbers compared
are integers (`kernels.probabilities`), so that blocks, threads and machines change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel

from .members import MemberScores

METRICS = ("accuracy", "nll")


@dataclass
class Selection:
    """The members chosen so far and what candidates are compared against.

    Attributes
    ----------
    scores : MemberScores
        Candidates on the selection rows.
    total : (n, C) int64
        Sum of the members' fixed-point probabilities.
    truth_sum : (n,) float64
        Sum of the members' probabilities of the truth, in the order chosen.
    chosen : list of int
        Candidates in the order chosen.
    hits, nll : list of int
        Right examples and fixed-point NLL after each step.
    """

    scores: MemberScores
    total: NDArray[np.int64] = field(init=False)
    truth_sum: NDArray[np.float64] = field(init=False)
    chosen: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    nll: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.scores.labels)
        self.total = np.zeros((n, self.scores.n_classes), np.int64)
        self.truth_sum = np.zeros(n)

    def hits_if_added(self) -> NDArray[np.int64]:
        """Examples right with each candidate added: (M,) int64. One pass over the probabilities."""
        out = np.zeros(len(self.scores.truth), np.int64)
        for block in self.scores.blocks():
            rows = slice(block.start, block.stop)
            kernel.hits_if_added(self.total[rows], block.q, self.scores.labels[rows], out)
        return out

    def nll_if_added(self, candidates: NDArray[np.intp]) -> NDArray[np.int64]:
        """Fixed-point NLL with each of these candidates added: (len(candidates),) int64."""
        return kernel.nll_if_added(self.truth_sum, self.scores.truth[candidates], len(self.chosen) + 1)

    def add(self, candidate: int) -> None:
        """Take a candidate in and record where the ensemble stands."""
        self.nll.append(int(self.nll_if_added(np.array([candidate]))[0]))
        for block in self.scores.blocks():
            self.total[block.start : block.stop] += block.q[candidate]
        self.truth_sum += self.scores.truth[candidate]
        self.chosen.append(candidate)
        self.hits.append(int((self.total.argmax(axis=1) == self.scores.labels).sum()))


def best_by_accuracy(state: Selection, allowed: NDArray[np.intp]) -> int:
    """Most examples right; then a member already used; then lower NLL; then the lower index."""
    hits = state.hits_if_added()[allowed]
    tied = _members_first(state, allowed[hits == hits.max()])
    nll = state.nll_if_added(tied) if len(tied) > 1 else np.zeros(1)
    return int(tied[nll.argmin()])


def best_by_nll(state: Selection, allowed: NDArray[np.intp]) -> int:
    """Lowest NLL; then a member already used; then the lower index."""
    nll = state.nll_if_added(allowed)
    return int(_members_first(state, allowed[nll == nll.min()])[0])


def _members_first(state: Selection, tied: NDArray[np.intp]) -> NDArray[np.intp]:
    used = tied[np.isin(tied, state.chosen)]
    return used if len(used) else tied


RULES: dict[str, Callable[[Selection, NDArray[np.intp]], int]] = {
    "accuracy": best_by_accuracy,
    "nll": best_by_nll,
}


def forward(
    state: Selection,
    *,
    size: int,
    metric: str,
    candidates: NDArray[np.intp],
    start: Sequence[int],
    replacement: bool,
    advance: Callable[[], None],
) -> None:
    """Select until `size` members are chosen, the given ones first.

    Parameters
    ----------
    state : Selection
        Empty selection; changed in place.
    size : int
        Members, with repetition.
    metric : {"accuracy", "nll"}
        What is improved at each step.
    candidates : (K,) intp
        Indices that may be chosen.
    start : sequence of int
        First members, in order.
    replacement : bool
        Whether a member may be chosen again, which gives it more weight.
    advance : callable
        Called after each step.
    """
    for step in range(size):
        allowed = candidates if replacement else candidates[~np.isin(candidates, state.chosen)]
        state.add(start[step] if step < len(start) else RULES[metric](state, allowed))
        advance()
