"""Embeddings beside the logits: the same protocol, the same checks, plain Zarr."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dissensus as ds
from dissensus import errors
from dissensus.store import format as fmt
from dissensus.store.sealed import seal, unseal

DISSENSUS = Path(sys.executable).parent / "dissensus"
N, D = 9001, 300  # three blocks of logits; of embeddings in float16 five, two of them to a block of logits
CLASSES = list("abc")


def rows_of(seed, n=N, d=D):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)).astype("f4"), rng.normal(size=(n, d)).astype("f4")


def new_store(path, n=N, **options):
    return ds.create(path, np.random.default_rng(0).integers(0, 3, n), classes=CLASSES, **options)


@pytest.fixture
def zoo(tmp_path):
    """Two models with embeddings, of different length, one without, and hard labels with some."""
    store = new_store(tmp_path / "s.zoo")
    for number, (model_id, d) in enumerate({"wide": D, "narrow": 7}.items()):
        z, f = rows_of(number, d=d)
        store.add(model_id, logits=z, embeddings=f, metadata={"family": model_id})
    store.add("plain", logits=z)
    store.add("labels", predictions=z.argmax(1), embeddings=f)
    return store


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def model_bytes(store, model_id="m"):
    return {k: v for k, v in contents(store.model(model_id).folder).items() if k != fmt.COMMIT_JSON}


def flip(path, where):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


# what is kept


@pytest.mark.parametrize("codec", fmt.CODECS)
@pytest.mark.parametrize("dtype", fmt.DTYPES)
def test_values_are_kept_as_they_are(tmp_path, dtype, codec):
    z, f = rows_of(1)
    store = new_store(tmp_path / "s.zoo", dtype=dtype, codec=codec)
    store.add("m", logits=z, embeddings=f)
    got, expected = ds.open(store.path).embeddings("m"), f.astype(dtype)
    assert (got.shape, got.dtype, got.ndim, len(got)) == ((N, D), np.float32, 2, N)
    assert got[:].dtype == np.float32
    assert np.array_equal(got[:], expected.astype("f4"))
    assert got.stored(5, 5000).tobytes() == expected[5:5000].tobytes()
    assert zarr.open_group(store.path / "models", mode="r")["m/embeddings"][:].tobytes() == expected.tobytes()
    assert store.verify().ok


def test_shard_bytes_equal_zarrs_own(tmp_path, zoo):
    g = zoo.model("wide").geometries[fmt.EMBEDDINGS_SHARD]
    array = zarr.create_array(
        tmp_path / "peer.zarr",
        shape=(N, D),
        chunks=(g.block_rows, D),
        shards=(g.block_rows * g.n_blocks, D),
        dtype="float16",
        compressors=[zarr.codecs.Crc32cCodec()],
        fill_value=float("nan"),
    )
    array[:] = zoo.embeddings("wide").stored(0, N)
    own = zoo.model("wide").folder / fmt.EMBEDDINGS_SHARD
    assert (tmp_path / "peer.zarr/c/0/0").read_bytes() == own.read_bytes()


def test_other_zarr_readers_see_names_and_dimensions(zoo):
    model = zarr.open_group(zoo.path / "models", mode="r")["wide"]
    assert model["embeddings"].metadata.dimension_names == ("example", "feature")
    assert "clamped to -65504..65504" in model["embeddings"].attrs["encoding"]
    assert model["logits"].shape == (N, 3)


def test_blocks_are_of_about_a_mebibyte_and_divide_those_of_the_logits():
    for n, c, dtype in [(50_000, 1000, "float16"), (50_000, 10, "float32"), (40, 3, "float16")]:
        logits = fmt.Geometry.choose(n, c, dtype)
        for dim in (1, 7, 384, 768, 2048, 4096):
            g = logits.of_embeddings(dim)
            assert logits.block_rows % g.block_rows == 0
            assert g.data_bytes <= 1.5 * fmt.BLOCK_BYTES
            assert g.data_bytes >= fmt.BLOCK_BYTES / 2.1 or g.block_rows == logits.block_rows
    awkward = fmt.Geometry(50_000, 200, "float16", 2621)  # a prime number of rows has no part but itself
    assert awkward.of_embeddings(2048).block_rows == 2621


def test_any_rows_can_be_asked_for(zoo):
    got = zoo.embeddings("wide")
    f = got[:]
    for key in (
        3,
        -1,
        slice(2, 9),
        slice(None, None, 1000),
        [5, 3, 3],
        np.arange(N) % 7 == 0,
        [],
        slice(9, 2),
    ):
        assert np.array_equal(got[key], f[key])
    assert np.array_equal(got[4000:4200, 3], f[4000:4200, 3])
    assert np.array_equal(got[17, :5], f[17, :5])
    rows = np.array([0, 1023, 1024, 5000, N - 1])
    assert np.array_equal(got.take(rows).astype("f4"), f[rows])
    with pytest.raises(IndexError):
        got[N]
    with pytest.raises(IndexError, match=f"rows 0:{N + 1} are not within 0:{N}"):
        got.stored(0, N + 1)


def test_dask_and_workers_read_them(zoo):
    got = zoo.embeddings("wide")
    lazy = got.to_dask()
    assert lazy.chunks[0][0] == got.block_rows
    assert np.array_equal(lazy.compute(), got[:])
    assert np.array_equal(pickle.loads(pickle.dumps(got))[4000:4100], got[4000:4100])


def test_rows_are_put_into_the_stores_order(tmp_path):
    z, f = rows_of(3, n=50, d=4)
    ids = [f"x{i}" for i in range(50)]
    store = new_store(tmp_path / "s.zoo", 50, example_ids=ids, dtype="float32")
    store.add("m", logits=z[::-1], embeddings=f[::-1], example_ids=ids[::-1])
    assert np.array_equal(store.embeddings("m")[:], f)


# what is told of them


def test_tables_and_facts_name_their_length(zoo):
    models = zoo.models()
    assert models.column_names == ["model", "kind", "accuracy", "embedding_dim", "family"]
    assert dict(zip(*(models[c].to_pylist() for c in ("model", "embedding_dim")), strict=True)) == {
        "labels": 7, "narrow": 7, "plain": None, "wide": D,
    }  # fmt: skip
    assert zoo.model("wide").describe()["embedding_dim"] == D
    assert zoo.model("plain").describe()["embedding_dim"] is None
    assert zoo.model("wide").fingerprint["embedding_dim"] == str(D)


def test_the_command_line_tells_of_them(zoo):
    for model_id, dim in [("wide", D), ("plain", None)]:
        command = [DISSENSUS, "info", zoo.path, "--model", model_id, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["embedding_dim"] == dim


def test_a_model_without_names_those_that_have_some(zoo):
    expected = r"model 'plain' was stored without embeddings; models with embeddings: labels, narrow, wide\."
    with pytest.raises(errors.UnknownName, match=expected):
        zoo.embeddings("plain")
    with pytest.raises(KeyError):
        zoo.embeddings("nobody")
    with pytest.raises(errors.UnknownName, match="'plain' was stored without embeddings"):
        zoo.model("plain").embeddings()
    for model_id in ("labels", "narrow", "wide"):
        zoo.remove(model_id)
    with pytest.raises(errors.UnknownName, match="models with embeddings: none"):
        zoo.embeddings("plain")


def test_a_zoo_without_embeddings_is_as_it_was(tmp_path):
    """Nothing tells such a model from one that an earlier program wrote, name by name and byte by byte."""
    store = new_store(tmp_path / "s.zoo", 50)
    z, _ = rows_of(3, n=50)
    store.add("m", logits=z, metadata={"embedding_dim": "whatever it is to them"})
    record = unseal(store.model("m").folder / fmt.COMMIT_JSON, "record")
    assert sorted(record) == [
        "committed_at", "crc32c", "files", "fingerprint", "format_version", "kind", "model_id", "provenance",
        "shape",
    ]  # fmt: skip
    assert sorted(record["fingerprint"]) == ["content", "dtype", "examples", "kind", "source"]
    assert sorted(contents(store.model("m").folder)) == [
        "commit.json", "derived.arrow", "logits/c.0.0", "logits/zarr.json", "model.json", "zarr.json",
    ]  # fmt: skip
    assert store.models()["embedding_dim"].to_pylist() == ["whatever it is to them"]
    copy = store.copy(tmp_path / "copy.zoo")
    assert copy.models() == store.models()


def test_xarray_and_queries_pass_over_them(zoo):
    data = zoo.to_xarray()
    assert sorted(data.data_vars) == ["correct", "logits", "top1"]
    bare = zoo.path.with_name("bare.zoo")
    store = new_store(bare)
    store.add("wide", logits=rows_of(0)[0])
    for name in (fmt.SHARD, fmt.DERIVED, fmt.ARRAY_JSON):
        assert model_bytes(store, "wide")[name] == model_bytes(zoo, "wide")[name]


# any way of writing gives the same bytes


CUTS = st.lists(st.integers(0, N), max_size=5).map(sorted)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Bytes of the model that an unbroken run stores, by codec, and an empty store of each."""
    z, f = rows_of(5)
    found = {}
    for codec in fmt.CODECS:
        store = new_store(tmp_path_factory.mktemp(codec) / "s.zoo", codec=codec)
        with store.writer("m", fingerprint={}, embedding_dim=D) as w:
            w.append(z, embeddings=f)
        found[codec] = model_bytes(store)
        store.remove("m")
        found[f"{codec} store"] = store.path
    return found


