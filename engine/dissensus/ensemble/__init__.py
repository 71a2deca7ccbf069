"""Ensembles: calibration, exact greedy selection, honest evaluation. Knows no scheduler."""

from .result import Ensemble, Interval
from .select import greedy

__all__ = ["Ensemble", "Interval", "greedy"]
