"""One committed model: its record and sizes checked at open, its small files verified when read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from dissensus.errors import CorruptionError, LabelsOnly, UnknownName

from . import format as fmt
from .embeddings import Embeddings
from .header import require_fields, require_known_version
from .logits import Logits
from .reading import check_file, read_checked, reading
from .replaced import unless_replaced
from .sealed import parse_object, unseal_with_digest
from .tables import numbers, read_arrow
from .topk import read_view

_FIELDS = ("model_id", "kind", "fingerprint", "committed_at", "files", "shape")


class StoredModel:
    """One committed model.

    Attributes
    ----------
    model_id : str
        Name in the store.
    kind : {"logits", "probabilities", "labels"}
        What was given when it was stored.
    fingerprint : dict of str
        Weights, preprocessing, example set and dtype it came from.
    folder : Path
        Where its files lie.
    committed_at : str
        When it became visible, UTC.
    provenance : dict
        When its first row was written and the versions of the software; empty in stores of format 1.
    digest : str
        SHA-256 of its commit record, which changes with every byte of the model.
    embedding_dim : int or None
        Number of features of its embeddings; None where it was stored without.
    geometries : dict of str to Geometry
        Layout of its sharded arrays, by the names of their files.

    Raises
    ------
    CorruptionError
        A file is missing, has another size than committed, or the commit record is damaged.
    """

    def __init__(
        self, folder: Path, geometry: fmt.Geometry, examples_hash: str, *, sizes: bool = True
    ) -> None:
        self.folder = folder
        # read once: a replacement between two reads would give an old record the new one's digest
        record, self.digest = unseal_with_digest(folder / fmt.COMMIT_JSON, f"model in folder {folder.name!r}")
        what = f"model {record.get('model_id', folder.name)!r}"
        require_known_version(record, what)
        require_fields(record, _FIELDS, what)
        self.model_id: str = record["model_id"]
        self.kind: str = record["kind"]
        self.fingerprint: dict[str, str] = record["fingerprint"]
        self.committed_at: str = record["committed_at"]
        self.files: dict[str, dict[str, Any]] = record["files"]
        self.provenance: dict[str, Any] = record.get("provenance", {})
        self.geometry = geometry
        self._check_identity(record, examples_hash)
        self.geometries = self._geometries_of(record)
        embeddings = self.geometries.get(fmt.EMBEDDINGS_SHARD)
        self.embedding_dim = None if embeddings is None else embeddings.n_classes
        if sizes:
            with self._unless_replaced():
                self.check_sizes()

    def _check_identity(self, record: Mapping[str, Any], examples_hash: str) -> None:
        expected = [self.geometry.n_examples, self.geometry.n_classes]
        same = record["shape"] == expected and self.fingerprint.get("examples") == examples_hash
        if not same or fmt.folder_name(self.model_id) != self.folder.name:
            raise CorruptionError(
                f"model {self.model_id!r} in folder {self.folder.name!r} belongs to another store or folder "
                f"(shape {record['shape']}, this store holds {expected})"
            )

    def _geometries_of(self, record: Mapping[str, Any]) -> dict[str, fmt.Geometry]:
        """Layout of the arrays that the commit record tells of."""
        found = {} if self.kind == "labels" else {fmt.SHARD: self.geometry}
        if "embeddings" in record:
            told, g = record["embeddings"], self.geometry
            require_fields(told, ("dim", "block_rows"), f"embeddings of model {self.model_id!r}")
            found[fmt.EMBEDDINGS_SHARD] = fmt.Geometry(
                g.n_examples, told["dim"], g.dtype, told["block_rows"], g.codec
            )
        lacking = [name for name in found if not {name, fmt.described(name, found[name])[0]} <= {*self.files}]
        if lacking:
            raise CorruptionError(f"model {self.model_id!r}: its commit record lacks {', '.join(lacking)}")
        return found

    def check_sizes(self) -> None:
        """Compare every file's size with the commit record."""
        folder = str(self.folder)
        for name, expected in self.files.items():
            try:
                size = os.stat(f"{folder}/{name}").st_size  # pathlib takes half the time of opening
            except OSError as error:
                with reading(self.folder / name, f"model {self.model_id!r}", name):
                    raise error
            if size != expected["bytes"]:
                raise CorruptionError(
                    f"model {self.model_id!r}: {name} has {size} bytes, {expected['bytes']} were committed"
                )

    def read_file(self, name: str) -> bytes:
        """One of its small files, size and checksum verified.

        Raises
        ------
        CorruptionError, NotReadable
        ModelReplaced
            The folder holds another model by now.
        """
        with self._unless_replaced():
            return read_checked(self.folder / name, self.files[name], f"model {self.model_id!r}", name)

    def check_file(self, name: str) -> None:
        """Verify one of its small files; errors as of `read_file`."""
        with self._unless_replaced():
            check_file(self.folder / name, self.files[name], f"model {self.model_id!r}", name)

    def parsed(self, name: str) -> dict[str, Any]:
        """One of its JSON files, verified.

        Raises
        ------
        CorruptionError, NotReadable, ModelReplaced
        """
        return parse_object(self.read_file(name), f"model {self.model_id!r}: {name}")

    def _unless_replaced(self) -> contextlib.AbstractContextManager[None]:
        return unless_replaced(self.folder, self.model_id, self.digest)

    def check_small_files(self) -> None:
        """Verify every file but the blocks of its arrays.

        Raises
        ------
        CorruptionError
        """
        for name in self.files:
            if name not in self.geometries:
                self.read_file(name)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata given when it was stored."""
        return self.parsed(fmt.MODEL_JSON)

    def describe(self) -> dict[str, Any]:
        """Where it comes from, as plain JSON: fingerprint, software, times, metadata, size."""
        return {
            "model": self.model_id,
            "kind": self.kind,
            fmt.EMBEDDING_DIM: self.embedding_dim,
            "committed_at": self.committed_at,
            **self.provenance,
            "fingerprint": self.fingerprint,
            "metadata": self.metadata,
            "size_bytes": sum(int(f["bytes"]) for f in self.files.values()),
            "commit_sha256": self.digest,
        }

    def derived(self) -> pa.Table:
        """Derived columns, one row an example: top1, and for scored models rowmax and lse."""
        return read_arrow(self.read_file(fmt.DERIVED))

    def column(self, name: str) -> NDArray[Any]:
        """One derived column as a read-only array of length N."""
        derived = self.derived()
        if name not in derived.column_names:
            raise LabelsOnly(self._labels_only(f"the column {name!r}"))
        return numbers(derived[name])

    def view(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Top-K view: classes (N, 8) int32 and values (N, 9) float32, as of `Encoded`; None without one."""
        return read_view(self.read_file(fmt.TOPK)) if fmt.TOPK in self.files else None

    def logits(self) -> Logits:
        """Open its logits.

        Raises
        ------
        LabelsOnly
            The model was stored with hard labels only.
        CorruptionError, IncompatibleFormat
        """
        if self.kind == "labels":
            raise LabelsOnly(self._labels_only("logits"))
        with self._unless_replaced():
            return Logits(self.folder, self.model_id, self.digest, self.files, self.geometry)

    def embeddings(self) -> Embeddings:
        """Open its embeddings.

        Raises
        ------
        UnknownName
            The model was stored without.
        CorruptionError, IncompatibleFormat
        """
        if self.embedding_dim is None:
            raise UnknownName(f"model {self.model_id!r} was stored without embeddings")
        geometry = self.geometries[fmt.EMBEDDINGS_SHARD]
        with self._unless_replaced():
            return Embeddings(self.folder, self.model_id, self.digest, self.files, geometry)

    @property
    def arrays(self) -> dict[str, Callable[[], Logits | Embeddings]]:
        """How each of its sharded arrays is opened, by the name of its file: all that is in `geometries`."""
        opened: dict[str, Callable[[], Logits | Embeddings]] = {
            fmt.SHARD: self.logits,
            fmt.EMBEDDINGS_SHARD: self.embeddings,
        }
        return {name: opened[name] for name in self.geometries}

    def _labels_only(self, wanted: str) -> str:
        return (
            f"model {self.model_id!r} was stored with hard labels only and has no {wanted}; "
            "pair statistics work, calibration and probability ensembles need its logits or probabilities"
        )
