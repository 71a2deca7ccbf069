"""What does the way logits are stored change in predictions, NLL, kappa and bytes, on real models?

The demo's trained models run once into a float32 store; its copies in float16 and in the archive codec, and
plain float16 of the same logits (what is usually done), are compared with it: classes predicted, rows whose
largest logit became a tie, mean NLL, Cohen's kappa on correctness of every pair, bytes on disk.

    dissensus demo --data fashion-mnist      # once; or digits
    python benchmarks/storage.py [--demo demo-fashion-mnist] [--data fashion-mnist]

The result is written to results/<machine>-storage.json beside this file; the README's table comes from it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from machine import write_result
from measuring import begin, options

Rows = dict[str, np.ndarray]  # logits of each model, shifted by their row maximum


def main() -> None:
    arguments, frame = parse_arguments(), begin(__doc__)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        reference, rows = zoo(arguments, Path(folder))
    report = {
        **frame,
        "models": len(next(iter(rows.values()))[0]),
        "data": arguments.data,
        "examples": reference["n_examples"],
        "classes": reference["n_classes"],
        "effects": {name: effects(reference, *variant) for name, variant in rows.items()},
    }
    show(report)
    print(f"written to {write_result(arguments.out, 'storage', report)}")


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--demo", type=Path, help="folder of the demo; demo-DATA by default")
    parser.add_argument("--models", type=int, help="only the first so many")
    arguments = parser.parse_args()
    arguments.demo = arguments.demo or Path(f"demo-{arguments.data}")
    return arguments


def zoo(arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Rows, int]]]:
    """Facts of the float32 store, and of each way of storing: rows by model, and bytes on disk."""
    import dissensus as ds
    from dissensus.demo import weights
    from dissensus.demo.data import load
    from dissensus.demo.families import recipes_for

    images = load(arguments.data, None)
    recipes = [
        recipe
        for recipe in recipes_for(images.size, images.flips)
        if weights.is_ready(arguments.demo / "weights", recipe, images)
    ][: arguments.models]
    exact = ds.create_from(folder / "float32.zoo", images.examples(), "float32")
    sources = [weights.source(recipe, images, arguments.demo / "weights") for recipe in recipes]
    assert not ds.infer(exact, sources, images.examples()).failed
    stores = {
        "float32": exact,
        "float32, archive": exact.copy(folder / "32a.zoo", codec="archive"),
        "float16": exact.copy(folder / "16.zoo", dtype="float16"),
        "float16, archive": exact.copy(folder / "16a.zoo", dtype="float16", codec="archive"),
    }
    found = {name: (stored_rows(store), store.size_bytes()) for name, store in stores.items()}
    plain = {m: exact.logits(m)[:].astype(np.float16) for m in exact.model_ids}
    found["float16 of the logits themselves"] = plain, stores["float16"].size_bytes()
    facts = {"n_examples": exact.n_examples, "n_classes": exact.n_classes, "labels": exact.labels}
    return facts | {"rows": found["float32"][0], "bytes": found["float32"][1]}, found


def stored_rows(store: Any) -> Rows:
    return {m: np.array(store.logits(m).centred(0, store.n_examples)) for m in store.model_ids}


def effects(reference: dict[str, Any], rows: Rows, n_bytes: int) -> dict[str, float]:
    """Largest differences from the float32 rows, over models and pairs."""
    labels, exact = reference["labels"], reference["rows"]
    flips = sum(int((rows[m].argmax(1) != exact[m].argmax(1)).sum()) for m in exact)
    ties = sum(n_ties(rows[m]) - n_ties(exact[m]) for m in exact)
    nll = max(abs(mean_nll(rows[m], labels) - mean_nll(exact[m], labels)) for m in exact)
    right = [{m: r[m].argmax(1) == labels for m in exact} for r in (exact, rows)]
    kappas = max(
        abs(kappa(right[0][a], right[0][b]) - kappa(right[1][a], right[1][b])) for a, b in pairs(exact)
    )
    return {
        "rows": len(exact) * len(labels),
        "argmax_flips": flips,
        "new_ties": ties,
        "largest_nll_difference": nll,
        "largest_kappa_difference": kappas,
        "bytes": n_bytes,
        "bytes_of_float32": n_bytes / reference["bytes"],
    }


def pairs(models: Rows) -> list[tuple[str, str]]:
    return list(itertools.combinations(models, 2))


def n_ties(rows: np.ndarray) -> int:
    return int(((rows == rows.max(1, keepdims=True)).sum(1) > 1).sum())


def mean_nll(rows: np.ndarray, labels: np.ndarray) -> float:
    z = rows.astype(np.float64)
    z -= z.max(1, keepdims=True)
    return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean())


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float(((a == b).mean() - chance) / (1 - chance))


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['models']} models of {report['data']} x {report['examples']} examples, {report['machine']}"
    )
    for name, e in report["effects"].items():
        changes = f"{e['argmax_flips']:6} flips {e['new_ties']:6} ties"
        numbers = f"NLL {e['largest_nll_difference']:.2g}  kappa {e['largest_kappa_difference']:.2g}"
        print(f"{name:34}{changes}  {numbers}  bytes x{e['bytes_of_float32']:.3f}")


if __name__ == "__main__":
    main()
