"""How much faster than the libraries people use is a step of greedy selection, at the same members?

AutoGluon's `EnsembleSelection` (autogluon.core) for accuracy, a candidate at a time over all classes; the
same with TabArena's `fast_log_loss`, which looks at the probabilities of the truth alone, for NLL: the fair
opponent there. Beside them stand our own brute force and, by itself, what is done once beforehand (gathering
those probabilities). A step chooses a member, takes it in and records its score. By NLL of mean probabilities
ours looks at the truth alone too; the accuracy after each step, which `ds.greedy` tells besides and the loop
with `fast_log_loss` does not know, is made afterwards from the sums of all classes, and stands by itself.
(NLL of mean logits would need all classes at every step: there is none.) All have the same float64
probabilities; AutoGluon breaks ties by log-loss. The right answers, or NLL, after each step have to agree
first. Opponents that are not installed are left out by name; `python benchmarks/peers.py make` makes an
environment with them:

    .peers/bin/python benchmarks/greedy_peers.py [--models 20] [--examples 5000] [--classes 1000] [--steps 6]

The result goes to results/<machine>-greedy-peers.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.ensemble.certified import CertifiedRunning
from dissensus.ensemble.metrics import METRICS
from dissensus.ensemble.running import FullRunning, Running
from dissensus.ensemble.selection import Selection
from dissensus.kernels.probabilities import ONE
from greedy_contests import InMemory, Seeded
from machine import write_result
from measuring import begin, chosen, finish, nothing_compiled, options

TIMES_NLL = 3  # aimed at, against fast_log_loss


class Scored(InMemory):
    """Candidates with their probabilities of the truth, as `Scores`."""

    metrics = "accuracy", "nll"

    def __init__(self, seeded: Seeded, running: Callable[[InMemory], Running]) -> None:
        super().__init__(seeded)
        at_truth = self.q[:, np.arange(len(self.truth)), self.truth.labels] / ONE
        self.p_truth = np.ascontiguousarray(at_truth.T).T  # by example, as `MemberScores` lays them out
        self._running = running

    def running(self) -> Running:
        return self._running(self)


def ours(state: Selection, metric: str, leaders: str, steps: int) -> dict[str, Any]:
    """Members, values after each step, and seconds of each.

    What accuracy needs of all classes is summed up in each step of a search by it, and after one by NLL.
    """
    everybody, choices, seconds = np.arange(len(state.scores.p_truth)), [], []
    for _ in range(steps):
        began = time.perf_counter()
        if leaders == "leaders":
            tied = METRICS[metric].leaders(state, everybody)
        else:
            scores = METRICS[metric].if_added(state, everybody)
            tied = everybody[scores == scores.max()]
        if len(tied) > 1:
            tied = tied[[int(state.nll_if_added(tied).argmin())]]
        choices.append(time.perf_counter() - began)
        state.add(int(tied[0]))
        state.trajectory(metric)
        seconds.append(time.perf_counter() - began)
    values = [METRICS[metric].value(state, score) for score in state.trajectory(metric)]
    began = time.perf_counter()
    hits = state.trajectory("accuracy")
    besides = (time.perf_counter() - began) / steps
    return {
        "members": state.chosen,
        "values": values,
        "hits": hits,
        "seconds": seconds,
        "choices": choices,
        "accuracy_besides_s": besides,
    }


def autogluon(p: NDArray[np.float64], labels: NDArray[Any], metric: str, steps: int) -> dict[str, Any]:
    """`EnsembleSelection` as TabArena's GreedyEnsembler calls it; its own values are of errors."""
    from autogluon.core.metrics import get_metric
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    kind, scorer, began = "multiclass", get_metric("accuracy", "multiclass"), time.perf_counter()
    if metric == "nll":
        from tabarena.metrics._fast_log_loss import fast_log_loss as scorer

        labels, p = scorer.preprocess_bulk(labels, p)
        kind = scorer.post_problem_type
    gathered, began = time.perf_counter() - began, time.perf_counter()
    chosen = EnsembleSelection(steps, kind, scorer, tie_breaker="second_metric")
    chosen.use_best = False
    chosen.fit(list(p), labels)
    fitted = time.perf_counter() - began
    errors = [float(value) for value in chosen.trajectory_]
    values = errors if metric == "nll" else [1 - value for value in errors]
    members = [int(m) for m in chosen.indices_]
    return {"members": members, "values": values, "seconds": [fitted / steps] * steps, "set_up_s": gathered}


