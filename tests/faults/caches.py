"""A cache that is damaged, cut, gone, or of another zoo: queries answer as from the models themselves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.store import format as fmt
from dissensus.store.cache import FEWEST, TOP1, TOP1_JSON

from .effort import Effort
from .figures import Figure
from .flips import Case, Damage, Files, appendages, deletions, flips, truncations
from .pieces import in_pieces
from .processes import CONTEXT, Child
from .stores import new_store, rows_of, write_model

N_ROWS = 40
REBUILDERS = 3
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
    for name in ("own", "other"):
        make_zoo(root / f"{name}.zoo", name)
    number, figure = len(_cases(root, effort)), Figure(FAULT, PROMISE)
    figure.demand("a cache was made", [] if _files(root / "own.zoo") else ["there is none"])
    return in_pieces(figure, number, partial(_piece, root, effort.bare()), effort.kept)


def _cases(root: Path, effort: Effort) -> list[Case]:
    sound, foreign = _files(root / "own.zoo"), _files(root / "other.zoo")
    return [*effort.pick(_damages(sound), 300), *_exchanges(foreign)]


def _piece(root: Path, effort: Effort, part: slice) -> Figure:
    """Some of the cases, in a copy of this process."""
    figure, path, sound = Figure(FAULT, PROMISE), root / f"{os.getpid()}.zoo", _files(root / "own.zoo")
    if not path.exists():
        shutil.copytree(root / "own.zoo", path)
    for name, make in _cases(root, effort)[part]:
        figure.count(name, _problems(path, make(), sound))
    return figure


def one_more(root: Path, effort: Effort) -> Figure:
    """Beside a cache add models whose ids sort in front of all others, between and behind them."""
    figure = Figure("a model that sorts anywhere, added beside a cache", "every model's row is its own")
    path, weights = root / "s.zoo", {f"m{number}": f"own {number}" for number in range(FEWEST)}
    make_zoo(path, "own")
    for name in ("a", "A", "0", "m00", "m3-5", "z", "é"):
        write_model(path, name, "labels", weights=name)
        weights[name] = name
        figure.count(name, [*_wrong_rows(path, weights), *_wrong_rows(path, weights)])
    return figure


def _wrong_rows(path: Path, weights: dict[str, str]) -> Iterator[str]:
    """Models whose predictions are not their own, asked for all at once, and for nearly all."""
    store = ds.open(path)
    for models in (store.model_ids, store.model_ids[:-1], store.model_ids[1:]):
        for model_id, row in zip(models, store.top1(models), strict=True):
            if not np.array_equal(row, rows_of(weights[model_id], "labels", N_ROWS)):
                yield f"{model_id} is READ WRONG"


def rebuilders(root: Path, effort: Effort) -> Figure:
    """Let processes make caches at once, some of which are made for other models than others."""
    figure = Figure("3 makers of one cache", "every query answers as the models do, kept answers stay so")
    for number in range(effort.number(2, 20)):
        path = root / f"{number}.zoo"
        make_zoo(path, "own")
        together = CONTEXT.Barrier(REBUILDERS)
        children = [Child(rebuild_together, together, path, maker) for maker in range(REBUILDERS)]
        for child in children:
            ended = child.outcome()
            problems = ended.said if ended.said is not None else [f"ended with {ended}"]
            figure.count(f"round {number}", problems)
        left = {p.name for p in (path / fmt.CACHE).iterdir()} - {TOP1, TOP1_JSON}
        figure.demand(f"round {number}, in the end", [f"{name} is left" for name in left])
    return figure


def rebuild_together(together: Any, path: Path, maker: int) -> list[str]:
    """Throw the cache away and ask for predictions, again and again, one maker with a model of its own."""
    expected = {f"m{n}": rows_of(f"own {n}", "labels", N_ROWS) for n in range(FEWEST)}
    kept: list[Any] = []
    problems: list[str] = []
    together.wait()
    for _ in range(30):
        (path / fmt.CACHE / TOP1_JSON).unlink(missing_ok=True)
        kept.append(ds.open(path).top1([*expected]))
        kept.append(ds.open(path).top1()[-FEWEST:])
        if maker == 0:
            write_model(path, "a", "labels", weights="a", replace=True)
    for matrix in kept:  # mapped ones among them: looked at once all others have written
        if not np.array_equal(matrix, list(expected.values())):
            problems.append("a kept answer is READ WRONG")
    return problems


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
