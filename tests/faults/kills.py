"""SIGKILL at every step of every act that changes a store: before calls, half-way of writes, after renames.

Visible is what was acknowledged or what the last rename named, and it is whole; the next run ends as an
unbroken one. To kill a further act, add a line to `ACTS`.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import dissensus as ds
from dissensus.errors import FingerprintMismatch
from dissensus.store import files
from dissensus.store import format as fmt
from dissensus.store.header import migrate

from .figures import Effort, Figure
from .processes import Outcome, run
from .steps import at_step, kill
from .stores import damage, locks, model_content, new_store, rows_of, stage_model, write_model

PROMISE = "acknowledged is visible, visible is whole; the next run ends as an unbroken one"
NEVER = 10**9
SETS = [[row % 3, (row + 1) % 3] if row % 5 else [] for row in range(9001)]


@dataclass(frozen=True)
class Act:
    """Something that changes a store.

    Attributes
    ----------
    fault : str
        Its line in the table.
    do : callable
        What is killed at each of its steps; given the store's path.
    seen : callable
        What of its effect is visible: None where nothing is, equal to that of an unbroken run where all is.
    before : callable
        What was done to the store earlier.
    again : callable
        How a user goes on after the kill; by default with the same act.
    codec : str
        Of the store.
    """

    fault: str
    do: Callable[[Path], Any]
    seen: Callable[[Path], Any]
    before: Callable[[Path], Any] = bool
    again: Callable[[Path], Any] | None = None
    codec: str = "raw"


# what is done: one function each, given the path of the store, called in a child


def commit_logits(path: Path) -> None:
    write_model(path, "m")


def commit_labels(path: Path) -> None:
    write_model(path, "m", "labels")


def stage_logits(path: Path) -> None:
    stage_model(path, "m")


def stage_labels(path: Path) -> None:
    stage_model(path, "m", "labels")


def restart_with_other_weights(path: Path) -> None:
    write_model(path, "m", weights="2", restart=True)


def replace_model(path: Path) -> None:
    write_model(path, "m", weights="2", replace=True)


def replace_by_two_renames(path: Path) -> None:
    """As on a system that cannot let two folders change places."""
    files._rename_exchange = lambda one, other: False
    replace_model(path)


def other_weights(path: Path) -> None:
    """What a user with weights 2 does: go on, and restart where the store says that weights 1 are staged."""
    try:
        write_model(path, "m", weights="2")
    except FingerprintMismatch:
        restart_with_other_weights(path)


def add_in_memory(path: Path) -> None:
    store = ds.open(path)
    store.add("m", logits=rows_of("1", "logits", store.n_examples))


def store_of_format_1(path: Path) -> None:
    """Take from the record what version 2 added to it."""
    header = json.loads((path / fmt.STORE_JSON).read_text()) | {"format_version": 1}
    old = {name: value for name, value in header.items() if name not in ("codec", "label_set")}
    (path / fmt.STORE_JSON).write_bytes(files.seal(old))


def bring_up_to_date(path: Path) -> None:
    migrate(path)


def remove(path: Path) -> None:
    ds.open(path).remove("m")


def create(path: Path) -> None:
    new_store(path / "inner.zoo")


def add_labels(path: Path) -> None:
    ds.open(path).add_labels("real", SETS)


def add_columns(path: Path) -> None:
    ds.open(path).add_columns({"group": [str(row % 7) for row in range(9001)]})


def remove_column(path: Path) -> None:
    ds.open(path).remove_column("real")


# what is seen of it


def the_model(path: Path) -> Any:
    return model_content(path, "m")


def the_new_model(path: Path) -> Any:
    """Content of weights 2; where weights 1 are still there, nothing is seen of the replacement."""
    found = model_content(path, "m")
    if found is None:
        return "neither the old nor the new model"
    return found if found["fingerprint"]["weights"] == "2" else None


def the_new_model_only(path: Path) -> Any:
    """By two renames there is a moment in which neither is there; the new one is staged, whole."""
    found = model_content(path, "m")
    return found if found and found["fingerprint"]["weights"] == "2" else None


def no_model(path: Path) -> Any:
    return None if model_content(path, "m") else "gone"


def inner_store(path: Path) -> Any:
    inner = path / "inner.zoo"
    return (ds.open(inner).examples(), damage(inner)) if inner.exists() else None


def the_labels(path: Path) -> Any:
    store = ds.open(path)
    return store.under("real").truth.to_column() if "real" in store.label_sets else None


def no_labels(path: Path) -> Any:
    return None if the_labels(path) else "gone"


def newest_version(path: Path) -> Any:
    return ds.open(path).format_version if ds.open(path).format_version > 1 else None


def the_group(path: Path) -> Any:
    examples = ds.open(path).examples()
    return examples["group"] if "group" in examples.column_names else None


ACTS = [
    Act("kill -9 in a commit of logits", commit_logits, the_model),
    Act("kill -9 in a commit of hard labels", commit_labels, the_model),
    Act("kill -9 in a resume of logits", commit_logits, the_model, stage_logits),
    Act("kill -9 in a resume of hard labels", commit_labels, the_model, stage_labels),
    Act(
        "kill -9 in a restart with other weights",
        restart_with_other_weights,
        the_model,
        stage_logits,
        other_weights,
    ),
    Act("kill -9 in add() from memory", add_in_memory, the_model),
    Act("kill -9 in a commit to an archive", commit_logits, the_model, codec="archive"),
    Act(
        "kill -9 in a resume in an archive",
        commit_logits,
        the_model,
        stage_logits,
        codec="archive",
    ),
    Act("kill -9 in a replacement", replace_model, the_new_model, commit_logits),
    Act(
        "kill -9 in a replacement by two renames",
        replace_by_two_renames,
        the_new_model_only,
        commit_logits,
    ),
    Act("kill -9 in a remove", remove, no_model, commit_logits),
    Act("kill -9 in making a store", create, inner_store),
    Act("kill -9 in adding a label set", add_labels, the_labels),
    Act("kill -9 in adding a column", add_columns, the_group),
    Act("kill -9 in removing a column", remove_column, no_labels, add_labels),
    Act("kill -9 in a migration from format 1", bring_up_to_date, newest_version, store_of_format_1),
]


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
        yield from damage(path)
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
    figure.count("unbroken", [] if stage.expected is not None else ["an unbroken run shows nothing"])
    for step in effort.pick(range(1, stage.n_steps + 1), 10):
        path = stage.copy()
        ended = run(at_step, step, kill, act.do, path)
        problems = [] if ended.killed else [f"not killed: {ended}"]
        figure.count(f"step {step} of {stage.n_steps}", chain(problems, stage.check(path, ended)))
    return figure


def twice(root: Path, effort: Effort) -> Figure:
    """Kill a run of weights 1, then one of weights 2; what weights 2 end with must be all theirs."""
    fault = "kill -9 twice, weights 1 then 2: rows of other weights taken over"
    fresh = Stage(root / "fresh", Act(fault, commit_logits, the_model, again=other_weights))
    restart = Stage(root / "restart", Act(fault, restart_with_other_weights, the_model))
    fresh.expected = restart.expected  # that of weights 2
    rng = random.Random(effort.seed)
    figure = Figure(fault, "every row is of the weights that the model names")
    for _ in range(effort.number(12, 150)):
        first, second = rng.randint(1, fresh.n_steps - 8), rng.randint(1, restart.n_steps - 8)
        path = fresh.copy()
        run(at_step, first, kill, commit_logits, path)
        run(at_step, second, kill, rng.choice([restart_with_other_weights, other_weights]), path)
        figure.count(f"steps {first} and {second}", fresh.check(path, Outcome(-9)))
    return figure