def main() -> None:
    arguments, frame = parse_arguments(), begin(__doc__)
    began = time.perf_counter()
    made = Scored(Seeded(arguments.models, arguments.examples, arguments.classes), CertifiedRunning)
    made_s = time.perf_counter() - began
    full = Scored.__new__(Scored)
    full.__dict__.update(made.__dict__, _running=FullRunning)
    p, labels = made.q / ONE, made.truth.labels.astype(np.int64)
    rows = []
    for metric in ("accuracy", "nll"):
        found = {}
        for name, source, how in (
            ("dissensus", made, "leaders"),
            ("dissensus, brute force", full, "all" if metric == "nll" else "leaders"),
        ):
            ours(Selection(source), metric, how, arguments.steps)  # compiled
            with nothing_compiled():
                found[name] = ours(Selection(source), metric, how, arguments.steps)
        found |= peers(p, labels, metric, arguments.steps)
        require_equal(metric, found, arguments.examples)
        rows += table(metric, found, arguments.models)
    frame["versions"] |= versions_of_peers()
    sizes = chosen(arguments, "models", "examples", "classes", "steps")
    report = finish(frame, **sizes, made_s=made_s, rows=rows, targets=targets(rows))
    print("\n".join(told(row) for row in rows))
    print(f"written to {write_result(arguments.out, 'greedy-peers', report)}")


def peers(p: NDArray[np.float64], labels: NDArray[Any], metric: str, steps: int) -> dict[str, dict[str, Any]]:
    """Opponents that are installed; the others are said to be left out."""
    name = {"accuracy": "autogluon.core", "nll": "tabarena fast_log_loss"}[metric]
    try:
        autogluon(p[:, :50, :], labels[:50], metric, 1)  # loaded
        with nothing_compiled():
            return {name: autogluon(p, labels, metric, steps)}
    except ImportError as error:
        print(f"left out: {name} ({error}); see the head of this file for an environment that has it")
        return {}


def require_equal(metric: str, found: dict[str, dict[str, Any]], n_examples: int) -> None:
    """Values after each step are the same: of float32 logarithms to 1e-5, of answers to one in a thousand."""
    mine = found["dissensus"]
    for name, other in found.items():
        close = 1e-5 if metric == "nll" else 0.0 if name.startswith("dissensus") else 1 / n_examples + 1e-6
        np.testing.assert_allclose(other["values"], mine["values"], rtol=0, atol=close, err_msg=name)
        if name.startswith("dissensus") and (other["members"], other["hits"]) != (
            mine["members"],
            mine["hits"],
        ):
            raise SystemExit(f"{metric}: {name} chose {other['members']}, not {mine['members']}")


def table(metric: str, found: dict[str, dict[str, Any]], n_models: int) -> list[dict[str, Any]]:
    typical = {name: float(np.median(one["seconds"])) for name, one in found.items()}
    choice = {name: float(np.median(one.get("choices", one["seconds"]))) for name, one in found.items()}
    return [
        {
            "metric": metric,
            "way": name,
            "step_s": typical[name],
            "each_step_s": one["seconds"],
            "choice_s": choice[name],
            "candidate_s": choice[name] / n_models,
            "accuracy_besides_s": one.get("accuracy_besides_s"),
            "set_up_s": one.get("set_up_s"),
            "times_our_choice": choice[name] / choice["dissensus"],
            "times_our_step": typical[name] / typical["dissensus"],
            "members": one["members"],
            "same_members": one["members"] == found["dissensus"]["members"],
        }
        for name, one in found.items()
    ]


def told(row: dict[str, Any]) -> str:
    setup = "" if row["set_up_s"] is None else f", once {1000 * row['set_up_s']:.1f} ms"
    return (
        f"{row['metric']:9} {row['way']:24} {1000 * row['step_s']:10.3f} ms a step, "
        f"{1000 * row['choice_s']:10.3f} ms of it to choose{setup}: "
        f"{row['times_our_step']:.1f} times our step, {row['times_our_choice']:.1f} times our choice"
    )


def versions_of_peers() -> dict[str, str]:
    """Of those that are installed."""
    found: dict[str, str] = {}
    for package in ("autogluon.core", "tabarena"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def targets(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What was aimed at and what was found, where TabArena is installed."""
    return {
        f"times_fast_log_loss_{part}": {"aim": TIMES_NLL, "found": row[f"times_our_{part}"]}
        for row in rows
        for part in ("choice", "step")
        if row["way"].startswith("tabarena")
    }


def parse_arguments() -> argparse.Namespace:
    return options(__doc__, models=20, examples=5_000, classes=1_000, steps=6).parse_args()


if __name__ == "__main__":
    main()
