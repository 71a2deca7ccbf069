"""Several processes that want the same: an id, many ids, the path of a store, the lock of a killed one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import dissensus as ds

from .effort import Effort
from .figures import Figure
from .processes import CONTEXT, Child, Outcome, run
from .stores import damage, locks, model_content, new_store, stage_model, write_model

RIVALS = 4
REFUSALS = {"WriterBusy", "ModelExists"}


def _at_once(job: Any, arguments: list[tuple[Any, ...]]) -> list[Outcome]:
    """Do a job in several children that begin together; `job` is given the barrier first."""
    together = CONTEXT.Barrier(len(arguments))
    children = [Child(job, together, *given) for given in arguments]
    return [child.outcome() for child in children]


def write_together(together: Barrier, path: Path, ids: list[str]) -> list[str]:
    """Write models, all processes beginning at the same moment."""
    together.wait()
    for model_id in ids:
        write_model(path, model_id)
    return ids


def create_together(together: Barrier, path: Path) -> str:
    together.wait()
    new_store(path)
    return "made"


def one_id(root: Path, effort: Effort) -> Figure:
    """Let four writers go for one id."""
    promise = "one writes it whole, the others are told WriterBusy or ModelExists"
    figure = Figure("4 writers, one id", promise)
    path = root / "s.zoo"
    new_store(path)
    write_model(path, "expected")
    for number in range(effort.number(6, 60)):
        ended = _at_once(write_together, [(path, [f"m{number}"])] * RIVALS)
        figure.count(f"round {number}", _one_winner(ended, REFUSALS) + damage(path) + locks(path))
    figure.demand("in the end", _differing(path))
    return figure


def _differing(path: Path) -> Iterator[str]:
    """Models that do not hold the same rows as the first."""
    store = ds.open(path)
    rows = {m: store.model(m).column("lse").tobytes() for m in store.model_ids}
    yield from (f"{m} differs" for m in rows if rows[m] != rows["expected"])


def one_store(root: Path, effort: Effort) -> Figure:
    """Let four processes make one store."""
    figure = Figure("4 makers of one store", "one makes it, the others are told StoreExists")
    for number in range(effort.number(6, 60)):
        path = root / f"{number}.zoo"
        ended = _at_once(create_together, [(path,)] * RIVALS)
        figure.count(f"round {number}", _one_winner(ended, {"StoreExists"}) + damage(path))
    left = {entry.name for entry in root.iterdir()} - {f"{n}.zoo" for n in range(figure.tried)}
    figure.demand("in the end", [f"{name} is left" for name in left])
    return figure


def _one_winner(ended: list[Outcome], refusals: set[str]) -> list[str]:
    winners = [e for e in ended if e.said]
    wrong = [f"{len(winners)} winners"] if len(winners) != 1 else []
    return wrong + [f"ended with {e}" for e in ended if not e.said and e.error not in refusals]


def many_ids(root: Path, effort: Effort) -> Figure:
    """Let four processes write ten models each."""
    figure = Figure("4 writers, 10 ids each", "40 of 40 models, in every round")
    for number in range(effort.number(2, 10)):
        path = root / f"{number}.zoo"
        new_store(path, 500)
        shares = [[f"p{process}-{i}" for i in range(10)] for process in range(RIVALS)]
        ended = _at_once(write_together, [(path, ids) for ids in shares])
        there = set(ds.open(path).model_ids)
        for model_id in chain(*shares):
            figure.count(f"round {number}", [] if model_id in there else [f"{model_id} is lost"])
        failed = [f"ended with {e}" for e in ended if not e.said]
        figure.demand(f"round {number}", failed + damage(path) + locks(path))
    return figure


def lock_of_the_killed(root: Path, effort: Effort) -> Figure:
    """Kill a writer that holds the lock: a rival is refused before, and goes on after."""
    figure = Figure(
        "a rival while the writer lives, and once it is killed", "WriterBusy, then the same bytes"
    )
    path = root / "s.zoo"
    new_store(path)
    write_model(path, "m")
    expected = model_content(path, "m")
    ds.open(path).remove("m")
    for number in range(effort.number(6, 60)):
        ready = CONTEXT.Event()
        holder = Child(hold, path, ready)
        ready.wait()
        refused = run(write_model, path, "m")
        holder.kill()
        ended = holder.outcome()
        after = run(write_model, path, "m")
        problems = [] if ended.killed and refused.error == "WriterBusy" else [f"{ended}, {refused}"]
        problems += [f"after the kill: {after}"] if after.error else []
        problems += [] if model_content(path, "m") == expected else ["other bytes"]
        figure.count(f"round {number}", problems + damage(path) + locks(path))
        ds.open(path).remove("m")
    return figure


def hold(path: Path, ready: Any) -> None:
    """Stage some rows and stay, holding the lock."""
    stage_model(path, "m")
    with ds.open(path).writer("m", fingerprint={"weights": "1"}):
        ready.set()
        time.sleep(600)
