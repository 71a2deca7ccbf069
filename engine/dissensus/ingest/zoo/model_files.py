"""What model sources of one file share: the file, its name in the store, what it takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

from .callables import check_kind

if TYPE_CHECKING:
    from ..data.examples import Images


@dataclass(frozen=True)
class ModelFile:
    """A model in one file; `ExportedModel` and `OnnxModel` say what the fields mean for theirs.

    Raises
    ------
    ArgumentError
        There is no such file, or `kind` is neither "logits" nor "probabilities".
    """

    path: str | Path
    _: KW_ONLY
    model_id: str = ""
    preprocess: Callable[[Images], Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind or "logits")
        if not Path(self.path).is_file():
            raise ArgumentError(f"no such model file: {self.path}")
        if not self.model_id:
            object.__setattr__(self, "model_id", Path(self.path).stem)
