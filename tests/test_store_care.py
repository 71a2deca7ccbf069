"""Looking after a store: replacing, repairing, copying, migrating, provenance."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import dissensus as ds
from dissensus import errors
from dissensus.store import folders, header
from dissensus.store import format as fmt
from dissensus.store.sealed import seal, unseal


def flip(path, where=0):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# replacing


@pytest.mark.parametrize("has_exchange", [True, False])
def test_replacing_is_one_step_and_leaves_nothing(small_zoo, monkeypatch, has_exchange):
    if not has_exchange:
        monkeypatch.setattr(folders, "_rename_exchange", lambda one, other: False)
    new = -small_zoo.given["model-1"]
    with pytest.raises(errors.ModelExists, match="remove it first, replace it"):
        small_zoo.add("model-1", logits=new)
    small_zoo.add("model-1", logits=new, replace=True)
    np.testing.assert_allclose(small_zoo.logits("model-1")[:], new, atol=0.02)
    assert list((small_zoo.path / fmt.STAGING).iterdir()) == []
    small_zoo.add("fresh", logits=new, replace=True)
    assert small_zoo.verify().ok
    assert len(small_zoo.model_ids) == 6


def test_the_old_model_stays_until_the_new_one_is_whole(small_zoo):
    old = small_zoo.logits("model-1")[:]
    new = -small_zoo.given["model-1"]
    with pytest.raises(KeyboardInterrupt):
        with small_zoo.writer("model-1", fingerprint={"weights": "2"}, replace=True) as w:
            w.append(new[:100])
            assert np.array_equal(ds.open(small_zoo.path).logits("model-1")[:], old)
            with pytest.raises(errors.WriterBusy):
                small_zoo.remove("model-1")
            raise KeyboardInterrupt
    assert np.array_equal(ds.open(small_zoo.path).logits("model-1")[:], old)


def test_a_predecessor_left_by_a_kill_is_no_staged_model(small_zoo, monkeypatch):
    """Killed between the exchange and the deletion of what it put aside."""
    from dissensus.store import staging

    def killed(folder, place):
        raise KeyboardInterrupt

    new = -small_zoo.given["model-1"]
    monkeypatch.setattr(staging, "bury", killed)
    with pytest.raises(KeyboardInterrupt):
        small_zoo.add("model-1", logits=new, replace=True)
    monkeypatch.undo()
    np.testing.assert_allclose(ds.open(small_zoo.path).logits("model-1")[:], new, atol=0.02)
    assert small_zoo.staged() == ["model-1"]
    copy = small_zoo.path.with_name("copy.zoo")
    shutil.copytree(small_zoo.path, copy)
    report = ds.open(copy).repair()
    assert [(a.model, a.action) for a in report.actions] == [("model-1", "cleared")]
    np.testing.assert_allclose(ds.open(copy).logits("model-1")[:], new, atol=0.02)
    small_zoo.add("model-1", logits=2 * new, replace=True)
    np.testing.assert_allclose(small_zoo.logits("model-1")[:], 2 * new, atol=0.04)
    assert small_zoo.staged() == []


# repairing


def test_what_can_be_proven_is_rebuilt(small_zoo):
    before = contents(small_zoo.path / fmt.MODELS)
    model, g = small_zoo.model("model-2").folder, small_zoo.geometry
    flip(model / fmt.ZARR_JSON, 5)
    (model / fmt.ARRAY_JSON).unlink()
    flip(model / fmt.SHARD, g.data_bytes + 1)  # the checksum between blocks
    flip(small_zoo.model("model-3").folder / fmt.SHARD, g.shard_bytes() - 9)  # the index
    (small_zoo.model("model-1").folder / "stray.txt").write_text("x")
    flip(small_zoo.path / fmt.MODELS / fmt.ZARR_JSON, 5)
    assert len(small_zoo.verify().findings) >= 5
    report = small_zoo.repair()
    assert report.ok
    assert {(a.model, a.action) for a in report.actions} == {
        ("", "mended"), ("model-1", "mended"), ("model-2", "mended"), ("model-3", "mended"),
    }  # fmt: skip
    assert contents(small_zoo.path / fmt.MODELS) == before
    assert small_zoo.repair().actions == []


def test_what_cannot_is_set_aside_with_what_is_sound(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    for name in ("good", "bad", "Lost"):
        store.add(name, logits=rng.normal(size=(9001, 3)))
    flip(store.model("bad").folder / fmt.SHARD, store.geometry.data_bytes + 4 + 10)  # block 1 of 3
    flip(store.model("Lost").folder / fmt.COMMIT_JSON, 3)
    report = ds.open(store.path).repair()
    assert report.ok
    by_model = {a.model: a for a in report.actions}
    assert by_model["bad"].action == "quarantined"
    assert "sound rows: 0 to 4095, 8192 to 9000; sound files: " in by_model["bad"].detail
    assert store.model_ids == ["good"]
    notes = [unseal(p, "note") for p in (store.path / fmt.QUARANTINE).glob("*/salvage.json")]
    assert {n["model"] for n in notes} == {"bad", fmt.folder_name("Lost")}
    bad = next(n for n in notes if n["model"] == "bad")
    assert bad["sound_rows"] == [[0, 4096], [8192, 9001]]
    assert fmt.DERIVED in bad["sound_files"]
    lost = next(n for n in notes if n["model"] != "bad")
    assert "nothing says whose rows these are" in lost["caution"]
    assert lost["sound_rows"] == [[0, 9001]]
    store.add("bad", logits=rng.normal(size=(9001, 3)))
    assert store.verify().ok


def test_a_truncated_shard_names_its_sound_rows(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"), codec="archive")
    store.add("m", logits=rng.normal(size=(9001, 3)))
    shard = store.model("m").folder / fmt.SHARD
    os.truncate(shard, shard.stat().st_size // 2)
    (action,) = ds.open(store.path).repair().actions
    assert "sound rows: 0 to 4095;" in action.detail


def test_examples_cannot_be_rebuilt(small_zoo):
    flip(small_zoo.path / fmt.EXAMPLES, 500)
    report = small_zoo.repair()
    assert not report.ok
    assert [a.action for a in report.actions] == ["beyond repair"]
    assert "from a copy of the store" in report.actions[0].detail


def test_staging_is_settled(tmp_path, rng, monkeypatch):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    real = os.rename

    def full(source, target):
        if Path(target).parent.name == fmt.MODELS:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(errors.StoreFull), store.writer("whole", fingerprint={}) as w:
        w.append(np.ones((9001, 3), "f4"))
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt), store.writer("half", fingerprint={}) as w:
        w.append(np.ones((5000, 3), "f4"))
        raise KeyboardInterrupt
    staging = store.path / fmt.STAGING
    for name in (".making-x~1", ".making-young~1"):
        (staging / name).mkdir()
    os.utime(staging / ".making-x~1", (0, 0))
    (staging / ".removed-y~1").mkdir()
    (staging / "gone.lock").write_text("")
    with store.writer("busy", fingerprint={}) as w:
        assert {(a.model, a.action) for a in store.repair().actions} == {
            ("whole", "finished"), ("half", "left"), ("busy", "left"), ("", "cleared"),
        }  # fmt: skip
        w.append(np.ones((9001, 3), "f4"))
    assert store.model_ids == ["busy", "whole"]
    assert sorted(p.name for p in staging.iterdir()) == [".making-young~1", "half"]
    assert [a.action for a in store.repair(clear_staging=True).actions] == ["cleared"]
    assert [p.name for p in staging.iterdir()] == [".making-young~1"]


def test_a_whole_staged_model_takes_the_place_of_a_damaged_one_in_one_run(small_zoo, monkeypatch):
    aside = small_zoo.path.parent / "aside"
    (small_zoo.path / fmt.MODELS / "model-1").rename(aside)  # whole, and as if it lacked only its rename
    aside.rename(small_zoo.path / fmt.STAGING / "model-1")
    small_zoo.add("other", logits=small_zoo.given["model-2"])
    shutil.copytree(small_zoo.model("other").folder, small_zoo.path / fmt.MODELS / "model-1")
    report = small_zoo.repair()
    assert report.ok
    assert [(a.model, a.action) for a in report.actions] == [
        ("model-1", "quarantined"), ("model-1", "finished"),
    ]  # fmt: skip
    assert small_zoo.repair().actions == []
    np.testing.assert_allclose(small_zoo.logits("model-1")[:], small_zoo.given["model-1"], atol=0.02)


# what is no file


def _socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, _socket, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
@pytest.mark.parametrize("name", [fmt.COMMIT_JSON, fmt.MODEL_JSON, fmt.DERIVED, fmt.SHARD, fmt.EXAMPLES])
def test_what_stands_in_place_of_a_file_is_damage_and_no_reader_waits(small_zoo, monkeypatch, name, make):
    store = small_zoo.path
    folder = store if name == fmt.EXAMPLES else small_zoo.model("model-1").folder
    monkeypatch.chdir(folder)  # a socket's path has at most 107 bytes
    os.unlink(name)
    make(Path(name))
    with pytest.raises(errors.CorruptionError, match=Path(name).name):
        opened = ds.open(store)
        opened.examples()
        opened.model("model-1").check_small_files()
        opened.logits("model-1")
    report = ds.open(store).verify()
    assert not report.ok
    assert Path(name).name in report.findings[0].problem


def test_what_is_no_file_makes_no_repair_wait(small_zoo):
    for file in (f"model-1/{fmt.SHARD}", f"model-2/{fmt.COMMIT_JSON}"):
        os.unlink(small_zoo.path / fmt.MODELS / file)
        os.mkfifo(small_zoo.path / fmt.MODELS / file)
    os.mkfifo(small_zoo.path / fmt.MODELS / ".left.tmp")
    report = small_zoo.repair()
    assert report.ok
    assert [a.action for a in report.actions[:2]] == ["quarantined", "quarantined"]


def test_a_damaged_column_is_set_aside(small_zoo):
    small_zoo.add_labels("real", [[0]] * 203)
    flip(small_zoo.path / fmt.COLUMNS / "real" / fmt.COLUMN, 300)
    assert [f.folder for f in small_zoo.verify().findings] == ["columns/real"]
    with pytest.raises(errors.CorruptionError, match="column 'real': column.arrow fails its checksum"):
        small_zoo.under("real")
    assert small_zoo.repair().ok
    assert small_zoo.label_sets == ["original"]


# copying


@pytest.fixture
def rich_zoo(small_zoo):
    z = small_zoo.given["model-0"]
    small_zoo.add("hard/labels", predictions=z.argmax(1))
    p = np.exp(z.astype("f8"))
    small_zoo.add("p", probabilities=p / p.sum(1, keepdims=True))
    small_zoo.add_labels("real", [[int(c)] if c else [] for c in small_zoo.labels])
    small_zoo.add_columns({"group": [f"g{i % 3}" for i in range(203)]})
    return small_zoo


def test_a_copy_is_the_same_zoo(rich_zoo, tmp_path):
    copy = rich_zoo.copy(tmp_path / "copy.zoo")
    assert copy.verify().ok
    assert copy.models() == rich_zoo.models()
    assert copy.examples() == rich_zoo.examples()
    assert copy.under("real").models() == rich_zoo.under("real").models()
    for model_id in rich_zoo.model_ids:
        old, new = rich_zoo.model(model_id), copy.model(model_id)
        assert old.fingerprint == new.fingerprint
        assert new.provenance["copied"]["committed_at"] == old.committed_at
        own, other = contents(old.folder), contents(new.folder)
        assert own.pop(fmt.COMMIT_JSON) != other.pop(fmt.COMMIT_JSON)
        assert own == other


def test_a_sub_zoo_packed_then_completed(rich_zoo, tmp_path):
    packed = rich_zoo.copy(tmp_path / "packed.zoo", ["model-3", "hard/labels"], codec="archive")
    assert packed.model_ids == ["hard/labels", "model-3"]
    assert np.array_equal(packed.logits("model-3")[:], rich_zoo.logits("model-3")[:])
    seen = []
    rich_zoo.copy(packed.path, codec="archive", advance=seen.append)
    assert seen == rich_zoo.model_ids
    assert packed.models() == rich_zoo.models()
    with pytest.raises(
        errors.ArgumentError, match="keeps float16 logits with codec archive, not float16 with"
    ):
        rich_zoo.copy(packed.path, codec="raw")
    assert rich_zoo.copy(packed.path).codec == "archive"
    back = packed.copy(tmp_path / "back.zoo", codec="raw")
    assert back.logits("p")[:].tobytes() == rich_zoo.logits("p")[:].tobytes()
    rich_zoo.add("model-3", logits=rich_zoo.given["model-4"], replace=True)
    with pytest.raises(errors.FingerprintMismatch, match=r"'model-3' is stored with another fingerprint"):
        rich_zoo.copy(packed.path, codec="archive")


def test_columns_with_nan_are_equal_to_themselves(rich_zoo, tmp_path):
    rich_zoo.add_columns({"blur": [float("nan"), *range(202)]})
    rich_zoo.copy(tmp_path / "copy.zoo", ["p"])
    assert rich_zoo.copy(tmp_path / "copy.zoo").model_ids == rich_zoo.model_ids


def test_a_model_replaced_while_it_waits_is_copied_as_it_is_now(rich_zoo, tmp_path):
    def replace(done):
        if done == "model-0":
            rich_zoo.add("model-1", logits=-rich_zoo.given["model-1"], replace=True)

    def remove(done):
        if done == "model-0":
            rich_zoo.remove("model-1")

    waiting = ["model-0", "model-1"]
    copy = rich_zoo.copy(tmp_path / "copy.zoo", waiting, advance=replace)
    assert copy.verify().ok
    assert copy.logits("model-1")[:].tobytes() == rich_zoo.logits("model-1")[:].tobytes()
    with pytest.raises(
        errors.CorruptionError, match="has 1 of the 2 models.*'model-1' was replaced or removed"
    ):
        rich_zoo.copy(tmp_path / "other.zoo", waiting, advance=remove)


def test_narrowing_equals_storing_in_float16(tmp_path, rng):
    z = (rng.normal(size=(60, 4)) * 10.0 ** rng.integers(-6, 6, (60, 1))).astype("f4")
    stores = [
        ds.create(tmp_path / f"{d}.zoo", rng.integers(0, 4, 60), classes=list("abcd"), dtype=d)
        for d in fmt.DTYPES
    ]
    for store in stores:
        store.add("m", logits=z)
    narrow = stores[1].copy(tmp_path / "narrow.zoo", dtype="float16")
    assert narrow.logits("m").centred(0, 60).tobytes() == stores[0].logits("m").centred(0, 60).tobytes()
    with pytest.raises(errors.ArgumentError, match="what was rounded is gone"):
        stores[0].copy(tmp_path / "wide.zoo", dtype="float32")


def test_copies_between_different_examples_are_refused(rich_zoo, tmp_path):
    other = ds.create(tmp_path / "o.zoo", [0, 1])
    with pytest.raises(errors.ExamplesMismatch, match="is a store of other examples"):
        rich_zoo.copy(other.path)
    damaged = rich_zoo.model("model-2").folder / fmt.SHARD
    flip(damaged, 10)
    (rich_zoo.model("p").folder / fmt.DERIVED).unlink()
    told = "c.zoo has 5 of the 7 models; not copied: model 'model-2': block 0 .*; model 'p': derived.arrow .*"
    with pytest.raises(errors.CorruptionError, match=told):
        rich_zoo.copy(tmp_path / "c.zoo")
    whole = ["hard/labels", "model-0", "model-1", "model-3", "model-4"]
    assert ds.open(tmp_path / "c.zoo").model_ids == whole
    assert ds.open(tmp_path / "c.zoo").verify().ok


# versions


def as_version_1(store):
    """The same store as version 1 wrote it."""
    path = store.path / fmt.STORE_JSON
    record = unseal(path, "header")
    for name in ("codec", "label_set", "software"):
        record.pop(name)
    path.write_bytes(seal(record | {"format_version": 1}))
    for model_id in store.model_ids:
        commit = store.model(model_id).folder / fmt.COMMIT_JSON
        old = unseal(commit, "record")
        old.pop("provenance")
        commit.write_bytes(seal(old | {"format_version": 1}))
    (store.path / fmt.COLUMNS).rmdir()
    return ds.open(store.path)


def test_version_1_is_read_as_it_is_and_written_after_migration(small_zoo):
    tables = small_zoo.models(), small_zoo.examples()
    old = as_version_1(small_zoo)
    before = contents(old.path)
    assert (old.models(), old.examples()) == tables
    assert old.verify().ok
    assert old.info()["format_version"] == 1
    refused = "has format version 1; it can be read, and written after `dissensus migrate`"
    for attempt in (
        lambda: old.add("m", logits=small_zoo.given["model-0"]),
        lambda: old.add_labels("real", [[0]] * 203),
        lambda: old.add_columns({"g": range(203)}),
    ):
        with pytest.raises(errors.IncompatibleFormat, match=refused):
            attempt()
    assert contents(old.path) == before
    assert header.migrate(old.path) == (1, fmt.FORMAT_VERSION)
    assert header.migrate(old.path) == (fmt.FORMAT_VERSION, fmt.FORMAT_VERSION)
    new = ds.open(old.path)
    new.add("m", logits=small_zoo.given["model-0"])
    new.add_labels("real", [[0]] * 203)
    assert new.verify().ok
    assert new.models()["accuracy"].to_pylist()[1:] == tables[0]["accuracy"].to_pylist()


def test_a_newer_model_is_refused_by_name(small_zoo):
    path = small_zoo.model("model-1").folder / fmt.COMMIT_JSON
    path.write_bytes(seal(unseal(path, "record") | {"format_version": 99}))
    with pytest.raises(errors.IncompatibleFormat, match="model 'model-1' has format version 99; .* 1 to 2"):
        ds.open(small_zoo.path).logits("model-1")


# provenance


def test_every_model_says_where_it_comes_from(small_zoo):
    provenance = small_zoo.model("model-1").provenance
    assert provenance["software"]["dissensus"] == ds.__version__
    assert provenance["software"]["numpy"] == np.__version__
    assert provenance["begun_at"] <= small_zoo.model("model-1").committed_at


def test_a_resumed_model_was_begun_when_its_first_row_was_written(tmp_path, rng):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    with pytest.raises(KeyboardInterrupt), store.writer("m", fingerprint={}) as w:
        w.append(np.ones((5000, 3), "f4"))
        raise KeyboardInterrupt
    path = store.path / fmt.STAGING / "m" / "fingerprint.json"
    path.write_bytes(seal(unseal(path, "staged") | {"begun_at": "2020-01-01T00:00:00Z"}))
    with store.writer("m", fingerprint={}) as w:
        w.append(np.ones((9001 - w.position, 3), "f4"))
    assert store.model("m").provenance["begun_at"] == "2020-01-01T00:00:00Z"


def test_adding_a_model_touches_nothing_else(small_zoo):
    before = contents(small_zoo.path)
    small_zoo.add("one-more", logits=small_zoo.given["model-0"])
    after = contents(small_zoo.path)
    assert {name for name in after if name not in before} == {
        name for name in after if name.startswith("models/one-more/")
    }
    assert {name: after[name] for name in before} == before


def test_copying_a_thousand_models_is_seen_and_can_be_killed(tmp_path):
    """Killed in the middle, the same call goes on."""
    code = """
        import os, signal, sys
        import dissensus as ds
        store, left = ds.open(sys.argv[1]), [int(sys.argv[3])]
        def advance(model):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        store.copy(sys.argv[2], advance=advance)
    """
    store = ds.create(tmp_path / "s.zoo", [0, 1, 1])
    for i in range(30):
        store.add(f"m{i:02}", predictions=[0, 1, i % 2])
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.path), str(tmp_path / "c.zoo")]
    assert subprocess.run([*command, "17"], check=False).returncode == -9
    assert len(ds.open(tmp_path / "c.zoo").model_ids) == 17
    subprocess.run([*command, "0"], check=True)
    assert ds.open(tmp_path / "c.zoo").models() == store.models()
    json.loads((tmp_path / "c.zoo/store.json").read_text())
