"""Ensembles: calibration, exact greedy selection, honest evaluation. Knows no scheduler."""

from .pool import Duo, duo
from .result import Ensemble, Interval
from .select import greedy

__all__ = ["Duo", "Ensemble", "Interval", "duo", "greedy"]