def write(store, z, f, cuts, stop=N):
    """Append blocks cut anywhere, from where the last writer got to; stop short of the end like a kill."""
    with store.writer("m", fingerprint={}, embedding_dim=D) as w:
        first = w.position
        edges = [first, *(c for c in cuts if first < c < stop), max(first, stop)]
        for a, b in itertools.pairwise(edges):
            w.append(z[a:b], embeddings=f[a:b])
        if stop < N:
            raise KeyboardInterrupt


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codec=st.sampled_from(fmt.CODECS),
    cuts=st.tuples(CUTS, CUTS),
    stop=st.integers(0, N - 1),
    lost=st.dictionaries(
        st.sampled_from([fmt.SHARD, fmt.EMBEDDINGS_SHARD, "derived.part", "embeddings.sizes.part"]),
        st.floats(0, 1),
        max_size=3,
    ),
)
def test_no_split_and_no_kill_changes_a_byte(unbroken, codec, cuts, stop, lost):
    """Blocks cut anywhere, a kill anywhere, and any tail of any staged file lost with it."""
    store, (z, f) = ds.open(unbroken[f"{codec} store"]), rows_of(5)
    with pytest.raises(KeyboardInterrupt):
        write(store, z, f, cuts[0], stop)
    for name, share in lost.items():
        staged = store.path / fmt.STAGING / "m" / name
        if staged.exists():
            os.truncate(staged, int(share * staged.stat().st_size))
    write(store, z, f, cuts[1])
    assert model_bytes(store) == unbroken[codec]
    assert store.verify().ok
    store.remove("m")


