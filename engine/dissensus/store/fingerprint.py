"""Where the rows of a model come from, and the refusal to mix origins."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

from dissensus.errors import ArgumentError, FingerprintMismatch

from .format import EMBEDDING_DIM

OWN_KEYS = ("dtype", "examples", "kind")  # what the store adds
_MOST = 40  # characters of a value that a message has


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
        values = [(key, *_apart(there.get(key, "absent"), given.get(key, "absent"))) for key in keys]
        both = "; ".join(f"{key}: {state} {a}, given {b}" for key, a, b in values)
        raise FingerprintMismatch(
            f"model {model_id!r} is {state} with another fingerprint ({both}); {remedy}"
        )


def _apart(a: str, b: str) -> tuple[str, str]:
    """Two texts cut to what can be read in a message, from shortly before they differ."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
    start = 0 if same < _MOST // 2 else same - _MOST // 4
    head = "…" if start else ""
    return f"{head}{a[start:]:.{_MOST}}", f"{head}{b[start:]:.{_MOST}}"
