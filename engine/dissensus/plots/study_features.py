"""Figures of embeddings: linear probes on mixes, on ranked features, and on two embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .frame import TEXT, Categories, Frame, shortened
from .panels import column, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("concatenated_accuracy", "probe on both embeddings (%)"),
    ("gain", "gain over the better of the two (points)"),
)


def features(tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]) -> Figure:
    """Draw mixes of two models' features at the left, their least covarying ones at the right."""
    mixes, ranked = (tables[f"figure6-features-{part}"].to_pylist() for part in ("mixes", "ranked"))
    categories = Categories.of(record["categories"])
    models = {row["model"]: row["category"] for row in mixes}
    frame = Frame(title, record["sample_of_features"], note, 3.7, legend=len(models))
    left, right = (frame.axes(0.65 + 4.8 * place, 4.2, bottom=0.5, top=0.2) for place in range(2))
    looks = {
        model: {
            "color": categories.colour(category),
            "marker": categories.marker(category),
            "label": f"{shortened(model, 24)} ({shortened(category, 20)})",
            "markersize": 6,
            "markeredgecolor": "white",
            "linewidth": 1.3,
        }
        for model, category in models.items()
    }
    for place, (model, look) in enumerate(looks.items()):
        aside = 1.5 * (place - (len(looks) - 1) / 2)  # ranges would hide each other
        _mixed(left, [row for row in mixes if row["model"] == model], look, aside)
        rows = [row for row in ranked if row["model"] == model]
        right.plot([row["features"] for row in rows], [100 * row["accuracy"] for row in rows], **look)
    left.set_xlabel("features from the other model (%)", size=TEXT)
    left.set_xticks([0, 25, 50, 75, 100])
    right.set_xlabel("features of both, the least covarying first", size=TEXT)
    for axes in (left, right):
        axes.set_ylabel("accuracy of a linear probe (%)", size=TEXT)
    frame.legend(left.get_legend_handles_labels()[0])
    return frame.figure


def _mixed(axes: Any, rows: list[dict[str, Any]], look: Mapping[str, Any], aside: float) -> None:
    """Mean of the draws at each share, with their range."""
    shares = list(dict.fromkeys(row["share"] for row in rows))
    drawn = np.array([[100 * r["accuracy"] for r in rows if r["share"] == share] for share in shares])
    x = 100 * np.array(shares) + aside
    axes.vlines(x, drawn.min(axis=1), drawn.max(axis=1), color=look["color"], linewidth=0.9, alpha=0.6)
    axes.plot(x, drawn.mean(axis=1), **look)


def joined(tables: Mapping[str, pa.Table], title: str, note: str, record: Mapping[str, Any]) -> Figure:
    """Error inconsistency against what a probe on two embeddings side by side gets right."""
    pairs, lines = tables["figure7-concatenated"], tables["figure7-concatenated-lines"]
    base = float(column(pairs, "base_probe_accuracy")[0])
    levels = {"concatenated_accuracy": base, "gain": 0.0}
    return panels(pairs, lines, PANELS, (title, record["sample_of_features"], note), record, levels)
