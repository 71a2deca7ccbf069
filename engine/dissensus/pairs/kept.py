"""What is kept of all pairs where only the first few partners of every model are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tiles import Tile, Tiles


@dataclass
class Best:
    """The best partners found so far: of each model the first k by signed value and rank.

    Attributes
    ----------
    keys, partners : (M, k) float64, int64
        Signed values and ranks; infinity and `NOBODY` where there is none yet.
    worst : (M,) float64
        Last column of the keys.
    ids : (M,) int64
        Rank of each model.
    sign : float
        -1.0 where large values come first.
    undefined : int
        Undefined pairs that were met, in both orders for a measure that is not symmetric.
    """

    keys: NDArray[np.float64]
    partners: NDArray[np.int64]
    worst: NDArray[np.float64]
    ids: NDArray[np.int64]
    sign: float
    undefined: int = 0

    @classmethod
    def empty(cls, n_models: int, k: int, sign: float, ids: NDArray[Any]) -> Best:
        """Nobody's partners."""
        from dissensus.kernels.partners import NOBODY

        keys, nobody = np.full((n_models, k), np.inf), np.full((n_models, k), NOBODY)
        return cls(keys, nobody, np.full(n_models, np.inf), np.ascontiguousarray(ids, np.int64), sign)

    def fresh(self) -> Best:
        """An empty one of the same models."""
        return Best.empty(len(self.keys), self.keys.shape[1], self.sign, self.ids)

    def fold(self, tile: Tile) -> None:
        """Fold a tile in."""
        from dissensus.kernels.partners import fold

        undefined = fold(
            tile.values, tile.back, self.sign, tile.a, tile.b, self.ids, self.worst, self.keys, self.partners
        )
        self.undefined += undefined // 2 if tile.back is tile.values else undefined

    def merge(self, other: Best, spans: Sequence[slice] = (slice(None),)) -> None:
        """Fold in what another thread found, or another machine for the models of some spans, in turn."""
        from dissensus.kernels.partners import merge

        start = 0
        for span in spans:
            keys, partners = self.keys[span], self.partners[span]
            some = slice(start, start + len(keys))
            merge(keys, partners, other.keys[some], other.partners[some])
            start = some.stop
        self.undefined += other.undefined

    def put(
        self, place: NDArray[np.intp], model: Any, rank: Any, partner: Any, value: NDArray[np.float64]
    ) -> None:
        """Take over listed partners: ranks of models and partners, places in the list from 1, values."""
        self.keys[place[model], rank - 1] = self.sign * value
        self.partners[place[model], rank - 1] = partner
        self.worst[:] = self.keys[:, -1]

    def in_order(self) -> Best:
        """The same by rank of the model."""
        back = np.argsort(self.ids)
        kept = (self.keys[back], self.partners[back], self.worst[back], self.ids[back])
        return Best(*kept, self.sign, self.undefined)


@dataclass(frozen=True, eq=False)
class PartnersOf:
    """The best partners among the models of a task; see `Best.empty`."""

    k: int
    sign: float
    ids: NDArray[np.int64]

    def of_tiles(self, tiles: Tiles) -> Best:
        """Fold all tiles."""
        best = Best.empty(len(self.ids), self.k, self.sign, self.ids)
        for band in tiles.bands():
            for tile in tiles.band(*band):
                best.fold(tile)
        return best
