"""Ensembles: calibration, exact greedy selection, honest evaluation. Knows no scheduler."""

from .all_duos import Duos, duos
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
    "Duos",
    "Ensemble",
    "Interval",
    "Search",
    "calibrate",
    "duo",
    "duos",
    "greedy",
]
