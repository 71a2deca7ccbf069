"""What is stored under a model's name already, compared with what is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dissensus.errors import FingerprintMismatch
from dissensus.store import format as fmt
from dissensus.store.fingerprint import complete, require_same_fingerprint

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

OWN = ("source", "file", "format", "kind_given", "notes")  # metadata that the importer writes


def is_stored(store: Store, model_id: str, content: Mapping[str, str], kind: str, replace: bool) -> bool:
    """Whether a model is there with this content.

    Raises
    ------
    FingerprintMismatch
        It is there with other content, which is not to be replaced.
    """
    if not (store.path / fmt.MODELS / fmt.folder_name(model_id)).exists():
        return False
    given = complete(content, store.dtype, store.examples_hash, kind)
    remedy = "replace it with replace=True (--replace), or give this one another name"
    try:
        require_same_fingerprint(model_id, store.model(model_id).fingerprint, given, "stored", remedy)
    except FingerprintMismatch:
        if not replace:
            raise
        return False
    return True


def is_described_otherwise(model: StoredModel, metadata: Mapping[str, Any]) -> bool:
    """Whether metadata given are not those of a stored model."""
    given = json.loads(json.dumps(dict(metadata), default=str))
    return any(model.metadata.get(key) != value for key, value in given.items() if key not in OWN)


def own_keys(metadata: Mapping[str, Any]) -> list[str]:
    """Note on metadata that the importer writes itself, if some were given."""
    given = sorted(metadata.keys() & set(OWN))
    return [f"metadata not kept, as the import writes them: {', '.join(given)}"] if given else []
