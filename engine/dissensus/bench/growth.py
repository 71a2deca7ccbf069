"""How time and memory grow: exponents of models, examples and classes fitted to what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SIZES = ("models", "examples", "classes")


def exponents(rows: Sequence[Mapping[str, Any]], what: str) -> dict[str, float]:
    """Fit log(what) = constant + sum of exponent * log(size) by least squares.

    Parameters
    ----------
    rows : sequence of mapping
        Measurements: "models", "examples", "classes" and `what`.
    what : str
        Column that grows.

    Returns
    -------
    dict of str to float
        Exponent of each size that varies in the rows; nothing where too few rows tell them apart.
    """
    rows = [row for row in rows if row[what] and row[what] > 0]
    varied = [size for size in SIZES if len({row[size] for row in rows}) > 1]
    if not varied:
        return {}
    design = np.array([[1.0, *(np.log(row[size]) for size in varied)] for row in rows])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return {}
    fitted = np.linalg.lstsq(design, np.log([row[what] for row in rows]), rcond=None)[0]
    return {size: float(slope) for size, slope in zip(varied, fitted[1:], strict=True)}
