"""Hostile circumstances: files made by two at once, files that cannot be read, names told twice, ghosts."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import dissensus as ds
from dissensus import errors
from dissensus.store import blocks, files, folders, shards, staged, staging, strips
from dissensus.store import format as fmt
from dissensus.store.files import crc32c, write_file
from dissensus.store.sealed import seal
from dissensus_cli.main import main


@pytest.fixture
def zoo(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    store.rows = rng.normal(size=(9001, 3)).astype("f4")
    store.add("m", logits=store.rows)
    store.add("other", logits=2 * store.rows)
    return store


def flip(path, where=0):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def temporaries(path):
    return sorted(p.name for p in path.rglob("*") if p.name.endswith(files.TEMPORARY))


# files in the making


def test_two_writers_of_a_file_share_no_bytes(tmp_path, monkeypatch):
    """One writes while the other is about to rename: what is in place is one of the two, and stays it."""
    target, real = tmp_path / "cache", os.replace

    def replace(source, place):
        monkeypatch.setattr(os, "replace", real)
        write_file(target, b"second, longer", durable=False)
        mapped = target.read_bytes()
        assert mapped == b"second, longer"
        real(source, place)

    monkeypatch.setattr(os, "replace", replace)
    write_file(target, b"first", durable=False)
    assert target.read_bytes() == b"first"
    assert temporaries(tmp_path) == []


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.StoreFull):
        write_file(tmp_path / "x.json", b"{}")
    assert list(tmp_path.iterdir()) == []


def test_only_files_of_dead_writers_are_swept(zoo, monkeypatch):
    """Old and not held: one that is held, or young, is somebody's."""
    (zoo.path / fmt.CACHE).mkdir()
    dead, young, root = (
        zoo.path / fmt.CACHE / f".top1.arrow.1{files.TEMPORARY}",
        zoo.path / fmt.CACHE / f".top1.arrow.2{files.TEMPORARY}",
        zoo.path / f".store.json.3{files.TEMPORARY}",
    )
    for path in (dead, young, root):
        path.write_bytes(b"half")
    for path in (dead, root):
        os.utime(path, (0, 0))
    real = os.replace

    def replace(source, place):  # a live writer that takes longer than a sweep waits
        monkeypatch.setattr(os, "replace", real)
        os.utime(source, (0, 0))
        assert [a.action for a in zoo.repair().actions] == ["cleared", "cleared"]
        real(source, place)

    monkeypatch.setattr(os, "replace", replace)
    write_file(zoo.path / fmt.CACHE / "live", b"whole", durable=False)
    assert (zoo.path / fmt.CACHE / "live").read_bytes() == b"whole"
    assert temporaries(zoo.path) == [young.name]
    os.utime(young, (time.time() - folders.YOUNGEST_S - 1,) * 2)
    assert folders.clear_temporaries(zoo.path / fmt.CACHE) == [young.name]


def test_a_resumed_model_takes_no_file_in_the_making_with_it(zoo):
    with zoo.writer("new", fingerprint={}) as w:
        (w._staging.folder / f".commit.json.1{files.TEMPORARY}").write_bytes(b"half")
        w.append(zoo.rows)
    left = zoo.model("m").folder / f".zarr.json.1{files.TEMPORARY}"
    left.write_bytes(b"half")
    assert [f.model for f in zoo.verify().findings] == ["m"]
    assert zoo.repair().ok
    assert temporaries(zoo.path) == []


# what cannot be read


def in_place(shard, what):
    """Put something else where a shard is; return the type of finding it is."""
    if what == "loop":
        shard.unlink()
        shard.symlink_to(shard.name)
    elif what == "folder":
        shard.unlink()
        shard.mkdir()
    else:
        for entry in shard.parent.iterdir():
            entry.unlink()
        shard.parent.rmdir()
        shard.parent.write_text("x")


@pytest.mark.parametrize("what", ["loop", "folder", "file above"])
def test_what_is_no_shard_is_damage_by_name(zoo, what):
    in_place(zoo.model("m").folder / fmt.SHARD, what)
    with pytest.raises(errors.CorruptionError, match=r"model 'm': logits/c\.0\.0"):
        ds.open(zoo.path).logits("m")
    report = zoo.verify()
    assert {f.model for f in report.findings} == {"m"}
    assert not any(f.unreadable for f in report.findings)
    assert "logits/c.0.0" in {f.file for f in report.findings}


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_shard_that_cannot_be_opened_stops_no_other_model(zoo, monkeypatch, number):
    shard, real = str(zoo.model("m").folder / fmt.SHARD), os.open

    def refused(path, *arguments, **options):
        if str(path) == shard:
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    flip(zoo.model("other").folder / fmt.DERIVED, 300)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(errors.NotReadable, match=r"model 'm': .*c\.0\.0 cannot be read"):
        zoo.logits("m")
    report = zoo.verify()
    assert [(f.model, f.file, f.unreadable) for f in report.findings] == [
        ("m", fmt.SHARD, True), ("other", fmt.DERIVED, False),
    ]  # fmt: skip
    done = zoo.repair()
    assert {(a.model, a.action) for a in done.actions} == {("m", "left"), ("other", "quarantined")}
    assert not done.ok
    assert "cannot be read" in next(a.detail for a in done.actions if a.model == "m")
    monkeypatch.undo()
    assert zoo.verify().ok


