"""Training one recipe, and worker processes that do so on one thread each: small networks need no more.

Workers are plain subprocesses that read recipes as lines and answer with lines, so that callers need no main
guard and a worker whose parent was killed ends with its input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import IO

from . import weights
from .data import DemoData
from .recipes import Recipe

Report = Callable[[str, str], None]
Process = subprocess.Popen[str]

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def train_in_processes(
    recipes: Sequence[Recipe], origin: tuple[str, str | None], folder: Path, n: int, done: Report
) -> None:
    """Hand recipes to `n` workers as they become free.

    Parameters
    ----------
    recipes
        In the order in which they are begun.
    origin
        Of the data, see `DemoData`; each worker loads them itself.
    folder
        Of the weights.
    n
        Number of processes.
    done
        Called with each model's id and its error, empty if there is none, from several threads.
    """
    queue: SimpleQueue[Recipe] = SimpleQueue()
    for recipe in recipes:
        queue.put(recipe)
    stopped = Event()
    with ThreadPoolExecutor(n) as pool, _workers(origin, folder, n, stopped) as processes:
        jobs = [pool.submit(_feed, process, queue, done, stopped) for process in processes]
        for job in as_completed(jobs):
            job.result()


def serve(origin: tuple[str, str | None], folder: Path, requests: IO[str], answers: IO[str]) -> None:
    """Train the recipes that come in, one a line, and answer each with a line of JSON: model and error."""
    import torch

    from .data import load

    torch.set_num_threads(1)
    data = load(*origin)
    for line in requests:
        recipe = Recipe.from_json(line)
        answer = {"model": recipe.model_id, "error": train_one(recipe, data, folder)}
        print(json.dumps(answer), file=answers, flush=True)


def train_one(recipe: Recipe, data: DemoData, folder: Path) -> str:
    """Train one recipe and save its weights; return why it failed, or nothing."""
    from . import classical, training

    start = time.process_time()
    try:
        model = classical.fit(recipe, data) if recipe.method == "estimator" else training.train(recipe, data)
        weights.save(model, recipe, data, folder, time.process_time() - start)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _feed(process: Process, queue: SimpleQueue[Recipe], done: Report, stopped: Event) -> None:
    """Keep one worker busy until the queue is empty or it dies."""
    while process.poll() is None:
        try:
            recipe = queue.get_nowait()
        except Empty:
            return
        error = _ask(process, recipe)
        if stopped.is_set():  # we ended it ourselves: that is no failure of the model
            return
        done(recipe.model_id, error)


def _ask(process: Process, recipe: Recipe) -> str:
    """Have one recipe trained; return the error, or nothing."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(recipe.to_json(), file=process.stdin, flush=True)
        line = process.stdout.readline()
    except (BrokenPipeError, ValueError):
        line = ""
    if line:
        return str(json.loads(line)["error"])
    return f"its training process ended (status {process.wait()}); run the demo again, it goes on from here"


@contextmanager
def _workers(origin: tuple[str, str | None], folder: Path, n: int, stopped: Event) -> Iterator[list[Process]]:
    processes = [_start(origin, folder) for _ in range(n)]
    try:
        yield processes
    except BaseException:
        stopped.set()
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.communicate()  # closes its input, which ends it


def _start(origin: tuple[str, str | None], folder: Path) -> Process:
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "dissensus.demo.worker", json.dumps(origin), str(folder.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what goes wrong comes back as an answer
        env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONPATH": paths},
        text=True,
    )
