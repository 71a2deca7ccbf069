"""What a store must refuse, telling both sides and touching nothing.

Places it may not write, formats and codecs it does not know, rows of other examples or weights.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.store import format as fmt
from dissensus.store.files import crc32c
from dissensus.store.sealed import seal

from .effort import Effort
from .figures import Figure
from .full_disk import small_device
from .processes import run
from .stores import new_store, rows_of, tree_hash, write_model

BOTH_SIDES = "refused with both sides named; not a byte on disk changes"
READ_ONLY = "reads work; every writer fails at once with NotWritable; not a byte on disk changes"
NOBODY = 65534
N_ROWS = 200


# places that may only be read


def read_and_try_to_write(path: Path, user: int | None) -> dict[str, Any]:
    """What a user without permission sees: what can be read, and the errors of everything that writes."""
    store = ds.open(path)
    assert len(store.example_ids)
    if user is not None:
        os.setuid(user)  # root may write anywhere
    attempts: dict[str, Callable[[], Any]] = {
        "writer": lambda: store.writer("m", fingerprint={}),
        "add": lambda: store.add("m", predictions=rows_of("m", "labels", N_ROWS)),
        "replace": lambda: store.writer("there", fingerprint={}, replace=True),
        "remove": lambda: store.remove("there"),
        "add_labels": lambda: store.add_labels("real", rows_of("m", "labels", N_ROWS)),
        "create": lambda: new_store(path.parent / "other.zoo"),
    }
    refused = {name: _error_of(attempt) for name, attempt in attempts.items()}
    rows = store.logits("there")[:].tobytes()
    return {"rows": rows, "top1": store.top1().tobytes(), "sound": store.verify().ok, "refused": refused}


def _error_of(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except Exception as error:
        return type(error).__name__
    return "nothing"


def _count_only_reads(figure: Figure, path: Path, user: int | None) -> None:
    """Enter what a user who may not write could read and do."""
    store, before = ds.open(path), tree_hash(path)
    ended = run(read_and_try_to_write, path, user)
    got = ended.said or {"refused": {}}
    expected = {"rows": store.logits("there")[:].tobytes(), "top1": store.top1().tobytes(), "sound": True}
    wrong = [f"{what} is read wrong: {ended.error}" for what in expected if got.get(what) != expected[what]]
    figure.count("reading", wrong)
    for what, error in got["refused"].items():
        figure.count(what, [] if error == "NotWritable" else [f"gave {error}"])
    figure.demand("in the end", [] if tree_hash(path) == before else ["the disk changed"])


def no_permission(root: Path, effort: Effort) -> Figure:
    """Read and try to write as a user who may only read."""
    figure = Figure("a folder without write permission", READ_ONLY)
    with tempfile.TemporaryDirectory() as place:  # reachable for another user, unlike pytest's folders
        path = Path(place) / "s.zoo"
        _with_a_model(path)
        folders = [Path(place), path, *(p for p in path.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        _count_only_reads(figure, path, NOBODY if os.getuid() == 0 else None)
        for folder in folders:
            folder.chmod(0o755)
    return figure


def read_only_mount(root: Path, effort: Effort) -> Figure:
    """Read and try to write where the whole file system is read-only, even as root."""
    figure = Figure("a read-only mount", READ_ONLY)
    with small_device(root / "device") as device:
        if device is None:
            figure.note = "this user may not mount"
            return figure
        _with_a_model(device / "s.zoo")
        subprocess.run(["mount", "-o", "remount,ro", str(device)], check=True)
        _count_only_reads(figure, device / "s.zoo", None)
    return figure


def unreadable(root: Path, effort: Effort) -> Figure:
    """Take from a user the right to read one file of a model, each in turn."""
    promise = "the model is named as not readable and left as it is; all others are checked and read"
    figure = Figure("a file of a model without read permission", promise)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "s.zoo"
        _with_a_model(path)
        write_model(path, "m")
        for entry in (Path(place), path, *path.rglob("*")):
            entry.chmod(0o777 if entry.is_dir() else 0o666)
        for file in sorted(p for p in (path / "models/m").rglob("*") if p.is_file()):
            file.chmod(0)
            ended = run(look_and_repair, path, NOBODY if os.getuid() == 0 else None)
            name = file.relative_to(path / "models/m").as_posix()
            right = ended.said == {"found": [("m", True)], "done": [("m", "left")], "others": ["there"]}
            figure.count(name, [] if right else [f"ended with {ended}"])
            file.chmod(0o666)
        figure.demand("in the end", [] if ds.open(path).verify().ok else ["the store is damaged"])
    return figure


def look_and_repair(path: Path, user: int | None) -> dict[str, Any]:
    """What another user finds wrong, what becomes of it by repair, and the models that can be read."""
    from dissensus.store import repair  # before it may be out of reach

    assert repair
    store = ds.open(path, damaged="skip")
    assert store.verify().ok
    if user is not None:
        os.setuid(user)
    found = sorted({(finding.model, finding.unreadable) for finding in store.verify().findings})
    done = [(action.model, action.action) for action in store.repair().actions]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = [m for m in ds.open(path, damaged="skip").model_ids if m != "m"]
    return {"found": found, "done": done, "others": others}


def _with_a_model(path: Path) -> None:
    new_store(path, N_ROWS)
    write_model(path, "there")


# formats, examples and weights that are not the store's


@dataclass(frozen=True)
class Stranger:
    """Something a store must refuse.

    Attributes
    ----------
    name : str
        What it is.
    make : callable
        Bring the store, given by its path, into that state.
    attempt : callable
        What must be refused.
    error : str
        Type of the error.
    both : tuple of str
        Texts that its message must hold: what was found and what was expected.
    """

    name: str
    make: Callable[[Path], Any]
    attempt: Callable[[Path], Any]
    error: str
    both: tuple[str, ...]


def reseal(path: Path, **changes: Any) -> None:
    """Change a sealed record, its checksum too, as another program would have written it."""
    path.write_bytes(seal(json.loads(path.read_text()) | changes))


def newer_store(path: Path) -> None:
    reseal(path / fmt.STORE_JSON, format_version=99)


def newer_model(path: Path) -> None:
    reseal(path / "models/there" / fmt.COMMIT_JSON, format_version=99)


def unknown_store_codec(path: Path) -> None:
    reseal(path / fmt.STORE_JSON, codec="wavelet")


def unknown_array_codec(path: Path) -> None:
    """Describe the logits as packed by a codec of tomorrow, and commit that description."""
    folder = path / "models/there"
    described = (folder / fmt.ARRAY_JSON).read_bytes().replace(b'"bytes"', b'"wavelet"')
    (folder / fmt.ARRAY_JSON).write_bytes(described)
    files = json.loads((folder / fmt.COMMIT_JSON).read_text())["files"]
    files[fmt.ARRAY_JSON] = {"bytes": len(described), "crc32c": f"{crc32c(described):08x}"}
    reseal(folder / fmt.COMMIT_JSON, files=files)


def model_of_other_examples(path: Path) -> None:
    """Put a model of a store with other examples of the same number into this one."""
    other = path.with_name("other.zoo")
    labels = np.zeros(N_ROWS, int)
    ds.create(other, labels, classes=["a", "b", "c"], example_ids=[f"x{i}" for i in range(N_ROWS)])
    write_model(other, "foreign")
    shutil.copytree(ds.open(other).model("foreign").folder, path / "models/foreign")


def staged_by_weights_1(path: Path) -> None:
    stage_model_of(path, "1")


def stage_model_of(path: Path, weights: str) -> None:
    writer = ds.open(path).writer("m", fingerprint={"weights": weights})
    writer.append(rows_of(weights, "logits", N_ROWS))
    writer.close()


def read_all(path: Path) -> Any:
    store = ds.open(path)
    return store.top1(), [store.logits(m)[:] for m in store.model_ids]


def write_weights_2(path: Path) -> None:
    write_model(path, "m", weights="2")


def write_there_again(path: Path) -> None:
    write_model(path, "there", weights="2")


def add_by_other_ids(path: Path) -> None:
    store = ds.open(path)
    store.add("m", predictions=rows_of("m", "labels", N_ROWS), example_ids=[f"x{i}" for i in range(N_ROWS)])


STRANGERS = [
    Stranger("store of a newer format", newer_store, read_all, "IncompatibleFormat", ("99", "1 to 2")),
    Stranger("model of a newer format", newer_model, read_all, "IncompatibleFormat", ("99", "1 to 2")),
    Stranger(
        "unknown codec in store.json",
        unknown_store_codec,
        read_all,
        "IncompatibleFormat",
        ("'wavelet'", "raw, archive"),
    ),
    Stranger(
        "unknown codec in logits/zarr.json",
        unknown_array_codec,
        read_all,
        "IncompatibleFormat",
        ("zarr.json", "raw"),
    ),
    Stranger(
        "model of other examples",
        model_of_other_examples,
        read_all,
        "CorruptionError",
        ("'foreign'", "store"),
    ),
    Stranger("rows of other examples", bool, add_by_other_ids, "ExamplesMismatch", ("'0'", "200 examples")),
    Stranger(
        "staged rows of other weights",
        staged_by_weights_1,
        write_weights_2,
        "FingerprintMismatch",
        ("staged 1", "given 2"),
    ),
    Stranger("another model under an id", bool, write_there_again, "ModelExists", ("'there'", "s.zoo")),
]


def strangers(root: Path, effort: Effort) -> Figure:
    """Try everything that is not the store's."""
    figure = Figure("newer formats, unknown codecs, other examples, other weights", BOTH_SIDES)
    for number, stranger in enumerate(STRANGERS):
        path = root / str(number) / "s.zoo"
        path.parent.mkdir()
        _with_a_model(path)
        stranger.make(path)
        before = tree_hash(path)
        ended = run(stranger.attempt, path)
        problems = [] if ended.error == stranger.error else [f"ended with {ended}"]
        problems += [
            f"{side} is not in: {ended.message}" for side in stranger.both if side not in ended.message
        ]
        problems += [] if tree_hash(path) == before else ["the disk changed"]
        figure.count(stranger.name, problems)
    return figure
