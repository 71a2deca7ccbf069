"""What a store has: its models, counted, opened, copied, removed; what is unfinished or set aside."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, DissensusError

from . import format as fmt
from .cache import Top1Cache
from .files import writing
from .folders import bury
from .identity import checked_name, checked_path
from .labelled import Labelled
from .models import Models
from .reader import StoredModel
from .staging import clear_killed_replacement, model_lock
from .verify import VerifyReport, verify_store

if TYPE_CHECKING:
    from .catalog import Store
    from .repair import RepairReport


class Inventory(Labelled):
    """Labelled examples and the models that there are for them; `Store` adds what these predicted.

    Parameters
    ----------
    path : str or Path
        Folder of the store.
    damaged : {"error", "skip"}
        What to do with a model whose files are damaged: refuse every query (default), or leave it out
        with a warning.
    labels : str, optional
        Label set that every query goes by; the store's own by default. See `under`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, damaged: str = "error", labels: str | None = None
    ) -> None:
        if damaged not in ("error", "skip"):
            raise ArgumentError(f"damaged must be 'error' or 'skip'; got {damaged!r}")
        super().__init__(path, labels)
        self._models = Models(self.path, self.geometry, self.examples_hash, damaged)
        self._top1 = Top1Cache(self.path, self.geometry)

    @property
    def n_models(self) -> int:
        """Number of models in the store, damaged ones too."""
        return len(self._models)

    @property
    def model_ids(self) -> list[str]:
        """Ids of the models in the store, sorted."""
        return list(self._models.all())

    def model(self, model_id: str) -> StoredModel:
        """One model.

        Raises
        ------
        UnknownName
            Naming the nearest ids.
        """
        return self._models.one(model_id)

    def resolve(self, models: Iterable[str] | None) -> list[str]:
        """Given model ids, checked to be there and distinct; all of them for None.

        Raises
        ------
        ArgumentError, UnknownName
        """
        return self.model_ids if models is None else [m.model_id for m in self._models.some(models)]

    def _chosen(self, models: Iterable[str] | None) -> list[StoredModel]:
        return list(self._models.all().values()) if models is None else self._models.some(models)

    def require(self, model_id: str) -> None:
        """Refuse an id that no model has, damaged ones included.

        Raises
        ------
        UnknownName
            Naming the nearest ids.
        """
        self._models.folder_of(model_id)

    def remove(self, model_id: str) -> None:
        """Take a model out of the store: invisible at once, then deleted.

        Raises
        ------
        UnknownName, WriterBusy, NotWritable
        """
        staging = self._staging()
        lock = model_lock(self.path, checked_name(model_id, "a model id"))
        try:
            folder = self._models.folder_of(model_id)
            with writing(folder):
                clear_killed_replacement(folder, staging)
            bury(folder, staging)
        finally:
            lock.release()

    def copy(
        self,
        path: str | os.PathLike[str],
        models: Sequence[str] | None = None,
        *,
        codec: str | None = None,
        dtype: str | None = None,
        advance: Callable[[str], None] | None = None,
    ) -> Store:
        """Copy models, with examples, labels and columns, into a store of their own; a killed copy resumes.

        A model that is damaged or cannot be read stops none of the others: it is named once these are there.

        Parameters
        ----------
        path : str or Path
            Folder to make. A store of the same examples there gets the models it lacks.
        models : sequence of str, optional
            Models to copy; all by default.
        codec : {"raw", "archive"}, optional
            How the copy keeps its logits; by default as the store that is there, else as this one.
        dtype : {"float16", "float32"}, optional
            Precision of the copy, by default likewise: float32 logits can be narrowed.
        advance : callable, optional
            Told the id of each model when it is there.

        Returns
        -------
        Store
            The copy.

        Raises
        ------
        ArgumentError, ExamplesMismatch, FingerprintMismatch, UnknownName, StoreFull
        CorruptionError, NotReadable
            Naming the models that were not copied.
        """
        from .copying import copy_store

        return copy_store(self, checked_path(path), self._to_copy(models), codec, dtype, advance)

    def _to_copy(self, models: Sequence[str] | None) -> list[tuple[str, StoredModel | DissensusError]]:
        """Models with their ids, and why one cannot be opened, unless damaged ones are to be left out."""
        skipped = models is None and self._models.skips
        return list(self._models.all().items() if skipped else self._models.each(models))

    def repair(self, *, clear_staging: bool = False) -> RepairReport:
        """Verify everything, mend what can be proven right, and set aside what cannot.

        Files whose content is known (Zarr metadata, block indices, checksums between blocks) are rebuilt and
        must then have their committed checksum. A model that still does not verify moves to ``quarantine/``
        with a note of its sound rows and files. Finished models that lack only their rename get it; remains
        of killed writers are deleted.

        Parameters
        ----------
        clear_staging : bool
            Drop unfinished models too, which a writer could otherwise resume.
        """
        from .repair import repair_store

        return repair_store(self.path, clear_staging=clear_staging)

    def info(self) -> dict[str, Any]:
        """Facts about the store, as plain JSON."""
        splits = {} if self.splits is None else dict(sorted(Counter(s for s in self.splits if s).items()))
        kinds = Counter(model.kind for model in self._models.all().values())
        return {
            "path": str(self.path),
            "models": sum(kinds.values()),
            "kinds": dict(sorted(kinds.items())),
            "examples": self.n_examples,
            "classes": self.n_classes,
            "label_sets": self.label_sets,
            "splits": splits,
            "columns": list(self.facts()),
            "dtype": self.dtype,
            "codec": self.codec,
            "block_rows": self.block_rows,
            "size_bytes": self.size_bytes(),
            "unfinished": self.staged(),
            "quarantined": self.quarantined(),
            "format_version": self.format_version,
            "attributes": self.attributes,
        }

    def size_bytes(self) -> int:
        """Bytes of all committed files: models, damaged ones too, columns, examples and classes."""
        own = [self.path / name for name in (fmt.STORE_JSON, fmt.EXAMPLES, fmt.CLASSES)]
        below = (
            Path(top) / name
            for place in (fmt.MODELS, fmt.COLUMNS)
            for top, _, names in os.walk(self.path / place)
            for name in names
        )
        sizes = 0
        for file in itertools.chain(own, below):
            with contextlib.suppress(OSError):  # a model removed meanwhile, or one that may not be read
                sizes += file.stat().st_size
        return sizes

    def staged(self) -> list[str]:
        """Folders of models whose writing was not finished; the same ingest command resumes them."""
        staging = self.path / fmt.STAGING
        return sorted(p.name for p in staging.glob("*") if p.is_dir() and not p.name.startswith("."))

    def quarantined(self) -> list[str]:
        """Folders in ``quarantine/``: each a model, column or stray file that `repair` set aside.

        Their ``salvage.json`` tells what is sound in them; whoever needs nothing of it deletes them.
        """
        place = self.path / fmt.QUARANTINE
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []

    def verify(self, *, quick: bool = False, advance: Callable[[int], None] | None = None) -> VerifyReport:
        """Check every file of the store; see `VerifyReport`.

        Parameters
        ----------
        quick : bool
            Names and sizes of all files, and checksums of the small ones; bits that flipped in logits or
            embeddings are not found.
        advance : callable, optional
            Told how many more bytes have been checked.
        """
        return verify_store(self.path, quick=quick, advance=advance)