def test_a_resume_keeps_what_is_whole_in_all_files(tmp_path):
    store, (z, f) = new_store(tmp_path / "s.zoo"), rows_of(5)
    with pytest.raises(KeyboardInterrupt):
        write(store, z, f, [], 8500)
    shard = store.path / fmt.STAGING / "m" / fmt.EMBEDDINGS_SHARD
    os.truncate(shard, shard.stat().st_size - 1)  # one of the two blocks of the second step is torn
    with store.writer("m", fingerprint={}, embedding_dim=D) as w:
        assert w.position == 4096
        w.append(z[4096:], embeddings=f[4096:])
    assert np.array_equal(store.embeddings("m")[:], f.astype("f2").astype("f4"))


@pytest.mark.parametrize(("staged", "then"), [(None, D), (D, None), (D, 7)])
def test_rows_of_other_embeddings_are_not_gone_on_with(tmp_path, staged, then):
    store, (z, f) = new_store(tmp_path / "s.zoo"), rows_of(5)

    def block(dim):
        return {"embeddings": None if dim is None else f[:5000, :dim]}

    with pytest.raises(KeyboardInterrupt), store.writer("m", fingerprint={}, embedding_dim=staged) as w:
        w.append(z[:5000], **block(staged))
        raise KeyboardInterrupt
    expected = f"embedding_dim: staged {staged or 'absent'}, given {then or 'absent'}"
    with pytest.raises(errors.FingerprintMismatch, match=expected):
        store.writer("m", fingerprint={}, embedding_dim=then)
    with store.writer("m", fingerprint={}, embedding_dim=then, restart=True) as w:
        assert w.position == 0
        for a in (0, 5000):
            rows = None if then is None else f[a : a + 5000, :then]
            w.append(z[a : a + 5000], embeddings=rows)
    assert store.model("m").embedding_dim == then
    assert store.verify().ok


