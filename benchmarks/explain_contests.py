"""Comparisons of profiles, replacements and explanations with whole matrices in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dissensus as ds
from contests import Comparison, Way, exactly, within
from explain import flips_by_numpy, profiles_by_numpy, store_of_answers, store_of_scores, why_by_numpy


def answers(place: Path, **sizes: int) -> ds.Store:
    return store_of_answers(place / "answers.zoo", **sizes)


def on_answers(job: Callable[[NDArray[np.bool_]], Any]) -> Callable[[ds.Store], Callable[[], Any]]:
    """Correctness is read beforehand."""

    def prepare(store: ds.Store) -> Callable[[], Any]:
        correct = store.correct()
        return lambda: job(correct)

    return prepare


SIZES = {"models": 500, "examples": 50_000, "classes": 1_000}
SMALL = {"models": 7, "examples": 200, "classes": 9}


def discrimination(table: Any) -> NDArray[np.float64]:
    return np.array(table["discrimination"].to_pylist(), np.float64)


def flips(found: Any) -> NDArray[np.int64]:
    """Negative flips from the first model to the others, in the order of their names."""
    table, n = found
    rates = dict(zip(table["model"].to_pylist(), table["negative_flip_rate"].to_pylist(), strict=True))
    return np.rint([n * rates[model] for model in sorted(rates)]).astype(np.int64)


PROFILES = Comparison(
    "profiles of all examples",
    "How much faster than whole matrices in NumPy are profiles of examples?",
    answers,
    small=SMALL,
    large=SIZES,
    ways={
        "dissensus profiles": Way(lambda store: lambda: ds.profiles(store), discrimination),
        "NumPy, whole matrices": Way(on_answers(profiles_by_numpy), once=True),
    },
    equal=within(absolute=1e-9),
    tolerance="to 1e-9",
)
REPLACEMENTS = Comparison(
    "replacements of a model",
    "How long do replacements of a model take, beside NumPy's count of flips alone?",
    answers,
    small=SMALL,
    large=SIZES,
    ways={
        "dissensus replacements": Way(
            lambda store: lambda: (ds.replacements(store, "m00000"), store.n_examples), flips
        ),
        "NumPy, flips alone": Way(on_answers(flips_by_numpy), lambda found: found[1:]),
    },
    equal=exactly,
)


def scores(place: Path, models: int, examples: int, classes: int) -> ds.Store:
    return store_of_scores(place / "scores.zoo", models, examples, classes)


def why_in_memory(store: ds.Store) -> Any:
    rows = store.rows("report")
    logits = [store.logits(m).take(rows).astype(np.float32) for m in store.model_ids]
    labels = store.truth.first[rows].astype(np.int64)
    return lambda: why_by_numpy(logits, labels)


def diversity(why: ds.Why) -> NDArray[np.float64]:
    found = dict(zip(*(why.ledger[n].to_pylist() for n in ("metric", "diversity")), strict=True))
    return np.array([found["nll"], found["brier"]])


WHY = Comparison(
    "why an ensemble gains",
    "How long does an explanation take from logits on disk, beside NumPy's float64 on logits in memory?",
    scores,
    small={"models": 3, "examples": 200, "classes": 12},
    large={"models": 10, "examples": 4_000, "classes": 1_000},
    ways={
        "dissensus why": Way(
            lambda store: lambda: ds.why(store, store.model_ids, calibrate=False), diversity
        ),
        "NumPy, float64, its core alone": Way(
            why_in_memory, lambda found: np.array([found[0]["nll"], found[0]["brier"]]), once=True
        ),
    },
    equal=within(absolute=1e-6),
    tolerance="to 1e-6 nats",
)
EXPLANATIONS = (PROFILES, REPLACEMENTS, WHY)