def test_a_model_that_may_not_be_read_is_left_out_with_a_warning(zoo, monkeypatch):
    real, folder = os.stat, str(zoo.model("m").folder)

    def refused(path, *arguments, **options):
        if str(path) == f"{folder}/{fmt.SHARD}":
            raise OSError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(errors.NotReadable, match="check its permissions"):
        assert ds.open(zoo.path).model_ids
    with pytest.warns(UserWarning, match="left out: model 'm': .* cannot be read"):
        assert ds.open(zoo.path, damaged="skip").model_ids == ["other"]


def test_verify_and_copy_as_another_user(zoo):
    """The command line names the model it may not read, does the rest, and ends with status 1."""
    code = """
        import os, sys
        import dissensus as ds
        from dissensus_cli.main import main

        def run(*words):
            try:
                main([*words])
            except SystemExit as end:
                print(end.code, flush=True)

        path = sys.argv[1]
        ds.open(path).copy(path + ".first", ["m"])  # everything is imported while it may be
        run("verify", path)
        if os.getuid() == 0:
            os.setuid(65534)
        print("now")
        run("verify", path)
        run("copy", path, path + ".copy")
    """
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o777)
        path = Path(root) / "s.zoo"
        zoo.add("third", logits=3 * zoo.rows)
        zoo.copy(path)
        for entry in [path, *path.rglob("*")]:
            entry.chmod(0o777 if entry.is_dir() else 0o666)
        (path / "models/m" / fmt.SHARD).chmod(0)
        (path / "models/third" / fmt.ZARR_JSON).write_text("{}")
        command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, text=True, check=True)
        told = done.stdout.partition("now\n")[2]
        assert "2 problems; 1 not readable: check permissions and the disk; `dissensus repair" in told
        assert re.search(r"copy has 1 of the 3 models; not copied: .*/m/.* cannot be read .*'third'", told), (
            told
        )
        assert told.count("\n1\n") == 2, told
        assert "Traceback" not in told
        assert ds.open(f"{path}.copy").model_ids == ["other"]


# blocks read together


