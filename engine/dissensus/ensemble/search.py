"""Greedy forward selection (Caruana et al. 2004), exact and deterministic.

Every step scores every candidate on every example; equal scores fall to a stated order. The numbers compared
are integers (`metrics`), so that blocks, threads and machines change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .metrics import best_candidate
from .selection import Selection


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
    metric : str
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
        state.add(start[step] if step < len(start) else best_candidate(state, metric, allowed))
        advance()
