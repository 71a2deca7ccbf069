"""What models return beside a plain (B, C) array, and outputs whose kind nobody stated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.errors import ArgumentError
from dissensus.store.format import SUM_TOLERANCE

_ROWS = 4  # looked at in each batch: this many rows of logits that sum to 1 are no accident


def one_output(output: Any) -> Any:
    """Return the one output of a model: itself, the only entry of a tuple or list, or what is called logits.

    Raises
    ------
    ArgumentError
        There are several, and none is called logits.
    """
    if isinstance(output, tuple | list) and len(output) == 1:
        return output[0]
    if isinstance(output, Mapping):
        if "logits" in output or len(output) == 1:
            return output["logits"] if "logits" in output else next(iter(output.values()))
        raise ArgumentError(
            f"the model returns several outputs ({', '.join(map(str, output))}), none called logits; wrap it "
            "in a function that returns one (B, C) tensor"
        )
    if isinstance(output, tuple | list):
        raise ArgumentError(
            f"the model returns {len(output)} outputs; wrap it in a function that returns one (B, C) tensor"
        )
    return output


def refuse_probabilities(output: Any) -> None:
    """Refuse rows that look like probabilities where nobody said what they are.

    Raises
    ------
    ArgumentError
        The first rows lie in [0, 1] and sum to 1.
    """
    if len(getattr(output, "shape", ())) != 2 or output.shape[1] < 2:
        return  # refused elsewhere, with the expected shape
    rows = output[:_ROWS]
    if bool((rows >= 0).all()) and bool((abs(rows.sum(1) - 1) <= SUM_TOLERANCE).all()):
        raise ArgumentError(
            "the model's outputs look like probabilities: they lie between 0 and 1 and sum to 1; pass "
            "kind='probabilities' (--kind probabilities), or kind='logits' if they are logits all the same"
        )
