"""What became of each model of an import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ImportRow:
    """What became of one model.

    Attributes
    ----------
    model
        Name in the store.
    file
        Where it came from.
    status
        "done"; "stored" if it was there before, with the same content; or "failed".
    kind
        "logits", "probabilities" or "labels"; None where it failed.
    accuracy
        On all examples that the store's truth counts; None where it failed.
    notes
        How the file was read, and what looks wrong.
    suspicions
        Those of the notes that say what looks wrong.
    error
        Why it failed, one line; None otherwise.
    seconds
        Wall time.
    """

    model: str
    file: str
    status: str
    kind: str | None = None
    accuracy: float | None = None
    notes: list[str] = field(default_factory=list)
    suspicions: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class ImportReport:
    """What became of all models, in the order in which they were given.

    Attributes
    ----------
    rows
        One entry a model; one a file where its models could not be told.
    """

    rows: list[ImportRow]

    @property
    def done(self) -> list[ImportRow]:
        """The models that were stored by this import."""
        return [row for row in self.rows if row.status == "done"]

    @property
    def stored(self) -> list[ImportRow]:
        """The models that were in the store already."""
        return [row for row in self.rows if row.status == "stored"]

    @property
    def failed(self) -> list[ImportRow]:
        """The models and files that failed."""
        return [row for row in self.rows if row.status == "failed"]

    def to_arrow(self) -> pa.Table:
        """One row a model: model, file, status, kind, accuracy, notes, error, seconds; null where none."""
        import pyarrow as pa

        types = {
            "model": pa.string(),
            "file": pa.string(),
            "status": pa.string(),
            "kind": pa.string(),
            "accuracy": pa.float64(),
            "notes": pa.list_(pa.string()),
            "error": pa.string(),
            "seconds": pa.float64(),
        }
        return pa.table(
            {name: pa.array([getattr(row, name) for row in self.rows], kind) for name, kind in types.items()}
        )
