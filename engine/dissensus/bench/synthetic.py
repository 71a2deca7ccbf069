"""A seeded zoo of any size whose statistics are those of a real one, made block by block without a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError
from dissensus.kernels import synthetic as kernel
from dissensus.kernels.temperatures import best_temperature

SAMPLE_ROWS = 2000  # on which a model's signal and scale are set
SAMPLE_CELLS = 2_000_000
LEAST, MOST = 0.02, 0.999  # accuracies
SPREAD = 3.0  # standard deviations that the anchors span, not the models: a zoo begins with a smaller one
ANCHORS = 9  # signals at which the scale is fitted; between them it is interpolated


@dataclass(frozen=True)
class Statistics:
    """What a synthetic zoo is to look like.

    Attributes
    ----------
    accuracy, accuracy_sd : float
        Mean and standard deviation of the models' accuracies.
    families : int
        Families; models are dealt to them in turn.
    shared, family : float
        Shares of a logit's noise that all models, and those of one family, have in common; the rest is a
        model's own. More in common, more alike mistakes.
    hardness : float
        Spread of the examples' hardness, in units of the noise.
    temperature : float
        Best temperature of the models on average: above 1 they are too sure, as many trained networks are.

    Notes
    -----
    The defaults were set on the demo's 53 models of Fashion-MNIST: `python benchmarks/synthetic.py` prints
    both side by side. Accuracy, kappa, confidence and the share of examples that all or no models get right
    are near; mistakes are surer than real ones (NLL 0.47, there 0.32), as what is hard lowers the right class
    alone.
    """

    accuracy: float = 0.87
    accuracy_sd: float = 0.03
    families: int = 5
    shared: float = 0.5
    family: float = 0.1
    hardness: float = 2.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1:
            raise ArgumentError(f"accuracy must lie between 0 and 1; got {self.accuracy!r}")
        if min(self.shared, self.family) < 0 or self.shared + self.family > 1:
            raise ArgumentError(
                f"shared={self.shared!r} and family={self.family!r} are shares of the noise: "
                "at least 0, together at most 1"
            )
        if self.families < 1:
            raise ArgumentError(f"families must be at least 1; got {self.families!r}")


@dataclass(frozen=True)
class SyntheticZoo:
    """Models, examples and logits that follow from a seed.

    Parameters
    ----------
    n_models, n_examples, n_classes : int
        Size M x N x C.
    seed : int
        Another seed, another zoo.
    statistics : Statistics
        What it looks like.

    Examples
    --------
    >>> zoo = SyntheticZoo(3, 100, 10)
    >>> zoo.logits(0, 10, 20).shape
    (10, 10)
    """

    n_models: int
    n_examples: int
    n_classes: int
    seed: int = 0
    statistics: Statistics = field(default_factory=Statistics)

    def __post_init__(self) -> None:
        for name, least in (("n_models", 1), ("n_examples", 1), ("n_classes", 2)):
            if getattr(self, name) < least:
                raise ArgumentError(f"{name} must be at least {least}; got {getattr(self, name)!r}")

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """Right classes: (N,), as many of each as can be."""
        order = np.random.default_rng([self.seed, 1]).permutation(self.n_examples)
        return (order % self.n_classes).astype(np.int32)

    @cached_property
    def hardness(self) -> NDArray[np.float32]:
        """What the right class lacks on each example: (N,)."""
        drawn = np.random.default_rng([self.seed, 2]).normal(0, self.statistics.hardness, self.n_examples)
        return drawn.astype(np.float32)

    @cached_property
    def accuracies(self) -> NDArray[np.float64]:
        """What each model's accuracy is set to: (M,), within LEAST and MOST."""
        drawn = np.random.default_rng([self.seed, 3]).normal(size=self.n_models)
        return np.clip(self.statistics.accuracy + self.statistics.accuracy_sd * drawn, LEAST, MOST)

    def settle(self) -> None:
        """Set every model's signal and scale now, which takes longer than its logits, and not when asked."""
        for model in range(self.n_models):
            self._setting(model)

    @property
    def model_ids(self) -> list[str]:
        """Names, in order."""
        return [f"synthetic-{m:05d}" for m in range(self.n_models)]

    def family(self, model: int) -> int:
        """Family of a model."""
        return model % self.statistics.families

    def logits(self, model: int, start: int, stop: int) -> NDArray[np.float32]:
        """Logits of one model on examples ``start:stop``: (stop - start, C)."""
        signal, scale = self._setting(model)
        return self._rows(model, start, stop, signal, scale)

    def _rows(self, model: int, start: int, stop: int, signal: float, scale: float) -> NDArray[np.float32]:
        out = np.empty((stop - start, self.n_classes), np.float32)
        labels, hardness = self.labels[start:stop], self.hardness[start:stop]
        kernel.logit_rows(self._keys(model), self._weights, labels, hardness, signal, scale, start, out)
        return out

    def _keys(self, model: int) -> NDArray[np.uint64]:
        entropy = ([self.seed, 4], [self.seed, 5, self.family(model)], [self.seed, 6, model])
        return np.array([np.random.SeedSequence(e).generate_state(1, np.uint64)[0] for e in entropy])

    @cached_property
    def _weights(self) -> NDArray[np.float32]:
        shared, family = self.statistics.shared, self.statistics.family
        weights: NDArray[np.float32] = np.sqrt(
            np.array([shared, family, max(1 - shared - family, 0.0)])
        ).astype(np.float32)
        return weights

    @property
    def _sample(self) -> int:
        return max(1, min(self.n_examples, SAMPLE_ROWS, SAMPLE_CELLS // self.n_classes))

    def _setting(self, model: int) -> tuple[float, float]:
        """Signal that gives a model its accuracy on the first examples, and the scale of its logits."""
        if model not in self._settings:
            lack = self._lack(model)
            signal = float(np.quantile(lack, self.accuracies[model]))
            self._settings[model] = signal, float(np.interp(signal, *self._scales))
        return self._settings[model]

    @cached_property
    def _settings(self) -> dict[int, tuple[float, float]]:
        return {}

    def _lack(self, model: int) -> NDArray[np.float64]:
        """How much signal the model would need on each of the first examples to be right: (n,)."""
        rows = self._rows(model, 0, self._sample, 0.0, 1.0)
        every, labels = np.arange(self._sample), self.labels[: self._sample]
        right = rows[every, labels].astype(np.float64)
        rows[every, labels] = -np.inf
        lack: NDArray[np.float64] = rows.max(axis=1) - right
        return lack

    @cached_property
    def _scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale by signal: with it, the best temperature is that of the statistics."""
        near = self.statistics.accuracy + SPREAD * self.statistics.accuracy_sd * np.linspace(-1, 1, ANCHORS)
        signals = np.quantile(self._lack(0), np.clip(near, LEAST, MOST))
        labels = self.labels[: self._sample]
        scales = [
            self.statistics.temperature * _best_scale(self._rows(0, 0, self._sample, s, 1.0), labels)
            for s in signals
        ]
        return signals, np.array(scales)


def _best_scale(rows: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """What the logits must be multiplied by to be calibrated; 1 where nothing would do."""
    centred = rows - rows.max(axis=1, keepdims=True)
    return 1 / (best_temperature(centred, np.arange(len(rows) + 1, dtype=np.int64), labels) or 1.0)