@pytest.mark.parametrize("at_once", [0, 60_000, 1 << 20])
@pytest.mark.parametrize("damaged", [[], [0], [2], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("place", [5, -1], ids=["data", "checksum"])
def test_blocks_read_together_are_told_apart(zoo, monkeypatch, at_once, damaged, place):
    """What is wrong is the same list, with the same words, as of blocks read one by one."""
    monkeypatch.setattr(shards, "AT_ONCE", at_once)
    path, geometry = zoo.model("m").folder / fmt.SHARD, zoo.geometry
    spans = geometry.places().tolist()
    assert len(spans) == 3
    for block in damaged:
        offset, length = spans[block]
        flip(path, offset + (place if place >= 0 else length + place))
    shard = ds.open(zoo.path).model("m").arrays[fmt.SHARD]()
    one_by_one = {}
    for block in range(3):
        try:
            shard._check(block, np.empty(shard.longest, np.uint8))
        except errors.CorruptionError as error:
            one_by_one[block] = str(error)
    assert list(one_by_one) == damaged
    assert {block: str(error) for block, error in shard.faults()} == one_by_one


def test_one_block_that_the_disk_does_not_give_is_named_alone(zoo, monkeypatch):
    shard, real = ds.open(zoo.path).model("m").arrays[fmt.SHARD](), os.preadv
    bad = zoo.geometry.places().tolist()[1][0]

    def failing(fd, views, offset):
        if offset <= bad < offset + sum(map(len, views)):
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, views, offset)

    monkeypatch.setattr(os, "preadv", failing)
    (found,) = shard.faults()
    assert (found[0], type(found[1])) == (1, errors.NotReadable)


def test_a_staged_file_cut_short_is_no_table_of_what_memory_held(tmp_path):
    file = staged.BlockFile(tmp_path / "part", 8, stays=False)
    for number in range(3):
        file.append(np.full(8, number, np.uint8))
    assert file.read(0, 3).tolist() == [[number] * 8 for number in range(3)]
    os.truncate(file.path, 30)
    with pytest.raises(errors.CorruptionError, match="part was cut short or damaged as it was written"):
        file.read(1, 3)
    file.close()


# names told twice


@pytest.mark.parametrize("name", [fmt.STORE_JSON, fmt.COMMIT_JSON])
def test_a_name_that_comes_twice_in_a_record_is_damage(zoo, name):
    path = zoo.path / name if name == fmt.STORE_JSON else zoo.model("m").folder / name
    twice = json.loads(path.read_text())
    del twice["crc32c"]
    first = next(iter(sorted(twice)))
    body = fmt.canonical_json(twice).replace(b"{\n", f'{{\n  "{first}": 0,\n'.encode(), 1)
    path.write_bytes(body[:-3] + f',\n  "crc32c": "{crc32c(body):08x}"\n}}\n'.encode())
    remedy = "; it cannot be rebuilt: bring this file back from a copy" if name == fmt.STORE_JSON else ""
    wrong = f"{name} is not valid JSON .*'{first}' is named twice.*{remedy}"
    with pytest.raises(errors.CorruptionError, match=wrong):
        assert ds.open(zoo.path).model_ids
    assert not zoo.verify().ok


@pytest.mark.parametrize("name", [fmt.MODEL_JSON, fmt.ZARR_JSON])
def test_a_name_that_comes_twice_in_a_models_file_is_damage(zoo, name):
    """Written and committed by another program, so that sizes and checksums are right."""
    folder = zoo.model("m").folder
    data = b'{"a": 1, "b": {"x": 1, "x": 2}}'
    (folder / name).write_bytes(data)
    record = json.loads((folder / fmt.COMMIT_JSON).read_text())
    record["files"][name] = {"bytes": len(data), "crc32c": f"{crc32c(data):08x}"}
    (folder / fmt.COMMIT_JSON).write_bytes(seal(record))
    (finding,) = zoo.verify().findings
    assert (finding.model, finding.file) == ("m", name)
    assert "'x' is named twice" in finding.problem


# reading what is asked for


def test_blocks_without_a_wanted_row_are_not_looked_at(zoo):
    flip(zoo.model("m").folder / fmt.SHARD, zoo.geometry.data_bytes + 4 + 10)  # block 1 of 3
    logits = ds.open(zoo.path).logits("m")
    (block,) = blocks.read_blocks([logits], np.array([0, 9000]), 2)
    centred = zoo.rows - zoo.rows.max(1, keepdims=True)
    np.testing.assert_allclose(block.centred[0], centred[[0, 9000]], atol=0.02)
    with pytest.raises(errors.CorruptionError, match="block 1"):
        list(blocks.read_blocks([logits], np.array([0, 5000]), 2))


@pytest.mark.parametrize("step", [1, 1000, 5000, 1 << 20])
def test_strips_are_the_stored_rows_and_whole_blocks_are_verified(zoo, step):
    """The last block, which is padded, too."""
    logits, size = ds.open(zoo.path).logits("m"), zoo.geometry.block_rows
    memory = np.empty(2 * min(step, size) * logits.shape[1], zoo.geometry.dtype)
    for block in (0, zoo.geometry.n_blocks - 1):
        rows = slice(*zoo.geometry.rows(block))
        if step == 1:
            rows = slice(rows.start, rows.start + 3)
        read = strips.read_strips([logits, logits], block, step, memory)
        parts = [(first, stored.copy()) for first, stored in itertools.islice(read, 3 if step == 1 else None)]
        assert [first for first, _ in parts] == [*range(rows.start, rows.stop, step)]
        for m in range(2):
            got = np.concatenate([stored[m] for _, stored in parts])
            np.testing.assert_array_equal(got, logits.centred(rows.start, rows.stop))


@pytest.mark.parametrize("where", ["row", "padding", "checksum", "short"])
def test_damage_ends_the_strips_of_a_block(zoo, where):
    g = zoo.geometry
    start, stop = g.rows(g.n_blocks - 1)
    path = zoo.model("m").folder / fmt.SHARD
    row_bytes = g.data_bytes // g.block_rows
    at = {"row": 10, "padding": (stop - start) * row_bytes, "checksum": g.data_bytes, "short": 0}[where]
    logits = ds.open(zoo.path).logits("m")
    flip(path, (g.n_blocks - 1) * (g.data_bytes + 4) + at)
    if where == "short":
        with path.open("rb+") as file:
            file.truncate((g.n_blocks - 1) * (g.data_bytes + 4) + row_bytes)
    memory = np.empty(1000 * logits.shape[1], g.dtype)
    with pytest.raises(errors.CorruptionError, match=f"model 'm': block {g.n_blocks - 1} of .* fails"):
        list(strips.read_strips([logits], g.n_blocks - 1, 1000, memory))
    assert len(list(strips.read_strips([logits], 0, 1000, memory))) == -(-g.block_rows // 1000)


def test_a_disk_that_fails_under_strips_is_an_error(zoo, monkeypatch):
    logits = ds.open(zoo.path).logits("m")

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shards.os, "preadv", failing)
    with pytest.raises(errors.NotReadable, match=r"model 'm': block 1 of .* cannot be read \(Input/output"):
        next(strips.read_strips([logits], 1, 10, np.empty(10 * logits.shape[1], zoo.geometry.dtype)))


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no such call on this system")
def test_a_file_system_that_takes_no_hints_is_read_all_the_same(zoo, monkeypatch):
    def refusing(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(shards.os, "posix_fadvise", refusing)
    ds.open(zoo.path).logits("m").expect(0)


def test_closing_early_waits_for_the_blocks_under_way_only(zoo, monkeypatch):
    logits, begun = zoo.logits("m"), []
    real = type(logits).fetch

    def slow(self, rows, buffers):
        begun.append(rows[0])
        time.sleep(0.002)
        return real(self, rows, buffers)

    monkeypatch.setattr(type(logits), "fetch", slow)
    reading = blocks.read_blocks([logits] * 400, np.arange(9001))
    next(reading)
    before = len(begun)
    reading.close()
    assert before < 800
    assert len(begun) <= before + blocks._READERS


# ghosts


def stop_at(monkeypatch, module, name):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, killed)


def killed_replacement(zoo, monkeypatch, where):
    with monkeypatch.context() as patch:
        stop_at(patch, *where)
        with pytest.raises(KeyboardInterrupt):
            zoo.add("m", logits=-zoo.rows, replace=True)


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("where", ["publish", "take_over", "bury"])
def test_a_killed_replacement_goes_with_what_it_was_to_replace(zoo, monkeypatch, where, exchange):
    if not exchange:
        monkeypatch.setattr(folders, "_rename_exchange", lambda one, other: False)
    killed_replacement(zoo, monkeypatch, (staging, where))
    zoo.remove("m")
    assert zoo.repair().ok
    assert zoo.model_ids == ["other"]
    assert zoo.staged() == []


def test_a_replacement_outlives_its_model_only_as_staging(zoo, monkeypatch):
    """Its model was removed by a program that left it there."""
    killed_replacement(zoo, monkeypatch, (staging, "publish"))
    folders.bury(zoo.path / fmt.MODELS / "m", zoo.path / fmt.STAGING)
    (action,) = zoo.repair().actions
    assert (action.model, action.action) == ("m", "left")
    assert "what it was to replace is gone" in action.detail
    assert zoo.model_ids == ["other"]
    zoo.add("m", logits=-zoo.rows)  # the same rows: what is staged is theirs
    np.testing.assert_allclose(zoo.logits("m")[:], -zoo.rows, atol=0.02)
    assert zoo.verify().ok


def test_repair_puts_a_whole_replacement_in_the_place_of_a_damaged_model(zoo, monkeypatch):
    killed_replacement(zoo, monkeypatch, (staging, "publish"))
    flip(zoo.model("m").folder / fmt.SHARD, 10)
    report = zoo.repair()
    assert report.ok
    assert [(a.model, a.action) for a in report.actions] == [("m", "finished")]
    np.testing.assert_allclose(zoo.logits("m")[:], -zoo.rows, atol=0.02)


def test_remove_waits_for_no_live_replacement_and_touches_none(zoo):
    with zoo.writer("m", fingerprint={"weights": "2"}, replace=True) as w:
        w.append(-zoo.rows)
        with pytest.raises(errors.WriterBusy):
            zoo.remove("m")
    np.testing.assert_allclose(zoo.logits("m")[:], -zoo.rows, atol=0.02)


# what is said


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards

    def _run(*words, status=0):
        ended = None
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            ended = end.code
        told = capsys.readouterr()
        assert (ended or 0) == status, told
        return told.out

    return _run


def test_damage_is_named_with_its_folder_and_the_way_on(zoo, run):
    flip(zoo.model("m").folder / fmt.ARRAY_JSON, 5)
    flip(zoo.model("other").folder / fmt.SHARD, 5)
    told = run("verify", zoo.path, status=1)
    assert "model 'm': logits/zarr.json" in told
    assert f"2 problems; `dissensus repair {zoo.path}` mends what can be proven right" in told
    assert "flipped bits in logits are not found" in " ".join(run("verify", "--help").split())
    told = run("repair", zoo.path)
    assert "import or ingest the model again with the command it came by" in told
    (aside,) = zoo.quarantined()
    assert aside.startswith("other~")
    assert f"quarantined     {aside}" in run("info", zoo.path)
    assert json.loads(run("info", zoo.path, "--format", "json"))["quarantined"] == [aside]
    assert "sizes and small files are sound, logits were not read" in run("verify", "--quick", zoo.path)
