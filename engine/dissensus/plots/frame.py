"""The frame of a figure of a study: its texts, and the colours and marks of categories.

Sizes are in inches. Nothing here draws data.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .layout import DPI, POINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe, Ito 2008, "Color Universal Design": told apart by colour-blind people, in print too
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8C8C8C"
OTHER = "other categories"
WIDTH = 10.0
MARGIN = 0.15
LEGEND_COLUMNS = 6
LEGEND_LINE = 0.24
SMALL, TEXT, TITLE = 8.0, 9.0, 13.0  # points


@dataclass(frozen=True)
class Categories:
    """Colour and mark of each category, the nearest to the base first; beyond seven they share grey.

    Attributes
    ----------
    names : tuple of str
        Those that have a colour of their own.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, found: Sequence[str]) -> Categories:
        """Give the first seven a colour each."""
        return cls(tuple(found[: len(COLOURS)]))

    def group(self, category: str) -> str:
        """What a category is shown as."""
        return category if category in self.names else OTHER

    def colour(self, category: str) -> str:
        """Its colour."""
        return COLOURS[self.names.index(category)] if category in self.names else GREY

    def marker(self, category: str) -> str:
        """Its mark."""
        return MARKERS[self.names.index(category)] if category in self.names else "h"

    def handle(self, category: str, **style: Any) -> Any:
        """Entry of a legend."""
        from matplotlib.lines import Line2D

        look: dict[str, Any] = {"marker": self.marker(category), "color": self.colour(category)}
        look |= {
            "linestyle": "none",
            "markersize": 7,
            "markeredgecolor": "white",
            "label": shortened(category),
        }
        return Line2D([], [], **(look | style))


class Frame:
    """An empty figure with its texts, and the room that is left for data.

    Parameters
    ----------
    title : str
        The finding.
    sample : str
        Which models and examples.
    note : str
        Units and methods; below.
    height : float
        Room for data, labels of axes included.
    legend : int
        Entries of the legend below the data.
    """

    def __init__(self, title: str, sample: str, note: str, height: float, legend: int) -> None:
        from matplotlib.figure import Figure

        head = [(line, TITLE, "bold", "black") for line in _wrapped(title, TITLE)]
        head += [(line, TEXT, "normal", "0.25") for line in _wrapped(sample, TEXT)]
        room = 0.12 + LEGEND_LINE * -(-legend // LEGEND_COLUMNS)
        foot = _wrapped(note, SMALL)
        self._top = MARGIN + sum(1.35 * size * POINT for _, size, _, _ in head)
        self._bottom = MARGIN + 1.35 * SMALL * POINT * len(foot) + room
        self.height = self._top + height + self._bottom
        self.figure: Figure = Figure(figsize=(WIDTH, self.height), dpi=DPI)
        above = self.height - MARGIN
        for line, size, weight, colour in head:
            self._text(line, above, size, "top", weight=weight, color=colour)
            above -= 1.35 * size * POINT
        self._text("\n".join(foot), 0.08, SMALL, "bottom", color="0.35", linespacing=1.3)

    def _text(self, text: str, y: float, size: float, align: str, **style: Any) -> None:
        self.figure.text(MARGIN / WIDTH, y / self.height, text, size=size, va=align, **style)

    def axes(self, left: float, width: float, bottom: float = 0.55, top: float = 0.2, **options: Any) -> Any:
        """Add axes between the texts: from `left` on, `bottom` and `top` inches are left for its labels."""
        low, high = self._bottom + bottom, self.height - self._top - top
        box = (left / WIDTH, low / self.height, width / WIDTH, (high - low) / self.height)
        axes = self.figure.add_axes(box, **options)
        tidy(axes)
        return axes

    def legend(self, handles: Sequence[Any]) -> None:
        """Put a legend between data and note, where it covers nothing."""
        self.figure.legend(
            handles=list(handles),
            loc="upper center",
            bbox_to_anchor=(0.5, (self._bottom + 0.02) / self.height),
            ncols=min(len(handles), LEGEND_COLUMNS),
            frameon=False,
            fontsize=TEXT,
            handletextpad=0.5,
            columnspacing=1.4,
        )


def tidy(axes: Any) -> None:
    """Thin axes without a box, and a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL, width=0.6)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def shortened(text: str, most: int = 28) -> str:
    """Name in one line, its middle left out where it is long."""
    text, half = " ".join(text.split()), (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _wrapped(text: str, size: float) -> list[str]:
    each = 0.6 if size == TITLE else 0.52  # of a character, in sizes; titles are bold
    return textwrap.wrap(text, int((WIDTH - 2 * MARGIN) / (each * size * POINT)))
