"""Models with other classes than the store, or in another order: which output stands for which class."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dissensus.errors import ArgumentError, UnknownName, WrongClassCount
from dissensus.store.format import FLOOR

from .models import ModelSource, Predictor

if TYPE_CHECKING:
    import torch

    from .examples import Images

_NAMED = 20  # missing classes that metadata names


@dataclass(frozen=True)
class ClassMap:
    """Which output of a model stands for each class of a store.

    Parameters
    ----------
    classes
        the store's, in its order.
    outputs
        for each class the model's column, by number or by the model's own name for it; None where the model
        does not know the class.
    n_outputs
        how many columns the model has, where the map tells.

    Raises
    ------
    ArgumentError
        The lengths differ, no class has an output, an output stands for two classes, or a number is out of
        range.

    Examples
    --------
    >>> from dissensus.ingest import ClassMap
    >>> ClassMap.of_names(["dog", "fish", "cat"], classes=["cat", "dog"]).outputs
    (2, 0)
    """

    classes: tuple[str, ...]
    outputs: tuple[int | str | None, ...]
    n_outputs: int | None = None

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.outputs):
            raise ArgumentError(
                f"class map must name an output for each of {len(self.classes)} classes, got "
                f"{len(self.outputs)}"
            )
        used = [output for output in self.outputs if output is not None]
        if not used:
            raise ArgumentError(
                f"class map gives none of the store's classes ({_some(self.classes)}) an output of the model"
            )
        output, count = Counter(used).most_common(1)[0]
        if count > 1:
            both = [c for c, o in zip(self.classes, self.outputs, strict=True) if o == output]
            raise ArgumentError(f"class map gives output {output!r} to several classes: {_some(both)}")
        _check_range([o for o in used if isinstance(o, int)], self.n_outputs)

    @classmethod
    def of_names(cls, names: Sequence[str], classes: Sequence[str]) -> ClassMap:
        """Map by name: `names` are those of all outputs of the model, in their order.

        Raises
        ------
        ArgumentError
            A name comes twice, none is a class of the store, or one differs from a class by case or
            punctuation only.
        """
        name, count = Counter(names).most_common(1)[0] if names else ("", 0)
        if count > 1:
            raise ArgumentError(f"class map names {name!r} {count} times; outputs must have distinct names")
        place = {name: column for column, name in enumerate(names)}
        if not place.keys() & {*classes}:
            raise ArgumentError(
                f"class map and store have no class in common: the map has {_some(names)}, the store "
                f"{_some(classes)}"
            )
        _refuse_spellings(names, classes)
        return cls(tuple(classes), tuple(place.get(c) for c in classes), len(names))

    @classmethod
    def of_pairs(cls, pairs: Mapping[str, int | str], classes: Sequence[str]) -> ClassMap:
        """Map by pairs of a class of the store and an output, a number from 0 or the model's name for it.

        Raises
        ------
        UnknownName
            The store has no such class.
        ArgumentError
            As of `ClassMap`.
        """
        for name in pairs:
            if name not in classes:
                raise UnknownName.of("class in the class map", name, classes, "(class of the store)")
        return cls(tuple(classes), tuple(pairs.get(c) for c in classes))

    @property
    def missing(self) -> list[str]:
        """Classes of the store that the model does not know."""
        return [c for c, output in zip(self.classes, self.outputs, strict=True) if output is None]

    def columns(self, names: Sequence[str] | None, n_outputs: int | None) -> list[int]:
        """Return the model's column for each class, -1 where there is none.

        Parameters
        ----------
        names
            What the model calls its outputs, if it tells.
        n_outputs
            How many it has, if it tells.

        Raises
        ------
        WrongClassCount
            The map was made for another number of outputs.
        UnknownName, ArgumentError
            An output is not among the model's, or named where the model has no names.
        """
        if None not in (n_outputs, self.n_outputs) and n_outputs != self.n_outputs:
            raise _wrong_length(self.n_outputs, n_outputs)
        found = [_column(output, names) for output in self.outputs]
        _check_range([column for column in found if column >= 0], n_outputs)
        return found


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
            raise _wrong_length(self.n_outputs, values.shape[1])
        _check_range([column for column in self.columns if column >= 0], values.shape[1])
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
    off = (probabilities.sum(1) - 1).abs() > 1e-3
    if bool(off.any()):
        raise ArgumentError(
            f"{int(off.sum())} of {len(off)} rows of probabilities do not sum to 1; if these are logits say "
            "so: kind='logits' (--kind logits)"
        )
    picked = probabilities[:, columns]
    total = picked.sum(1, keepdim=True)
    return (picked / total.clamp(min=1e-300)).where(total > 0, 1 / len(columns))


def _column(output: int | str | None, names: Sequence[str] | None) -> int:
    if output is None or isinstance(output, int):
        return -1 if output is None else output
    if names is None:
        raise ArgumentError(
            f"class map names output {output!r}, but the model carries no class names; give columns by number"
        )
    if output not in names:
        raise UnknownName.of("output in the class map", output, names, "(of the model)")
    return list(names).index(output)


def _check_range(columns: Iterable[int], n_outputs: int | None) -> None:
    for column in columns:
        if column < 0 or (n_outputs is not None and column >= n_outputs):
            limit = "0 or more" if n_outputs is None else f"0 … {n_outputs - 1} for {n_outputs} outputs"
            raise ArgumentError(f"columns of a class map must be {limit}, got {column}")


def _wrong_length(wanted: int | None, got: int | None) -> WrongClassCount:
    return WrongClassCount(
        f"the class map is for {wanted} outputs, the model has {got}; name every output of the model, in "
        "order"
    )


def _refuse_spellings(names: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse a class that the map spells otherwise: it would be taken for missing in silence."""
    spelled = {_plain(name): name for name in names if name not in classes}
    for name in classes:
        other = spelled.get(_plain(name))
        if name not in names and other is not None:
            raise ArgumentError(
                f"class {name!r} of the store is spelled {other!r} in the class map; write it as the "
                "store does"
            )


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}" or "nothing"
