"""Pair statistics: which models make different mistakes.

`counts` holds one 2x2 table a pair, `labels` and `sums` what more is summed over predicted classes and
probabilities; `measures`, `label_measures` and `probability_measures` declare what is made of these; `asked`
checks a question, `query` answers it and `result` is what it returns; `groups` does so by groups of examples,
and `duplicates` makes groups of models. Loads no numba before the first count.
"""

from . import label_measures, probability_measures  # noqa: F401 (they declare their measures)
from .counts import PairCounts
from .duplicates import Duplicates, near_duplicates
from .groups import PairsBy, pairwise_by
from .measures import MEASURES, Measure
from .query import pairwise
from .result import Pairs

__all__ = [
    "MEASURES",
    "Duplicates",
    "Measure",
    "PairCounts",
    "Pairs",
    "PairsBy",
    "near_duplicates",
    "pairwise",
    "pairwise_by",
]
