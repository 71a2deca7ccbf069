"""Every flipped bit, every truncation, every lost, longer, foreign or changed file of a small store.

Each must be found and named by `verify`, and never be read as a number: whatever is read through the public
interface is either refused or exactly right. To read a further thing, add a line to `READINGS`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.errors import DissensusError
from dissensus.store import format as fmt

from .effort import Effort
from .figures import Figure
from .pieces import in_pieces
from .stores import features_of, rows_of

Files = Mapping[str, bytes]
Damage = Mapping[str, bytes | None]  # new content of files by name; None for none at all
Case = tuple[str, Callable[[], Damage]]

PROMISE = "verify finds it and names the model or file; what is read is refused or exactly right"
N_ROWS = 40
CLASSES = [f"class {c}" for c in range(fmt.TOP_FROM)]  # as many as models with a top-K view have
KINDS = {"alpha": "logits", "beta": "logits", "gamma": "labels"}  # kind of each model
DIMS = {"alpha": 3, "gamma": 3}  # features of those that have embeddings
LABELS, GROUP = "real", "group"


def top1(store: ds.Store, model_id: str) -> bytes:
    return store.model(model_id).column("top1").tobytes()


# What is read of a store, each by itself. A reading gives arrays, tables or plain values.
READINGS: dict[str, Callable[[ds.Store], Any]] = {
    "models": lambda s: s.models(),
    "correct": lambda s: s.correct().tobytes(),
    **{model_id: partial(top1, model_id=model_id) for model_id in KINDS},
    "truth": lambda s: s.under(LABELS).truth.to_column(),
    "examples": lambda s: s.examples(),
    "classes": lambda s: s.class_table(),
    "fingerprints": lambda s: [(m, s.model(m).kind, s.model(m).fingerprint) for m in KINDS],
    "lse": lambda s: [s.model(m).column("lse").tobytes() for m in ("alpha", "beta")],
    "top-k": lambda s: [s.topk(m, 5).tobytes() for m in ("alpha", "beta")],
    "top-k values": lambda s: [s.model(m).view()[1].tobytes() for m in ("alpha", "beta")],
    "top-k accuracies": lambda s: s.models(top_k=3),
    "logits of alpha": lambda s: s.logits("alpha")[:].tobytes(),
    "logits of beta": lambda s: s.logits("beta").take(np.arange(N_ROWS)).tobytes(),
    "embeddings of alpha": lambda s: s.embeddings("alpha")[:].tobytes(),
    "embeddings of gamma": lambda s: s.embeddings("gamma").take(np.arange(N_ROWS)).tobytes(),
    "dimensions": lambda s: [s.model(m).embedding_dim for m in KINDS],
}


def make_store(path: Path) -> None:
    """Three models, some with embeddings, a label set and a column: every kind of file there is."""
    ds.create(
        path,
        rows_of("truth", "labels", N_ROWS, len(CLASSES)),
        classes=CLASSES,
        attributes={"made": "to be damaged"},
    )
    store = ds.open(path)
    for model_id, kind in KINDS.items():
        name = "predictions" if kind == "labels" else kind
        dim = DIMS.get(model_id)
        features = None if dim is None else features_of(model_id, N_ROWS, dim)
        given = {name: rows_of(model_id, kind, N_ROWS, len(CLASSES)), "embeddings": features}
        store.add(model_id, **given, metadata={"family": model_id})
    store.add_labels(LABELS, [[row % 3] if row % 4 else [] for row in range(N_ROWS)])
    store.add_columns({GROUP: [f"group {row % 5}" for row in range(N_ROWS)]})


# one damage and its check


class Specimen:
    """A store that is damaged and mended again and again, and what it reads as when sound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}
        self._sound = {name: read(ds.open(path)) for name, read in READINGS.items()}
        self._readers = {name: self._readers_of(name) for name in self.files}

    @classmethod
    @lru_cache(maxsize=1)
    def own(cls, root: Path) -> Specimen:
        """The copy of the sound store that this process damages."""
        return cls(Path(shutil.copytree(root / "sound.zoo", root / f"{os.getpid()}.zoo")))

    def _readers_of(self, name: str) -> list[str]:
        """Readings that a file's absence stops: no other opens it, so that no damage to it can reach them."""
        self._put(name, None)
        stopped = [reading for reading in READINGS if isinstance(self._read(reading), Exception)]
        self._put(name, self.files[name])
        return stopped

    def problems(self, damage: Damage) -> Iterator[str]:
        """Do a damage; yield what is wrong with how it is met."""
        for name, data in damage.items():
            self._put(name, data)
        yield from chain(self._unnamed(damage), self._read_wrong(damage), self._skipped_wrong())

    def mend(self, damage: Damage) -> None:
        """Put the files back."""
        for name in damage:
            self._put(name, self.files[name])

    def _put(self, name: str, data: bytes | None) -> None:
        if data is None:
            (self.path / name).unlink()
        else:
            (self.path / name).write_bytes(data)

    def _unnamed(self, damage: Damage) -> Iterator[str]:
        try:
            said = [f"{f.model} {f.problem}" for f in ds.open(self.path).verify().findings]
        except DissensusError as error:  # the store's own record: it cannot even be opened
            said = [str(error)]
        if not said:
            yield "verify finds nothing"
        elif not any(owner(name) in text for text in said for name in damage):
            yield f"verify names something else: {said[0]}"

    def _read(self, reading: str) -> Any:
        """What a reading gives, or the exception that stops it."""
        try:
            return READINGS[reading](ds.open(self.path))
        except Exception as error:
            return error

    def _read_wrong(self, damage: Damage) -> Iterator[str]:
        for reading in sorted({r for name in damage for r in self._readers[name]}):
            got = self._read(reading)
            if isinstance(got, Exception):  # a refusal that is not ours does not say what to do
                yield from (
                    [] if isinstance(got, DissensusError) else [f"{reading}: {type(got).__name__} {got}"]
                )
            elif got != self._sound[reading]:
                yield f"{reading} is READ WRONG"

    def _skipped_wrong(self) -> Iterator[str]:
        """What is left when damaged models are left out must be right too."""
        try:
            with warnings.catch_warnings(action="ignore"):
                store = ds.open(self.path, damaged="skip")
                wrong = [m for m in store.model_ids if m not in KINDS or top1(store, m) != self._sound[m]]
        except DissensusError:
            return
        yield from (f"with damaged='skip' {m} is READ WRONG" for m in wrong)


