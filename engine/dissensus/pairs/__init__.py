"""Pair statistics: which models make different mistakes.

`counts` holds one 2x2 table a pair, `labels`, `sums` and `ensembles` what more is counted and summed over
predicted classes and probabilities; `measures`, `label_measures`, `probability_measures` and
`ensemble_measures` declare what is made of these; `asked` checks a question, `query` answers it and `result`
is what it returns; `groups` does so by groups of examples, and `duplicates` makes groups of models. Loads no
numba before the first count.

Where a matrix of all pairs is too large, `tiles` gives it away piece by piece: to `best`
(partners), `streams`, `histograms` and `matrix_files`, each of which first says what it takes (`scale`).

On a cluster `scheduled` counts, `score_tasks` sums probabilities and `tile_tasks` reduces, by tasks that
workers answer from the store (`worker`, `tile_worker`).
"""

from . import ensemble_measures, label_measures, probability_measures  # noqa: F401 (they declare their measures)
from .best import partners
from .counts import Answers, PairCounts
from .duplicates import Duplicates, near_duplicates
from .groups import PairsBy, pairwise_by
from .histograms import Histogram, histogram
from .matrix_files import save_matrix
from .measures import MEASURES, Measure
from .query import pairwise
from .result import Pairs
from .streams import pairs_within, save_stream

__all__ = [
    "MEASURES",
    "Answers",
    "Duplicates",
    "Histogram",
    "Measure",
    "PairCounts",
    "Pairs",
    "PairsBy",
    "histogram",
    "near_duplicates",
    "pairs_within",
    "pairwise",
    "pairwise_by",
    "partners",
    "save_matrix",
    "save_stream",
]
