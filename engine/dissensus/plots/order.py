"""Which models stand beside each other in a matrix: average linkage of how different they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissensus.pairs.measures import Measure

Floats = NDArray[np.float64]
MOST_ROTATED = 1_000  # models whose branches are turned for the smoothest order; its cost grows with the cube


@dataclass(frozen=True, eq=False)
class Tree:
    """Models joined step by step, the most alike first.

    Attributes
    ----------
    order : (M,) intp
        Indices of the models from left to right.
    merges : (M - 1, 4) float64
        As scipy's linkage: the two joined (models, then earlier joins), their distance, their size.
    """

    order: NDArray[np.intp]
    merges: Floats

    def segments(self) -> Floats:
        """Lines of the dendrogram over places 0..M - 1: (M - 1, 4, 2), an inverted U a join."""
        size = len(self.order)
        place, height = np.zeros(2 * size - 1), np.zeros(2 * size - 1)
        place[self.order] = np.arange(size)
        lines = np.empty((size - 1, 4, 2))
        for step, (a, b, distance, _) in enumerate(self.merges):
            left, right = int(a), int(b)
            lines[step] = [
                (place[left], height[left]),
                (place[left], distance),
                (place[right], distance),
                (place[right], height[right]),
            ]
            place[size + step], height[size + step] = (place[left] + place[right]) / 2, distance
        return lines


def distances(values: Floats, measure: Measure) -> Floats:
    """How different two models are by a measure, (M, M): 0 or more, symmetric, 0 on the diagonal.

    The more different end is far, counted from a tenth of the range before the most alike pair: where it
    counts from changes no average linkage. A measure with an order counts by the mean of both; where it is
    undefined the mean of all others stands in.
    """
    far = values if measure.more_different == "high" else -values
    both = (far + far.T) / 2
    np.fill_diagonal(both, np.nan)
    known = both[~np.isnan(both)]
    low, high, mean = (known.min(), known.max(), known.mean()) if len(known) else (0.0, 0.0, 0.0)
    filled = np.where(np.isnan(both), mean, both) - low + (0.1 * (high - low) or 1.0)
    np.fill_diagonal(filled, 0)
    return filled


def average_linkage(distance: Floats) -> Tree:
    """Join models by average linkage; branches are turned so that neighbours are alike."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    condensed = squareform(distance, checks=False)
    merges = hierarchy.linkage(condensed, "average", optimal_ordering=len(distance) <= MOST_ROTATED)
    return Tree(np.asarray(hierarchy.leaves_list(merges), np.intp), np.asarray(merges))
