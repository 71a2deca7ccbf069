"""A cache that is damaged, cut, gone, or of another zoo: queries answer as from the models themselves."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import dissensus as ds
from dissensus.store import format as fmt
from dissensus.store.cache import FEWEST

from .figures import Effort, Figure
from .flips import Case, Damage, Files, appendages, deletions, flips, truncations
from .stores import new_store, rows_of, write_model

N_ROWS = 40
FAULT = "a damaged or foreign cache of predictions"
PROMISE = "predictions are those of the models; a sound cache is made anew"


def make_zoo(path: Path, name: str) -> None:
    """As many models as a cache is made for, queried once."""
    new_store(path, N_ROWS)
    for number in range(FEWEST):
        write_model(path, f"m{number}", "labels", weights=f"{name} {number}")
    ds.open(path).top1()


def damaged(root: Path, effort: Effort) -> Figure:
    """Damage the files of a cache, or put another zoo's there, and ask for predictions."""
    figure, path, other = Figure(FAULT, PROMISE), root / "s.zoo", root / "other.zoo"
    make_zoo(path, "own")
    make_zoo(other, "other")
    sound, foreign = _files(path), _files(other)
    figure.demand("a cache was made", [] if sound else ["there is none"])
    for name, make in [*effort.pick(_damages(sound), 300), *_exchanges(foreign)]:
        figure.count(name, _problems(path, make(), sound))
    return figure


def grown(root: Path, effort: Effort) -> Figure:
    """Add, replace and remove models beside a cache and ask for all predictions each time."""
    figure = Figure("models added, replaced, removed beside a cache", "predictions are those of the models")
    path = root / "s.zoo"
    make_zoo(path, "own")
    weights = {f"m{number}": f"own {number}" for number in range(FEWEST)}
    rng, names = random.Random(effort.seed), ["a", *(f"m{n}~" for n in range(FEWEST)), "z", *weights]
    for turn in range(effort.number(20, 300)):
        name = rng.choice(names)
        if name in weights and rng.random() < 0.5 and len(weights) > FEWEST:
            ds.open(path).remove(name)
            del weights[name]
        else:
            weights[name] = f"turn {turn}"
            write_model(path, name, "labels", weights=weights[name], replace=True)
        expected = [rows_of(weights[model], "labels", N_ROWS) for model in sorted(weights)]
        right = np.array_equal(ds.open(path).top1(), expected)
        figure.count(f"turn {turn}, {name!r}", [] if right else ["READ WRONG"])
    return figure


def _files(path: Path) -> Files:
    return {p.name: p.read_bytes() for p in sorted((path / fmt.CACHE).iterdir())}


def _damages(sound: Files) -> list[Case]:
    return [*flips(sound), *truncations(sound), *deletions(sound), *appendages(sound)]


def _exchanges(foreign: Files) -> list[Case]:
    """One file of another zoo's cache, or all of them."""
    single = [(f"{name} of another zoo", partial(dict, {name: data})) for name, data in foreign.items()]
    return [*single, ("the cache of another zoo", partial(dict, foreign))]


def _problems(path: Path, damage: Damage, sound: Files) -> Iterator[str]:
    """What is wrong with predictions beside a damaged cache, and with the cache that is left."""
    expected = np.array([rows_of(f"own {number}", "labels", N_ROWS) for number in range(FEWEST)])
    shutil.rmtree(path / fmt.CACHE)
    (path / fmt.CACHE).mkdir()
    for name, data in (sound | damage).items():
        if data is not None:
            (path / fmt.CACHE / name).write_bytes(data)
    for attempt in ("first", "second"):
        if not np.array_equal(ds.open(path).top1(), expected):
            yield f"{attempt} query is READ WRONG"
    if _files(path) != sound:
        yield "the cache was not made anew"
