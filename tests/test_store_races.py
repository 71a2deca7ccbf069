"""Several processes and threads on one store, and the windows between two system calls."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dissensus as ds
from dissensus import errors
from dissensus.store import files, folders, locks, repair, staging, sweep
from dissensus.store import format as fmt
from dissensus.store.codecs import BY_NAME
from dissensus.store.encoding import Encoded, encode


@pytest.fixture
def zoo(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    store.rows = rng.normal(size=(9001, 3)).astype("f4")
    store.add("m", logits=store.rows)
    return store


def in_thread(job, seconds):
    """Run a job again and again beside the test; gives a function that stops it and raises what it raised."""
    stop, raised = threading.Event(), []

    def loop():
        try:
            end = time.monotonic() + seconds
            while not stop.is_set() and time.monotonic() < end:
                job()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=loop)
    thread.start()

    def end():
        stop.set()
        thread.join()
        if raised:
            raise raised[0]

    return end


# readers beside a writer


def test_a_reader_beside_replacements_sees_one_model_or_the_other(zoo):
    """No false damage, and never a mix of the two."""
    code = """
        import sys
        import numpy as np
        import dissensus as ds
        store = ds.open(sys.argv[1])
        for value in range(1, 41):
            rows = np.full((9001, 3), float(value)) * [1, 2, 3]
            store.add("m", logits=rows, replace=True, metadata={"v": value})
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(zoo.path)]
    writer = subprocess.Popen(command)
    is_last = False
    while not is_last:
        is_last = writer.poll() is not None
        store = ds.open(zoo.path)
        assert store.model_ids == ["m"]
        assert store.verify().findings == []
        (row,) = store.models().to_pylist()
        assert row["accuracy"] == pytest.approx((zoo.labels == 2).mean()) or "v" not in row
        store.top1()
        try:
            first = store.logits("m")[0:5]
        except errors.ModelReplaced:
            continue
        assert np.ptp(first, axis=0).max() == 0 or np.allclose(first, zoo.rows[:5], atol=0.02)
    assert writer.returncode == 0
    assert ds.open(zoo.path).models()["v"].to_pylist() == [40]


@pytest.mark.parametrize("codec", fmt.CODECS)
def test_threads_read_their_own_blocks(tmp_path, rng, codec):
    n = 9 * 4096
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, n), classes=list("abc"), codec=codec)
    rows = rng.normal(size=(n, 3)).astype("f4")
    store.add("m", logits=rows)
    z = store.logits("m")
    expected = z[:]

    def read(seed):
        own = np.random.default_rng(seed)
        for start in own.integers(0, n - 100, 400):
            assert np.array_equal(z[start : start + 100], expected[start : start + 100])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read, range(4)))
        lazy = store.to_xarray().logits.sel(model="m").compute(scheduler="threads")
    finally:
        sys.setswitchinterval(before)
    assert np.array_equal(lazy, expected)


def test_a_model_removed_while_it_is_verified_is_no_damage(zoo):
    def churn():
        zoo.add("other", logits=zoo.rows)
        zoo.remove("other")

    stop = in_thread(churn, 10)
    for _ in range(40):
        assert zoo.verify().findings == []
        ds.open(zoo.path).info()
        ds.open(zoo.path).models()
    stop()


