"""Where the rows of a model come from, and the refusal to mix origins."""

from __future__ import annotations

from collections.abc import Mapping

from dissensus.errors import ArgumentError, FingerprintMismatch

from .format import EMBEDDING_DIM

OWN_KEYS = ("dtype", "examples", "kind")  # what the store adds


def given_part(fingerprint: Mapping[str, str], embedding_dim: int | None) -> dict[str, str]:
    """A model's fingerprint without the store's part: what `complete` was given."""
    own = {*OWN_KEYS, *([] if embedding_dim is None else [EMBEDDING_DIM])}
    return {key: value for key, value in fingerprint.items() if key not in own}


def complete(
    given: Mapping[str, str], dtype: str, examples_hash: str, kind: str, embedding_dim: int | None = None
) -> dict[str, str]:
    """A model's fingerprint with the store's part: dtype, example set, kind of rows, number of features.

    A model without embeddings has no key for the last, and may use it for something of its own.

    Raises
    ------
    ArgumentError
        A given key is one of these.
    """
    own = {"dtype": dtype, "examples": examples_hash, "kind": kind}
    own |= {} if embedding_dim is None else {EMBEDDING_DIM: str(embedding_dim)}
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
