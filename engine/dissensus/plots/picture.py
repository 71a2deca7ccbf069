"""A clustered heat map of one measure over all pairs, readable at ten models and at five hundred."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, MissingDependency
from dissensus.pairs.measures import MEASURES, Measure

from .layout import DPI, FONT, MOST_VALUES, POINT, Layout
from .order import Tree, average_linkage, distances

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dissensus.pairs import Pairs

Floats = NDArray[np.float64]
MOST_MODELS = 5_000
LONGEST_NAME = 36
CLIPPED = 2_000  # pairs from which the colours leave out half a percent at both ends
GREY = "0.82"
FORMATS = ("png", "svg")
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "dissensus", "text.parse_math": False}


def require_plots() -> None:
    """Refuse to draw without the packages it takes.

    Raises
    ------
    MissingDependency
    """
    try:
        import matplotlib
        import scipy  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            f"heat maps need matplotlib and scipy, {error.name} is not installed; "
            "run: pip install 'dissensus[plots]'"
        ) from error
    del matplotlib


def heatmap(pairs: Pairs, measure: str | None = None, *, title: str | None = None) -> Figure:
    """Draw one measure of all pairs as a matrix, models ordered so that alike ones are neighbours.

    Bright is more different, whichever end of the measure that is; grey are the diagonal and undefined pairs.
    Rows are the first model of a pair, labelled with their accuracy. With many pairs, half a percent at each
    end share the last colour (the colour bar then ends in a point).

    Parameters
    ----------
    pairs : Pairs
        What `pairwise` returned, of at most 5,000 models.
    measure : str, optional
        Which of its measures; the first by default.
    title : str, optional
        Said above; by default the number of models and examples, split and expression.

    Returns
    -------
    matplotlib.figure.Figure
        To show or to save; its order is by average linkage of how different models are.

    Raises
    ------
    MissingDependency
        matplotlib or scipy is not installed.
    UnknownName
        The measure was not computed.
    ArgumentError
        Too many models.

    Examples
    --------
    >>> ds.heatmap(ds.pairwise(store, "error_consistency")).savefig("kappa.png")  # doctest: +SKIP
    """
    require_plots()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    name = pairs.measures[0] if measure is None else measure
    values, declared, size = pairs[name], MEASURES[name], len(pairs.model_ids)
    if size > MOST_MODELS:
        raise ArgumentError(f"a heat map shows at most {MOST_MODELS:,} models, these are {size:,}: name some")
    tree = average_linkage(distances(values, declared))
    rows = [f"{_shown(pairs.model_ids[i])}  {pairs.accuracy[i]:.3f}" for i in tree.order]
    columns = [_shown(pairs.model_ids[i]) for i in tree.order]
    layout = Layout.of(rows, columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(layout.width, layout.height), dpi=DPI)
        _write(figure, layout, declared, title or _title(pairs))
        _draw_tree(figure, layout, tree)
        _draw_matrix(figure, layout, values[np.ix_(tree.order, tree.order)], declared, (rows, columns))
    return figure


def rendered(figure: Figure, fmt: str) -> bytes:
    """Bytes of a picture, the same for the same figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What `heatmap` returned.
    fmt : {"png", "svg"}
        Form.
    """
    from matplotlib import rc_context

    if fmt not in FORMATS:
        raise ArgumentError(f"pictures are {' or '.join(FORMATS)}; got {fmt!r}")
    sink = io.BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks
        figure.savefig(sink, format=fmt, metadata={"Date": None} if fmt == "svg" else {"Software": None})
    return sink.getvalue()


def _title(pairs: Pairs) -> str:
    split, where = (pairs.notes.get(name) for name in ("split", "where"))
    text = f"{len(pairs.model_ids):,} models on {pairs.counts.n:,} examples"
    text += "" if split is None else f" of split {split!r}"
    return text if where is None else f"{text} where {where}"


def _shown(name: str) -> str:
    """A name in one line, its middle left out where it is long."""
    name = " ".join(name.split())
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _write(figure: Figure, layout: Layout, measure: Measure, title: str) -> None:
    """Measure and title above; what the picture does not say by itself below."""
    left, top, scale = 0.15 / layout.width, 1 - 0.12 * layout.scale / layout.height, layout.scale
    wide = (layout.width - 0.3) / (0.56 * POINT * scale)  # characters of one point
    figure.text(left, top, measure.name.replace("_", " "), size=13 * scale, weight="bold", va="top")
    text = textwrap.shorten(title, 2 * int(wide / 9), placeholder=" …")
    below = top - 0.28 * scale / layout.height
    figure.text(left, below, textwrap.fill(text, int(wide / 9)), size=9 * scale, va="top")
    notes = [
        "number beside a name: accuracy",
        "order: average linkage",
        "grey: itself, or undefined",
    ]
    if layout.every > 1:
        notes.insert(0, f"1 of {layout.every} models is named")
    if not measure.symmetric:
        notes.insert(0, "rows: first model, columns: second")
    note = textwrap.fill("; ".join(notes), int(wide / 7))
    figure.text(left, 0.08 / layout.height, note, size=7 * scale, va="bottom", color="0.35")


def _draw_tree(figure: Figure, layout: Layout, tree: Tree) -> None:
    from matplotlib.collections import LineCollection

    axes = layout.axes(figure, layout.left, layout.bottom + layout.side + 0.05, layout.side, layout.tree)
    axes.add_collection(LineCollection(list(tree.segments()), colors="0.35", linewidths=0.6))
    axes.set_xlim(-0.5, len(tree.order) - 0.5)
    axes.set_ylim(0, 1.03 * max(tree.merges[:, 2].max(), 1e-12))
    axes.set_axis_off()


def _draw_matrix(
    figure: Figure, layout: Layout, values: Floats, measure: Measure, names: tuple[list[str], list[str]]
) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    shown = values.copy()
    np.fill_diagonal(shown, np.nan)
    low, high, extend = _limits(shown)
    colours = colormaps["viridis" if measure.more_different == "high" else "viridis_r"].with_extremes(
        bad=GREY
    )
    axes = layout.axes(figure, layout.left, layout.bottom, layout.side, layout.side)
    image = axes.imshow(
        shown, cmap=colours, norm=Normalize(low, high), interpolation="nearest", aspect="auto"
    )
    _name(axes, layout.every, names)
    if len(values) <= MOST_VALUES:
        _write_values(axes, image, shown)
    _draw_scale(figure, layout, image, extend, measure)


def _draw_scale(figure: Figure, layout: Layout, image: Any, extend: str, measure: Measure) -> None:
    """Colour bar at the right: which measure, and which end is more different."""
    length = min(layout.side, 6.0)
    beside = layout.axes(
        figure, layout.left + layout.side + 0.2, layout.bottom + layout.side - length, 0.2, length
    )
    bar = figure.colorbar(image, cax=beside, extend=extend)
    end = "higher" if measure.more_different == "high" else "lower"
    bar.set_label(f"{measure.name.replace('_', ' ')} ({end}: more different)", size=FONT * layout.scale)
    bar.ax.tick_params(labelsize=FONT * layout.scale)
    bar.outline.set_visible(False)


def _limits(shown: Floats) -> tuple[float, float, str]:
    """Values of the first and the last colour, and which of them stand for more."""
    known = shown[~np.isnan(shown)]
    if not len(known):
        return 0.0, 1.0, "neither"
    low, high = float(known.min()), float(known.max())
    if low == high:
        return low - 0.5, high + 0.5, "neither"
    if len(known) < 2 * CLIPPED:
        return low, high, "neither"
    inner_low, inner_high = map(float, np.percentile(known, [0.5, 99.5]))
    if inner_low == inner_high:
        return low, high, "neither"
    ends = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}
    return inner_low, inner_high, ends[inner_low > low, inner_high < high]


def _name(axes: Any, every: int, names: tuple[Sequence[str], Sequence[str]]) -> None:
    """Names at the left and below, as many as there is room for."""
    places = range(0, len(names[0]), every)
    axes.set_yticks(places, [names[0][i] for i in places], size=FONT)
    axes.set_xticks(places, [names[1][i] for i in places], size=FONT, rotation=90)
    axes.tick_params(length=2 if every > 1 else 0, width=0.5, pad=2)
    for side in axes.spines.values():
        side.set_visible(False)


def _write_values(axes: Any, image: Any, shown: Floats) -> None:
    for (row, column), value in np.ndenumerate(shown):
        if row != column:
            red, green, blue, _ = image.to_rgba(value)
            colour = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "black"
            axes.text(column, row, _digits(value), size=FONT, ha="center", va="center", color=colour)


def _digits(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.3f}" if 0 < abs(value) < 0.0995 else f"{value:.2f}"
