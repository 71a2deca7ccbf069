"""Embeddings of one committed model: the features before its classifier, as they were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import format as fmt
from .shards import Shard

if TYPE_CHECKING:
    import dask.array


class Embeddings(Shard):
    """Embeddings of one model as an array-like of shape (N, D); slices are float32 rows.

    Values are as given, rounded to the store's dtype; float16 holds what lies beyond 65504 as 65504.
    `stored` gives the rows as they lie in the file, memory-mapped without a copy when they lie in one block.

    Examples
    --------
    >>> import tempfile, numpy as np, dissensus as ds
    >>> store = ds.create(tempfile.mkdtemp() + "/s.zoo", [0, 1, 1])
    >>> store.add("m", logits=np.eye(3)[:, :2], embeddings=np.arange(12.0).reshape(3, 4))
    >>> store.embeddings("m")[1].tolist()
    [4.0, 5.0, 6.0, 7.0]
    """

    name = fmt.EMBEDDINGS_SHARD
    dtype, ndim = np.dtype(np.float32), 2

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        picked = self._rows(rows)
        selected: NDArray[np.float32] = picked[(..., *rest)] if rest else picked
        return selected

    def _rows(self, rows: Any) -> NDArray[np.float32]:
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            return self.stored(start, max(start, stop)).astype(np.float32)
        index = np.arange(len(self))[rows]
        distinct, places = np.unique(index, return_inverse=True)
        picked: NDArray[np.float32] = self.take(distinct)[places.reshape(index.shape)].astype(np.float32)
        return picked

    def to_dask(self) -> dask.array.Array:
        """Lazy dask array (N, D) float32, one chunk a block."""
        import dask.array

        return dask.array.from_array(self, chunks=(self.block_rows, self.shape[1]))
