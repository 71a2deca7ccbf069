"""Figures of theta: its histograms by who is right, and where it lies over the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .frame import BLUE, GREY, SMALL, TEXT, VERMILION, Frame, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = (("only base right", "only the other right"), ("both right", "both wrong"))
LOOKS = {
    "only base right": (BLUE, "only the base right"),
    "only the other right": (VERMILION, "only the other model right"),
    "both right": ("#009E73", "both right"),
    "both wrong": ("0.45", "both wrong"),
}
MOST_CHARACTERS = 125  # side by side below the axis
MOST_NAMED = 24  # groups of classes whose names fit below an axis
LIMITS, TICKS = (0, 90), (0, 45, 90)


def theta_histograms(
    tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]
) -> Figure:
    """Histograms of theta: a column a model, inconsistent examples above, the others below."""
    bins = tables["figure3-theta"].to_pylist()
    aurocs = {row["model"]: row for row in tables["figure1-inconsistency"].to_pylist()}
    models = list(dict.fromkeys(row["model"] for row in bins))
    frame = Frame(title, record["sample_of_thetas"], note, 4.9, legend=len(LOOKS))
    width = 8.9 / len(models) - 0.35
    for place, model in enumerate(models):
        of_model = [row for row in bins if row["model"] == model]
        for level, outcomes in enumerate(ROWS):
            bottom, top = ((2.6, 0.5), (0.5, 2.75))[level]
            axes = frame.axes(0.75 + (width + 0.35) * place, width, bottom=bottom, top=top)
            _histograms(axes, [[r for r in of_model if r["outcome"] == o] for o in outcomes])
            if level == 0:
                row = aurocs[model]
                axes.set_title(_named(row), size=TEXT, loc="left", pad=4)
            else:
                axes.set_xlabel("theta (degrees)", size=TEXT)
            if place == 0:
                axes.set_ylabel("examples", size=TEXT)
    from matplotlib.patches import Patch

    frame.legend([Patch(color=colour, alpha=0.65, label=label) for colour, label in LOOKS.values()])
    return frame.figure


def _named(row: Mapping[str, Any]) -> str:
    value = row["theta_auroc"]  # null where only one of the two is ever right alone
    told = "undefined" if value is None else f"{value:.2f}"
    text = f"{shortened(row['model'], 24)} ({shortened(row['category'], 20)})\nAUROC {told}"
    ends = row["theta_auroc_low"], row["theta_auroc_high"]
    return text if None in ends else f"{text} [{ends[0]:.2f}, {ends[1]:.2f}]"


def _histograms(axes: Any, outcomes: list[list[dict[str, Any]]]) -> None:
    for rows in outcomes:
        colour = LOOKS[rows[0]["outcome"]][0]
        edges = np.degrees([row["low"] for row in rows] + [rows[-1]["high"]])
        counts = [row["count"] for row in rows]
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.5)
        axes.stairs(counts, edges, color=colour, linewidth=1)
    axes.axvline(45, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(*LIMITS)
    axes.set_xticks([0, 22.5, 45, 67.5, 90], ["0", "", "45", "", "90"])
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)


def theta_classes(tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]) -> Figure:
    """Theta of inconsistent examples against the class, for the nearest and the furthest model."""
    profile, points = tables["figure4-classes"], tables["figure3-theta-examples"]
    models = list(dict.fromkeys(profile["model"].to_pylist()))
    models = list(dict.fromkeys([models[0], models[-1]]))
    groups = [row for row in profile.to_pylist() if row["model"] == models[0]]
    names, kind = [row["group"] for row in groups], record["group_kind"]
    named, longest = len(names) <= MOST_NAMED, min(max(map(len, names)), 24)
    turned = named and longest * len(names) > MOST_CHARACTERS
    below = 0.5 + (0.065 * longest if turned else 0.0)
    frame = Frame(title, record["sample_of_thetas"], note, 0.3 + 2.1 * len(models) + below, legend=4)
    for place, model in enumerate(models):
        last = place == len(models) - 1
        bottom = below + 2.1 * (len(models) - 1 - place) + (0.0 if last else 0.25)
        axes = frame.axes(0.75, 9.0, bottom=bottom, top=0.3 + 2.1 * place)
        _classes(axes, points, model, _places(groups, record))
        _profile(axes, [row for row in profile.to_pylist() if row["model"] == model])
        axes.set_title(f"the base against {shortened(model, 40)}", size=TEXT, loc="left", pad=3)
        axes.set_ylabel("theta (degrees)", size=TEXT)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.grid(visible=False, axis="x")
        ticks = range(len(names)) if named else range(0, len(names), -(-len(names) // MOST_NAMED))
        shown = [shortened(names[i], 24) if last else "" for i in ticks]
        axes.set_xticks(list(ticks), shown, rotation=90 if turned else 0, size=SMALL)
        if last:
            axes.set_xlabel(kind.replace("_", " "), size=TEXT)
    frame.legend(_handles())
    return frame.figure


def _places(groups: list[dict[str, Any]], record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Where each class stands: within its group, in the order of class ids."""
    places = np.zeros(record["n_classes"])
    of = np.array(record["class_groups"])
    for group in range(len(groups)):
        members = np.flatnonzero(of == group)
        places[members] = group + (np.arange(len(members)) + 0.5) / max(len(members), 1) - 0.5
    return places


def _classes(axes: Any, points: pa.Table, model: str, places: NDArray[np.float64]) -> None:
    rows = [
        row
        for row in points.select(["model", "outcome", "class_id", "theta"]).to_pylist()
        if row["model"] == model
    ]
    for outcome in ROWS[0]:
        some = [row for row in rows if row["outcome"] == outcome]
        at = np.array([places[row["class_id"]] for row in some])
        if len(np.unique(np.round(at, 9))) <= MOST_NAMED:  # few classes: spread within each
            at = at + 0.6 * ((np.arange(len(at)) * 0.618034) % 1 - 0.5)
        size, alpha = (14, 0.55) if len(some) < 2000 else (3, 0.25)
        theta = np.degrees([row["theta"] for row in some])
        axes.scatter(at, theta, s=size, color=LOOKS[outcome][0], alpha=alpha, linewidth=0, rasterized=True)
    axes.axhline(45, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(*LIMITS)
    axes.set_yticks(TICKS)


def _profile(axes: Any, rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        if row["theta"] is None:
            continue
        ends = place - 0.42, place + 0.42
        axes.plot(ends, [np.degrees(row["theta"])] * 2, color="black", linewidth=1.8)
        if row["low"] is not None:
            low, high = np.degrees([row["low"], row["high"]])
            axes.fill_between(ends, low, high, color=GREY, alpha=0.35, linewidth=0)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dots = [
        Line2D([], [], marker="o", linestyle="none", color=LOOKS[o][0], label=LOOKS[o][1]) for o in ROWS[0]
    ]
    mean = Line2D([], [], color="black", linewidth=1.8, label="mean of a group")
    return [*dots, mean, Patch(color=GREY, alpha=0.35, label="its 95 % interval")]
