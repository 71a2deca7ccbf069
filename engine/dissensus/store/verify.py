"""Full check of a store: every file of every model against what was committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dissensus.errors import CorruptionError, DissensusError, NotReadable

from . import format as fmt
from .columns import StoredColumn
from .files import expect_bulk
from .header import Header, read_header
from .reader import StoredModel
from .reading import read_checked, read_whole, reading
from .sealed import sha256_of

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    model : str
        Model id, or its folder where the id cannot be read; empty for the store's own files.
    problem : str
        What is wrong, in a sentence.
    file : str
        Damaged file below the model's or the store's folder; empty where it is not one file.
    block : int or None
        Damaged block of logits or embeddings.
    folder : str
        Folder of what is damaged below the store: ``models/<folder>``, ``columns/<folder>``, or empty.
    unreadable : bool
        Whether the file could not be read at all (permissions, a failing disk): nothing is known of it.
    """

    model: str
    problem: str
    file: str = ""
    block: int | None = None
    folder: str = ""
    unreadable: bool = False


@dataclass
class VerifyReport:
    """What `Store.verify` found.

    Attributes
    ----------
    findings : list of Finding
        Empty when everything is sound.
    n_models : int
        Models looked at.
    checked_bytes : int
        Bytes whose checksum was computed.
    seconds : float
        Time taken.
    quick : bool
        Whether the blocks of logits were left unread.
    """

    findings: list[Finding] = field(default_factory=list)
    n_models: int = 0
    checked_bytes: int = 0
    seconds: float = 0.0
    quick: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


Checked = tuple[list[Finding], int]


def verify_store(path: Path, *, quick: bool, advance: Advance | None = None) -> VerifyReport:
    """Check store files, columns and all models, in as many threads as there are processors.

    Parameters
    ----------
    path : Path
        Folder of the store.
    quick : bool
        Check names and sizes of all files and the checksums of the small ones, but leave the blocks of
        logits and embeddings unread: a bit that flipped there is not found.
    advance : callable, optional
        Told the number of bytes checked so far whenever a model is done.
    """
    started = time.perf_counter()
    report = VerifyReport(quick=quick)
    try:
        header, _ = read_header(path)
    except DissensusError as error:
        report.findings.append(_finding("", error, fmt.STORE_JSON))
        return report
    _add(report, verify_own_files(path, header), advance)
    for folder in _folders(path / fmt.COLUMNS):
        _add(report, verify_column(folder, header["examples_hash"]), advance)
    folders = _folders(path / fmt.MODELS)
    geometry = fmt.Geometry.of_header(header)
    expect_bulk(0 if quick else len(folders) * geometry.n_blocks * geometry.data_bytes)
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:  # more would share the caches
        for checked in pool.map(
            lambda folder: verify_model(folder, geometry, header["examples_hash"], quick), folders
        ):
            _add(report, checked, advance)
    report.n_models = len(folders)
    report.seconds = time.perf_counter() - started
    return report


def _add(report: VerifyReport, checked: Checked, advance: Advance | None) -> None:
    report.findings += checked[0]
    report.checked_bytes += checked[1]
    if advance is not None:
        advance(checked[1])


def _folders(place: Path) -> list[Path]:
    """Everything in a folder of folders, strays included; what ends in no dot-name is a model or column."""
    try:
        with reading(place, f"folder {place}"):
            entries = [e for e in sorted(place.iterdir()) if e.name != fmt.ZARR_JSON]
            return [e for e in entries if e.is_dir() or not e.name.startswith(".")]
    except CorruptionError:  # there is none yet
        return []


def verify_own_files(path: Path, header: Header) -> Checked:
    """Check the tables of examples and classes, and the file that makes the models a Zarr group."""
    findings, read, what = [], 0, f"store {path}"
    for name, record in header["files"].items():
        try:
            read += len(read_checked(path / name, record, what))
        except DissensusError as error:
            findings.append(_finding("", error, name))
    name = f"{fmt.MODELS}/{fmt.ZARR_JSON}"
    try:
        if read_whole(path / name, what, name) != fmt.group_json():
            raise CorruptionError(f"{what}: {name} is damaged; its content must be the empty group's")
    except DissensusError as error:
        findings.append(_finding("", error, name))
    return findings, read


def _finding(
    model: str, error: DissensusError, file: str, block: int | None = None, folder: str = ""
) -> Finding:
    return Finding(model, str(error), file, block, folder, isinstance(error, NotReadable))


def verify_column(folder: Path, examples_hash: str) -> Checked:
    """Check one added column."""
    place = f"{fmt.COLUMNS}/{folder.name}"
    try:
        column = StoredColumn(folder, examples_hash)
        column.read()
    except DissensusError as error:
        return [_finding("", error, "", None, place)] if folder.exists() else [], 0
    return _strays(folder, column.files, "", place), column.files[fmt.COLUMN]["bytes"]


def verify_model(folder: Path, geometry: fmt.Geometry, examples_hash: str, quick: bool) -> Checked:
    """Check one model: its record, its small files, and unless `quick` every block of its logits.

    A model that is replaced or removed meanwhile is no damage: it is looked at again.
    """
    if folder.is_symlink():
        problem = "is a symbolic link: a model is a folder of its own, copy it instead"
        return [Finding(folder.name, f"{fmt.MODELS}/{folder.name} {problem}")], 0
    while True:
        before = sha256_of(folder / fmt.COMMIT_JSON)
        findings, read = _verify_model(folder, geometry, examples_hash, quick)
        if not findings or sha256_of(folder / fmt.COMMIT_JSON) == before:
            return (findings if folder.exists() else []), read


def _verify_model(folder: Path, geometry: fmt.Geometry, examples_hash: str, quick: bool) -> Checked:
    place = f"{fmt.MODELS}/{folder.name}"
    try:
        model = StoredModel(folder, geometry, examples_hash, sizes=False)
    except DissensusError as error:
        return [_finding(folder.name, error, fmt.COMMIT_JSON, None, place)], 0
    findings, read = [], 0
    for file, block, problem, n_bytes in _check_files(model, quick):
        read += n_bytes
        if problem is not None:
            findings.append(_finding(model.model_id, problem, file, block, place))
    return findings + _strays(folder, model.files, model.model_id, place), read


def _strays(folder: Path, files: dict[str, dict[str, object]], model_id: str, place: str) -> list[Finding]:
    known = {*files, fmt.COMMIT_JSON}
    root = len(str(folder)) + 1
    found = {  # os.walk passes over what goes away meanwhile
        os.path.join(top, name)[root:] for top, _, names in os.walk(str(folder)) for name in names
    }
    return [
        Finding(model_id, f"{place}/{name} is not part of the commit", name, None, place)
        for name in sorted(found - known)
    ]


Check = tuple[str, int | None, DissensusError | None, int]


def _check_files(model: StoredModel, quick: bool) -> Iterator[Check]:
    """File, block, problem (or None) and bytes read, file by file and block by block."""
    for name, expected in model.files.items():
        if name in model.geometries:
            yield from _check_shard(model, name, quick)
            continue
        try:
            if name.endswith(".json"):
                model.parsed(name)
            else:
                model.check_file(name)
            yield name, None, None, int(expected["bytes"])
        except DissensusError as error:
            yield name, None, error, int(expected["bytes"])


def _check_shard(model: StoredModel, name: str, quick: bool) -> Iterator[Check]:
    try:
        array = model.arrays[name]()
    except DissensusError as error:
        yield name, None, error, 0
        return
    for block, fault in () if quick else array.faults():
        yield name, block, fault, 0
    yield name, None, None, 0 if quick else array.n_bytes
