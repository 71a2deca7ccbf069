"""The weighted duos of all pairs of some models: two temperatures for each, fitted and reported apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dissensus.errors import ArgumentError, CalibrationWarning
from dissensus.kernels import probabilities as kernel
from dissensus.run.memory import available_bytes
from dissensus.run.progress import Progress
from dissensus.run.threads import in_order
from dissensus.store.models import again

from .calibration import temperatures
from .evaluate import Values, means
from .pool import MEAN_OF_LOGITS, Coefficients, best_duo, codes_on, of_pool, with_scores
from .splits import select_and_report

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.splits import Rows
    from dissensus.store.truth import Truth

Codes = dict[str, tuple[kernel.Codes, kernel.Codes]]  # of a model on the fit and on the report split


@dataclass(frozen=True)
class Duos:
    """Every pair of some models and how to weigh it.

    Attributes
    ----------
    models : list of str
        Members.
    table : pyarrow.Table
        One row a pair, the least NLL on the fit split first: model_a, model_b; weight_a, weight_b,
        temperature_a, temperature_b as in `Duo`; fit_accuracy, fit_nll, report_accuracy, report_nll (nats) of
        the duo; better, the member that has the lower NLL on the fit split; accuracy_gain and nll_gain over
        it on the report split, above 0 where the duo is better.
    splits : dict
        Names and sizes of the two splits; "same_examples" is true where they share some.
    labels : str
        Label set that decided what is right.
    """

    models: list[str]
    table: pa.Table
    splits: dict[str, Any]
    labels: str

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON."""
        return {"pairs": self.table.to_pylist(), "splits": self.splits, "labels": self.labels}


