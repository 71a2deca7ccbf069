"""Measures of models against their error inconsistency: panels side by side, a line through each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .frame import GREY, OTHER, TEXT, Categories, Frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
SPAN, GAP = 9.0, 0.6  # room for the panels, and between two


def column(table: pa.Table, name: str) -> Floats:
    """Column as float64, NaN for null."""
    return np.array([np.nan if v is None else v for v in table[name].to_pylist()], np.float64)


def texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    """Column of texts."""
    return np.array(table[name].to_pylist(), object)


def panels(
    models: pa.Table,
    lines: pa.Table,
    shown: Sequence[tuple[str, str]],
    said: tuple[str, str, str],
    record: Mapping[str, Any],
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a panel for each of some columns.

    Parameters
    ----------
    models : pyarrow.Table
        One row a model: category, error_inconsistency, and the columns shown.
    lines : pyarrow.Table
        As of `explain.tables.line_rows`.
    shown : sequence of (str, str)
        Columns, and what their axes are called.
    said : (str, str, str)
        Title, sample and note.
    record : mapping
        The study's record.
    levels : mapping of str to float, optional
        Where a panel gets a dashed line.
    """
    categories = Categories.of(record["categories"])
    groups = np.array([categories.group(c) for c in texts(models, "category")], object)
    present = [name for name in (*categories.names, OTHER) if (groups == name).any()]
    frame = Frame(*said, 3.7, legend=len(present) + 1)
    width = (SPAN - GAP * (len(shown) - 1)) / len(shown)
    for place, (name, label) in enumerate(shown):
        axes = frame.axes(0.65 + (width + GAP) * place, width, bottom=0.5, top=0.2)
        _line(axes, lines.filter(pa.array(texts(lines, "measure") == name)))
        if levels is not None and name in levels:
            axes.axhline(100 * levels[name], color="0.35", linewidth=1, linestyle=(0, (4, 3)))
        _points(axes, models, name, groups, present, categories)
        axes.set_xlabel("error inconsistency with the base (%)", size=TEXT)
        axes.set_ylabel(label, size=TEXT)
    frame.legend([*(categories.handle(name) for name in present), _star()])
    return frame.figure


def _points(
    axes: Any,
    models: pa.Table,
    name: str,
    groups: NDArray[np.object_],
    present: Sequence[str],
    categories: Categories,
) -> None:
    x, y = 100 * column(models, "error_inconsistency"), 100 * column(models, name)
    for group in present:
        look = {"color": categories.colour(group), "edgecolor": "white", "linewidth": 0.6}
        of = groups == group
        axes.scatter(x[of], y[of], s=34, marker=categories.marker(group), alpha=0.8, zorder=3, **look)
    for group in present:
        of = (groups == group) & ~np.isnan(y)
        if not of.any():  # no rate of conversion without an inconsistent example
            continue
        look = {"color": categories.colour(group), "edgecolor": "black", "linewidth": 0.9}
        axes.scatter(x[of].mean(), y[of].mean(), s=230, marker="*", zorder=4, **look)


def _line(axes: Any, fitted: pa.Table) -> None:
    if not fitted.num_rows:
        return
    x, y = (100 * column(fitted, name) for name in ("error_inconsistency", "fitted"))
    low, high = (100 * column(fitted, name) for name in ("low", "high"))
    axes.fill_between(x, low, high, color=GREY, alpha=0.22, linewidth=0, zorder=1)
    axes.plot(x, y, color="0.25", linewidth=1.4, zorder=2)


def _star() -> Any:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "black"}
    return Line2D([], [], marker="*", linestyle="none", markersize=13, label="mean of a category", **look)
