"""Which store a task on another machine reads, and the check that it is the one asked about."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import dissensus
from dissensus.errors import ClusterError, DissensusError, ModelReplaced, UnknownName

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel
    from dissensus.store.truth import Truth


@dataclass(frozen=True)
class Site:
    """Which store a task reads, and which version of all that is not its models.

    Attributes
    ----------
    path : str
        Absolute, the same for all workers.
    labels : str
        Label set that decides what is right.
    examples, truth : str
        Digests of the example set and of that label set.
    version : str
        Of dissensus.
    """

    path: str
    labels: str
    examples: str
    truth: str
    version: str

    @classmethod
    def of(cls, store: Store) -> Site:
        """Name a store as it is now."""
        return cls(
            str(store.path.resolve()),
            store.truth.name,
            store.examples_hash,
            digest_of(store.truth),
            dissensus.__version__,
        )


@lru_cache(maxsize=8)
def opened(site: Site) -> Store:
    """Open a store once a process, and check that it is the one asked about.

    Raises
    ------
    ClusterError
        Another version of dissensus, no store there, or one of other examples or labels.
    """
    from dissensus.store.catalog import Store

    here = f"the Dask worker on {socket.gethostname()}"
    if site.version != dissensus.__version__:
        raise ClusterError(
            f"{here} has dissensus {dissensus.__version__}, {site.version} asks: install the same on both"
        )
    try:
        store = Store(site.path, labels=site.labels)
        same = store.examples_hash == site.examples and digest_of(store.truth) == site.truth
    except (DissensusError, OSError) as error:
        raise ClusterError(
            f"{here} cannot open the store: {error}. Workers read it themselves: put it where all of them "
            f"see it as {site.path}"
        ) from error
    if not same:
        raise ClusterError(
            f"{here} sees another store at {site.path}, of other examples or labels: put the same one there, "
            "or ask again if it has just changed"
        )
    return store


def models_at(store: Store, ids: Sequence[str], expected: str) -> list[StoredModel]:
    """Models of an opened store, of the versions asked about.

    Raises
    ------
    ClusterError, ModelReplaced
    """
    models = found_at(store, ids)
    require_same(store, [model.digest for model in models], expected)
    return models


def found_at(store: Store, ids: Sequence[str]) -> list[StoredModel]:
    """Models of an opened store, of whatever versions.

    Raises
    ------
    ClusterError
        This worker does not see one of them.
    """
    try:
        return [store.model(model_id) for model_id in ids]
    except UnknownName as error:
        raise ClusterError(
            f"the Dask worker on {socket.gethostname()} does not see all models at {store.path} ({error}): "
            "put the same store there for all workers"
        ) from error


def require_same(store: Store, digests: Sequence[str], expected: str) -> None:
    """Refuse to count what is not what was asked about.

    Raises
    ------
    ModelReplaced
    """
    if digest(digests) != expected:
        raise ModelReplaced(
            f"models of {store.path} were replaced since the question was asked, or the Dask worker on "
            f"{socket.gethostname()} sees others there: ask again"
        )


def digest(digests: Sequence[str]) -> str:
    """Digest of digests."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def digest_of(truth: Truth) -> str:
    """Digest of a label set."""
    return hashlib.sha256(truth.offsets.tobytes() + truth.classes.tobytes()).hexdigest()
