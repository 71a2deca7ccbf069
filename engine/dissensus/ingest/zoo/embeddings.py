"""Penultimate features of a torch module, taken in the forward pass that gives its logits.

The features are the input of the classifier: the layer of which the logits are the output. It is found, not
guessed from names: in the first pass every layer that gives one number a class is asked whether its input,
sent through it again, gives the module's very output. Hooks only look on; no logit changes by a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from dissensus.errors import ArgumentError, NoFeatures

if TYPE_CHECKING:
    from .models import Predictor

Classifier = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class _Call:
    """One call of a layer during a forward pass: which of its calls it was, and its input."""

    name: str
    layer: Classifier
    number: int
    given: torch.Tensor

    def features(self) -> torch.Tensor:
        """Input of the layer, one row an example; what is pooled behind it can as well be pooled before."""
        if isinstance(self.layer, nn.Linear):
            return self.given.flatten(1, -2).mean(1) if self.given.ndim > 2 else self.given
        return self.given if self.given.ndim < 4 else self.given.mean((2, 3))

    def logits(self) -> torch.Tensor:
        """What the layer makes of these features."""
        rows = self.features()
        out: torch.Tensor = self.layer(rows if isinstance(self.layer, nn.Linear) else rows[:, :, None, None])
        return out.flatten(1)


class Features:
    """Features of a module's forward passes, as a context manager.

    Where the logits are the mean of two classifiers, as of distilled models, the features are the inputs of
    both side by side. Outside the ``with`` block nothing is left on the module.

    Parameters
    ----------
    module
        In evaluation mode; returns (B, C) logits, or an object or mapping with `logits`.
    n_classes
        C.

    Attributes
    ----------
    layers
        Names of the layers whose inputs are the features, one or two; empty before the first pass, and where
        there are none.

    Examples
    --------
    >>> import torch
    >>> from dissensus.ingest import Features
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).eval()
    >>> with Features(module, 3) as features:
    ...     logits = module(torch.ones(4, 8))
    ...     rows = features.take()
    >>> features.layers, tuple(rows.shape), torch.allclose(module[2](rows), logits)
    (('2',), (4, 5), True)
    """

    def __init__(self, module: nn.Module, n_classes: int) -> None:
        if not isinstance(module, nn.Module):
            raise ArgumentError(
                f"module must be a torch.nn.Module, got {type(module).__name__}: features are the input of "
                "one of its layers"
            )
        self._module = module
        self._candidates = {
            name: layer for name, layer in module.named_modules() if _is_classifier(layer, n_classes)
        }
        self._n_classes = n_classes
        self.layers: tuple[str, ...] = ()
        self._chosen: tuple[tuple[str, int], ...] = ()
        self._calls: list[_Call] = []
        self._taken: torch.Tensor | None = None
        self._none: str | None = None if self._candidates else f"it has no layer of {n_classes} outputs"
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        if self._candidates:
            self._watch(self._candidates)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwatch()
        self._calls, self._taken = [], None

    def take(self) -> torch.Tensor:
        """Features of the last forward pass, once.

        Returns
        -------
        torch.Tensor
            (B, D), where the module left them: its device, its precision.

        Raises
        ------
        NoFeatures
            No layer's input gives the logits; says what was tried.
        ArgumentError
            There was no pass since the last time.
        """
        if self._none is not None:
            raise NoFeatures(
                f"{type(self._module).__name__} has no features to store: {self._none}; "
                "store its logits without embeddings"
            )
        taken, self._taken = self._taken, None
        if taken is None:
            raise ArgumentError("take() gives the features of a forward pass once; call the module first")
        return taken

    def _watch(self, layers: Mapping[str, Classifier]) -> None:
        self._handles = [self._module.register_forward_pre_hook(self._begin)]
        for name, layer in layers.items():
            self._handles.append(layer.register_forward_pre_hook(self._looker(name, layer)))
        self._handles.append(self._module.register_forward_hook(self._end))

    def _unwatch(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin(self, module: nn.Module, given: Any) -> None:
        self._calls, self._taken = [], None

    def _looker(self, name: str, layer: Classifier) -> Callable[[nn.Module, Any], None]:
        def look(module: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], torch.Tensor):
                number = sum(call.name == name for call in self._calls)
                self._calls.append(_Call(name, layer, number, given[0]))

        return look

    def _end(self, module: nn.Module, given: Any, output: Any) -> None:
        calls, self._calls = self._calls, []
        if not self._chosen and self._none is None:
            self._choose(calls, output)
        if self._chosen:
            given = {(call.name, call.number): call for call in calls}
            if given.keys() >= {*self._chosen}:
                self._taken = torch.cat([given[place].features() for place in self._chosen], 1)
            else:
                self._none = f"its passes differ: {self.layers} did not all run in each of them"

    def _choose(self, calls: list[_Call], output: Any) -> None:
        """Find the calls that the output comes from; from then on only their layers are watched."""
        self._unwatch()  # asking a layer again must not be seen
        logits = _logits_of(output)
        if logits is None or logits.ndim != 2:
            self._none = f"it returns {type(output).__name__}, not logits of shape (B, {self._n_classes})"
            return
        chosen = _origin(calls, logits)
        if not chosen:
            names = ", ".join(dict.fromkeys(call.name or "itself" for call in calls)) or "none"
            self._none = (
                f"its output is neither that of a layer of {self._n_classes} outputs nor the mean of two "
                f"(layers called: {names})"
            )
            return
        self._chosen = tuple((call.name, call.number) for call in chosen)
        self.layers = tuple(call.name for call in chosen)
        self._watch({name: self._candidates[name] for name in self.layers})


def _is_classifier(layer: nn.Module, n_classes: int) -> bool:
    if isinstance(layer, nn.Linear):
        return layer.out_features == n_classes
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.out_channels == n_classes


def _logits_of(output: Any) -> torch.Tensor | None:
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    return found if isinstance(found, torch.Tensor) else None


@torch.no_grad()
def _origin(calls: list[_Call], logits: torch.Tensor) -> list[_Call]:
    """The last call whose features give the logits, or the last two that give them as their mean."""
    made = [(call, rows) for call in calls if (rows := call.logits()).shape == logits.shape]
    fits = [call for call, rows in made if _is_close(rows, logits)]
    if fits:
        return fits[-1:]
    pair = made[-2:]
    if len(pair) == 2 and _is_close((pair[0][1] + pair[1][1]) / 2, logits):
        return [call for call, _ in pair]
    return []


def _is_close(made: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether two arrays of logits are the same but for rounding, which pooling in another order changes."""
    a, b = made.double(), logits.double()
    coarsest = max(torch.finfo(t.dtype).eps for t in (made, logits) if t.is_floating_point())
    span = float(b.abs().max()) if b.numel() else 0.0
    return bool(torch.allclose(a, b, rtol=0, atol=max(1e-4, 4 * coarsest) * span))


