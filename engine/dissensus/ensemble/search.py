"""Greedy forward selection (Caruana et al. 2004), exact and deterministic.

Every step scores every candidate on every example; equal scores fall to a stated order. The numbers compared
are integers (`kernels.probabilities`), so that blocks, threads and machines change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    @classmethod
    def of(cls, scores: Scores, chosen: Sequence[int]) -> Selection:
        """Members in the order given."""
        state = cls(scores)
        for candidate in chosen:
            state.add(candidate)
        return state

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

    def losses_if_added(self, metric: str, candidates: NDArray[np.intp]) -> NDArray[np.int64]:
        """What is to be made small, with each of these candidates added: (len(candidates),) int64."""
        if metric == "nll":
            return self.nll_if_added(candidates)
        return -self.scores.hits_if_added(self.total)[candidates]

    def losses(self, metric: str) -> list[int]:
        """What is to be made small, after each step."""
        return self.nll if metric == "nll" else [-hits for hits in self.hits]

    def add(self, candidate: int) -> None:
        """Take a candidate in and record where the ensemble stands."""
        if self.has_nll:
            self.nll.append(int(self.nll_if_added(np.array([candidate]))[0]))
            self.truth_sum += self.scores.p_truth[candidate]
        self.scores.add_to(self.total, candidate)
        self.chosen.append(candidate)
        self.hits.append(int(self.right.sum()))


@dataclass(frozen=True, order=True)
class Ranked:
    """A candidate and what it is ordered by.

    Attributes
    ----------
    key : tuple of int
        Loss with it added (lower is better); whether it is new; its NLL where accuracy has ties.
    candidate : int
        Its index, the last resort.
    """

    key: tuple[int, int, int]
    candidate: int


def ranked(state: Selection, metric: str, allowed: NDArray[np.intp], most: int) -> list[Ranked]:
    """Best candidates to add, best first: the metric; a member already used; lower NLL; the lower index."""
    if not len(allowed):
        return []
    loss, new = state.losses_if_added(metric, allowed), ~np.isin(allowed, state.chosen)
    last = np.lexsort((new, loss))[:most][-1]
    able = np.flatnonzero((loss < loss[last]) | ((loss == loss[last]) & (new <= new[last])))
    decides = state.has_nll and metric != "nll" and max(most, len(able)) > 1
    nll = state.nll_if_added(allowed[able]) if decides else np.zeros(len(able), np.int64)
    found = [
        Ranked((int(loss[i]), int(new[i]), int(tie)), int(allowed[i]))
        for i, tie in zip(able, nll, strict=True)
    ]
    return sorted(found)[:most]
