"""Features without gradients: a dictionary of small patches, found by clustering (Coates, Ng, Lee 2011)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SAMPLE = 40_000
_ROWS = 256


class PatchFeatures:
    """Transformer from rows of pixels to how much each quadrant looks like each word of a dictionary.

    Patches are brought to mean 0 and deviation 1, whitened, and compared with k-means centroids; a word is
    active by how much nearer than average it is ("triangle" activation), averaged over each quadrant.

    Parameters
    ----------
    words
        Number of centroids.
    side
        Of a patch in pixels.
    seed
        Of the sample of patches and of the clustering.
    """

    def __init__(self, words: int, side: int, seed: int) -> None:
        self.words, self.side, self.seed = words, side, seed

    def fit(self, rows: Floats, labels: object = None) -> Self:
        """Learn the dictionary from (N, H W) rows of square images."""
        from sklearn.cluster import MiniBatchKMeans

        rng = np.random.default_rng(self.seed)
        patches = self._normal(self._patches(rows[rng.permutation(len(rows))[:2000]]))
        patches = patches.reshape(-1, self.side**2)
        patches = patches[rng.permutation(len(patches))[:_SAMPLE]]
        self.mean_ = patches.mean(0)
        values, vectors = np.linalg.eigh(np.cov(patches - self.mean_, rowvar=False))
        self.whitening_ = (vectors / np.sqrt(values + 0.05) @ vectors.T).astype(np.float32)
        clusters = MiniBatchKMeans(self.words, batch_size=2048, n_init=1, random_state=self.seed)
        clusters.fit((patches - self.mean_) @ self.whitening_)
        self.centroids_: Floats = clusters.cluster_centers_.astype(np.float32)
        return self

    def transform(self, rows: Floats) -> Floats:
        """Return (N, 4 words) features, a few rows at a time."""
        return np.concatenate([self._features(rows[i : i + _ROWS]) for i in range(0, len(rows), _ROWS)])

    def fit_transform(self, rows: Floats, labels: object = None, **_: Any) -> Floats:
        """Learn the dictionary and return the features of the same rows."""
        return self.fit(rows).transform(rows)

    def _features(self, rows: Floats) -> Floats:
        patches = (self._normal(self._patches(rows)) - self.mean_) @ self.whitening_
        squares = np.square(patches).sum(-1, keepdims=True) + np.square(self.centroids_).sum(-1)
        distance = np.sqrt(np.maximum(squares - 2 * patches @ self.centroids_.T, 0))
        active = np.maximum(distance.mean(-1, keepdims=True) - distance, 0)
        half = active.shape[1] // 2
        bands = (slice(None, half), slice(half, None))
        quadrants = [active[:, down, right].mean((1, 2)) for down in bands for right in bands]
        return np.concatenate(quadrants, axis=1).astype(np.float32)

    def _patches(self, rows: Floats) -> Floats:
        """Return (N, places, places, side * side) patches of square images."""
        size = int(np.sqrt(rows.shape[1]))
        windows = np.lib.stride_tricks.sliding_window_view(
            rows.reshape(-1, size, size), (self.side, self.side), axis=(1, 2)
        )
        return windows.reshape(*windows.shape[:3], -1)

    @staticmethod
    def _normal(patches: Floats) -> Floats:
        centred = patches - patches.mean(-1, keepdims=True)
        scaled: Floats = centred / np.sqrt(centred.var(-1, keepdims=True) + 0.01)
        return scaled
