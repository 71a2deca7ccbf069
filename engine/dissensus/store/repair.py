"""Mending what can be proven right, setting aside what cannot, and tidying what killed writers left.

Nothing is guessed: a rebuilt file must have the checksum that was committed, and a model that still does not
verify leaves the store whole, into ``quarantine/``, with a note of what in it is sound.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dissensus.errors import CorruptionError, IncompatibleFormat, WriterBusy

from . import format as fmt
from .files import crc32c, crc_bytes, read_checked, sync_folder, write_at, write_file, writing
from .header import read_header
from .reader import StoredModel
from .sealed import seal
from .staging import model_lock
from .sweep import Action, sweep_staging
from .times import now
from .verify import Finding, verify_model, verify_store

SALVAGE_JSON = "salvage.json"
BEYOND = "cannot be rebuilt: bring this file back from a copy of the store"


@dataclass(frozen=True)
class RepairReport:
    """What `Store.repair` did.

    Attributes
    ----------
    actions : list of Action
        What was found and done, one entry each; empty when there was nothing to do.
    ok : bool
        Whether the store verifies now.
    """

    actions: list[Action]
    ok: bool


def repair_store(path: Path, *, clear_staging: bool) -> RepairReport:
    """Verify everything and put right what can be; see `Store.repair`."""
    header, _ = read_header(path)
    geometry = fmt.Geometry.of_header(header)
    by_folder: dict[str, list[Finding]] = defaultdict(list)
    for finding in verify_store(path, quick=False).findings:
        by_folder[finding.folder].append(finding)
    actions: list[Action] = []
    for folder, findings in by_folder.items():
        if folder.startswith(f"{fmt.MODELS}/"):
            actions += _mend_model(path, folder, findings, geometry, header["examples_hash"])
        elif folder:
            actions.append(_quarantine(path, folder, findings, {}))
        else:
            actions += [_mend_own(path, finding) for finding in findings]
    actions += sweep_staging(path, geometry, header["examples_hash"], clear_staging)
    return RepairReport(actions, verify_store(path, quick=False).ok)


def _mend_own(path: Path, finding: Finding) -> Action:
    if finding.file != f"{fmt.MODELS}/{fmt.ZARR_JSON}":
        return Action("", "beyond repair", f"{finding.problem}; it {BEYOND}")
    write_file(path / finding.file, fmt.group_json())
    return Action("", "mended", f"{finding.file} was written anew")


def _mend_model(
    path: Path, place: str, findings: list[Finding], geometry: fmt.Geometry, examples_hash: str
) -> list[Action]:
    """Rebuild what follows from the commit record; a model that still does not verify is set aside."""
    folder, name = path / place, findings[0].model
    try:
        model = StoredModel(folder, geometry, examples_hash, sizes=False)
    except CorruptionError:
        return [_quarantine(path, place, findings, _salvage_without_record(folder, geometry))]
    except IncompatibleFormat as error:  # sound, for all this version knows
        return [Action(name, "left", str(error))]
    try:
        lock = model_lock(path, model.model_id)
    except WriterBusy as error:
        return [Action(name, "left", str(error))]
    try:
        for finding in findings:
            _mend_file(path, model, finding)
        left, _ = verify_model(folder, geometry, examples_hash, quick=False)
        if left:
            return [_quarantine(path, place, left, _salvage(model))]
        return [Action(name, "mended", f"{f.problem}; rebuilt to its committed checksum") for f in findings]
    finally:
        lock.release()


def _mend_file(path: Path, model: StoredModel, finding: Finding) -> None:
    """Rebuild one file of a model where its content is known; leave it as it is where it is not."""
    rebuilt = {
        fmt.ZARR_JSON: fmt.group_json(model_id=model.model_id),
        fmt.ARRAY_JSON: fmt.array_json(model.geometry),
    }
    target = model.folder / finding.file
    if finding.file not in model.files:
        if target.exists():  # the remains of a killed repair went when their file was mended
            place = _place(path, model.folder.name)
            place.mkdir(parents=True)
            os.rename(target, place / Path(finding.file).name)
    elif finding.file in rebuilt:
        data = rebuilt[finding.file]
        if f"{crc32c(data):08x}" == model.files[finding.file]["crc32c"]:
            target.parent.mkdir(exist_ok=True)
            write_file(target, data)
    elif finding.file == fmt.SHARD and target.is_file():
        _mend_shard(model, target)


def _mend_shard(model: StoredModel, target: Path) -> None:
    """Write the index and the checksums between blocks anew: both follow from the commit record.

    Blocks whose data are damaged stay so, and the shard with them.
    """
    shard, places = model.files[fmt.SHARD], model.geometry.places(model.files[fmt.SHARD].get("blocks_bytes"))
    end = int(places[-1].sum())
    if target.stat().st_size < end:
        return
    index = places.tobytes()
    with writing(target):
        fd = os.open(target, os.O_RDWR)
        try:
            for block, (offset, length) in enumerate(places.tolist()):
                crc = bytes.fromhex(shard["blocks_crc32c"][8 * block : 8 * block + 8])[::-1]
                write_at(fd, crc, offset + length - fmt.CRC_BYTES)
            write_at(fd, index + crc_bytes(crc32c(index)), end)
            os.ftruncate(fd, shard["bytes"])
            os.fsync(fd)
        finally:
            os.close(fd)


def _salvage(model: StoredModel) -> dict[str, object]:
    """What of a damaged model is sound by its commit record: small files, and ranges of rows."""
    sound = []
    for name, expected in model.files.items():
        if name == fmt.SHARD:
            continue
        try:
            read_checked(model.folder / name, expected, "")
        except CorruptionError:
            continue
        sound.append(name)
    if fmt.SHARD not in model.files:
        return {"sound_files": sound}
    shard = model.files[fmt.SHARD]
    places = model.geometry.places(shard.get("blocks_bytes"))
    wanted = [shard["blocks_crc32c"][8 * b : 8 * b + 8] for b in range(len(places))]
    return {
        "sound_files": sound,
        "sound_rows": _sound_rows(model.folder, model.geometry, places.tolist(), wanted),
    }


def _salvage_without_record(folder: Path, geometry: fmt.Geometry) -> dict[str, object]:
    """Rows whose blocks carry their own right checksum; without a commit record nobody vouches for them."""
    places = geometry.places().tolist() if geometry.codec == "raw" else []
    rows = _sound_rows(folder, geometry, places, [None] * len(places))
    return {"sound_rows": rows, "caution": "the commit record is damaged: nothing says whose rows these are"}


def _sound_rows(
    folder: Path, geometry: fmt.Geometry, places: list[list[int]], wanted: list[str | None]
) -> list[list[int]]:
    """Ranges of rows, first and last-plus-one, whose blocks have the wanted (or their own) checksum."""
    try:
        data = (folder / fmt.SHARD).read_bytes()
    except OSError:
        return []
    ranges: list[list[int]] = []
    for block, ((offset, length), crc) in enumerate(zip(places, wanted, strict=True)):
        record = data[offset : offset + length]
        own = record[-fmt.CRC_BYTES :][::-1].hex()
        if len(record) < length or f"{crc32c(record[: -fmt.CRC_BYTES]):08x}" != (crc or own):
            continue
        start, stop = geometry.rows(block)
        if ranges and ranges[-1][1] == start:
            ranges[-1][1] = stop
        else:
            ranges.append([start, stop])
    return ranges


def _place(path: Path, name: str) -> Path:
    return path / fmt.QUARANTINE / f"{name}~{secrets.token_hex(4)}"


def _quarantine(path: Path, folder: str, findings: list[Finding], salvage: dict[str, object]) -> Action:
    """Take a folder out of the store in one rename, with a note of what was wrong and what is sound."""
    place, name = _place(path, Path(folder).name), findings[0].model or folder
    note = {"model": name, "quarantined_at": now(), "problems": [f.problem for f in findings], **salvage}
    with writing(place):
        place.parent.mkdir(exist_ok=True)
        os.rename(path / folder, place)
        sync_folder((path / folder).parent)
        sync_folder(place.parent)
    target = place if place.is_dir() else place.parent
    write_file(target / SALVAGE_JSON, seal(note))
    rows = salvage.get("sound_rows")
    kept = f"; sound rows: {_ranges(rows)}" if isinstance(rows, list) else ""
    files = salvage.get("sound_files")
    kept += f"; sound files: {', '.join(map(str, files)) or 'none'}" if isinstance(files, list) else ""
    moved = place.relative_to(path).as_posix()
    return Action(name, "quarantined", f"{findings[0].problem}; moved to {moved}{kept}")


def _ranges(rows: list[list[int]]) -> str:
    shown = ", ".join(f"{start} to {stop - 1}" for start, stop in rows[:8])
    return f"{shown}{', …' if len(rows) > 8 else ''}" if rows else "none"
