"""What became of the models of one run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ModelRun:
    """What became of one model.

    Attributes
    ----------
    model_id
        Name in the store.
    status
        "done"; "stored" if it was there before, from the same weights, preprocessing and examples; or
        "failed".
    error
        Why it failed, one line; None otherwise.
    seconds
        Time spent on this model alone: loading, computing, committing. Decoding is shared and not counted.
    examples_per_s
        Throughput of the model itself; 0 where nothing ran.
    """

    model_id: str
    status: str
    error: str | None = None
    seconds: float = 0.0
    examples_per_s: float = 0.0


@dataclass(frozen=True)
class InferReport:
    """What became of all models, in the order in which they were given.

    Attributes
    ----------
    rows
        One entry a model.
    """

    rows: list[ModelRun]

    @property
    def failed(self) -> list[ModelRun]:
        """The models that failed."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def done(self) -> list[ModelRun]:
        """The models that ran to their end."""
        return [row for row in self.rows if row.status == "done"]

    @property
    def stored(self) -> list[ModelRun]:
        """The models that were in the store already."""
        return [row for row in self.rows if row.status == "stored"]

    def to_arrow(self) -> pa.Table:
        """One row a model: model, status, seconds, examples_per_s, error (null where there is none)."""
        import pyarrow as pa

        columns = {f.name: [getattr(row, f.name) for row in self.rows] for f in fields(ModelRun)}
        columns["examples_per_s"] = [rate or None for rate in columns["examples_per_s"]]
        errors = pa.array(columns.pop("error"), pa.string())
        table = pa.table({"model": columns.pop("model_id"), **columns})
        return table.append_column("error", errors)
