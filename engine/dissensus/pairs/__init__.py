"""Pair statistics: which models make different mistakes.

`counts` holds one 2x2 table a pair, `labels` and `sums` what more is summed over predicted classes and
probabilities; `measures`, `label_measures` and `probability_measures` declare what is made of these; `query`
has the public function and `result` what it returns. Loads no numba before the first count.
"""

from . import label_measures, probability_measures  # noqa: F401 (they declare their measures)
from .counts import PairCounts
from .measures import MEASURES, Measure
from .query import pairwise
from .result import Pairs

__all__ = ["MEASURES", "Measure", "PairCounts", "Pairs", "pairwise"]