def owner(name: str) -> str:
    """What a finding about a file has to name: its model or column, or the file of the store itself."""
    parts = name.split("/")
    return parts[1] if parts[0] in (fmt.MODELS, fmt.COLUMNS) and len(parts) > 2 else parts[-1]


# the damages: each a list of cases, a case its name and the files' new content


def flips(files: Files) -> list[Case]:
    return [
        (f"bit {bit} of byte {at} of {name}", partial(_flip, name, data, at, bit))
        for name, data in sorted(files.items())
        for at in range(len(data))
        for bit in range(8)
    ]


def _flip(name: str, data: bytes, at: int, bit: int) -> Damage:
    return {name: data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]}


def truncations(files: Files) -> list[Case]:
    return [
        (f"{name} cut to {length} of {len(data)} bytes", partial(_cut, name, data, length))
        for name, data in sorted(files.items())
        for length in range(len(data))
    ]


def _cut(name: str, data: bytes, length: int) -> Damage:
    return {name: data[:length]}


def deletions(files: Files) -> list[Case]:
    return [(f"{name} deleted", partial(dict, {name: None})) for name in sorted(files)]


def appendages(files: Files) -> list[Case]:
    more = (b"\0", b"\n", b"x")
    return [
        (f"{tail!r} after {name}", partial(dict, {name: data + tail}))
        for name, data in sorted(files.items())
        for tail in more
    ]


def enlarged_shapes(files: Files) -> list[Case]:
    """More rows or columns than there are, in JSON that is valid otherwise."""
    cases = []
    for name, data in sorted(files.items()):
        document = json.loads(data) if name.endswith((fmt.ARRAY_JSON, fmt.EMBEDDINGS_JSON)) else {}
        for axis, size in enumerate(document.get("shape", ())):
            shape = [*document["shape"][:axis], size + 8, *document["shape"][axis + 1 :]]
            enlarged = fmt.canonical_json(document | {"shape": shape})
            cases.append((f"{name} enlarged to {shape}", partial(dict, {name: enlarged})))
    return cases


def swaps(files: Files) -> list[Case]:
    """Files of the same name exchanged between models or columns, one by one and all of them."""
    cases = []
    folders = sorted({"/".join(name.split("/")[:2]) for name in files if name.count("/") > 1})
    for a, b in itertools.combinations(folders, 2):
        common = [n[len(a) :] for n in files if n.startswith(f"{a}/") and b + n[len(a) :] in files]
        different = [tail for tail in sorted(common) if files[a + tail] != files[b + tail]]
        for tails in [*([tail] for tail in different), different]:
            damage = {a + t: files[b + t] for t in tails} | {b + t: files[a + t] for t in tails}
            cases.append((f"{', '.join(tails)} of {a} and {b} exchanged", partial(dict, damage)))
    return cases


DAMAGES: dict[str, tuple[str, Callable[[Files], list[Case]], int]] = {  # line, cases, how many bounded
    "flips": ("a flipped bit, in every file", flips, 700),
    "truncations": ("a file cut short, to every length from 0", truncations, 150),
    "deletions": ("a file deleted", deletions, 100),
    "appendages": ("a byte appended to a file", appendages, 100),
    "shapes": ("a larger shape in zarr.json", enlarged_shapes, 100),
    "swaps": ("files exchanged between models or columns", swaps, 100),
}


# many of them, on all processors


def damaged(root: Path, effort: Effort, damage: str) -> Figure:
    """Try the cases of one damage in a store of their own in every process."""
    fault, cases, bounded = DAMAGES[damage]
    make_store(root / "sound.zoo")
    number = len(effort.pick(cases(Specimen.own(root).files), bounded))
    return in_pieces(
        Figure(fault, PROMISE), number, partial(_piece, root, effort.bare(), damage), effort.kept
    )


def _piece(root: Path, effort: Effort, kind: str, part: slice) -> Figure:
    fault, cases, bounded = DAMAGES[kind]
    specimen, figure = Specimen.own(root), Figure(fault, PROMISE)
    for name, make in effort.pick(cases(specimen.files), bounded)[part]:
        damage = make()
        figure.count(name, specimen.problems(damage))
        specimen.mend(damage)
    mended = Specimen(specimen.path).files == specimen.files
    figure.demand("in the end", [] if mended else ["the specimen was not mended"])
    return figure
