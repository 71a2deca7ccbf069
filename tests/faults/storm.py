"""SIGKILL at random times: several writers with several ids each, rivals for the same ids, a reader beside.

What a writer acknowledges it appends to a file, so that a kill takes back no acknowledgement.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import dissensus as ds
from dissensus.errors import ModelExists, WriterBusy

from .effort import Effort
from .figures import Figure
from .processes import Child, Outcome
from .stores import content, damage, locks, new_store, write_model

FAULT = "kill -9 at random times: 3 writers, 2 rivals, 1 reader"
PROMISE = "every acknowledged model is there and whole; no reader ever sees damage or half a model"
N_ROWS = 20_001  # five blocks
IDS = [[f"w{writer}-{number}" for number in range(8)] for writer in range(3)]
RIVAL_IDS = [IDS[0] + IDS[1], IDS[2] + IDS[0]]
KILLS = 16  # in one store


def write_all(path: Path, ids: list[str], acknowledged: Path) -> int:
    """Write every model that nobody else has written or is writing; return how many rivals were met."""
    log = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    busy = 0
    for model_id in ids:
        try:
            write_model(path, model_id, weights=model_id)
        except ModelExists:
            continue
        except WriterBusy:
            busy += 1
            continue
        os.write(log, f"{model_id}\n".encode())
    return busy


def read_all(path: Path, acknowledged: Path, stop: Path, reference: Path) -> tuple[int, list[str]]:
    """Look at the store again and again until told to stop; return models read, and problems."""
    expected = {m: content(ds.open(reference), m) for m in ds.open(reference).model_ids}
    looks, problems = 0, []
    while not stop.exists() and not problems:
        promised = said_in(acknowledged)
        store = ds.open(path)
        visible = store.model_ids
        problems += [f"{m} was acknowledged and is not visible" for m in promised - set(visible)]
        problems += [f"the reader: {finding.problem}" for finding in store.verify().findings]
        problems += [f"the reader: {m} is not whole" for m in visible if content(store, m) != expected[m]]
        looks += len(visible)
    return looks, problems


def said_in(acknowledged: Path) -> set[str]:
    return set(acknowledged.read_text().split()) if acknowledged.exists() else set()


@dataclass
class Storm:
    """One store, the processes on it and what became of them."""

    root: Path
    reference: Path
    seed: int
    kills: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path, self.log, self._stop = (self.root / name for name in ("s.zoo", "acknowledged", "stop"))
        new_store(self.path, N_ROWS)
        self._rng = random.Random(self.seed)

    def blow(self, kills: int) -> int:
        """Kill that many writers at random times, start each anew, let them finish; return models read."""
        reader = Child(read_all, self.path, self.log, self._stop, self.reference)
        jobs = [self._start(ids) for ids in (*IDS, *RIVAL_IDS)]
        for _ in range(kills):
            time.sleep(self._rng.uniform(0, 0.02))
            ids, child = jobs.pop(self._rng.randrange(len(jobs)))
            child.kill()
            self._note(child.outcome())
            jobs.append(self._start(ids))
        for _, child in jobs:
            self._note(child.outcome())
        self._finish()
        self._stop.touch()
        looks, problems = reader.outcome().said or (0, ["the reader stopped"])
        self.problems += problems
        return int(looks)

    def _start(self, ids: list[str]) -> tuple[list[str], Child]:
        shuffled = self._rng.sample(ids, len(ids))
        return shuffled, Child(write_all, self.path, shuffled, self.log)

    def _note(self, ended: Outcome) -> None:
        self.kills += ended.killed
        if ended.error:
            self.problems.append(f"a writer failed: {ended.error} {ended.message}")

    def _finish(self) -> None:
        """Run all writers once more, alone: nothing may be busy, since every lock dies with its holder."""
        for ids in IDS:
            ended = Child(write_all, self.path, ids, self.log).outcome()
            self._note(ended)
            self.problems += [] if ended.said == 0 else [f"{ended.said} locks survived their holders"]

    def check(self) -> Iterator[str]:
        """What is wrong in the end."""
        yield from self.problems
        store, whole = ds.open(self.path), ds.open(self.reference)
        yield from (f"{m} is lost" for m in said_in(self.log) - set(store.model_ids))
        yield from (f"{m} never came" for m in set(whole.model_ids) - set(store.model_ids))
        for model_id in store.model_ids:
            if content(store, model_id) != content(whole, model_id):
                yield f"{model_id} has other bytes"
        yield from damage(self.path) + locks(self.path) + store.staged()


def random_kills(root: Path, effort: Effort) -> Figure:
    """Storms, each on a new store."""
    figure, looks = Figure(FAULT, PROMISE), 0
    reference = root / "reference.zoo"
    new_store(reference, N_ROWS)
    write_all(reference, list(chain(*IDS)), root / "written")
    for number in range(effort.number(2, 20)):
        (root / str(number)).mkdir()
        storm = Storm(root / str(number), reference, effort.seed + number)
        looks += storm.blow(KILLS)
        figure.count(f"storm {number}", storm.check())
        figure.tried += storm.kills - 1  # what is counted are kills
    figure.note = f"{looks:,} models read beside the writers"
    return figure
