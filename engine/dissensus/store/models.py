"""The models of a store, as its directory listing shows them at this moment."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from dissensus.errors import (
    ArgumentError,
    CorruptionError,
    DissensusError,
    ModelReplaced,
    NotReadable,
    UnknownName,
)

from . import format as fmt
from .identity import checked_name
from .reader import StoredModel
from .reading import reading

ATTEMPTS = 20
Query = TypeVar("Query", bound=Callable[..., Any])
WITHOUT_IT = "run `dissensus repair` to set it aside, or open with damaged='skip' to work without it"


def again(query: Query) -> Query:
    """Ask once more where a model was replaced while it was read."""

    @functools.wraps(query)
    def asked(*arguments: Any, **options: Any) -> Any:
        for _ in range(ATTEMPTS):
            with contextlib.suppress(ModelReplaced):
                return query(*arguments, **options)
        return query(*arguments, **options)

    return cast("Query", asked)


class Models:
    """Opens models by id and remembers them as long as their commit record stays the same file.

    Parameters
    ----------
    root : Path
        Folder of the store.
    geometry : Geometry
        Shape and blocks of a model's logits.
    examples_hash : str
        Identity of the example set.
    damaged : {"error", "skip"}
        Whether `all` refuses to go on at a damaged model or leaves it out with a warning.
    """

    def __init__(self, root: Path, geometry: fmt.Geometry, examples_hash: str, damaged: str) -> None:
        self._root, self._geometry, self._hash = root / fmt.MODELS, geometry, examples_hash
        self._place, self._damaged = str(self._root), damaged
        self._opened: dict[str, tuple[tuple[int, int], StoredModel]] = {}

    @property
    def skips(self) -> bool:
        """Whether damaged models are left out."""
        return self._damaged == "skip"

    def __len__(self) -> int:
        return len(self._folders())

    def _folders(self) -> list[str]:
        with reading(self._root, "models of the store"), os.scandir(self._root) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))

    def _open(self, name: str) -> StoredModel:
        try:
            status = os.stat(f"{self._place}/{name}/{fmt.COMMIT_JSON}")  # joining paths takes as long
            stamp = status.st_mtime_ns, status.st_ino
        except OSError:
            stamp = -1, -1  # StoredModel names the missing record
        known = self._opened.get(name)
        if known is None or known[0] != stamp:
            try:
                model = StoredModel(self._root / name, self._geometry, self._hash)
                if self._damaged == "skip":
                    model.check_small_files()
            except ModelReplaced:  # between its record and its files
                return self._open(name)
            known = self._opened[name] = (stamp, model)
        return known[1]

    def all(self) -> dict[str, StoredModel]:
        """Every sound model by id, sorted.

        Raises
        ------
        CorruptionError, NotReadable
            A model is damaged, or may not be read, unless these are skipped.
        """
        models: dict[str, StoredModel] = {}
        for name in self._folders():
            try:
                model = self._open(name)
            except (CorruptionError, NotReadable) as error:
                if not (self._root / name).exists():
                    continue  # removed since the listing
                if self._damaged == "skip":
                    warnings.warn(f"left out: {error}", stacklevel=4)
                elif isinstance(error, NotReadable):
                    raise
                else:
                    raise CorruptionError(f"{error}; {WITHOUT_IT}") from error
            else:
                models[model.model_id] = model
        return dict(sorted(models.items()))

    def each(self, model_ids: Iterable[str] | None) -> Iterator[tuple[str, StoredModel | DissensusError]]:
        """Given models, or all of them, each with its id (else its folder) or with why it cannot be opened.

        Raises
        ------
        ArgumentError, UnknownName
        """
        wanted = None if model_ids is None else {self.folder_of(m).name: m for m in _once_each(model_ids)}
        for name in self._folders() if wanted is None else wanted:
            try:
                model = self._open(name)
            except DissensusError as error:
                if (self._root / name).exists():  # else removed since the listing
                    yield (wanted or {}).get(name, name), error
            else:
                yield model.model_id, model

    def one(self, model_id: str) -> StoredModel:
        """Open one model.

        Raises
        ------
        UnknownName, CorruptionError
        """
        return self._open(self.folder_of(model_id).name)

    def some(self, model_ids: Iterable[str]) -> list[StoredModel]:
        """Open given models, each named once, in their order.

        Raises
        ------
        ArgumentError, UnknownName, CorruptionError
        """
        return [self.one(model_id) for model_id in _once_each(model_ids)]

    def folder_of(self, model_id: str) -> Path:
        """Folder of a model that is there, damaged or not.

        Raises
        ------
        UnknownName
            Naming the nearest ids.
        """
        folder = self._root / fmt.folder_name(checked_name(model_id, "a model id"))
        if folder.is_symlink() or not folder.is_dir():
            raise UnknownName.of("model", model_id, self._ids())
        return folder

    def _ids(self) -> list[str]:
        """Ids of models whose record can be read: a damaged one is no answer to a wrong name."""
        ids = []
        for name in self._folders():
            with contextlib.suppress(DissensusError):
                ids.append(self._open(name).model_id)
        return sorted(ids)


def _once_each(model_ids: Iterable[str]) -> list[str]:
    """Refuse what is no list of ids, and an id that comes twice."""
    if isinstance(model_ids, str) or not isinstance(model_ids, Iterable):
        raise ArgumentError(f"models must be a list of model ids, got {model_ids!r}; pass [{model_ids!r}]")
    ids = [checked_name(model_id, "a model id") for model_id in model_ids]
    twice = sorted({m for m in ids if ids.count(m) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise ArgumentError(f"models names {', '.join(twice)} more than once; name each model once")
    return ids
