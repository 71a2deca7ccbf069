"""No room on the device, at every page and at every system call; and writes that come out short.

What is out of room says so, shows nothing half, leaves other models readable, and goes on when there is room.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import dissensus as ds

from .acts import ACTS, commit_embeddings, commit_labels, commit_logits
from .effort import Effort
from .figures import Figure
from .kills import NEVER, Stage
from .processes import Outcome, run
from .steps import Fault, at_step, disk_error, no_room, with_short_writes
from .stores import damage, locks, model_content, new_store, write_model

PROMISE = "StoreFull (ENOSPC); nothing half-visible, others readable; with room, the bytes of an unbroken run"
PAGE = 4096
NEEDED = 160  # pages that writing a model takes at most, staged and final files at once


# on a device that is really full


@contextlib.contextmanager
def small_device(place: Path, megabytes: int = 2) -> Iterator[Path | None]:
    """Mount a file system of that size in a folder; None where this user may not."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def small_tmpfs(root: Path, effort: Effort) -> Figure:
    """Leave any number of free pages on a small tmpfs, from none to enough, and write a model."""
    figure = Figure("a full file system (2 MiB tmpfs), by free pages", PROMISE)
    with small_device(root / "device") as device:
        if device is None:
            figure.note = "this user may not mount"
            return figure
        expected, kept = _two_models(device / "s.zoo")
        room = shutil.disk_usage(device).free // PAGE
        for free in effort.pick(range(min(NEEDED, room)), 16):
            ballast = device / "ballast"
            ballast.write_bytes(bytes((room - free) * PAGE))
            ended = run(_write, device / "s.zoo")
            figure.count(f"{free} free pages", _refused(device / "s.zoo", ended, kept))
            ballast.unlink()
            figure.count(f"{free} free pages, then all", _goes_on(device / "s.zoo", expected))
    return figure


def size_limit(root: Path, effort: Effort) -> Figure:
    """Let no file of the process grow beyond a limit, which needs no mount."""
    figure = Figure("a limit on the size of files (RLIMIT_FSIZE)", PROMISE)
    path = root / "s.zoo"
    expected, kept = _two_models(path)
    largest = max(file.stat().st_size for file in ds.open(path).model("there").folder.rglob("*"))
    for limit in effort.pick(range(0, largest + 2 * PAGE, PAGE // 4), 12):
        refused = _refused(path, run(_write_limited, path, limit), kept)
        figure.count(f"limit of {limit} bytes", chain(refused, _goes_on(path, expected)))
    return figure


def _two_models(path: Path) -> tuple[Any, Any]:
    """Content of model m by an unbroken run, and of a bystander that stays."""
    new_store(path)
    for model_id in ("there", "m"):
        write_model(path, model_id)
    expected = model_content(path, "m")
    ds.open(path).remove("m")
    return expected, model_content(path, "there")


def _write(path: Path) -> str:
    write_model(path, "m")
    return "acknowledged"


def _write_limited(path: Path, limit: int) -> str:
    store = ds.open(path)  # the limit is only on what is written
    assert len(store.example_ids)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return _write(path)


def _refused(path: Path, ended: Outcome, kept: Any) -> Iterator[str]:
    """What is wrong after a run on a device that may have been full."""
    if ended.said is None and (ended.error, ended.errno) != ("StoreFull", errno.ENOSPC):
        yield f"ended with {ended}"
    if (model_content(path, "m") is None) == (ended.said == "acknowledged"):
        yield "visible is not acknowledged"
    if model_content(path, "there") != kept:
        yield "another model changed"
    yield from damage(path) + locks(path)


def _goes_on(path: Path, expected: Any) -> Iterator[str]:
    """What is wrong with a run when there is room again; the model is taken out for the next trial."""
    if model_content(path, "m") is None:
        ended = run(_write, path)
        yield from [f"cannot go on: {ended.error} {ended.message}"] if ended.error else []
    if model_content(path, "m") != expected:
        yield "ends with other bytes"
    yield from damage(path) + ds.open(path).staged()
    ds.open(path).remove("m")


# the system's refusals, injected


def refused_everywhere(root: Path, effort: Effort, fault: Fault, name: str, number: int) -> Figure:
    """Let each system call that changes the disk fail once, in every act."""
    promise = PROMISE if number == errno.ENOSPC else PROMISE.replace("StoreFull (ENOSPC)", "an OSError")
    figure = Figure(f"{name} at every system call of every act", promise)
    acts = replace(effort, seed=effort.seed + number).pick(ACTS, 10)  # other acts for another error
    for place, act in enumerate(acts):
        (root / str(place)).mkdir()
        figure.add(_refused_in(Stage(root / str(place), act), effort, fault, number))
    return figure


def _refused_in(stage: Stage, effort: Effort, fault: Fault, number: int) -> Figure:
    figure = Figure(stage.act.fault, "")
    n_steps = run(at_step, NEVER, fault, stage.act.do, stage.copy()).said
    for step in effort.pick(range(1, n_steps + 1), 5):
        path = stage.copy()
        ended = run(at_step, step, fault, stage.act.do, path)
        wrong = ended.exitcode != 0 or (ended.said is None and ended.errno != number)
        if number == errno.ENOSPC and ended.said is None:
            wrong |= ended.error != "StoreFull"
        problems = [f"ended with {ended}"] if wrong else []
        case = f"{stage.act.do.__name__}, step {step} of {n_steps}"
        figure.count(case, chain(problems, stage.check(path, ended)))
    return figure


def no_room_anywhere(root: Path, effort: Effort) -> Figure:
    return refused_everywhere(root, effort, no_room, "ENOSPC", errno.ENOSPC)


def disk_errors(root: Path, effort: Effort) -> Figure:
    return refused_everywhere(root, effort, disk_error, "EIO", errno.EIO)


# short writes


def short_writes(root: Path, effort: Effort) -> Figure:
    """Let every write take a random part of its bytes."""
    figure = Figure("writes that take only some of their bytes", "the bytes of an unbroken run")
    commits = (commit_logits, commit_labels, commit_embeddings)  # unbroken and resumed
    acts = [act for act in ACTS if act.do in commits]
    for place, act in enumerate(acts):
        (root / str(place)).mkdir()
        stage = Stage(root / str(place), act)
        for seed in range(effort.number(6, 60)):
            path = stage.copy()
            ended = run(with_short_writes, seed, act.do, path)
            problems = [] if ended.said else [f"ended with {ended}"]
            figure.count(f"{act.do.__name__}, seed {seed}", chain(problems, stage.check(path, ended)))
    return figure
