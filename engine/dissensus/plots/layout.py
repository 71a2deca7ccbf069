"""Where the parts of a heat map go: sizes in inches, from how many names there are and how long they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
POINT = 1 / 72  # inches
FONT = 8.0
MOST_VALUES = 12  # models up to which each cell has its value in it
LARGEST = 14.0  # inches of the matrix


@dataclass(frozen=True)
class Layout:
    """Sizes in inches, from the number of models and the length of their names.

    Attributes
    ----------
    side : float
        Of the square matrix.
    left, below : float
        Room for the names of rows and of columns.
    tree : float
        Height of the dendrogram.
    every : int
        Each how many-th model is named.
    scale : float
        Size of the other texts: larger where the whole picture will be looked at from afar.
    """

    side: float
    left: float
    below: float
    tree: float
    every: int
    scale: float

    @classmethod
    def of(cls, rows: Sequence[str], columns: Sequence[str]) -> Layout:
        """Lay out rows and columns of these names."""
        n_models = len(rows)
        wanted = 0.62 if n_models <= MOST_VALUES else 0.25
        pixels = min(wanted * DPI, LARGEST * DPI / n_models)
        cell = (int(pixels) if pixels >= 1 else pixels) / DPI  # whole pixels: all cells are equally wide
        side = max(3.2, cell * n_models)
        every = int(np.ceil(1.15 * FONT * POINT / (side / n_models)))
        left, below = (0.58 * FONT * POINT * max(map(len, names)) + 0.2 for names in (rows, columns))
        return cls(
            side,
            max(1.0, left),
            below,
            float(np.clip(0.1 * side, 0.4, 1.2)),
            every,
            float(np.clip(side / 7, 1, 1.7)),
        )

    @property
    def width(self) -> float:
        """Of the whole figure."""
        return self.left + self.side + 0.5 + 0.8 * self.scale

    @property
    def bottom(self) -> float:
        """Where the matrix begins: above the names of columns and the notes."""
        return self.below + 0.45 * self.scale

    @property
    def height(self) -> float:
        """Of the whole figure."""
        return self.bottom + self.side + self.tree + 0.9 * self.scale

    def axes(self, figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
        """Add axes at a place given in inches."""
        return figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