def test_a_file_cut_while_it_is_mapped_is_an_error_and_no_signal(zoo):
    code = """
        import os, sys
        import dissensus as ds
        z = ds.open(sys.argv[1]).logits("m")
        os.truncate(sys.argv[1] + "/models/m/logits/c.0.0", 100)
        try:
            z[0:30]
        except ds.DissensusError as error:
            print(type(error).__name__)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(zoo.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "CorruptionError\n"


# repair beside others


def test_repair_takes_no_lock_from_a_writer(zoo, monkeypatch):
    """Between its look at a lock file and its removal, another writer takes the lock."""
    lock = zoo.path / fmt.STAGING / "x.lock"
    lock.write_text("")
    writers, real = [], locks.FileLock.release

    def release(self):
        if self._path == lock and not writers:
            real(self)
            writers.append(zoo.writer("x", fingerprint={}))
        real(self)

    monkeypatch.setattr(locks.FileLock, "release", release)
    sweep.sweep_staging(zoo.path, zoo.geometry, zoo.examples_hash, clear=False)
    monkeypatch.undo()
    with pytest.raises(errors.WriterBusy):
        zoo.writer("x", fingerprint={})
    writers[0].close()
    assert not lock.exists()


def test_repair_acts_on_what_it_finds_under_the_lock(zoo, monkeypatch):
    """What was damaged when it was listed may have been stored again since."""
    commit = zoo.model("m").folder / fmt.COMMIT_JSON
    sound = commit.read_bytes()
    commit.write_bytes(sound[:-9])
    real = repair.verify_store

    def stored_again(path, **options):
        report = real(path, **options)
        commit.write_bytes(sound)
        return report

    monkeypatch.setattr(repair, "verify_store", stored_again)
    assert ds.open(zoo.path).repair().actions == []
    assert zoo.model_ids == ["m"]


def test_two_repairs_at_once(zoo):
    lock = locks.FileLock(zoo.path / fmt.STAGING / ".repair.lock", "")
    with pytest.raises(errors.WriterBusy, match="another repair of .* is under way"):
        zoo.repair()
    lock.release()
    assert zoo.repair().ok


def test_a_store_without_its_empty_folders_is_repaired(zoo):
    (zoo.path / fmt.STAGING).rmdir()
    (zoo.path / fmt.MODELS / fmt.ZARR_JSON).unlink()
    assert [a.action for a in zoo.repair().actions] == ["mended"]


def test_what_may_not_be_read_is_left(zoo):
    code = """
        import os, sys
        import dissensus as ds
        import dissensus.store.repair  # before the installation may be out of reach
        store = ds.open(sys.argv[1])
        store.verify()
        if os.getuid() == 0:
            os.setuid(65534)
        report = store.repair()
        print([(a.model, a.action) for a in report.actions], report.ok)
        try:
            store.model("m")
        except PermissionError as error:
            print(error)
        except OSError as error:
            print(type(error).__name__, error.errno == 13, error)
    """
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        path = Path(root) / "s.zoo"
        zoo.copy(path)
        for entry in [path, *path.rglob("*")]:
            entry.chmod(0o777 if entry.is_dir() else 0o666)
        (path / "models/m" / fmt.COMMIT_JSON).chmod(0)
        command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "[('m', 'left')] False" in done.stdout, done.stdout + done.stderr
        assert "NotReadable True" in done.stdout
        assert "check its permissions" in done.stdout


# killed in between


def stop_at(monkeypatch, module, name):
    """Let a function end the writer as a kill would: nothing after it runs, and nothing cleans up."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, killed)


def test_a_removed_model_does_not_come_back(zoo, monkeypatch):
    """Its predecessor, left by a killed replacement, is no finished model that lacks its rename."""
    stop_at(monkeypatch, staging, "bury")
    with pytest.raises(KeyboardInterrupt):
        zoo.add("m", logits=-zoo.rows, replace=True)
    monkeypatch.undo()
    zoo.remove("m")
    assert zoo.repair().ok
    assert zoo.model_ids == []


def killed_between_two_renames(zoo, monkeypatch):
    """What a kill after the first of two renames leaves: the old model aside, the new one whole."""
    stop_at(monkeypatch, staging, "take_over")
    with pytest.raises(KeyboardInterrupt):
        zoo.add("m", logits=-zoo.rows, replace=True)
    monkeypatch.undo()
    os.rename(zoo.path / fmt.MODELS / "m", zoo.path / fmt.STAGING / f"{folders.REPLACED}m~1")


@pytest.mark.parametrize("then", ["restart", "repair", "read-only fingerprint"])
def test_the_old_model_is_back_after_a_kill_between_two_renames(zoo, monkeypatch, then):
    killed_between_two_renames(zoo, monkeypatch)
    assert zoo.model_ids == []
    if then == "repair":
        zoo.repair()
    elif then == "restart":
        with pytest.raises(RuntimeError), zoo.writer("m", fingerprint={}, restart=True, replace=True):
            raise RuntimeError("the model failed")
    else:
        with pytest.raises(errors.ModelExists):
            zoo.writer("m", fingerprint={"other": "1"})
    assert zoo.model_ids == ["m"]
    assert zoo.verify().ok
    value = zoo.logits("m")[:]
    wanted = -zoo.rows if then == "repair" else zoo.rows  # repair finishes the successor, which was whole
    np.testing.assert_allclose(value, wanted, atol=0.02)


def test_a_failing_second_rename_puts_the_old_model_back(zoo, monkeypatch):
    real, calls = os.rename, []

    def rename(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(folders, "_rename_exchange", lambda new, place: False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(OSError, match="Input/output"):
            zoo.add("m", logits=-zoo.rows, replace=True)
    np.testing.assert_allclose(zoo.logits("m")[:], zoo.rows, atol=0.02)


def test_an_error_after_the_record_keeps_the_rows(zoo, monkeypatch):
    """The last sync before the rename fails: everything is staged, and stays."""
    real, calls = files.sync_folder, []

    def full(folder):
        calls.append(folder)
        if (Path(folder) / fmt.COMMIT_JSON).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(folder)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "sync_folder", full)
        with pytest.raises(errors.StoreFull, match="to go on"), zoo.writer("n", fingerprint={}) as w:
            w.append(zoo.rows)
    with zoo.writer("n", fingerprint={}) as w:
        assert w.position >= 8192
        w.append(zoo.rows[w.position :])
    assert zoo.verify().ok


# what is written


def test_packing_gives_the_same_bytes_every_time(rng):
    """Blocks of many parts, which blosc's threads would append in any order."""
    block = rng.normal(size=(524, 1000)).astype("f2")
    first = BY_NAME["archive"].encode(block).tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: BY_NAME["archive"].encode(block).tobytes(), range(40))) == {first}


