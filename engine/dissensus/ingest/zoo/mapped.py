"""Models whose outputs are brought to the classes of the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dissensus.errors import ArgumentError
from dissensus.store.format import FLOOR, SUM_TOLERANCE

from .class_map import ClassMap, check_range, wrong_length
from .execution import Execution
from .models import ModelSource, Predictor
from .outline import Outline, outline_of

if TYPE_CHECKING:
    import torch

    from ..data.examples import Images

_NAMED = 20  # missing classes that metadata names


@dataclass(frozen=True)
class MappedModel:
    """A model source whose outputs are brought to the store's classes.

    Outputs that are no class of the store are dropped, so that the model decides among the store's classes
    only: dropping logits, or dividing the other probabilities by their sum, is the same softmax over fewer
    classes. Classes the model does not know get the lowest logit that is stored, or probability 0: they are
    never predicted.

    Parameters
    ----------
    source
        any model source.
    class_map
        made for the classes of the store.

    Examples
    --------
    >>> import numpy as np
    >>> from dissensus.ingest import CallableModel, ClassMap, MappedModel
    >>> model = CallableModel("m", lambda images: np.zeros((len(images), 3)))
    >>> MappedModel(model, ClassMap.of_names(["dog", "fish", "cat"], ["cat", "dog"])).model_id
    'm'
    """

    source: ModelSource
    class_map: ClassMap

    @property
    def model_id(self) -> str:
        """The source's."""
        return self.source.model_id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The source's."""
        return self.source.metadata

    def outline(self, counted: bool = True) -> Outline:
        """Return the source's, whose number of classes is no longer the model's."""
        return replace(outline_of(self.source, counted), n_outputs=None)

    def load(self, device: torch.device) -> MappedPredictor:
        """Load the source and fit the map to what it tells of its outputs; raises as `ClassMap.columns`."""
        inner = self.source.load(device)
        names = getattr(inner, "class_names", None)
        columns = self.class_map.columns(names, inner.n_classes)
        n_outputs = inner.n_classes or self.class_map.n_outputs
        return MappedPredictor(inner, self.class_map, tuple(columns), n_outputs)


@dataclass(frozen=True)
class MappedPredictor:
    """A predictor with its outputs in the store's order; see `Predictor`.

    Parameters
    ----------
    inner
        the model's own predictor.
    class_map
        where the columns come from.
    columns
        of the model, one a class of the store; -1 where there is none.
    n_outputs
        of the model, where known before the first batch.
    """

    inner: Predictor
    class_map: ClassMap
    columns: tuple[int, ...]
    n_outputs: int | None

    @property
    def fingerprint(self) -> dict[str, str]:
        """The model's own, and a digest of the map."""
        return {**self.inner.fingerprint, "class_map": self._digest}

    @property
    def metadata(self) -> dict[str, Any]:
        """The model's own, and how its outputs were taken."""
        missing = self.class_map.missing
        known = sum(column >= 0 for column in self.columns)
        dropped = {} if self.n_outputs is None else {"outputs_dropped": self.n_outputs - known}
        named = {"classes_missing_names": missing[:_NAMED]} if missing else {}
        own = {"class_map": self._digest, "classes_missing": len(missing), **named, **dropped}
        return {**self.inner.metadata, **own}

    @property
    def kind(self) -> str:
        """The model's own."""
        return self.inner.kind

    @property
    def n_classes(self) -> int:
        """The store's number of classes."""
        return len(self.columns)

    @property
    def class_names(self) -> list[str]:
        """The store's classes."""
        return list(self.class_map.classes)

    @property
    def preprocess(self) -> Any:
        """The model's own, where it has one."""
        return self.inner.preprocess  # type: ignore[attr-defined]

    @property
    def preparation(self) -> Any:
        """The model's own, where it has one."""
        return self.inner.preparation  # type: ignore[attr-defined]

    @property
    def executed(self) -> Callable[[Execution], MappedPredictor]:
        """The model's own, where it has one, with the same map."""
        inner = self.inner.executed  # type: ignore[attr-defined]
        return lambda execution: replace(self, inner=inner(execution))

    @property
    def leave(self) -> Callable[[], None]:
        """The model's own, where it has one."""
        return self.inner.leave  # type: ignore[attr-defined,no-any-return]

    @property
    def module(self) -> Any:
        """The model's own, where it has one."""
        return self.inner.module  # type: ignore[attr-defined]

    @property
    def _digest(self) -> str:
        text = json.dumps([self.class_map.classes, self.columns], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def prepare(self, images: Images) -> Any:
        """Prepare a batch as the model does."""
        return self.inner.prepare(images)

    def __call__(self, batch: Any) -> torch.Tensor:
        """Return (B, C) logits or probabilities of the store's classes."""
        import torch

        output = self.inner(batch)
        values = output if isinstance(output, torch.Tensor) else torch.from_numpy(np.asarray(output))
        if values.ndim != 2:
            raise ArgumentError(f"the model gave shape {tuple(values.shape)}, a class map needs (B, outputs)")
        if self.n_outputs not in (None, values.shape[1]):
            raise wrong_length(self.n_outputs, values.shape[1])
        check_range([column for column in self.columns if column >= 0], values.shape[1])
        return _pick(values.detach(), self.columns, self.kind)


def _pick(values: torch.Tensor, columns: Sequence[int], kind: str) -> torch.Tensor:
    """Return the given columns of (B, outputs) logits or probabilities, filled up for those at -1."""
    import torch

    wanted = torch.as_tensor(columns, device=values.device)
    known = wanted >= 0
    if kind == "probabilities":
        picked, rest = _among(values.double(), wanted[known]), torch.zeros(len(values), 1)
    else:
        picked = values.float()[:, wanted[known]]
        rest = picked.amax(1, keepdim=True).nan_to_num() + 2 * FLOOR  # clamped to FLOOR below the maximum
    result = rest.to(picked).expand(len(values), len(columns)).clone()
    result[:, known] = picked
    return result


def _among(probabilities: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of some columns given that it is one of them; equal where all are 0."""
    off = (probabilities.sum(1) - 1).abs() > SUM_TOLERANCE
    if bool(off.any()):
        raise ArgumentError(
            f"{int(off.sum())} of {len(off)} rows of probabilities do not sum to 1; if these are logits say "
            "so: kind='logits' (--kind logits)"
        )
    picked = probabilities[:, columns]
    total = picked.sum(1, keepdim=True)
    return (picked / total.clamp(min=1e-300)).where(total > 0, 1 / len(columns))
