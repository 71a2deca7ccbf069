"""Where the rows of a model come from, and the refusal to mix origins."""

from __future__ import annotations

from collections.abc import Mapping

from dissensus.errors import ArgumentError, FingerprintMismatch

OWN_KEYS = ("dtype", "examples", "kind")  # what the store adds


def complete(given: Mapping[str, str], dtype: str, examples_hash: str, kind: str) -> dict[str, str]:
    """A model's fingerprint with the store's part: dtype, example set and kind of rows.

    Raises
    ------
    ArgumentError
        A given key is one of these.
    """
    own = {"dtype": dtype, "examples": examples_hash, "kind": kind}
    texts = {str(k): str(v) for k, v in given.items()}
    clash = own.keys() & texts.keys()
    if clash:
        raise ArgumentError(f"fingerprint keys {sorted(clash)} are the store's own; choose other names")
    return {**texts, **own}


def require_same_fingerprint(
    model_id: str, there: Mapping[str, str], given: Mapping[str, str], state: str, remedy: str
) -> None:
    """Refuse to mix rows of different origin.

    Raises
    ------
    FingerprintMismatch
        Names what differs, both values and the remedy.
    """
    keys = sorted(k for k in there.keys() | given.keys() if there.get(k) != given.get(k))
    if keys:
        both = "; ".join(
            f"{k}: {state} {there.get(k, 'absent'):.40}, given {given.get(k, 'absent'):.40}" for k in keys
        )
        raise FingerprintMismatch(
            f"model {model_id!r} is {state} with another fingerprint ({both}); {remedy}"
        )
