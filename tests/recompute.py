"""Recompute what `dissensus` prints about a store with zarr-python, pyarrow and plain NumPy alone.

Run `python tests/recompute.py STORE` after `dissensus demo`; it imports nothing of ours and asks the command
for JSON. Accuracies and counts must be equal, kappa to 1e-12, the ensemble's accuracy equal, its NLL to 1e-9.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import zarr


def ask(*arguments):
    """One query of the command, as JSON."""
    command = shutil.which("dissensus", path=str(Path(sys.executable).parent)) or "dissensus"
    done = subprocess.run(
        [command, *arguments, "--format", "json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def read(store):
    """Labels, splits, and the stored logits of every model by id: float16 rows, the maximum of each at 0."""
    examples = pa.ipc.open_file(f"{store}/examples.arrow").read_all()
    group = zarr.open_group(f"{store}/models", mode="r")
    logits = {node.attrs["model_id"]: node["logits"][:] for _, node in group.groups()}
    return examples["label"].to_numpy(), np.array(examples["split"].to_pylist()), logits


def kappa(right_a, right_b):
    """Cohen's kappa of two lists of right and wrong answers."""
    a, b = right_a.mean(), right_b.mean()
    chance = a * b + (1 - a) * (1 - b)
    return ((right_a == right_b).mean() - chance) / (1 - chance)


def mean_probabilities(logits, members, weights, temperatures):
    """Weighted mean of softmax(z / T), float64."""
    total = 0.0
    for member, weight in zip(members, weights, strict=True):
        powers = np.exp(logits[member].astype(np.float64) / temperatures[member])
        total = total + weight * powers / powers.sum(axis=1, keepdims=True)
    return total


def check(store):
    """Compare every number; return how many were."""
    labels, splits, logits = read(store)
    held = splits == "report"
    right = {model: (z.argmax(axis=1) == labels)[held] for model, z in logits.items()}
    n = 0
    for row in ask("models", store, "--split", "report"):
        assert row["accuracy"] == right[row["model"]].mean(), row
        n += 1
    for row in ask("pairs", store, "--split", "report", "--all"):
        a, b = right[row["model_a"]], right[row["model_b"]]
        assert row["error_inconsistency"] == (a != b).mean(), row
        assert abs(row["error_consistency"] - kappa(a, b)) < 1e-12, row
        n += 2
    for metric in ("accuracy", "nll"):
        best = ask("ensemble", store, "--metric", metric)
        p = mean_probabilities(logits, best["members"], best["weights"], best["temperatures"])
        for split, rows in (("fit", splits == "fit"), ("report", held)):
            assert best[split]["accuracy"] == (p.argmax(axis=1) == labels)[rows].mean(), (metric, split)
            truth = p[np.arange(len(labels)), labels][rows]
            assert abs(best[split]["nll"] + np.log(truth).mean()) < 1e-9, (metric, split)
            n += 2
    return n


if __name__ == "__main__":
    print(f"{check(sys.argv[1])} numbers recomputed from {sys.argv[1]}: all equal")
