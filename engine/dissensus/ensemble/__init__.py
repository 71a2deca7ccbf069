"""Ensembles: calibration, exact greedy selection, honest evaluation. Knows no scheduler."""

from .result import Costs, Ensemble, Interval
from .select import greedy
from .switches import Search
from .weights import Certificate

__all__ = ["Certificate", "Costs", "Ensemble", "Interval", "Search", "greedy"]