def duos(
    store: Store,
    models: Sequence[str] | None = None,
    *,
    select: str = "fit",
    report: str = "report",
    allow_same_split: bool = False,
    labels: str | None = None,
    progress: bool = False,
) -> Duos:
    """Weigh every pair of some models as `duo` weighs two.

    Time grows with pairs x examples x classes: a pair takes about ten passes over the logits of both, so
    that of a large zoo some models should be named. Logits of as many models as fit half of the memory are
    held at a time.

    Parameters
    ----------
    store : Store
        Models and examples.
    models : sequence of str, optional
        Two models at least, with logits or probabilities; by default all that have them.
    select, report, allow_same_split, labels
        As in `duo`.
    progress : bool
        Show pairs done and the time left on stderr.

    Returns
    -------
    Duos

    Raises
    ------
    ArgumentError, UnknownName, LabelsOnly

    Warns
    -----
    CalibrationWarning
        For pairs of which no finite temperatures are best the mean of logits is used, with weights to match.

    Examples
    --------
    >>> duos = ds.duos(store, ["resnet50", "vit_small", "mlp"])  # doctest: +SKIP
    >>> duos.table.slice(0, 5).to_pylist()  # doctest: +SKIP
    """
    store = store.under(labels)
    names = _some(store, models)
    fit, held = select_and_report(store, select, report, allow_same_split)
    size = _tile_size(store, len(names), len(fit) + len(held))
    with Progress(len(names) * (len(names) - 1) // 2, "pairs weighed", enabled=progress) as bar:
        rows = _weighed(store, names, (fit, held), size, bar)
    return Duos(
        models=names,
        table=pa.Table.from_pylist(sorted(rows, key=lambda row: float(row["fit_nll"]))),
        splits={
            "select": {"name": select, "n_examples": len(fit)},
            "report": {"name": report, "n_examples": len(held)},
            "same_examples": bool(np.isin(fit, held).any()),
        },
        labels=store.truth.name,
    )


def _some(store: Store, models: Sequence[str] | None) -> list[str]:
    """Ids of different models that have scores, two at least, in the order of the store."""
    if isinstance(models, str):
        raise ArgumentError(f"models must be a list of model ids, got {models!r}; pass [{models!r}, …]")
    names = [m for m in store.model_ids if models is not None or store.model(m).kind != "labels"]
    if models is not None:
        asked = with_scores(store, models)
        names = [m for m in names if m in asked]
    if len(names) < 2:
        raise ArgumentError(
            f"duos are of two models at least; got {', '.join(names) or 'none'} with logits or "
            "probabilities: name more of them, or None for all"
        )
    return names


def _tile_size(store: Store, n_models: int, n_rows: int) -> int:
    """Models of which logits are held twice over: a tile and its partners."""
    each = n_rows * store.n_classes * np.dtype(store.dtype).itemsize
    there = available_bytes()
    if (size := there // 2 // (2 * each)) < 1:
        raise ArgumentError(
            f"a duo of {n_rows:,} examples needs {4 * each / 1e9:,.1f} GB, {there / 1e9:,.1f} GB are "
            "available: choose smaller splits (select=, report=)"
        )
    return min(size, n_models)


@again
def _weighed(
    store: Store, names: list[str], splits: tuple[Rows, Rows], size: int, bar: Progress
) -> list[dict[str, Any]]:
    """Rows of all pairs."""
    alone = temperatures(store, names, splits[0])
    truths = store.truth.take(splits[0]), store.truth.take(splits[1])
    single: dict[str, list[dict[str, float]]] = {}
    out, failed = [], []
    for pairs, codes in _tiles(store, names, splits, size):
        for m in codes.keys() - single.keys():
            both = [[one, one] for one in codes[m]]
            single[m] = [means(of_pool(c, t, (1 / alone[m], 0.0))) for c, t in zip(both, truths, strict=True)]

        def weigh(pair: tuple[str, str], codes: Codes = codes) -> tuple[bool, dict[str, Any]]:
            a, b = pair
            found = best_duo([codes[a][0], codes[b][0]], truths[0], (alone[a], alone[b]))
            return found is None, _row(codes, pair, truths, found or MEAN_OF_LOGITS, alone)

        for pair, (lacks, row) in zip(pairs, in_order(weigh, pairs), strict=True):
            failed += [pair] if lacks else []
            out.append(row | _gains(row, single))
            bar.advance(1)
    _tell(failed, len(splits[0]))
    return out


def _tiles(
    store: Store, names: list[str], splits: tuple[Rows, Rows], size: int
) -> Iterator[tuple[list[tuple[str, str]], Codes]]:
    """Pairs whose models are held at the same time, each pair once."""
    tiles = [names[start : start + size] for start in range(0, len(names), size)]

    def held(some: list[str]) -> Codes:
        sides = [codes_on(store, some, rows) for rows in splits]
        return dict(zip(some, zip(*sides, strict=True), strict=True))

    for place, tile in enumerate(tiles):
        codes = held(tile)
        yield list(combinations(tile, 2)), codes
        for other in tiles[place + 1 :]:
            yield [(a, b) for a in tile for b in other], codes | held(other)


def _row(
    codes: Codes, pair: tuple[str, str], truths: tuple[Truth, Truth], b: Coefficients, alone: dict[str, float]
) -> dict[str, Any]:
    """Weights of a pair and its numbers on both splits."""
    row: dict[str, Any] = {"model_a": pair[0], "model_b": pair[1]}
    row |= {f"weight_{side}": x * alone[m] for side, x, m in zip("ab", b, pair, strict=True)}
    row |= {f"temperature_{side}": 1 / x if x else np.inf for side, x in zip("ab", b, strict=True)}
    for place, split in enumerate(("fit", "report")):
        values: Values = of_pool([codes[m][place] for m in pair], truths[place], b)
        row |= {f"{split}_{metric}": value for metric, value in means(values).items()}
    return row


def _gains(row: dict[str, Any], single: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The better member on the fit split, and what the duo gains over it on the other."""
    better = min((row["model_a"], row["model_b"]), key=lambda m: single[m][0]["nll"])
    held = single[better][1]
    return {
        "better": better,
        "accuracy_gain": row["report_accuracy"] - held["accuracy"],
        "nll_gain": held["nll"] - row["report_nll"],
    }


def _tell(failed: list[tuple[str, str]], n_examples: int) -> None:
    """Warn once of all pairs without best temperatures."""
    if failed:
        named = ", ".join(f"{a!r} with {b!r}" for a, b in failed[:3]) + (", …" if len(failed) > 3 else "")
        warnings.warn(
            f"{len(failed)} pairs have no best temperatures together on these {n_examples} examples (always "
            f"right, or worse than chance): {named}; the mean of their logits is used",
            CalibrationWarning,
            stacklevel=5,
        )