def test_replacing_brings_and_takes_them(zoo):
    z, f = rows_of(8)
    zoo.add("plain", logits=z, embeddings=f, replace=True)
    zoo.add("wide", logits=z, replace=True)
    assert np.array_equal(zoo.embeddings("plain")[:], f.astype("f2").astype("f4"))
    assert zoo.model("wide").embedding_dim is None
    assert "embeddings" not in {p.name for p in zoo.model("wide").folder.iterdir()}
    assert zoo.verify().ok


def test_an_open_model_that_is_replaced_is_no_damage(zoo):
    old = zoo.model("wide")
    zoo.add("wide", logits=rows_of(8)[0], replace=True)
    with pytest.raises(errors.ModelReplaced, match="'wide' was replaced or removed while it was read"):
        old.embeddings()


# copies


def test_copies_keep_them(zoo, tmp_path):
    copy = zoo.copy(tmp_path / "copy.zoo")
    assert copy.models() == zoo.models()
    for model_id in zoo.model_ids:
        assert model_bytes(copy, model_id) == model_bytes(zoo, model_id)
        assert copy.model(model_id).fingerprint == zoo.model(model_id).fingerprint
    packed = copy.copy(tmp_path / "packed.zoo", ["wide", "labels"], codec="archive")
    back = packed.copy(tmp_path / "back.zoo", codec="raw")
    assert packed.verify().ok
    for model_id in ("wide", "labels"):
        assert model_bytes(back, model_id) == model_bytes(zoo, model_id)
    assert zoo.copy(tmp_path / "copy.zoo").models() == zoo.models()  # all are there: nothing to do


def test_a_copy_that_lacks_them_is_told(zoo, tmp_path):
    other = new_store(tmp_path / "o.zoo")
    other.add("wide", logits=rows_of(0)[0])
    with pytest.raises(errors.FingerprintMismatch, match="embedding_dim: stored absent, given 300"):
        zoo.copy(other.path, ["wide"])


def test_narrowing_equals_storing_in_float16(tmp_path):
    z, f = rows_of(2, n=60, d=5)
    f[7, 3] = -1e6
    stores = [new_store(tmp_path / f"{dtype}.zoo", 60, dtype=dtype) for dtype in fmt.DTYPES]
    with pytest.warns(UserWarning, match="beyond float16"):
        stores[0].add("m", logits=z, embeddings=f)
    stores[1].add("m", logits=z, embeddings=f)
    with pytest.warns(UserWarning, match="beyond float16"):
        narrow = stores[1].copy(tmp_path / "narrow.zoo", dtype="float16")
    own, copied = model_bytes(stores[0]), model_bytes(narrow)
    assert own[fmt.EMBEDDINGS_SHARD] == copied[fmt.EMBEDDINGS_SHARD]


def test_a_copy_reads_no_damaged_embedding(zoo, tmp_path):
    flip(zoo.model("wide").folder / fmt.EMBEDDINGS_SHARD, 10)
    with pytest.raises(errors.CorruptionError, match="model 'wide': block 0 of embeddings/c.0.0"):
        zoo.copy(tmp_path / "c.zoo")
    assert "wide" not in ds.open(tmp_path / "c.zoo").model_ids


# damage


def test_damage_is_met_by_block_and_leaves_the_rest_readable(zoo):
    g = zoo.model("wide").geometries[fmt.EMBEDDINGS_SHARD]
    flip(zoo.model("wide").folder / fmt.EMBEDDINGS_SHARD, g.data_bytes + 4 + 10)
    got = ds.open(zoo.path).embeddings("wide")
    first, last = g.rows(1)
    assert len(got[:first]) == first
    expected = rf"model 'wide': block 1 of embeddings/c.0.0 \(rows {first} to {last - 1}\) fails its checksum"
    with pytest.raises(errors.CorruptionError, match=expected):
        got[first - 1 : first + 1]
    assert len(zoo.logits("wide")[:]) == N
    assert [(f.model, f.file, f.block) for f in zoo.verify().findings] == [("wide", fmt.EMBEDDINGS_SHARD, 1)]


def test_embeddings_of_another_model_are_not_taken_for_its_own(zoo):
    z, f = rows_of(9)
    zoo.add("twin", logits=z, embeddings=f)
    shutil.copy(
        zoo.model("wide").folder / fmt.EMBEDDINGS_SHARD, zoo.model("twin").folder / fmt.EMBEDDINGS_SHARD
    )
    with pytest.raises(errors.CorruptionError, match="model 'twin': block 0 of embeddings/c.0.0"):
        ds.open(zoo.path).embeddings("twin")[:10]
    assert {(f.model, f.file) for f in zoo.verify().findings} == {("twin", fmt.EMBEDDINGS_SHARD)}


