"""Pair statistics: which models make different mistakes.

`counts` holds one 2x2 table a pair, `measures` the declared statistics of it, `query` the public function and
`result` what it returns. Loads no numba before the first count.
"""

from .counts import PairCounts
from .measures import MEASURES, Measure
from .query import pairwise
from .result import Pairs

__all__ = ["MEASURES", "Measure", "PairCounts", "Pairs", "pairwise"]
