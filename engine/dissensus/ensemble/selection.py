"""The members chosen so far, and how candidates compare with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import candidates as kernel

from .members import Scores
from .metrics import METRICS
from .running import Running, leading
from .weights import Weights


class Selection:
    """An ensemble that grows, and can shrink again, member by member.

    Parameters
    ----------
    scores : Scores
        Candidates on the selection rows.
    weights : Weights, optional
        How much each example counts; by default all the same.
    recorded : sequence of str, optional
        Metrics to record after each step; by default accuracy and NLL, of those that the scores have.

    Attributes
    ----------
    scores, weights
        As given.
    truth_sum : (n,) float64
        Sum of the members' probabilities of the truth, in the order chosen; (0,) for votes.
    chosen : list of int
        Candidates in the order chosen.

    Notes
    -----
    NLL is found from `truth_sum` alone: a search by it sums up no other classes before somebody asks for what
    needs them (`running`, `history`).
    """

    def __init__(
        self, scores: Scores, weights: Weights | None = None, recorded: Sequence[str] | None = None
    ) -> None:
        self.scores: Scores = scores
        self.weights: Weights = Weights.equal(len(scores.truth)) if weights is None else weights
        self._running: Running = scores.running()
        self._waiting: list[int] = []  # members that `_running` lacks
        self._nll: int | None = None  # as it stands, where that is known
        self._nll_with: dict[int, int] = {}  # with each candidate that was asked about since
        self.truth_sum: NDArray[np.float64] = np.zeros(scores.p_truth.shape[1])
        self.chosen: list[int] = []
        usual = [name for name in ("accuracy", "nll") if name in scores.metrics]
        self._history: dict[str, list[int]] = {name: [] for name in (usual if recorded is None else recorded)}

    @property
    def running(self) -> Running:
        """The sum of the members' fixed-point probabilities, or votes."""
        waiting, self._waiting = self._waiting, []
        for candidate in waiting:
            self._running.add(candidate)
            self._record(looks_at_classes=True)
        return self._running

    @property
    def history(self) -> dict[str, list[int]]:
        """Score by each recorded metric after each step; `Metric.value` makes of it what people read."""
        return {name: self.trajectory(name) for name in self._history}

    def trajectory(self, metric: str) -> list[int]:
        """Score by one recorded metric after each step."""
        if METRICS[metric].looks_at_classes:
            _ = self.running
        return self._history[metric]

    def _record(self, looks_at_classes: bool) -> None:
        for name, scores in self._history.items():
            if METRICS[name].looks_at_classes == looks_at_classes:
                scores.append(METRICS[name].now(self))

    @cached_property
    def balanced(self) -> Weights:
        """Weights under which every class counts the same."""
        return self.weights.balanced(self.scores.truth)

    @property
    def size(self) -> int:
        """Members, repetitions counted."""
        return len(self.chosen)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each candidate was chosen: (M,) int64."""
        return np.bincount(np.array(self.chosen, np.intp), minlength=len(self.scores.p_truth))

    @property
    def has_nll(self) -> bool:
        """Whether candidates give the truth a probability."""
        return "nll" in self.scores.metrics

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the ensemble is right, the lowest class on ties: (n,) bool."""
        return self.running.right

    @property
    def total(self) -> NDArray[np.int64]:
        """Sum of the members' fixed-point probabilities, or votes: (n, C) int64, not to be changed."""
        return self.running.total

    @property
    def work(self) -> list[dict[str, int]]:
        """What each comparison of candidates took (`CertifiedRunning`); empty for brute force and votes."""
        return self.running.work

    def nll_if_added(self, candidates: NDArray[np.intp]) -> NDArray[np.int64]:
        """Fixed-point NLL with each of these candidates added: (len(candidates),) int64."""
        size = len(self.chosen) + 1
        found = kernel.nll_if_added(self.truth_sum, self.scores.p_truth, candidates, size, self._nll_weights)
        self._nll_with |= dict(zip(candidates.tolist(), found.tolist(), strict=True))
        return found

    def nll_leaders(self, candidates: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of least NLL, found among those that an estimate with its error leaves in question."""
        able = candidates
        if self.weights.are_equal and len(candidates) > 1:
            estimates, error = kernel.nll_estimates(self.truth_sum, self.scores.p_truth, candidates)
            known = estimates[~np.isnan(estimates)]
            least = known.min() if len(known) else np.inf
            able = candidates[~(estimates > least + 2 * error)]
        return leading(able, -self.nll_if_added(able))

    def nll_now(self) -> int:
        """Fixed-point NLL as it stands."""
        if self._nll is not None:
            return self._nll
        nobody = np.zeros((1, len(self.truth_sum)))
        only, size = np.zeros(1, np.intp), max(len(self.chosen), 1)
        return int(kernel.nll_if_added(self.truth_sum, nobody, only, size, self._nll_weights)[0])

    @cached_property
    def _nll_weights(self) -> NDArray[np.float64]:
        return self.weights.each.astype(np.float64) * (kernel.NLL_ONE / self.weights.unit)

    def add(self, candidate: int) -> None:
        """Take a candidate in and record where the ensemble stands."""
        self._nll, self._nll_with = self._nll_with.get(candidate), {}
        self._waiting.append(candidate)
        self.chosen.append(candidate)
        if self.has_nll:
            self.truth_sum += self.scores.p_truth[candidate]
        self._record(looks_at_classes=False)

    def drop(self, place: int) -> None:
        """Take out the member chosen at a place, as if never chosen; the history stays as it is."""
        self.running.remove(self.chosen.pop(place))
        self._nll, self._nll_with = None, {}
        self.truth_sum[:] = 0.0
        for candidate in self.chosen if self.has_nll else ():  # in order: float sums depend on it
            self.truth_sum += self.scores.p_truth[candidate]

    def copy(self) -> Selection:
        """Return another one in the same state, to go on from independently."""
        other = type(self)(self.scores, self.weights, list(self._history))
        other._running, other.truth_sum = self._running.copy(), self.truth_sum.copy()
        other._waiting, other.chosen, other._nll = list(self._waiting), list(self.chosen), self._nll
        other._history = {name: list(scores) for name, scores in self._history.items()}
        return other
