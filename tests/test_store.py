"""The store: round trips, identity of rows, standard Zarr on disk, and the protocol's steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus import errors
from dissensus.store import format as fmt
from dissensus.store.encoding import encode


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def model_bytes(folder: Path) -> dict[str, bytes]:
    """Everything but the commit record, which holds the time."""
    return {name: data for name, data in files_of(folder).items() if name != fmt.COMMIT_JSON}


def test_round_trip(small_zoo):
    store = ds.open(small_zoo.path)
    assert store.model_ids == [f"model-{i}" for i in range(5)]
    for model_id, z in small_zoo.given.items():
        np.testing.assert_allclose(store.logits(model_id)[:], z, atol=0.02)
        assert store.logits(model_id)[3:9].dtype == np.float32
        assert np.array_equal(store.model(model_id).column("top1"), z.argmax(axis=1))
    assert np.array_equal(store.top1(), [z.argmax(axis=1) for z in small_zoo.given.values()])


def test_examples_and_models_are_tables(small_zoo):
    examples, models = small_zoo.examples(), small_zoo.models()
    assert examples.column_names == ["example_id", "label", "split"]
    assert models.column_names == ["model", "kind", "accuracy", "category"]
    expected = [float((z.argmax(1) == small_zoo.labels).mean()) for z in small_zoo.given.values()]
    assert models["accuracy"].to_pylist() == expected


def test_zarr_reads_every_logit_bit_exactly(small_zoo):
    group = zarr.open_group(small_zoo.path / "models", mode="r")
    assert sorted(name for name, _ in group.members()) == small_zoo.model_ids
    for model_id in small_zoo.model_ids:
        array = group[model_id]["logits"]
        stored = small_zoo.logits(model_id).centred(0, small_zoo.n_examples)
        assert array[:].tobytes() == stored.tobytes()
        assert group[model_id].attrs["model_id"] == model_id


def test_shard_bytes_equal_zarrs_own(tmp_path, rng):
    """zarr-python writing the same array gives the same file: layout, padding, index and checksums."""
    n, c = 4096 + 17, 7
    store = ds.create(tmp_path / "a.zoo", rng.integers(0, c, n), classes=list("abcdefg"))
    store.add("m", logits=rng.normal(size=(n, c)))
    g = store.geometry
    array = zarr.create_array(
        tmp_path / "peer.zarr",
        shape=(n, c),
        chunks=(g.block_rows, c),
        shards=(g.block_rows * g.n_blocks, c),
        dtype="float16",
        compressors=[zarr.codecs.Crc32cCodec()],
        fill_value=float("nan"),
    )
    array[:] = store.logits("m").centred(0, n)
    assert (tmp_path / "peer.zarr/c/0/0").read_bytes() == (store.model("m").folder / fmt.SHARD).read_bytes()


def test_encoding_equals_the_naive_one(rng):
    z = (rng.normal(size=(40, 6)) * 10.0 ** rng.integers(-3, 6, size=(40, 1))).astype("f4")
    rows = encode(
        z, "float16", model_id="m", example_ids=[str(i) for i in range(40)], class_names=list("abcdef")
    )
    expected = naive.centred_float16([[float(v) for v in row] for row in z])
    assert rows.centred.astype(float).tolist() == expected
    assert rows.top1.tolist() == [naive.argmax(list(row)) for row in z]
    assert np.allclose(rows.lse, [naive.log_sum_exp([float(v) for v in row]) for row in z], rtol=1e-12)


def test_crc32c_equals_the_naive_one(rng):
    from dissensus.store.files import crc32c

    for n in (0, 1, 3, 64, 1000):
        data = rng.bytes(n)
        assert crc32c(data) == naive.crc32c(data)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtype(tmp_path, rng, dtype):
    z = rng.normal(size=(50, 3)).astype("f4")
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 50), dtype=dtype, classes=list("abc"))
    store.add("m", logits=z)
    assert store.logits("m").centred(0, 50).dtype == dtype
    np.testing.assert_allclose(store.logits("m")[:], z, atol=2e-3 if dtype == "float16" else 1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 9000), max_size=6), seed=st.integers(0, 99))
def test_block_sizes_change_no_byte(tmp_path_factory, cuts, seed):
    """However the rows come in, the files are the same."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(9000, 3)).astype("f4")
    store = ds.create(tmp_path_factory.mktemp("s") / "s.zoo", rng.integers(0, 3, 9000), classes=list("abc"))
    store.add("whole", logits=z)
    with store.writer("pieces", fingerprint={"source": "array"}) as w:
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 9000], strict=True):
            w.append(z[a:b])
    whole, pieces = (model_bytes(store.model(m).folder) for m in ("whole", "pieces"))
    whole.pop(fmt.ZARR_JSON), pieces.pop(fmt.ZARR_JSON)  # holds the id
    assert whole == pieces


