"""Figures of a study from their tidy tables: 1 and 2; `study_theta` and `study_curves` have the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .frame import SKY, TEXT, Categories, Frame, shortened
from .panels import Floats, column, panels, texts
from .picture import STYLE, require_plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawer = Callable[[Mapping[str, pa.Table], str, str, Mapping[str, Any]], "Figure"]
PANELS = (
    ("improvement", "improvement over the mean member (points)"),
    ("pair_accuracy", "accuracy of the ensemble (%)"),
    ("conversion_rate", "conversion rate (% of inconsistent)"),
)
COMPOSITION = (  # what is left to 100 % is both right
    ("only_base_right", "only the base right", SKY),
    ("only_model_right", "only the model right", "#E69F00"),
    ("both_wrong", "both wrong", "0.55"),
)


def draw(
    name: str, tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]
) -> Figure:
    """Draw one figure of a study.

    Parameters
    ----------
    name : str
        Its name, as `Study.titles` has it.
    tables : mapping of str to pyarrow.Table
        The tables of the study.
    title, note : str
        What it finds, and how.
    record : mapping
        The study's record: sample and categories are taken from it.

    Raises
    ------
    MissingDependency
        matplotlib is not installed.
    """
    require_plots()
    from matplotlib import rc_context

    from .study_curves import greedy_curves
    from .study_features import features, joined
    from .study_theta import theta_classes, theta_histograms

    drawers: dict[str, Drawer] = {
        "figure1-inconsistency": inconsistency,
        "figure2-gains": gains,
        "figure3-theta": theta_histograms,
        "figure4-classes": theta_classes,
        "figure5-greedy": greedy_curves,
        "figure6-features": features,
        "figure7-concatenated": joined,
    }
    with rc_context(STYLE):
        return drawers[name](tables, title, note, record)


def inconsistency(tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]) -> Figure:
    """Error inconsistency by category, and who is right how often, side by side."""
    means = [row for row in tables["figure1-inconsistency-categories"].to_pylist() if row["n_in_band"]]
    models, categories = tables["figure1-inconsistency"], Categories.of(record["categories"])
    frame = Frame(title, record["sample"], note, 0.85 + 0.42 * len(means), legend=3)
    left = 0.35 + 0.075 * max(len(shortened(row["category"])) + 8 for row in means)
    strip = frame.axes(left, 5.6 - left, bottom=0.5)
    bars = frame.axes(5.85, 3.9, bottom=0.5)
    inside = column(models, "in_band") > 0
    for place, row in enumerate(means):
        of = (texts(models, "category") == row["category"]) & inside
        _strip(strip, place, 100 * column(models, "error_inconsistency")[of], row, categories)
        _bar(bars, place, row)
    labels = [f"{shortened(row['category'])}  (n = {row['n_in_band']})" for row in means]
    strip.set_yticks(range(len(means)), labels, size=TEXT)
    bars.set_yticks(range(len(means)), [""] * len(means))
    for axes in (strip, bars):
        axes.set_ylim(len(means) - 0.45, -0.55)
        axes.grid(visible=False, axis="y")
    strip.set_xlabel("error inconsistency with the base (%)", size=TEXT)
    bars.set_xlim(0, 118 * max(1 - row["both_right"] for row in means) + 0.5)
    bars.set_xlabel("examples not right by both (%), means over the models", size=TEXT)
    from matplotlib.patches import Patch

    frame.legend([Patch(color=colour, label=label) for _, label, colour in COMPOSITION])
    return frame.figure


def _strip(axes: Any, place: int, values: Floats, row: Mapping[str, Any], categories: Categories) -> None:
    """Models of one category as dots, jittered alike each time; mean and interval above them."""
    jitter = 0.26 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5)
    colour = categories.colour(row["category"])
    axes.scatter(values, place + jitter, s=26, color=colour, alpha=0.75, edgecolor="white", linewidth=0.5)
    mean, low, high = (row[f"error_inconsistency{end}"] for end in ("", "_low", "_high"))
    axes.plot([100 * mean] * 2, [place - 0.3, place + 0.3], color="black", linewidth=2, solid_capstyle="butt")
    if low is not None:
        axes.plot([100 * low, 100 * high], [place] * 2, color="black", linewidth=1)


def _bar(axes: Any, place: int, row: Mapping[str, Any]) -> None:
    start = 0.0
    for name, _, colour in COMPOSITION:
        share = 100 * row[name]
        axes.barh(place, share, left=start, height=0.6, color=colour, linewidth=0)
        axes.text(start + share / 2, place, f"{share:.1f}", ha="center", va="center", size=7.5)
        start += share
    axes.annotate(
        f"both right\n{100 * row['both_right']:.1f}",
        (start, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        size=7.5,
    )


def gains(tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]) -> Figure:
    """Error inconsistency against improvement, accuracy of the ensemble and conversion rate."""
    models, lines = tables["figure2-gains"], tables["figure2-gains-lines"]
    inside = (column(models, "in_band") > 0) & ~np.isnan(column(models, "pair_accuracy"))
    return panels(models.filter(pa.array(inside)), lines, PANELS, (title, record["sample"], note), record)
