"""A store made for an example source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

    from .examples import ExampleSource

CONTENT = "examples_content"


def create_from(
    path: str | os.PathLike[str], examples: ExampleSource, dtype: str = "float16", codec: str = "raw"
) -> Store:
    """Make a store for a source's examples: ids, labels, classes, splits and the digest of the content.

    Parameters
    ----------
    path
        Folder to make; must not exist.
    examples
        Any example source.
    dtype
        Precision of the stored logits, "float16" or "float32".
    codec
        "raw", or "archive" to keep them packed.

    Raises
    ------
    StoreExists, NotWritable, ArgumentError
        As of `dissensus.create`.

    Examples
    --------
    >>> import tempfile
    >>> import dissensus as ds
    >>> from dissensus.ingest import digits_examples
    >>> ds.create_from(tempfile.mkdtemp() + "/digits.zoo", digits_examples()).n_examples
    1797
    """
    from dissensus.store.create import create

    return create(
        path,
        examples.labels,
        classes=examples.classes,
        example_ids=examples.ids,
        splits=examples.splits,
        dtype=dtype,
        codec=codec,
        attributes={CONTENT: examples.fingerprint},
    )