@settings(max_examples=20, deadline=None)
@given(stop=st.integers(0, 9000), torn=st.integers(0, 5000))
def test_resume_gives_the_bytes_of_an_unbroken_run(tmp_path_factory, stop, torn):
    """Interrupted anywhere, with a torn tail, the resumed model equals one written in one go."""
    rng = np.random.default_rng(7)
    z = rng.normal(size=(9001, 3)).astype("f4")
    root = tmp_path_factory.mktemp("s")
    stores = [ds.create(root / f"{n}.zoo", rng.integers(0, 3, 9001), classes=list("abc")) for n in "ab"]
    with stores[0].writer("m", fingerprint={"weights": "1"}) as w:
        w.append(z)
    with pytest.raises(KeyboardInterrupt), stores[1].writer("m", fingerprint={"weights": "1"}) as w:
        w.append(z[:stop])
        raise KeyboardInterrupt
    shard = stores[1].path / "staging/m" / fmt.SHARD
    os.truncate(shard, max(0, shard.stat().st_size - torn))
    with stores[1].writer("m", fingerprint={"weights": "1"}) as w:
        assert w.position <= stop
        assert w.position % stores[1].block_rows == 0
        w.append(z[w.position :])
    assert model_bytes(stores[0].model("m").folder) == model_bytes(stores[1].model("m").folder)
    assert stores[1].staged() == []


def test_incomplete_model_is_not_committed_but_resumable(small_zoo):
    z = np.zeros((100, 4), "f4")
    with pytest.raises(errors.IncompleteModel, match=r"100 of 203 rows.*can be resumed"):
        with small_zoo.writer("half", fingerprint={}) as w:
            w.append(z)
    assert "half" not in small_zoo.model_ids
    assert small_zoo.staged() == ["half"]


def test_fingerprint_must_match_on_resume(small_zoo):
    with pytest.raises(KeyboardInterrupt), small_zoo.writer("m", fingerprint={"weights": "aaa"}):
        raise KeyboardInterrupt
    with pytest.raises(errors.FingerprintMismatch, match=r"weights: staged aaa, given bbb.*restart"):
        small_zoo.writer("m", fingerprint={"weights": "bbb"})
    with small_zoo.writer("m", fingerprint={"weights": "bbb"}, restart=True) as w:
        w.append(np.zeros((203, 4), "f4"))
    assert small_zoo.model("m").fingerprint["weights"] == "bbb"


def test_rival_writer_is_busy_and_existing_model_is_kept(small_zoo):
    writer = small_zoo.writer("m", fingerprint={})
    with pytest.raises(errors.WriterBusy, match="another process is writing model 'm'"):
        small_zoo.writer("m", fingerprint={})
    writer.close()
    with pytest.raises(errors.ModelExists, match="model 'model-0' is in .* already"):
        small_zoo.add("model-0", logits=small_zoo.given["model-0"])
    assert not list((small_zoo.path / "staging").glob("*.lock"))


