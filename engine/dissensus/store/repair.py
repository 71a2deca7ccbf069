"""Mending what can be proven right, setting aside what cannot, and tidying what killed writers left.

Nothing is guessed: a rebuilt file must have the checksum that was committed, and a model that still does not
verify leaves the store whole, into ``quarantine/``, with a note of what in it is sound.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from dissensus.errors import CorruptionError, DissensusError, IncompatibleFormat, NotWritable, WriterBusy

from . import format as fmt
from .files import crc32c, crc_bytes, is_temporary, sync_folder, write_at, write_file, writing
from .header import read_header
from .locks import FileLock
from .reader import StoredModel
from .reading import check_file, read_whole
from .sealed import seal, unseal
from .staging import folder_lock
from .sweep import Action, sweep_staging
from .times import now
from .verify import Finding, verify_column, verify_model, verify_store

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
    """Verify everything and put right what can be; see `Store.repair`.

    Raises
    ------
    WriterBusy
        Another repair is under way.
    """
    header, _ = read_header(path)
    store = _Store(path, fmt.Geometry.of_header(header), header["examples_hash"])
    with writing(path / fmt.STAGING):
        for name in (fmt.MODELS, fmt.STAGING):
            (path / name).mkdir(exist_ok=True)
    lock = FileLock(
        path / fmt.STAGING / ".repair.lock", f"another repair of {path} is under way; wait for it"
    )
    try:
        with writing(path / fmt.STAGING):  # first: a replacement that was killed may put the old model back
            swept = sweep_staging(path, store.geometry, store.examples_hash, clear_staging)
        actions = [action for finding in _damaged(path) for action in _mend(store, finding)]
        if any(action.action == "quarantined" for action in actions):  # a staged model may take that place
            swept = [action for action in swept if action.action != "left"]
            with writing(path / fmt.STAGING):
                swept += sweep_staging(path, store.geometry, store.examples_hash, clear_staging)
        return RepairReport(actions + swept, verify_store(path, quick=False).ok)
    finally:
        lock.release()


@dataclass(frozen=True)
class _Store:
    """What mending needs to know of the store."""

    path: Path
    geometry: fmt.Geometry
    examples_hash: str


def _damaged(path: Path) -> list[Finding]:
    """First finding of every folder that has one, and all of the store's own files."""
    first = {
        (f.folder, f.file if not f.folder else ""): f
        for f in reversed(verify_store(path, quick=False).findings)
    }
    return list(reversed(first.values()))


def _mend(store: _Store, finding: Finding) -> list[Action]:
    """Mend or set aside what a finding tells of; what this user may not write is left, the rest goes on."""
    try:
        with writing(store.path / finding.folder / finding.file):
            return _mended(store, finding)
    except NotWritable as error:
        return [Action(finding.model or finding.folder, "left", f"{finding.problem}; {error}")]


def _mended(store: _Store, finding: Finding) -> list[Action]:
    if finding.folder.startswith(f"{fmt.MODELS}/"):
        return _mend_model(store, finding)
    if finding.folder:
        return _set_column_aside(store, finding)
    if finding.unreadable:
        return [Action("", "left", finding.problem)]
    if finding.file != f"{fmt.MODELS}/{fmt.ZARR_JSON}":
        return [Action("", "beyond repair", f"{finding.problem}; it {BEYOND}")]
    write_file(store.path / finding.file, fmt.group_json())
    return [Action("", "mended", f"{finding.file} was written anew")]


def _set_column_aside(store: _Store, finding: Finding) -> list[Action]:
    findings, _ = verify_column(store.path / finding.folder, store.examples_hash)
    unreadable = [f.problem for f in findings if f.unreadable]
    if unreadable:
        return [Action(finding.folder, "left", unreadable[0])]
    return [_quarantine(store.path, finding.folder, findings, {})] if findings else []


def _mend_model(store: _Store, finding: Finding) -> list[Action]:
    """Mend or set aside one model under the lock of whoever writes, replaces or removes it."""
    name = Path(finding.folder).name
    try:
        lock = folder_lock(store.path, name, f"model {finding.model!r}")
    except WriterBusy as error:
        return [Action(finding.model, "left", str(error))]
    try:
        return _mend_alone(store, finding.folder)
    finally:
        lock.release()


def _mend_alone(store: _Store, place: str) -> list[Action]:
    """Rebuild what follows from the commit record; a model that still does not verify is set aside."""
    folder = store.path / place
    findings, _ = verify_model(folder, store.geometry, store.examples_hash, quick=False)
    if not findings:  # replaced or removed since
        return []
    unreadable = [f for f in findings if f.unreadable]
    if unreadable:  # nothing is known of it, so nothing is done
        return [Action(unreadable[0].model, "left", unreadable[0].problem)]
    try:
        model = StoredModel(folder, store.geometry, store.examples_hash, sizes=False)
    except CorruptionError:
        salvage = _salvage_without_record(folder, store.geometry)
        return [_quarantine(store.path, place, findings, salvage)]
    except IncompatibleFormat as error:  # sound, for all this version knows
        return [Action(findings[0].model, "left", str(error))]
    for finding in findings:
        _mend_file(store.path, model, finding)
    left, _ = verify_model(folder, store.geometry, store.examples_hash, quick=False)
    if left and all(f.file == fmt.TOPK for f in left):
        _drop_view(folder)
        left, _ = verify_model(folder, store.geometry, store.examples_hash, quick=False)
        done = "left out of the model: top-k comes from its logits, which verify"
        if not left:
            return [Action(f.model, "mended", f"{f.problem}; {done}") for f in findings]
    if left:
        return [_quarantine(store.path, place, left, _salvage(model))]
    return [Action(f.model, "mended", f"{f.problem}; put right and verified") for f in findings]


