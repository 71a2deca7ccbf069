"""What the features of two models know together: linear probes on mixes, ranked and joined embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.run.progress import Progress

from .measuring import Measured
from .probes import LinearProbe, mixed, steps
from .tables import line_rows, numbers, representatives
from .trends import Estimate, slope_trend

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the features that come from the other model
DRAWS = 5  # of features at random, for each share
MOST_MIXED = 5  # models mixed with the base: about one a category
MOST_JOINED = 60  # models whose embeddings are joined with the base's
JOINED = ("concatenated_accuracy", "gain")

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probed:
    """Accuracies of linear probes, fitted on the selection split, on the reported examples.

    Attributes
    ----------
    base_accuracy : float
        Of a probe on the base's embedding alone.
    mixes : pyarrow.Table
        model, category, share (of the features that come from the model), draw, features (how many),
        accuracy.
    ranked : pyarrow.Table
        model, category, features, from_base (how many of them are the base's), accuracy: of both embeddings'
        features the least covarying first.
    joined : pyarrow.Table
        model, category, accuracy (of the model itself), error_inconsistency, probe_accuracy (its own
        embedding's), base_probe_accuracy, concatenated_accuracy, gain (over the better of the two).
    lines : pyarrow.Table
        Fitted lines over error inconsistency; see `tables.lines_table`.
    """

    base_accuracy: float
    mixes: pa.Table
    ranked: pa.Table
    joined: pa.Table
    lines: pa.Table

    @property
    def slope(self) -> Estimate:
        """Gain for each point of inconsistency, the models' accuracy held fixed."""
        columns = [numbers(self.joined, n) for n in ("error_inconsistency", "gain", "accuracy")]
        return slope_trend(*columns)


def why_not(found: Measured) -> str:
    """Why there is nothing to probe; empty where there is."""
    zoo = found.zoo
    if not any(embedded := _embedded(found)):
        return "no embeddings are stored (dissensus ingest --embeddings)"
    if not len(zoo.fit):
        return "all models have hard labels only, and nothing is fitted"
    if not embedded[zoo.base]:
        return "the base is stored without embeddings (dissensus ingest --embeddings)"
    if not any(embedded[i] and zoo.in_band[i] for i in zoo.others):
        return "no model inside the band is stored with embeddings"
    return ""


def _embedded(found: Measured) -> list[bool]:
    return [found.zoo.store.model(m).embedding_dim is not None for m in found.zoo.model_ids]


def probed(found: Measured, progress: bool = False) -> Probed:
    """Probe the embeddings of the base beside those of models inside the band."""
    zoo, embedded = found.zoo, _embedded(found)
    able = [i for i in zoo.others if embedded[i] and zoo.in_band[i]]
    inconsistency = zoo.measured("error_inconsistency")[zoo.base]
    able.sort(key=lambda i: (inconsistency[i], i))
    joined = [able[k] for k in np.unique(np.linspace(0, len(able) - 1, MOST_JOINED).round().astype(int))]
    mixing = representatives(found, MOST_MIXED, joined)
    base = _features(found, zoo.base)
    own = _accuracy(found, _probe(found, base), range(base[0].shape[1]))
    tables: list[list[dict[str, Any]]] = [[], [], []]
    with Progress(len(joined), "probes", enabled=progress) as bar:
        for model in joined:
            sides, both = _beside(base, _features(found, model))
            probe = _probe(found, both)
            about = {"model": zoo.model_ids[model], "category": zoo.category[model]}
            if model in mixing:
                tables[0] += [about | row for row in _mixes(found, probe, sides)]
                tables[1] += [about | row for row in _ranked(found, probe, sides)]
            alone = _accuracy(found, probe, range(sides[0], sum(sides)))
            together = _accuracy(found, probe, range(sum(sides)))
            row = {
                "accuracy": float(zoo.accuracy[model]),
                "error_inconsistency": float(inconsistency[model]),
                "probe_accuracy": alone,
                "base_probe_accuracy": own,
                "concatenated_accuracy": together,
                "gain": together - max(own, alone),
            }
            tables[2].append(about | row)
            bar.advance(1, zoo.model_ids[model])
    mixes, ranked, pairs = (pa.Table.from_pylist(rows) for rows in tables)
    return Probed(own, mixes, ranked, pairs, line_rows(pairs, JOINED))


def _features(found: Measured, model: int) -> tuple[Features, Features]:
    """Embeddings of a model on the rows fitted on and reported on."""
    stored = found.zoo.store.embeddings(found.zoo.model_ids[model])
    fit, rows = (stored.take(rows).astype(np.float32) for rows in (found.zoo.fit, found.zoo.rows))
    return fit, rows


def _beside(
    base: tuple[Features, Features], other: tuple[Features, Features]
) -> tuple[tuple[int, int], tuple[Features, Features]]:
    """How many features either side has, and both side by side."""
    fit, rows = (np.concatenate(pair, axis=1) for pair in zip(base, other, strict=True))
    return (base[0].shape[1], other[0].shape[1]), (fit, rows)


def _probe(found: Measured, features: tuple[Features, Features]) -> LinearProbe:
    store = found.zoo.store
    return LinearProbe(*features, store.truth.take(found.zoo.fit), store.n_classes)


def _accuracy(found: Measured, probe: LinearProbe, features: Sequence[int] | NDArray[np.intp]) -> float:
    truth = found.zoo.store.truth.take(found.zoo.rows)
    return float(truth.correct(probe.top1(np.asarray(features, np.intp))).mean())


def _mixes(found: Measured, probe: LinearProbe, sides: tuple[int, int]) -> list[dict[str, Any]]:
    """As many features as the smaller embedding has, some of them from either, drawn at random."""
    rng, size = np.random.default_rng(0), min(sides)
    return [
        {
            "share": share,
            "draw": draw,
            "features": size,
            "accuracy": _accuracy(found, probe, mixed(sides, share, size, rng)),
        }
        for share in SHARES
        for draw in range(DRAWS)
    ]


def _ranked(found: Measured, probe: LinearProbe, sides: tuple[int, int]) -> list[dict[str, Any]]:
    """The least covarying features of both, in growing numbers."""
    order = np.argsort(probe.covarying, kind="stable")
    return [
        {
            "features": n,
            "from_base": int((order[:n] < sides[0]).sum()),
            "accuracy": _accuracy(found, probe, order[:n]),
        }
        for n in steps(probe.n_features)
    ]