def test_rows_are_matched_by_id(small_zoo, rng):
    z, order = small_zoo.given["model-1"], rng.permutation(203)
    small_zoo.add("shuffled", logits=z[order], example_ids=[small_zoo.example_ids[i] for i in order])
    np.testing.assert_array_equal(small_zoo.logits("shuffled")[:], small_zoo.logits("model-1")[:])
    with pytest.raises(errors.ExamplesMismatch, match=r"1 of the store's 203 examples have no row.*img/0000"):
        small_zoo.add("other", logits=z, example_ids=["nobody", *small_zoo.example_ids[1:]])
    with pytest.raises(errors.ExamplesMismatch, match="200 rows given, the store has 203"):
        small_zoo.add("short", logits=z[:200])


def test_hard_labels_and_probabilities(small_zoo):
    z = small_zoo.given["model-2"].astype("f8")
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    small_zoo.add("p", probabilities=p)
    small_zoo.add("y", predictions=z.argmax(1))
    assert small_zoo.model("p").kind == "probabilities"
    assert np.array_equal(*small_zoo.top1(["p", "y"]))
    with pytest.raises(errors.LabelsOnly, match="hard labels only and has no logits"):
        small_zoo.logits("y")
    with pytest.raises(errors.ArgumentError, match="sum to 1 in every row; row 0 sums to"):
        small_zoo.add("q", probabilities=2 * p)
    with pytest.raises(errors.ArgumentError, match=r"must lie in 0\.\.3; row 0 holds"):
        small_zoo.add("r", predictions=z.argmax(1) + 4)
    with pytest.raises(errors.ArgumentError, match="exactly one of logits, probabilities, predictions"):
        small_zoo.add("s")
    assert small_zoo.model_ids == [f"model-{i}" for i in range(5)] + ["p", "y"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_non_finite_logits_are_named(small_zoo, value):
    z = small_zoo.given["model-0"].astype("f8")
    z[7, 2] = value
    with pytest.raises(
        errors.NonFiniteLogits, match=r"model 'bad' gave .* for example 'img/0007.png', class 'y'"
    ):
        small_zoo.add("bad", logits=z)
    assert "bad" not in small_zoo.model_ids


def test_wrong_class_count(small_zoo):
    with pytest.raises(errors.WrongClassCount, match=r"shape \(203, 5\), the store needs \(rows, 4\)"):
        small_zoo.add("wide", logits=np.zeros((203, 5)))


IDS = [
    "resnet50.a1_in1k",
    "timm/vit small",
    "ResNet",
    "resnet",
    "RESNET",
    "ü",
    "x" * 400,
    "..",
    ".",
    "zarr.json",
    "a.lock",
    "con",
]


def test_any_string_is_an_id(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1])
    for i, name in enumerate(IDS):
        store.add(name, logits=[[i, 0.0], [0.0, i]])
    assert store.model_ids == sorted(IDS)
    assert all(store.logits(name)[0, 0] == i for i, name in enumerate(IDS))
    folders = [p.name for p in (store.path / "models").iterdir() if p.is_dir()]
    assert len({f.lower() for f in folders}) == len(IDS)  # file systems that ignore case keep them apart
    assert store.verify().ok


def test_create_refuses(tmp_path):
    path = tmp_path / "s.zoo"
    with pytest.raises(errors.ArgumentError, match=r"labels must lie in 0\.\.1 .*row 2 holds 2"):
        ds.create(path, [0, 1, 2], classes=["a", "b"])
    with pytest.raises(errors.ArgumentError, match="example_ids must be distinct; 'x'"):
        ds.create(path, [0, 1], example_ids=["x", "x"])
    with pytest.raises(
        errors.ArgumentError, match="splits must have one entry for each of the 2 labels; got 1"
    ):
        ds.create(path, [0, 1], splits=["fit"])
    with pytest.raises(errors.ArgumentError, match="dtype must be one of float16, float32; got 'int8'"):
        ds.create(path, [0, 1], dtype="int8")
    assert list(tmp_path.iterdir()) == []
    ds.create(path, [0, 1], metadata={"group": ["g", "h"]}, attributes={"source": "test"})
    assert ds.open(path).examples()["group"].to_pylist() == ["g", "h"]
    assert ds.open(path).attributes == {"source": "test"}
    with pytest.raises(errors.StoreExists, match="exists already"):
        ds.create(path, [0, 1])


