"""Greedy curves of a study, from several starting models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .frame import BLACK, SMALL, TEXT, Categories, Frame, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))


def greedy_curves(tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]) -> Figure:
    """Accuracy of greedy ensembles, a line a starting model; table of the members at the right."""
    rows, categories = tables["figure5-greedy"].to_pylist(), Categories.of(record["categories"])
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault(row["start"], []).append(row)
    own = [row["member_category"] for row in rows]
    present = [name for name in (*categories.names, "other categories") if name in map(categories.group, own)]
    steps = max(len(curve) for curve in curves.values())
    height = max(3.9, 0.7 + len(curves) * (0.2 + 0.17 * steps))
    frame = Frame(title, record["sample_of_curves"], note, height, legend=len(present) + 1)
    axes = frame.axes(0.8, 4.8, top=0.15)
    for (start, curve), dash in zip(curves.items(), DASHES * len(curves), strict=False):
        x, y = [row["step"] for row in curve], [100 * row["report_accuracy"] for row in curve]
        axes.plot(x, y, color="0.35", linewidth=1.2, linestyle=dash, zorder=2, label=start)
        for row, at, value in zip(curve, x, y, strict=True):
            category = row["member_category"]
            look = {"color": _colour(categories, category, record), "edgecolor": "white", "linewidth": 0.7}
            axes.scatter(at, value, s=70, marker=_marker(categories, category, record), zorder=3, **look)
    axes.set_xticks(range(1, steps + 1))
    axes.set_xlim(0.8, steps + 0.2)
    axes.set_xlabel("members", size=TEXT)
    axes.set_ylabel("accuracy of the ensemble (%)", size=TEXT)
    _members(frame, curves, categories, record)
    handles = [categories.handle(name) for name in present]
    base = record["base_category"]
    if base not in categories.names and base in own:
        handles = [
            h for h in handles if h.get_label() != "other categories" or _others(own, categories, base)
        ]
        handles.insert(0, categories.handle(base, color=BLACK, marker="p"))
    frame.legend(handles)
    return frame.figure


def _others(own: list[str], categories: Categories, base: str) -> bool:
    return any(c not in categories.names and c != base for c in own)


def _colour(categories: Categories, category: str, record: Mapping[str, Any]) -> str:
    """Colour of a category; the base's own is black where no other model has it."""
    alone = category == record["base_category"] and category not in categories.names
    return BLACK if alone else categories.colour(category)


def _marker(categories: Categories, category: str, record: Mapping[str, Any]) -> str:
    alone = category == record["base_category"] and category not in categories.names
    return "p" if alone else categories.marker(category)


def _members(
    frame: Frame,
    curves: Mapping[str, list[dict[str, Any]]],
    categories: Categories,
    record: Mapping[str, Any],
) -> None:
    """Who was added at each step, with the accuracy reached, beside the curves."""
    axes = frame.axes(5.8, 4.1, top=0.05, bottom=0.1)
    axes.set_axis_off()
    lines = sum(len(curve) + 0.9 for curve in curves.values())
    axes.set(xlim=(0, 1), ylim=(lines, -0.5))
    y = 0.0
    for curve, dash in zip(curves.values(), DASHES * len(curves), strict=False):
        axes.plot([0.0, 0.075], [y, y], color="0.35", linewidth=1.2, linestyle=dash)
        for row in curve:
            added = "" if row["step"] == 1 else "+ "
            name = f"{added}{shortened(row['member'], 30)}"
            category = row["member_category"]
            axes.scatter(
                0.115,
                y,
                s=26,
                marker=_marker(categories, category, record),
                color=_colour(categories, category, record),
                linewidth=0,
            )
            axes.text(0.15, y, name, size=SMALL, va="center")
            axes.text(0.8, y, f"{100 * row['report_accuracy']:.1f} %", size=SMALL, va="center", ha="right")
            y += 1
        y += 0.9
