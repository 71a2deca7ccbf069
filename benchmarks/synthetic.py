"""Are synthetic zoos like real ones, in what decides how long the engine's jobs take?

    python benchmarks/synthetic.py demo-fashion-mnist/fashion-mnist.zoo

Prints statistics of a real store and of a synthetic zoo of its size, side by side: accuracies, kappa of pairs
within and between categories, examples that all or no models get right, confidence, best temperature, and the
tails: NLL, its 99th percentile, and probability beyond the first eight classes. The result goes to
results/<machine>-synthetic.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import dissensus as ds
from dissensus.bench import SyntheticZoo
from dissensus.bench.jobs import empty_store, fill
from machine import write_result
from measuring import RESULTS, begin

MODELS = 100  # at most
ROWS = 5000  # of which confidence and tails are taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    arguments, frame = parser.parse_args(), begin(__doc__)
    real = ds.open(arguments.store)
    zoo = SyntheticZoo(min(MODELS, len(real.model_ids)), real.n_examples, real.n_classes)
    with tempfile.TemporaryDirectory() as folder:
        made = empty_store(zoo, Path(folder) / "made.zoo")
        fill(made, zoo, range(zoo.n_models))
        found, ours = statistics(real), statistics(made)
    print(f"{'':<34}{'real':>10}{'synthetic':>12}")
    for name in found:
        print(f"{name:<34}{found[name]:>10.3f}{ours[name]:>12.3f}")
    sizes = {"models": zoo.n_models, "examples": zoo.n_examples, "classes": zoo.n_classes}
    both = {name: {"real": float(found[name]), "synthetic": float(ours[name])} for name in found}
    report = {**frame, **sizes, "store": arguments.store.name, "statistics": both}
    print(f"written to {write_result(arguments.out, 'synthetic', report)}")


def statistics(store: ds.Store) -> dict[str, float]:
    """What decides how much work pairs and ensembles are."""
    models = store.models().to_pylist()
    kappa = ds.pairwise(store, ["error_consistency"])["error_consistency"]
    category = np.array([row.get("category") or "" for row in models])
    upper = np.triu(np.ones_like(kappa, bool), 1)
    same = category[:, None] == category
    accuracy = np.array([row["accuracy"] for row in models])
    temperatures = ds.greedy(store, size=1).temperatures
    confidence, tail, nll, hard = zip(*(_tops(store, row["model"]) for row in models), strict=True)
    correct = store.correct()
    return {
        "accuracy, mean": accuracy.mean(),
        "accuracy, standard deviation": accuracy.std(),
        "kappa within categories": np.nanmean(kappa[upper & same]),
        "kappa between categories": np.nanmean(kappa[upper & ~same]),
        "all models right": correct.all(axis=0).mean(),
        "no model right": 1 - correct.any(axis=0).mean(),
        "confidence, mean": np.mean(confidence),
        "best temperature, median": np.median(list(temperatures.values())),
        "NLL, median of models": np.median(nll),
        "NLL, its 99th percentile": np.median(hard),
        "probability beyond the first 8": np.mean(tail),
    }


def _tops(store: ds.Store, model_id: str) -> tuple[float, float, float, float]:
    """Mean confidence, mean probability beyond the first eight classes, mean NLL and its 99th percentile."""
    logits = store.logits(model_id)[0 : min(store.n_examples, ROWS)].astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    nll = -np.log(np.maximum(p[np.arange(len(p)), store.truth.first[: len(p)]], np.finfo(np.float64).tiny))
    p = np.sort(p, axis=1)[:, ::-1]
    beyond = p[:, 8:].sum(axis=1).mean()
    return float(p[:, 0].mean()), float(beyond), float(nll.mean()), float(np.quantile(nll, 0.99))


if __name__ == "__main__":
    main()