def test_encoded_rows_must_fit_the_store(zoo):
    names = {"model_id": "n", "example_ids": zoo.example_ids, "class_names": zoo.classes}
    wide = encode(zoo.rows, "float32", **names)
    fine = encode(zoo.rows, "float16", **names)
    cases = [
        (wide, r"must be 9001 of float16 throughout; got float32"),
        (Encoded(fine.centred, fine.top1[:5], fine.rowmax, fine.lse), "with 5, 9001 and 9001 values"),
        (Encoded(fine.centred, fine.top1 + 7, fine.rowmax, fine.lse), r"classes in 0\.\.2"),
        (Encoded(fine.centred, fine.top1, fine.rowmax, fine.lse * np.nan), "finite numbers"),
    ]
    for rows, message in cases:
        with pytest.raises(errors.ArgumentError, match=message), zoo.writer("n", fingerprint={}) as w:
            w.append(rows)
    with zoo.writer("n", fingerprint={}) as w:
        w.append(fine)
    assert np.array_equal(zoo.logits("n")[:], zoo.logits("m")[:])


@pytest.mark.parametrize("rows", [[3, 3, 5], [5, 3], [-1, 2], [0, 9001], [0.5], np.ones(9001, bool)])
def test_rows_of_blocks_are_checked(zoo, rows):
    with pytest.raises(errors.ArgumentError, match=r"rows must be ascending, distinct numbers in 0\.\.9000"):
        zoo.blocks(rows=np.array(rows))


# names and arguments


@pytest.mark.parametrize("name", ["\udcff", "", "  ", 5, None])
def test_what_is_no_name_is_refused_everywhere(zoo, name):
    for attempt in (
        lambda: zoo.model(name),
        lambda: zoo.remove(name),
        lambda: zoo.add(name, logits=zoo.rows),
        lambda: zoo.add_labels(name, [0] * 9001),
        lambda: zoo.add_columns({name: [0] * 9001}),
    ):
        with pytest.raises(errors.ArgumentError, match="is a non-empty string|must be valid Unicode"):
            attempt()


def test_odd_arguments_are_errors_of_ours(zoo, tmp_path):
    zoo.add("self", logits=zoo.rows, metadata={"self": 1})
    for attempt in (
        lambda: zoo.add("n", logits=zoo.rows, metadata={1: "a"}),
        lambda: zoo.add("n", logits=zoo.rows, metadata="abc"),
        lambda: zoo.writer("n", fingerprint=None),
        lambda: zoo.add_columns({"a": 5}),
        lambda: zoo.add_columns({}),
        lambda: ds.create("a\0b", [0, 1]),
        lambda: zoo.copy("c\0"),
        lambda: zoo.copy(zoo.path / "models" / "inner"),
    ):
        with pytest.raises(errors.DissensusError):
            attempt()


def test_a_label_set_hides_no_column(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1], metadata={"label_real": [5, 6]})
    with pytest.raises(errors.ArgumentError, match="would hide the column 'label_real'"):
        store.add_labels("real", [1, 0])
    store.add_columns({"label_a": [1, 2]})
    with pytest.raises(errors.ArgumentError, match="would hide the column 'label_a'"):
        store.add_labels("a", [1, 0])
    store.add_labels("b", [1, 0])
    with pytest.raises(errors.ArgumentError, match="'label_b' is one of the store's own"):
        store.add_columns({"label_b": [1, 2]})


def test_copies_with_holes_and_conflicts(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1], metadata={"x": [1.0, float("nan")]})
    store.add("m", predictions=[0, 1])
    store.add_labels("real", [[0], [0, 1]])
    store.copy(tmp_path / "c.zoo")
    copy = store.copy(tmp_path / "c.zoo")
    copy.remove_column("real")
    copy.add_labels("real", [[1], [1]])
    with pytest.raises(errors.ExamplesMismatch, match="'label_real' holds other values in"):
        store.copy(copy.path)
    copy.remove_column("real")
    copy.add("m", logits=np.eye(2), replace=True)
    with pytest.raises(errors.FingerprintMismatch, match="kind: stored logits, given labels"):
        store.copy(copy.path)


def test_a_wrong_name_is_said_beside_a_damaged_model(zoo):
    zoo.add("other", logits=zoo.rows)
    (zoo.model("other").folder / fmt.SHARD).unlink()
    store = ds.open(zoo.path)
    with pytest.raises(errors.UnknownName, match="unknown model 'n'; (did you|there are)"):
        store.model("n")
    with pytest.raises(errors.CorruptionError, match="run `dissensus repair` to set it aside"):
        store.models()
