"""Full check of a store: every file of every model against what was committed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dissensus.errors import CorruptionError, IncompatibleFormat, NotAStore

from . import format as fmt
from .files import read_checked
from .header import read_header
from .reader import StoredModel


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    model : str
        Model id, or its folder where the id cannot be read; empty for the store's own files.
    problem : str
        What is wrong, in a sentence.
    """

    model: str
    problem: str


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


def verify_store(path: Path, *, quick: bool) -> VerifyReport:
    """Check store files and all models, in as many threads as there are processors."""
    started = time.perf_counter()
    report = VerifyReport(quick=quick)
    try:
        geometry, examples_hash, read = _verify_header(path)
    except (CorruptionError, IncompatibleFormat, NotAStore) as error:
        report.findings.append(Finding("", str(error)))
        return report
    report.checked_bytes += read
    entries = sorted((path / fmt.MODELS).iterdir())
    folders = [e for e in entries if e.name != fmt.ZARR_JSON and (e.is_dir() or not e.name.startswith("."))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda f: _verify_model(f, geometry, examples_hash, quick), folders)
        for found, read in results:
            report.findings += found
            report.checked_bytes += read
    report.n_models = len(folders)
    report.seconds = time.perf_counter() - started
    return report


def _verify_header(path: Path) -> tuple[fmt.Geometry, str, int]:
    what = f"store {path}"
    header, _ = read_header(path)
    read = sum(len(read_checked(path / name, record, what)) for name, record in header["files"].items())
    group = path / fmt.MODELS / fmt.ZARR_JSON
    if not group.is_file() or group.read_bytes() != fmt.group_json():
        raise CorruptionError(
            f"{what}: {fmt.MODELS}/{fmt.ZARR_JSON} is damaged; its content must be the empty group's"
        )
    geometry = fmt.Geometry(header["n_examples"], header["n_classes"], header["dtype"], header["block_rows"])
    return geometry, header["examples_hash"], read


def _verify_model(
    folder: Path, geometry: fmt.Geometry, examples_hash: str, quick: bool
) -> tuple[list[Finding], int]:
    try:
        model = StoredModel(folder, geometry, examples_hash)
    except (CorruptionError, IncompatibleFormat) as error:
        return [Finding(folder.name, str(error))] if folder.exists() else [], 0
    except (KeyError, TypeError) as error:
        return [Finding(folder.name, f"the commit record lacks {error}")], 0
    findings: list[Finding] = []
    read = 0
    for problem, n_bytes in _check_files(model, quick):
        read += n_bytes
        if problem:
            findings.append(Finding(model.model_id, problem))
    return (findings if folder.exists() else []), read  # a model removed meanwhile is no damage


def _check_files(model: StoredModel, quick: bool) -> Iterator[tuple[str, int]]:
    """Problem (or nothing) and bytes read, file by file and block by block."""
    for name, expected in model.files.items():
        if name == fmt.SHARD:
            yield from _check_shard(model, quick)
            continue
        try:
            yield "", len(model.read_file(name))
        except CorruptionError as error:
            yield str(error), expected["bytes"]
    known = {*model.files, fmt.COMMIT_JSON}
    found = (p.relative_to(model.folder).as_posix() for p in model.folder.rglob("*") if p.is_file())
    for name in sorted(set(found) - known):
        yield f"model {model.model_id!r}: {name} is not part of the commit", 0


def _check_shard(model: StoredModel, quick: bool) -> Iterator[tuple[str, int]]:
    try:
        logits = model.logits()
    except CorruptionError as error:
        yield str(error), 0
        return
    for block in () if quick else range(model.geometry.n_blocks):
        try:
            logits.check_block(block)
            yield "", model.geometry.stride_bytes
        except CorruptionError as error:
            yield str(error), model.geometry.stride_bytes