@pytest.mark.parametrize("codec", fmt.CODECS)
def test_what_can_be_proven_is_rebuilt(tmp_path, codec):
    store, (z, f) = new_store(tmp_path / "s.zoo", codec=codec), rows_of(1)
    store.add("m", logits=z, embeddings=f)
    before, folder = contents(store.path / fmt.MODELS), store.model("m").folder
    sizes = store.model("m").files[fmt.EMBEDDINGS_SHARD].get("blocks_bytes")
    first = int(store.model("m").geometries[fmt.EMBEDDINGS_SHARD].places(sizes)[0, 1])
    flip(folder / fmt.EMBEDDINGS_SHARD, first - 2)  # the checksum between blocks
    flip(folder / fmt.EMBEDDINGS_SHARD, -3)  # the index
    (folder / fmt.EMBEDDINGS_JSON).unlink()
    report = store.repair()
    assert report.ok
    assert {a.action for a in report.actions} == {"mended"}
    assert contents(store.path / fmt.MODELS) == before


def test_what_cannot_is_set_aside_with_what_is_sound(zoo):
    g = zoo.model("wide").geometries[fmt.EMBEDDINGS_SHARD]
    flip(zoo.model("wide").folder / fmt.EMBEDDINGS_SHARD, g.data_bytes + 4 + 10)
    (action,) = ds.open(zoo.path).repair().actions
    start, stop = g.rows(1)
    assert action.action == "quarantined"
    assert (
        f"sound rows: 0 to {N - 1}; sound embeddings: 0 to {start - 1}, {stop} to {N - 1};" in action.detail
    )
    (note,) = (unseal(p, "note") for p in (zoo.path / fmt.QUARANTINE).glob("*/salvage.json"))
    assert note["sound_embeddings"] == [[0, start], [stop, N]]
    assert "wide" not in zoo.model_ids


def test_damage_is_left_out_when_asked(zoo):
    flip(zoo.model("wide").folder / fmt.EMBEDDINGS_JSON, 9)
    with pytest.warns(UserWarning, match="left out: model 'wide'"):
        assert ds.open(zoo.path, damaged="skip").model_ids == ["labels", "narrow", "plain"]


def test_another_layout_and_a_record_that_lacks_files_are_refused(zoo):
    path = zoo.model("wide").folder / fmt.COMMIT_JSON
    record = unseal(path, "record")
    path.write_bytes(seal(record | {"embeddings": {"dim": D, "block_rows": 8}}))
    with pytest.raises(
        errors.IncompatibleFormat, match="its embeddings/zarr.json was committed with another"
    ):
        ds.open(zoo.path).embeddings("wide")
    for wrong, match in [
        ({"embeddings": {"dim": D}}, "lacks block_rows"),
        (
            {"files": {k: v for k, v in record["files"].items() if k != fmt.EMBEDDINGS_JSON}},
            "lacks embeddings",
        ),
    ]:
        path.write_bytes(seal(record | wrong))
        with pytest.raises(errors.CorruptionError, match=match):
            ds.open(zoo.path).model("wide")


def test_a_reader_that_knows_no_embeddings_can_verify_them(zoo):
    """Format 2 stays: every file but the logits has the size and checksum of the whole file in the record."""
    from dissensus.store.files import crc32c

    model = zoo.model("wide")
    for name, record in model.files.items():
        if name != fmt.SHARD:
            data = (model.folder / name).read_bytes()
            assert (record["bytes"], record["crc32c"]) == (len(data), f"{crc32c(data):08x}")
    assert unseal(model.folder / fmt.COMMIT_JSON, "record")["format_version"] == 2


# what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", fmt.DTYPES)
def test_what_is_not_finite_is_named(tmp_path, dtype, value):
    store, (z, f) = new_store(tmp_path / "s.zoo", 50, dtype=dtype), rows_of(1, n=50, d=9)
    f[12, 5] = f[13, 0] = value
    expected = rf"model 'm' gave {value} for example '12', feature 5 of its embedding \(2 of 50 rows"
    for rows in (f, f.astype("f2"), f.astype("f8")):
        with pytest.raises(errors.NonFiniteEmbeddings, match=expected):
            store.add("m", logits=z, embeddings=rows)
    assert store.model_ids == store.staged() == []


