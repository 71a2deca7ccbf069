"""Training what is missing of a zoo: one recipe after the other, or several at a time in worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from dissensus.run.progress import Progress

from . import weights
from .crew import train_in_processes, train_one
from .data import DemoData
from .recipes import Recipe

MAX_WORKERS = 8


def train_missing(
    recipes: Sequence[Recipe],
    data: DemoData,
    folder: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[list[str], dict[str, str]]:
    """Train every recipe whose weights are not in `folder` yet; what is there is not touched.

    Parameters
    ----------
    recipes
        Of the whole zoo.
    data
        Gives the training images.
    folder
        Of the weights, one sub-folder a model; made if missing.
    workers
        Processes; one a core by default, at most 8. 0 trains in this process.
    progress
        Show models done and the time left on stderr.

    Returns
    -------
    list of str, dict of str
        Models trained now; and of those that failed, why. One failure does not stop the others.
    """
    missing = [recipe for recipe in recipes if not weights.is_ready(folder, recipe, data)]
    missing.sort(key=lambda recipe: recipe.pretraining is None)  # the longest first: no core idles at the end
    n = min(len(missing), min(_cores(), MAX_WORKERS) if workers is None else workers)
    failed: dict[str, str] = {}
    with Progress(len(missing), f"training on {data.name}", enabled=progress and bool(missing)) as bar:
        done = _recorder(failed, bar)
        if n:
            train_in_processes(missing, data.origin, folder, n, done)
        else:
            for recipe in missing:
                done(recipe.model_id, train_one(recipe, data, folder))
    return [recipe.model_id for recipe in missing if recipe.model_id not in failed], failed


def _recorder(failed: dict[str, str], bar: Progress) -> Callable[[str, str], None]:
    lock = Lock()  # workers report from several threads

    def done(model_id: str, error: str) -> None:
        with lock:
            if error:
                failed[model_id] = error
            bar.advance(1, status=f"{model_id} failed: {error}" if error else model_id)

    return done


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