def test_open_refuses(tmp_path):
    with pytest.raises(errors.NotAStore, match="does not exist"):
        ds.open(tmp_path / "nowhere")
    with pytest.raises(errors.NotAStore, match=r"holds no store\.json"):
        ds.open(tmp_path)


def test_unknown_model_names_the_nearest(small_zoo):
    with pytest.raises(errors.UnknownName, match="unknown model 'modl-3'; did you mean model-3"):
        small_zoo.logits("modl-3")


def test_newer_format_is_refused(small_zoo):
    from dissensus.store.files import seal

    path = small_zoo.path / fmt.STORE_JSON
    header = json.loads(path.read_text())
    path.write_bytes(seal({**header, "format_version": 99}))
    with pytest.raises(errors.IncompatibleFormat, match=r"version 99; this dissensus reads .* version 1"):
        ds.open(small_zoo.path)


def test_every_flipped_bit_and_truncation_is_found(tmp_path, rng):
    """A seeded sample over every file of a small store: `verify` finds each."""
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 60), classes=list("abc"))
    store.add("m", logits=rng.normal(size=(60, 3)))
    tried = 0
    for path in sorted(p for p in store.path.rglob("*") if p.is_file()):
        sound = path.read_bytes()
        positions = rng.choice(len(sound), min(len(sound), 40), replace=False)
        damaged = [sound[:i] + bytes([sound[i] ^ (1 << rng.integers(8))]) + sound[i + 1 :] for i in positions]
        for bad in [*damaged, sound[: len(sound) // 2], b"", sound + b"\0"]:
            path.write_bytes(bad)
            report = ds.open(store.path).verify() if path.name != fmt.STORE_JSON else store.verify()
            assert not report.ok, (path, bad)
            tried += 1
        path.write_bytes(sound)
    assert tried > 250
    assert ds.open(store.path).verify().ok


def test_damage_is_refused_by_name_never_read(small_zoo):
    shard = small_zoo.model("model-2").folder / fmt.SHARD
    sound = shard.read_bytes()
    shard.write_bytes(sound[:50] + bytes([sound[50] ^ 4]) + sound[51:])
    with pytest.raises(
        errors.CorruptionError, match=r"'model-2': block 0 .*rows 0 to 202.* fails its checksum"
    ):
        ds.open(small_zoo.path).logits("model-2")[0:1]
    shard.write_bytes(sound[:100])
    with pytest.raises(
        errors.CorruptionError, match=r"model 'model-2': logits/c.0.0 has 100 bytes.*damaged='skip'"
    ):
        ds.open(small_zoo.path).model_ids  # noqa: B018
    with pytest.warns(UserWarning, match="left out: model 'model-2'"):
        assert ds.open(small_zoo.path, damaged="skip").model_ids == [
            "model-0",
            "model-1",
            "model-3",
            "model-4",
        ]
    shard.unlink()
    assert [f.model for f in small_zoo.verify().findings] == ["model-2"]


def test_two_models_swapped_on_disk_are_noticed(small_zoo):
    """Both files are valid by themselves; the commit record binds a shard to its model."""
    a, b = (small_zoo.model(m).folder / fmt.SHARD for m in ("model-0", "model-1"))
    first = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(first)
    assert {f.model for f in ds.open(small_zoo.path).verify().findings} == {"model-0", "model-1"}
    with pytest.raises(errors.CorruptionError, match="model 'model-0': block 0"):
        ds.open(small_zoo.path).logits("model-0")[:]


def test_remove(small_zoo):
    small_zoo.remove("model-3")
    assert "model-3" not in ds.open(small_zoo.path).model_ids
    small_zoo.add("model-3", logits=small_zoo.given["model-3"])
    assert small_zoo.verify().ok


def test_dask_view_equals_the_rows(small_zoo):
    lazy = small_zoo.logits("model-1").to_dask()
    assert lazy.shape == (203, 4)
    assert np.array_equal(lazy[10:20].compute(scheduler="synchronous"), small_zoo.logits("model-1")[10:20])


def test_indexing_is_numpys(small_zoo):
    z = small_zoo.logits("model-1")
    whole = z[:]
    for key in (5, -1, slice(3, 50), slice(None, None, 7), [4, 4, 0], (slice(2, 9), 1), slice(9, 3)):
        np.testing.assert_array_equal(z[key], whole[key])


def test_full_device_says_so_and_resumes(small_zoo, monkeypatch):
    from dissensus.store import files

    real, z = os.pwrite, small_zoo.given["model-0"]

    def short(fd, data, offset):
        if len(data) > 200:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(files.os, "pwrite", short)
    with pytest.raises(errors.StoreFull, match="no room left on the device") as caught:
        with small_zoo.writer("m", fingerprint={}) as w:
            w.append(z)
    assert caught.value.errno == 28
    monkeypatch.undo()
    assert "m" not in small_zoo.model_ids
    with small_zoo.writer("m", fingerprint={}) as w:
        w.append(z[w.position :])
    assert small_zoo.verify().ok


KILLED = """
    import os, signal, sys
    import numpy as np
    import dissensus as ds
    name, step = sys.argv[2], int(sys.argv[3])
    count = 0
    def counted(real):
        def call(*args, **kwargs):
            global count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name_of_call in ("pwrite", "fsync", "rename", "replace", "unlink", "open", "rmdir", "ftruncate"):
        setattr(os, name_of_call, counted(getattr(os, name_of_call)))
    store = ds.open(sys.argv[1])
    store.example_ids, store.classes
    count = 0
    z = np.random.default_rng(3).normal(size=(9001, 3)).astype("f4")
    with store.writer(name, fingerprint={"weights": "1"}) as w:
        w.append(z[w.position:])
    print("acknowledged", count)
"""


def run_killed(path, name, step):
    code = textwrap.dedent(KILLED)
    return subprocess.run(
        [sys.executable, "-c", code, path, name, str(step)], capture_output=True, text=True, check=False
    )


def test_kill_at_every_system_call_of_the_protocol(tmp_path, rng):
    """SIGKILL before writes, syncs and renames: visible is whole, the next run ends with equal bytes."""
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, 9001), classes=list("abc"))
    done = run_killed(store.path, "reference", 10**9)
    assert done.stdout.startswith("acknowledged"), done.stderr
    n_steps = int(done.stdout.split()[1])
    reference = model_bytes(store.model("reference").folder)
    reference.pop(fmt.ZARR_JSON)
    for step in sorted({*range(1, n_steps + 1, max(1, n_steps // 25)), n_steps - 1, n_steps}):
        name = f"m{step}"
        killed = run_killed(store.path, name, step)
        assert killed.returncode == -signal.SIGKILL
        assert store.verify().ok  # nothing half is visible
        if name not in store.model_ids:
            assert run_killed(store.path, name, 10**9).stdout.startswith("acknowledged")
        written = model_bytes(store.model(name).folder)
        written.pop(fmt.ZARR_JSON)
        assert written == reference


def test_no_permission_fails_before_any_work(small_zoo):
    """Root ignores modes, so the child drops its user id first."""
    code = """
        import os, sys
        import dissensus as ds
        store = ds.open(sys.argv[1])
        store.example_ids, store.classes
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            store.writer("m", fingerprint={})
        except PermissionError as error:
            print(type(error).__name__, error)
    """
    folder = small_zoo.path
    for parent in [folder, *folder.parents]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), folder], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("NotWritable cannot write"), done.stderr
    assert small_zoo.staged() == []


def test_derived_is_plain_arrow(small_zoo):
    folder = small_zoo.model("model-0").folder
    with pa.memory_map(str(folder / fmt.DERIVED)) as source:
        table = pa.ipc.open_file(source).read_all()
        assert table.column_names == ["top1", "rowmax", "lse"]
        assert b"meaning" in table.schema.field("lse").metadata
        del table
