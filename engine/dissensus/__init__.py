"""Dissensus: which of my models make different mistakes, which should I combine, and why?

Public names load on first use, so that importing this package loads neither torch nor numba.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .demo import run_demo as run_demo
    from .ensemble import Duo as Duo
    from .ensemble import Duos as Duos
    from .ensemble import Ensemble as Ensemble
    from .ensemble import calibrate as calibrate
    from .ensemble import duo as duo
    from .ensemble import duos as duos
    from .ensemble import greedy as greedy
    from .errors import DissensusError as DissensusError
    from .explain.churn import Churn as Churn
    from .explain.churn import churn as churn
    from .explain.churn import replacements as replacements
    from .explain.profiles import profiles as profiles
    from .explain.specialisation import Specialisation as Specialisation
    from .explain.specialisation import specialisation as specialisation
    from .explain.study import Study as Study
    from .explain.study import study as study
    from .explain.why import Why as Why
    from .explain.why import why as why
    from .ingest import ImportReport as ImportReport
    from .ingest import create_from as create_from
    from .ingest import import_predictions as import_predictions
    from .ingest import infer as infer
    from .pairs import Histogram as Histogram
    from .pairs import Pairs as Pairs
    from .pairs import PairsBy as PairsBy
    from .pairs import histogram as histogram
    from .pairs import near_duplicates as near_duplicates
    from .pairs import pairs_within as pairs_within
    from .pairs import pairwise as pairwise
    from .pairs import pairwise_by as pairwise_by
    from .pairs import partners as partners
    from .pairs import save_matrix as save_matrix
    from .pairs import save_stream as save_stream
    from .plots import heatmap as heatmap
    from .store.catalog import Store as Store
    from .store.create import create as create
    from .store.header import migrate as migrate

__version__ = "0.1.0"

_HOME = {
    "Churn": "explain.churn",
    "DissensusError": "errors",
    "Duo": "ensemble",
    "Duos": "ensemble",
    "Ensemble": "ensemble",
    "Histogram": "pairs",
    "ImportReport": "ingest",
    "Pairs": "pairs",
    "PairsBy": "pairs",
    "Specialisation": "explain.specialisation",
    "Store": "store.catalog",
    "Study": "explain.study",
    "Why": "explain.why",
    "calibrate": "ensemble",
    "churn": "explain.churn",
    "create": "store.create",
    "create_from": "ingest",
    "duo": "ensemble",
    "duos": "ensemble",
    "greedy": "ensemble",
    "heatmap": "plots",
    "histogram": "pairs",
    "import_predictions": "ingest",
    "infer": "ingest",
    "migrate": "store.header",
    "near_duplicates": "pairs",
    "open": "store.catalog",
    "pairs_within": "pairs",
    "pairwise": "pairs",
    "pairwise_by": "pairs",
    "partners": "pairs",
    "profiles": "explain.profiles",
    "replacements": "explain.churn",
    "run_demo": "demo",
    "save_matrix": "pairs",
    "save_stream": "pairs",
    "specialisation": "explain.specialisation",
    "study": "explain.study",
    "why": "explain.why",
}
_NAMES = {"open": "Store"}  # ds.open(path) is the store itself

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), _NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