def _mend_file(path: Path, model: StoredModel, finding: Finding) -> None:
    """Rebuild one file of a model where its content is known; leave it as it is where it is not."""
    rebuilt = {fmt.ZARR_JSON: fmt.group_json(model_id=model.model_id)}
    rebuilt |= dict(fmt.described(name, geometry) for name, geometry in model.geometries.items())
    target = model.folder / finding.file
    if is_temporary(target.name):
        target.unlink(missing_ok=True)
    elif finding.file not in {*model.files, fmt.COMMIT_JSON}:
        _set_stray_aside(path, target, model)
    elif finding.file in rebuilt:
        data = rebuilt[finding.file]
        if f"{crc32c(data):08x}" == model.files[finding.file]["crc32c"]:
            target.parent.mkdir(exist_ok=True)
            write_file(target, data)
    elif finding.file in model.geometries and target.is_file():
        _mend_shard(model, finding.file, target)


def _drop_view(folder: Path) -> None:
    """Commit a model anew without its top-K view, which follows from the logits but for rounded ties."""
    record = unseal(folder / fmt.COMMIT_JSON, f"model in folder {folder.name!r}")
    files = {name: file for name, file in record["files"].items() if name != fmt.TOPK}
    write_file(folder / fmt.COMMIT_JSON, seal({**record, "files": files}))
    sync_folder(folder)
    (folder / fmt.TOPK).unlink(missing_ok=True)


def _set_stray_aside(path: Path, target: Path, model: StoredModel) -> None:
    """Move a file that is no part of a model out of its folder, unless it went with another's mending."""
    if target.exists():
        place = _place(path, model.folder.name)
        place.mkdir(parents=True)
        os.rename(target, place / target.name)


def _mend_shard(model: StoredModel, name: str, target: Path) -> None:
    """Write the index and the checksums between blocks anew: both follow from the commit record.

    Blocks whose data are damaged stay so, and the shard with them.
    """
    shard = model.files[name]
    places = model.geometries[name].places(shard.get("blocks_bytes"))
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
        if name in model.geometries:
            continue
        try:
            check_file(model.folder / name, expected, "")
        except DissensusError:
            continue
        sound.append(name)
    keys = {fmt.SHARD: "sound_rows", fmt.EMBEDDINGS_SHARD: "sound_embeddings"}
    rows = {keys[name]: _sound_rows_of(model, name) for name in model.geometries}
    return {"sound_files": sound, **rows}


def _sound_rows_of(model: StoredModel, name: str) -> list[list[int]]:
    """Ranges of rows of one of its arrays that are sound by its commit record."""
    shard, geometry = model.files[name], model.geometries[name]
    places = geometry.places(shard.get("blocks_bytes")).tolist()
    wanted = [shard["blocks_crc32c"][8 * b : 8 * b + 8] for b in range(len(places))]
    return _sound_rows(model.folder / name, geometry, places, wanted)


def _salvage_without_record(folder: Path, geometry: fmt.Geometry) -> dict[str, object]:
    """Rows whose blocks carry their own right checksum; without a commit record nobody vouches for them."""
    places = geometry.places().tolist() if geometry.codec == "raw" else []
    rows = _sound_rows(folder / fmt.SHARD, geometry, places, [None] * len(places))
    return {"sound_rows": rows, "caution": "the commit record is damaged: nothing says whose rows these are"}


def _sound_rows(
    shard: Path, geometry: fmt.Geometry, places: list[list[int]], wanted: list[str | None]
) -> list[list[int]]:
    """Ranges of rows, first and last-plus-one, whose blocks have the wanted (or their own) checksum."""
    try:
        data = read_whole(shard, "")
    except DissensusError:
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
        place.mkdir(parents=True)
        os.rename(path / folder, place / Path(folder).name)
        sync_folder((path / folder).parent)
        sync_folder(place)
        sync_folder(place.parent)
    write_file(place / SALVAGE_JSON, seal(note))
    kept = ""
    for key in ("sound_rows", "sound_embeddings"):
        if isinstance(rows := salvage.get(key), list):
            kept += f"; {key.replace('_', ' ')}: {_ranges(rows)}"
    files = salvage.get("sound_files")
    kept += f"; sound files: {', '.join(map(str, files)) or 'none'}" if isinstance(files, list) else ""
    moved = place.relative_to(path).as_posix()
    again = (
        "import or ingest the model again with the command it came by"
        if folder.startswith(fmt.MODELS)
        else "add the labels or columns again"
    )
    return Action(name, "quarantined", f"{findings[0].problem}; moved to {moved}{kept}; {again}")


def _ranges(rows: list[list[int]]) -> str:
    shown = ", ".join(f"{start} to {stop - 1}" for start, stop in rows[:8])
    return f"{shown}{', …' if len(rows) > 8 else ''}" if rows else "none"
