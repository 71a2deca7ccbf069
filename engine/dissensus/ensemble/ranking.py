"""Which candidates are best to add next, in one stated order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import METRICS, best_candidate
from .selection import Selection


@dataclass(frozen=True, order=True)
class Ranked:
    """A candidate and what it is ordered by, the best first.

    Attributes
    ----------
    key : tuple of int
        Negative score with it added; whether it is new; its NLL, 0 where there is none.
    candidate : int
        Its index, the last resort.
    """

    key: tuple[int, int, int]
    candidate: int


def ranked(state: Selection, metric: str, allowed: NDArray[np.intp], most: int) -> list[Ranked]:
    """Best candidates to add, best first: the metric; a member already used; lower NLL; the lower index.

    Where one is enough it is found for much less work, and its key is left at zeros.
    """
    if not len(allowed):
        return []
    if most == 1:
        return [Ranked((0, 0, 0), best_candidate(state, metric, allowed))]
    scores, members = METRICS[metric].if_added(state, allowed), {*state.chosen}
    keys = [(-int(score), int(m not in members)) for score, m in zip(scores, allowed.tolist(), strict=True)]
    last = sorted(keys)[:most][-1]
    able = np.array([place for place, key in enumerate(keys) if key <= last])
    nll = state.nll_if_added(allowed[able]) if state.has_nll else np.zeros(len(able), np.int64)
    found = [
        Ranked((*keys[place], int(tie)), int(allowed[place])) for place, tie in zip(able, nll, strict=True)
    ]
    return sorted(found)[:most]
