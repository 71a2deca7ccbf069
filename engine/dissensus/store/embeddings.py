"""Embeddings of one committed model: the features before its classifier, as they were given."""

from __future__ import annotations

from . import format as fmt
from .shards import Shard


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
