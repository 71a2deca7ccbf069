"""SIGKILL at every step of every act that changes a store: before calls, half-way of writes, after renames.

Visible is what was acknowledged or what the last rename named, and it is whole; the next run ends as an
unbroken one. The acts are in `acts.py`.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import dissensus as ds

from .acts import (
    ACTS,
    Act,
    commit_logits,
    other_weights,
    repair,
    replace_by_two_renames,
    replace_model,
    restart_with_other_weights,
    the_model,
)
from .effort import Effort
from .figures import Figure
from .processes import Outcome, run
from .steps import at_step, kill
from .stores import damage, locks, model_content, new_store, write_model

PROMISE = "acknowledged is visible, visible is whole; the next run ends as an unbroken one"
NEVER = 10**9


class Stage:
    """A store as an act finds it, as often as needed, and what an unbroken run makes of it."""

    def __init__(self, root: Path, act: Act) -> None:
        self.act, self._root, self._copies = act, root, 0
        self._template = root / "template.zoo"
        new_store(self._template, codec=act.codec)
        write_model(self._template, "there", weights="9")
        self.kept = model_content(self._template, "there")
        act.before(self._template)
        unbroken = self.copy()
        self.n_steps: int = run(at_step, NEVER, kill, act.do, unbroken).said
        self.expected = act.seen(unbroken)

    def copy(self) -> Path:
        """Copy the store as the act finds it."""
        self._copies += 1
        return Path(shutil.copytree(self._template, self._root / f"{self._copies}.zoo"))

    def check(self, path: Path, ended: Outcome) -> Iterator[str]:
        """What is wrong after a kill, and after going on."""
        yield from damage(path) if self.act.sound else []
        seen = self.act.seen(path)
        if seen is None and ended.said is not None:
            yield "acknowledged, but not visible"
        if seen is not None and not _equal(seen, self.expected):
            yield "visible, but not whole"
        if seen is None:
            again = run(self.act.again or self.act.do, path)
            yield from [f"cannot go on: {again.error} {again.message}"] if again.error else []
            yield from [] if _equal(self.act.seen(path), self.expected) else ["ends with other bytes"]
            yield from damage(path) + locks(path) + ds.open(path).staged()
        if model_content(path, "there") != self.kept:
            yield "another model changed"
        shutil.rmtree(path)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b)


def at_every_step(root: Path, effort: Effort, act: Act) -> Figure:
    """Kill an act at each of its steps."""
    stage, figure = Stage(root, act), Figure(act.fault, PROMISE)
    figure.demand("unbroken", [] if stage.expected is not None else ["an unbroken run shows nothing"])
    for step in effort.pick(range(1, stage.n_steps + 1), 8):
        path = stage.copy()
        ended = run(at_step, step, kill, act.do, path)
        problems = [] if ended.killed else [f"not killed: {ended}"]
        figure.count(f"step {step} of {stage.n_steps}", chain(problems, stage.check(path, ended)))
    return figure


def removed_after(root: Path, effort: Effort) -> Figure:
    """Kill a replacement at each of its steps, remove the model, repair: neither of the two comes back."""
    fault = "kill -9 in a replacement, then remove and repair"
    figure = Figure(fault, "a removed model does not come back, nor does what was to replace it")
    for act in [act for act in ACTS if act.do in (replace_model, replace_by_two_renames)]:
        stage = Stage(root / act.do.__name__, act)
        for step in effort.pick(range(1, stage.n_steps + 1), 6):
            path = stage.copy()
            run(at_step, step, kill, act.do, path)
            figure.count(f"{act.do.__name__}, step {step} of {stage.n_steps}", _ghosts(path, stage.kept))
            shutil.rmtree(path)
    return figure


def _ghosts(path: Path, kept: Any) -> Iterator[str]:
    """What is wrong once model m is removed and the store repaired, whatever was left of it."""
    if model_content(path, "m") is None:  # between two renames: the next command puts one of them back
        ds.open(path).repair()
    ds.open(path).remove("m")
    ended = run(repair, path)
    yield from [f"repair ended with {ended}"] if ended.error else []
    if model_content(path, "m") is not None:
        yield "the removed model came back"
    if model_content(path, "there") != kept:
        yield "another model changed"
    yield from damage(path) + locks(path)


def twice(root: Path, effort: Effort) -> Figure:
    """Kill a run of weights 1, then one of weights 2; what weights 2 end with must be all theirs."""
    fault = "kill -9 twice, weights 1 then 2: rows of other weights taken over"
    fresh = Stage(root / "fresh", Act(fault, commit_logits, the_model, again=other_weights))
    restart = Stage(root / "restart", Act(fault, restart_with_other_weights, the_model))
    fresh.expected = restart.expected  # that of weights 2
    rng = random.Random(effort.seed)
    figure = Figure(fault, "every row is of the weights that the model names")
    for _ in range(effort.number(10, 150)):
        first, second = rng.randint(1, fresh.n_steps - 8), rng.randint(1, restart.n_steps - 8)
        path = fresh.copy()
        run(at_step, first, kill, commit_logits, path)
        run(at_step, second, kill, rng.choice([restart_with_other_weights, other_weights]), path)
        figure.count(f"steps {first} and {second}", fresh.check(path, Outcome(-9)))
    return figure