def test_what_lies_beyond_float16_is_clamped_and_told_once(tmp_path):
    store, (z, f) = new_store(tmp_path / "s.zoo"), rows_of(1)
    f[12, 5], f[13, 0], f[5000, 1], f[3, 3] = 1e5, -3e38, 7e4, 65504
    with pytest.warns(
        UserWarning, match=r"'m': features beyond float16 .* 100000 of example '12', feature 5;"
    ) as w:
        store.add("m", logits=z, embeddings=f)
    assert len(w) == 1
    got = store.embeddings("m")
    assert [float(got[i, j]) for i, j in [(12, 5), (13, 0), (5000, 1), (3, 3)]] == [
        65504,
        -65504,
        65504,
        65504,
    ]
    wide = new_store(tmp_path / "wide.zoo", dtype="float32")
    with warnings.catch_warnings(action="error"):
        wide.add("m", logits=z, embeddings=f)
    assert np.array_equal(wide.embeddings("m")[:], f)
    with pytest.raises(errors.NonFiniteEmbeddings, match="gave inf for example '0', feature 1"):
        wide.add("n", logits=z, embeddings=np.where(np.arange(D) == 1, 1e300, f.astype("f8")))


@pytest.mark.parametrize("dim", [0, -3, True, "many", 2.5, [4]])
def test_a_length_that_is_none_is_refused_before_any_work(tmp_path, dim):
    store = new_store(tmp_path / "s.zoo", 50)
    with pytest.raises(errors.ArgumentError, match="embedding_dim must be a number of features, 1 or more"):
        store.writer("m", fingerprint={}, embedding_dim=dim)
    assert store.staged() == []


def test_blocks_must_fit_the_writer(tmp_path):
    store, (z, f) = new_store(tmp_path / "s.zoo", 50), rows_of(1, n=50, d=9)
    with store.writer("m", fingerprint={}, embedding_dim=np.int64(9)) as w:
        for wrong, match in [
            (None, "written with 9 features a row; give embeddings with every block"),
            (f[:, :8], r"shape \(50, 8\), these rows need \(50, 9\)"),
            (f[:49], r"shape \(49, 9\), these rows need \(50, 9\)"),
            (f[0], r"shape \(9,\), these rows need"),
            (f.astype(str), "must be an array of real numbers"),
            (f * 1j, "must be an array of real numbers"),
            (np.ma.masked_less(f, 0), "must have no masked entries"),
        ]:
            with pytest.raises(errors.ArgumentError, match=match):
                w.append(z, embeddings=wrong)
        with pytest.raises(errors.ArgumentError, match="must not name embedding_dim: the store computes"):
            w.describe(embedding_dim=9)
        assert w.position == 0
        w.append(z, embeddings=f)
    with pytest.raises(errors.ArgumentError, match="'n' is written without embeddings; open its writer with"):
        with store.writer("n", fingerprint={}) as w:
            w.append(z, embeddings=f)
    assert store.model_ids == ["m"]


@pytest.mark.parametrize("shape", [(49, 4), (50,), (50, 0), (4, 50)])
def test_embeddings_in_memory_must_have_a_row_for_each_example(tmp_path, shape):
    store, (z, _) = new_store(tmp_path / "s.zoo", 50), rows_of(1, n=50)
    with pytest.raises(errors.ArgumentError, match=r"embeddings of model 'm' have shape .* needs \(50, D\)"):
        store.add("m", logits=z, embeddings=np.zeros(shape))
    assert store.model_ids == []


def test_the_fingerprint_key_is_the_stores_own_only_with_embeddings(tmp_path):
    store, (z, _) = new_store(tmp_path / "s.zoo", 50), rows_of(1, n=50, d=9)
    with store.writer("m", fingerprint={"embedding_dim": "mine"}) as w:
        w.append(z)
    copy = store.copy(tmp_path / "c.zoo")
    assert copy.model("m").fingerprint["embedding_dim"] == "mine"
    with pytest.raises(errors.ArgumentError, match=r"keys \['embedding_dim'\] are the store's own"):
        store.writer("n", fingerprint={"embedding_dim": "mine"}, embedding_dim=9)


def test_the_readers_examples_run():
    import doctest

    from dissensus.store import embeddings

    assert doctest.testmod(embeddings) == doctest.TestResults(0, 4)
