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

from .members import Scores


@dataclass
class Selection:
    """The members chosen so far and what candidates are compared against.

    Attributes
    ----------
    scores : Scores
        Candidates on the selection rows.
    total : (n, C) int64
        Sum of the members' fixed-point probabilities, or votes.
    truth_sum : (n,) float64
        Sum of the members' probabilities of the truth, in the order chosen; (0,) for votes.
    chosen : list of int
        Candidates in the order chosen.
    hits, nll : list of int
        Right examples and fixed-point NLL after each step; no NLL for votes.
    """

    scores: Scores
    total: NDArray[np.int64] = field(init=False)
    truth_sum: NDArray[np.float64] = field(init=False)
    chosen: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    nll: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.total = np.zeros((len(self.scores.truth), self.scores.n_classes), np.int64)
        self.truth_sum = np.zeros(self.scores.p_truth.shape[1])

    @property
    def has_nll(self) -> bool:
        """Whether candidates give the truth a probability."""
        return "nll" in self.scores.metrics

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the ensemble is right, the lowest class on ties: (n,) bool."""
        return self.scores.truth.correct(self.total.argmax(axis=1))

    def nll_if_added(self, candidates: NDArray[np.intp]) -> NDArray[np.int64]:
        """Fixed-point NLL with each of these candidates added: (len(candidates),) int64."""
        return kernel.nll_if_added(self.truth_sum, self.scores.p_truth[candidates], len(self.chosen) + 1)

    def add(self, candidate: int) -> None:
        """Take a candidate in and record where the ensemble stands."""
        if self.has_nll:
            self.nll.append(int(self.nll_if_added(np.array([candidate]))[0]))
            self.truth_sum += self.scores.p_truth[candidate]
        self.scores.add_to(self.total, candidate)
        self.chosen.append(candidate)
        self.hits.append(int(self.right.sum()))


def best_by_accuracy(state: Selection, allowed: NDArray[np.intp]) -> int:
    """Most examples right; then a member already used; then lower NLL (if any); then the lower index."""
    hits = state.scores.hits_if_added(state.total)[allowed]
    tied = _members_first(state, allowed[hits == hits.max()])
    if len(tied) == 1 or not state.has_nll:
        return int(tied[0])
    return int(tied[state.nll_if_added(tied).argmin()])


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
