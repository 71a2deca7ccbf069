"""How time and memory grow with a size: lines on logarithmic scales, with roofs where they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .frame import COLOURS, MARKERS, SMALL, TEXT, WIDTH, Frame, tidy
from .layout import POINT
from .picture import STYLE, require_plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT = 0.75  # inches beside a panel, for the labels of its axis
PANEL, ABOVE = 2.5, 0.45  # height of a panel, and of what is said above it
SUBS = (  # numbers on the second axis, by how much of it is spanned
    (6, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)),
    (300, (1.0, 2.0, 5.0)),
    (float("inf"), (1.0,)),
)
LEAST_SPAN = 3  # times between the ends of the second axis
ENTRY = 1.5 * SMALL * POINT  # height of a line of a legend


@dataclass(frozen=True)
class Line:
    """Measurements that are joined.

    Attributes
    ----------
    name : str
        Said in the legend.
    x, y : sequence of float
        Sizes and what was measured, both positive.
    bound : bool
        A roof or a floor: drawn grey and dashed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    bound: bool = False


@dataclass(frozen=True)
class Panel:
    """One quantity against one size.

    Attributes
    ----------
    x, y : str
        What the axes are, with units.
    lines : sequence of Line
        At most seven that are no bounds: more colours are not told apart.
    note : str
        Said above, such as an exponent.
    """

    x: str
    y: str
    lines: Sequence[Line]
    note: str = ""


def scaling(title: str, sample: str, note: str, rows: Sequence[Sequence[Panel]]) -> Figure:
    """Draw panels in rows; those of a column have the same lines, named once below it.

    Parameters
    ----------
    title, sample, note : str
        What is shown; on what; how it was measured.
    rows : sequence of sequence of Panel
        At least one, all of the same length, at most three.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingDependency
        matplotlib is not installed.
    """
    require_plots()
    from matplotlib import rc_context

    entries = max(len(panel.lines) for panel in rows[0])
    below = 0.5 + ENTRY * entries
    height = len(rows) * (PANEL + ABOVE) + below + 0.1
    with rc_context(STYLE):
        frame = Frame(title, sample, note, height, legend=0)
        columns = len(rows[0])
        width = (WIDTH - 0.3 - columns * LEFT) / columns - 0.1
        for i, row in enumerate(rows):
            for j, panel in enumerate(row):
                bottom = below + (len(rows) - 1 - i) * (PANEL + ABOVE)
                top = ABOVE + i * (PANEL + ABOVE)
                axes = frame.axes(LEFT + j * (width + LEFT), width, bottom, top, xscale="log", yscale="log")
                _draw(axes, panel, last=i == len(rows) - 1)
                if i == len(rows) - 1 and _names(panel) not in [_names(left) for left in row[:j]]:
                    _explain(axes)  # once for panels of the same lines
    return frame.figure


def _names(panel: Panel) -> list[str]:
    return [line.name for line in panel.lines]


def _explain(axes: Any) -> None:
    """Say below the axes which line is what."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.0, -0.45 / PANEL - 0.03),
        labelspacing=0.25,
        frameon=False,
        fontsize=SMALL,
        handlelength=2.2,
        borderaxespad=0.0,
    )


def _draw(axes: Any, panel: Panel, last: bool) -> None:
    colours = 0
    for line in panel.lines:
        look: dict[str, Any] = {"color": "0.4", "linestyle": (0, (4, 2)), "linewidth": 1.2}
        if not line.bound:
            look = {"color": COLOURS[colours], "marker": MARKERS[colours], "linewidth": 1.4}
            look |= {"markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.5}
            colours += 1
        axes.plot(line.x, line.y, label=line.name, **look)
    axes.set_ylabel(panel.y, size=TEXT)
    axes.set_title(panel.note, size=SMALL, loc="left", color="0.25")
    _ticks(axes, panel)
    tidy(axes)
    if last:
        axes.set_xlabel(panel.x, size=TEXT)
    else:
        axes.tick_params(labelbottom=False)


def _ticks(axes: Any, panel: Panel) -> None:
    """Sizes that were measured on the first axis; round numbers on the other."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    sizes = sorted({x for line in panel.lines for x in line.x})
    axes.xaxis.set_major_locator(FixedLocator(_apart(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    low, high = axes.get_ylim()
    if high < LEAST_SPAN * low:  # what hardly changes shall not look as if it did
        middle, half = math.sqrt(low * high), math.sqrt(LEAST_SPAN)
        low, high = axes.set_ylim(middle / half, middle * half)
    axes.yaxis.set_major_locator(LogLocator(10, subs=next(subs for most, subs in SUBS if high / low < most)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _apart(sizes: Sequence[float]) -> list[float]:
    """Those that have room for their numbers: the ends, and what lies far enough from the one before."""
    if len(sizes) < 2:
        return list(sizes)
    least = (sizes[-1] / sizes[0]) ** 0.16
    kept = [sizes[0]]
    for size in sizes[1:]:
        if size / kept[-1] >= least:
            kept.append(size)
    if kept[-1] != sizes[-1]:
        kept[-1:] = [sizes[-1]] if len(kept) > 1 else [*kept, sizes[-1]]
    return kept