@torch.inference_mode()
def feature_dim(module: nn.Module, batch: Any, n_classes: int) -> int:
    """Number of features of a module, by one forward pass of a small batch.

    For a writer must know it before the first row: `Store.writer(..., embedding_dim=...)`.

    Parameters
    ----------
    module, n_classes
        See `Features`.
    batch
        Some examples, on the module's device.

    Raises
    ------
    NoFeatures
        It has none.
    """
    with Features(module, n_classes) as features:
        module(batch)
        return features.take().shape[1]


@dataclass(frozen=True)
class Watched:
    """A predictor whose features are taken as it runs.

    Attributes
    ----------
    predictor
        The model.
    features
        Takes them; to be entered before the first batch and left after the last.
    dim
        Their number.
    """

    predictor: Predictor
    features: Features
    dim: int


def watch(predictor: Predictor, batch: Any, n_classes: int) -> Watched:
    """Return a predictor with what takes its features.

    Parameters
    ----------
    predictor
        A torch model's.
    batch
        One example, as the predictor takes it, on its device.
    n_classes
        Of the store; a predictor with other outputs says how many (`n_outputs`).

    Raises
    ------
    NoFeatures
        It is no torch module, or has no layer that gives its logits.
    """
    module, n = getattr(predictor, "module", None), getattr(predictor, "n_outputs", None) or n_classes
    if not isinstance(module, nn.Module):
        raise NoFeatures("it is no torch module, whose layers could be watched")
    with torch.inference_mode(), Features(module, n) as features:
        predictor(batch)
        return Watched(predictor, Features(module, n), features.take().shape[1])
