"""Ensembles: calibration, exact greedy selection, honest evaluation. Knows no scheduler."""

from .mixture import Certificate
from .result import Costs, Ensemble, Interval
from .select import greedy
from .switches import Search

__all__ = ["Certificate", "Costs", "Ensemble", "Interval", "Search", "greedy"]
