"""What a store remembers of images that could not be read: they have no row, and are not forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .examples import ExampleSource

LEFT_OUT = "left_out"
NAMED_MOST = 10_000  # every opening of a store reads them; the count is exact whatever it is
_REASON_MOST = 200


def left_out(examples: ExampleSource) -> dict[str, Any]:
    """Return the attribute of a store that tells which images a source left out; empty where it left none.

    Returns
    -------
    dict
        `left_out`: `summary` (one sentence), `count`, `of` (images there were) and `images` (reasons by id,
        in the order of ids, the first 10,000 of them).
    """
    skipped: Mapping[str, str] = getattr(examples, "skipped", {})
    if not skipped:
        return {}
    count, n = len(skipped), len(examples) + len(skipped)
    named = {name: skipped[name][:_REASON_MOST] for name in sorted(skipped)[:NAMED_MOST]}
    summary = f"{count:,} of {n:,} images could not be read and were left out"
    return {LEFT_OUT: {"summary": summary, "count": count, "of": n, "images": named}}


def was_left_out(attributes: Mapping[str, Any], example: str) -> str | None:
    """Return why an image was left out of the store that has these attributes; None where it was not."""
    reason: str | None = attributes.get(LEFT_OUT, {}).get("images", {}).get(example)
    return reason
