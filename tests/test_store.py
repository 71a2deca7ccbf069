"""The store: round trips, identity of rows, standard Zarr on disk, refusals; `test_faults.py` breaks it."""

from __future__ import annotations

import os
import pickle
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


@pytest.mark.parametrize("n_bytes", [0, 1 << 30])
def test_crc32c_equals_the_naive_one(rng, monkeypatch, n_bytes):
    from dissensus.store import files

    monkeypatch.setattr(files, "_checksum", files._checksum)
    files.expect_bulk(n_bytes)
    for n in (0, 1, 3, 64, 1000, 5001):
        data = rng.bytes(n)
        assert files.crc32c(data) == files.crc32c(data[n // 3 :], files.crc32c(data[: n // 3]))
        assert files.crc32c(data) == files.crc32c(np.frombuffer(data, np.uint8)) == naive.crc32c(data)


def test_what_checks_gigabytes_is_loaded_for_gigabytes_only(small_zoo):
    """Loading it costs a command as much time as it saves in 2 GB."""
    code = f"""
import sys
import dissensus as ds
from dissensus.store import files
assert ds.open({str(small_zoo.path)!r}).verify().ok
list(ds.open({str(small_zoo.path)!r}).blocks())
assert "awscrt" not in sys.modules
files._BULK = 1
assert ds.open({str(small_zoo.path)!r}).verify(quick=True).ok
assert "awscrt" not in sys.modules
list(ds.open({str(small_zoo.path)!r}).blocks())
assert "awscrt" in sys.modules
assert ds.open({str(small_zoo.path)!r}).verify().ok
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
    if shard.exists():
        os.truncate(shard, max(0, shard.stat().st_size - torn))
    with stores[1].writer("m", fingerprint={"weights": "1"}) as w:
        assert w.position <= stop
        assert w.position % stores[1].block_rows == 0
        w.append(z[w.position :])
    assert model_bytes(stores[0].model("m").folder) == model_bytes(stores[1].model("m").folder)
    assert stores[1].staged() == []


@pytest.fixture
def long_store(tmp_path, rng):
    """An empty store of 9,001 examples x 3 classes: three blocks of 4,096 rows."""
    return ds.create(tmp_path / "long.zoo", rng.integers(0, 3, 9001), classes=list("abc"))


def interrupt(store, n_rows, **options):
    """Stage the first rows of zeros of model m, then stop."""
    with pytest.raises(KeyboardInterrupt), store.writer("m", **options) as w:
        w.append(np.zeros((n_rows, 3), "f4"))
        raise KeyboardInterrupt


def test_incomplete_model_is_not_committed_but_resumable(long_store):
    with pytest.raises(errors.IncompleteModel, match=r"5000 of 9001 rows.*4096 rows are staged"):
        with long_store.writer("half", fingerprint={}) as w:
            w.append(np.zeros((5000, 3), "f4"))
    assert long_store.model_ids == []
    assert long_store.staged() == ["half"]


def test_fingerprint_must_match_on_resume(long_store):
    interrupt(long_store, 5000, fingerprint={"weights": "aaa"})
    with pytest.raises(errors.FingerprintMismatch, match=r"weights: staged aaa, given bbb.*restart"):
        long_store.writer("m", fingerprint={"weights": "bbb"})
    with long_store.writer("m", fingerprint={"weights": "bbb"}, restart=True) as w:
        assert w.position == 0
        w.append(np.zeros((9001, 3), "f4"))
    assert long_store.model("m").fingerprint["weights"] == "bbb"


def test_rows_without_their_fingerprint_are_dropped(long_store):
    interrupt(long_store, 5000, fingerprint={"weights": "aaa"})
    (long_store.path / "staging/m/fingerprint.json").unlink()
    with long_store.writer("m", fingerprint={"weights": "bbb"}) as w:
        assert w.position == 0
        w.append(np.ones((9001, 3), "f4"))


def test_an_attempt_without_a_whole_block_leaves_nothing(long_store):
    """So that a model that failed at once can be mended and run again."""
    interrupt(long_store, 100, fingerprint={"weights": "wrong"})
    assert long_store.staged() == []
    with long_store.writer("m", fingerprint={"weights": "right"}) as w:
        w.append(np.zeros((9001, 3), "f4"))


def test_a_fingerprint_may_use_any_key(long_store):
    options = {"fingerprint": {"crc32c": "abcd", "fingerprint": "x"}}
    interrupt(long_store, 5000, **options)
    with long_store.writer("m", **options) as w:
        assert w.position == 4096
        w.append(np.zeros((9001 - 4096, 3), "f4"))
    with pytest.raises(errors.ArgumentError, match=r"fingerprint keys \['dtype'\] are the store's own"):
        long_store.writer("n", fingerprint={"dtype": "x"})


def test_add_leaves_an_ingest_that_is_under_way_alone(long_store):
    interrupt(long_store, 5000, fingerprint={"weights": "x"})
    with pytest.raises(errors.WrongClassCount, match=r"have shape \(9001, 4\), the store needs \(9001, 3\)"):
        long_store.add("m", logits=np.zeros((9001, 4)))
    with pytest.raises(errors.FingerprintMismatch, match="staged with another fingerprint"):
        long_store.add("m", logits=np.zeros((9001, 3)))
    bad = np.zeros((9001, 3))
    bad[9000, 1] = np.nan
    with pytest.raises(errors.NonFiniteLogits, match="example '9000', class 'b'"):
        long_store.add("n", logits=bad)
    assert long_store.staged() == ["m"]
    with long_store.writer("m", fingerprint={"weights": "x"}) as w:
        assert w.position == 4096
        w.append(np.zeros((9001 - 4096, 3), "f4"))


def test_an_interrupted_add_can_be_restarted(long_store):
    interrupt(long_store, 5000, fingerprint={"weights": "x"})
    long_store.add("m", logits=np.ones((9001, 3)), restart=True)
    assert long_store.model_ids == ["m"]


def test_graves_are_no_ones_staging(long_store):
    """Removing model x leaves a model called x.removed-old alone."""
    options = {"fingerprint": {"weights": "x"}}
    with pytest.raises(KeyboardInterrupt), long_store.writer("x.removed-old", **options) as w:
        w.append(np.zeros((5000, 3), "f4"))
        raise KeyboardInterrupt
    long_store.add("x", logits=np.zeros((9001, 3)))
    long_store.remove("x")
    assert long_store.staged() == ["x.removed-old"]
    assert [p.name for p in (long_store.path / "staging").iterdir()] == ["x.removed-old"]


def test_a_failed_last_rename_loses_nothing(long_store, monkeypatch):
    real = os.rename

    def full(source, target):
        if Path(target).parent.name == "models":
            raise OSError(28, "No space left on device")
        real(source, target)

    options = {"fingerprint": {"weights": "x"}}
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(errors.StoreFull, match="run the same command to go on"):
        with long_store.writer("m", **options) as w:
            w.append(np.ones((9001, 3), "f4"))
    monkeypatch.undo()
    assert long_store.model_ids == []
    with pytest.raises(errors.FingerprintMismatch), long_store.writer("m", fingerprint={"weights": "y"}) as w:
        pass
    with long_store.writer("m", **options) as w:
        assert w.position == 9001
        w.append(np.ones((0, 3), "f4"))  # what a loop over the rows left does
    assert long_store.model_ids == ["m"]
    assert long_store.verify().ok


def test_metadata_cannot_hide_what_is_computed(small_zoo):
    for name in ("accuracy", "kind", "model"):
        with pytest.raises(errors.ArgumentError, match=f"must not name {name}: the store computes"):
            small_zoo.add("m", logits=small_zoo.given["model-0"], metadata={name: 1})
    with pytest.raises(errors.ArgumentError, match="metadata must be plain JSON"):
        small_zoo.add("m", logits=small_zoo.given["model-0"], metadata={"x": float("nan")})
    small_zoo.add("m", logits=small_zoo.given["model-0"], metadata={"big": 2**70, "empty": {}})
    assert small_zoo.models()["big"].to_pylist()[0] == str(2**70)


def test_nothing_after_a_failed_write_is_committed(long_store, monkeypatch):
    """A caller that swallows the error and goes on must not get a model with a block twice."""
    from dissensus.store import files

    real, calls = os.pwrite, []

    def third_fails(fd, data, offset):
        calls.append(offset)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    z = np.zeros((4096, 3), "f4")
    with pytest.raises(errors.IncompleteModel, match="an earlier write failed; open a new writer"):
        with long_store.writer("m", fingerprint={}) as w:
            monkeypatch.setattr(files.os, "pwrite", third_fails)
            with pytest.raises(errors.StoreFull):
                w.append(z)
            w.append(z)
    assert long_store.model_ids == []


def test_a_damaged_model_can_be_removed_and_stored_again(small_zoo):
    shard = small_zoo.model("model-2").folder / fmt.SHARD
    shard.write_bytes(b"")
    ds.open(small_zoo.path, damaged="skip").remove("model-2")
    small_zoo.add("model-2", logits=small_zoo.given["model-2"])
    assert ds.open(small_zoo.path).verify().ok


def test_skip_leaves_out_every_kind_of_damage(small_zoo):
    for i, name in enumerate((fmt.DERIVED, fmt.MODEL_JSON, fmt.COMMIT_JSON)):
        path = small_zoo.model(f"model-{i}").folder / name
        data = path.read_bytes()
        path.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    store = ds.open(small_zoo.path, damaged="skip")
    with pytest.warns(UserWarning, match="left out: model"):
        table = store.models()
    assert table["model"].to_pylist() == ["model-3", "model-4"]


def test_a_store_without_its_empty_folders(small_zoo):
    """Git and archives drop empty folders."""
    (small_zoo.path / fmt.STAGING).rmdir()
    assert small_zoo.staged() == []
    assert small_zoo.info()["unfinished"] == []
    small_zoo.remove("model-1")
    (small_zoo.path / fmt.STAGING).rmdir()
    small_zoo.add("model-1", logits=small_zoo.given["model-1"])


def test_a_relative_path_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ds.create("rel.zoo", [0, 1])
    monkeypatch.chdir("/")
    store.add("m", logits=np.eye(2))
    assert store.model_ids == ["m"]


def test_stored_rows_decide_as_the_float32_logits(tmp_path):
    """Differences below float16's smallest step neither tie nor flip; ties stay ties."""
    z = np.array([[0.1, 0.1 + 1.5e-8, 0], [0, 1e-8, -1], [1, 1, 1], [1, 1, 0], [-70000, 0, -1e30]], "f4")
    for dtype in ("float16", "float32"):
        store = ds.create(tmp_path / f"{dtype}.zoo", [1, 1, 0, 0, 1], classes=list("abc"), dtype=dtype)
        store.add("m", logits=z)
        stored = store.logits("m").centred(0, 5)
        assert np.array_equal(stored.argmax(axis=1), z.argmax(axis=1))
        assert np.array_equal(stored == 0, z == z.max(axis=1, keepdims=True))


def test_many_models_open_at_once(tmp_path):
    """A map takes a file descriptor: the soft limit is raised when it is reached."""
    code = """
        import resource, sys
        import numpy as np, dissensus as ds
        store = ds.create(sys.argv[1], [0, 1])
        for i in range(60):
            store.add(f"m{i}", logits=np.eye(2))
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        kept = [store.logits(m) for m in store.model_ids]
        print(len(kept))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "s.zoo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "60\n", done.stderr


def test_predictions_come_without_pandas(small_zoo):
    """Arrow's `to_numpy` imports it, if it is installed: a third of a second before the first answer."""
    code = """
        import sys
        import dissensus as ds
        store = ds.open(sys.argv[1])
        store.top1(), store.correct(), store.logits("model-0")[:]
        print("pandas" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(small_zoo.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_logits_travel_to_a_worker(small_zoo):
    z = small_zoo.logits("model-1")
    assert np.array_equal(pickle.loads(pickle.dumps(z))[3:7], z[3:7])


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
    with pytest.raises(errors.ArgumentError, match=r"sum to 1; those of 'img/0000.png' sum to 2"):
        small_zoo.add("q", probabilities=2 * p)
    with pytest.raises(errors.ArgumentError, match=r"must lie in 0\.\.3; that of 'img/0000.png' is"):
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
        with small_zoo.writer("wide", fingerprint={}) as w:
            w.append(np.zeros((203, 5)))


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


def test_ids_of_any_integer_kind_match(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1, 1])
    z = np.array([[3.0, 0], [0, 2.0], [0, 1.0]])
    for i, ids in enumerate(([2, 1, 0], np.array([2, 1, 0]), pa.array(["2", "1", "0"]))):
        store.add(f"m{i}", logits=z[::-1], example_ids=ids)
        assert np.array_equal(store.logits(f"m{i}")[:].argmax(1), [0, 1, 1])


@pytest.mark.parametrize(
    "values", [5, ["a", "b"], [[1, 2], [3]], np.eye(2) * 1j, np.ma.masked_less(np.eye(2), 1)]
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, values):
    store = ds.create(tmp_path / "s.zoo", [0, 1])
    with pytest.raises(errors.ArgumentError, match="logits must"):
        store.add("m", logits=values)
    with pytest.raises(errors.ArgumentError, match="a model id is a non-empty string; got 5"):
        store.model(5)


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
    cases = [
        ({"splits": ["all", "x"]}, "neither empty nor 'all'; got 'all'"),
        ({"splits": [1, 2]}, "splits must be text or None"),
        ({"example_ids": [b"a", b"b"]}, r"strings or whole numbers; got b'a'"),
        ({"example_ids": ["a\udc80", "b"]}, "must be valid Unicode"),
        ({"metadata": {"g": np.zeros((2, 2))}}, "metadata must be plain columns"),
    ]
    for options, message in cases:
        with pytest.raises(errors.ArgumentError, match=message):
            ds.create(path, [0, 1], **options)
    with pytest.raises(errors.ArgumentError, match=r"labels reach 1000000000, .* pass classes="):
        ds.create(path, [0, 10**9])
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ArgumentError, match="Not a directory; choose another place"):
        ds.create(tmp_path / "file" / "s.zoo", [0, 1])
    (tmp_path / "file").unlink()
    with pytest.raises(errors.ArgumentError, match=r"labels must lie in 0\.\.1 .*row 2 holds 2"):
        ds.create(path, [0, 1, 2], classes=["a", "b"])
    with pytest.raises(errors.ArgumentError, match="example_ids must be distinct; 'x'"):
        ds.create(path, [0, 1], example_ids=["x", "x"])
    with pytest.raises(
        errors.ArgumentError, match="splits must have one entry for each of the 2 rows; got 1"
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


def test_derived_is_plain_arrow(small_zoo):
    folder = small_zoo.model("model-0").folder
    with pa.memory_map(str(folder / fmt.DERIVED)) as source:
        table = pa.ipc.open_file(source).read_all()
        assert table.column_names == ["top1", "rowmax", "lse"]
        assert b"meaning" in table.schema.field("lse").metadata
        del table
