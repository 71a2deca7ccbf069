"""Ensembles: calibration, exact greedy selection, honest evaluation. Knows no scheduler."""

from .calibrated import Calibration, calibrate
from .mixture import Certificate
from .pool import Duo, duo
from .result import Costs, Ensemble, Interval
from .select import greedy
from .switches import Search

__all__ = [
    "Calibration",
    "Certificate",
    "Costs",
    "Duo",
    "Ensemble",
    "Interval",
    "Search",
    "calibrate",
    "duo",
    "greedy",
]
