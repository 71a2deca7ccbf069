"""A store made for an example source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .left_out import left_out

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

    from .examples import ExampleSource

CONTENT = "examples_content"  # attribute: the digest of all images
DIGESTS = "content_sha256"  # column: the beginning of each image's own


def create_from(
    path: str | os.PathLike[str], examples: ExampleSource, dtype: str = "float16", codec: str = "raw"
) -> Store:
    """Make a store for a source's examples: ids, labels, classes, splits and the digest of the content.

    Where the source has them, a digest of each image is a column of the examples (`content_sha256`), and the
    images that it left out are told by the attribute `left_out`.

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
        metadata=_digests(examples),
        attributes={CONTENT: examples.fingerprint, **left_out(examples)},
    )


def _digests(examples: ExampleSource) -> dict[str, list[str]]:
    contents = getattr(examples, "contents", None)
    return {} if contents is None else {DIGESTS: [content.decode() for content in contents.tolist()]}
