"""The archive codec: the same rows in fewer bytes, plain Zarr, resumed and verified like any other."""

from __future__ import annotations

import os

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
from dissensus import errors
from dissensus.store import format as fmt

N, C = 4096 * 2 + 17, 7


@pytest.fixture
def logits(rng):
    return (3 * rng.normal(size=(N, C))).astype("f4")


@pytest.fixture
def archive(tmp_path, rng, logits):
    store = ds.create(tmp_path / "a.zoo", rng.integers(0, C, N), classes=list("abcdefg"), codec="archive")
    store.add("m", logits=logits)
    return store


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_nothing_is_lost_and_zarr_reads_it(tmp_path, rng, logits, dtype):
    labels, stores = rng.integers(0, C, N), {}
    for codec in fmt.CODECS:
        store = ds.create(
            tmp_path / f"{codec}.zoo", labels, classes=list("abcdefg"), dtype=dtype, codec=codec
        )
        store.add("m", logits=logits)
        stores[codec] = store
        assert ds.open(store.path).codec == codec
        array = zarr.open_group(store.path / "models", mode="r")["m/logits"]
        assert array[:].tobytes() == store.logits("m").centred(0, N).tobytes()
    raw, archive = stores["raw"], stores["archive"]
    assert raw.logits("m")[:].tobytes() == archive.logits("m")[:].tobytes()
    for name in (fmt.DERIVED, fmt.MODEL_JSON):
        assert raw.model("m").read_file(name) == archive.model("m").read_file(name)
    rows = np.array([0, 5, 4095, 4096, N - 1])
    assert raw.logits("m").take(rows).tobytes() == archive.logits("m").take(rows).tobytes()
    sizes = [store.model("m").files[fmt.SHARD]["bytes"] for store in (raw, archive)]
    assert sizes[1] < 0.95 * sizes[0]
    assert archive.verify().ok


def test_shard_bytes_equal_zarrs_own(tmp_path, archive):
    g = archive.geometry
    array = zarr.create_array(
        tmp_path / "peer.zarr",
        shape=(N, C),
        chunks=(g.block_rows, C),
        shards=(g.block_rows * g.n_blocks, C),
        dtype="float16",
        compressors=[zarr.codecs.BloscCodec(typesize=2, **fmt.ARCHIVE), zarr.codecs.Crc32cCodec()],
        fill_value=float("nan"),
    )
    array[:] = archive.logits("m").centred(0, N)
    assert (tmp_path / "peer.zarr/c/0/0").read_bytes() == (archive.model("m").folder / fmt.SHARD).read_bytes()


@settings(max_examples=15, deadline=None)
@given(stop=st.integers(4096, N), torn=st.integers(0, 90_000), part=st.sampled_from(["shard", "sizes"]))
def test_resume_gives_the_bytes_of_an_unbroken_run(tmp_path_factory, stop, torn, part):
    rng = np.random.default_rng(5)
    z, root = rng.normal(size=(N, C)).astype("f4"), tmp_path_factory.mktemp("s")
    whole, broken = (
        ds.create(root / f"{n}.zoo", rng.integers(0, C, N), classes=list("abcdefg"), codec="archive")
        for n in "ab"
    )
    whole.add("m", logits=z)
    with pytest.raises(KeyboardInterrupt), broken.writer("m", fingerprint={}) as w:
        w.append(z[:stop])
        raise KeyboardInterrupt
    torn_file = broken.path / "staging/m" / (fmt.SHARD if part == "shard" else "sizes.part")
    os.truncate(torn_file, max(0, torn_file.stat().st_size - torn))
    with broken.writer("m", fingerprint={}) as w:
        w.append(z[w.position :])
    shards = [(store.model("m").folder / fmt.SHARD).read_bytes() for store in (whole, broken)]
    assert shards[0] == shards[1]
    assert sorted(p.name for p in broken.model("m").folder.iterdir()) == [
        "commit.json", "derived.arrow", "logits", "model.json", "zarr.json",
    ]  # fmt: skip


def test_damage_is_found_by_block(archive):
    shard = archive.model("m").folder / fmt.SHARD
    data = bytearray(shard.read_bytes())
    second = int(archive.model("m").files[fmt.SHARD]["blocks_bytes"][0]) + 4
    data[second + 10] ^= 1
    shard.write_bytes(data)
    (finding,) = archive.verify().findings
    assert (finding.model, finding.file, finding.block) == ("m", fmt.SHARD, 1)
    fresh = ds.open(archive.path).logits("m")
    assert len(fresh[:4096]) == 4096
    with pytest.raises(errors.CorruptionError, match="model 'm': block 1 .*fails its checksum"):
        fresh[4096:4097]


def test_unknown_codecs_are_refused(tmp_path, archive):
    from dissensus.store.sealed import seal, unseal

    with pytest.raises(errors.ArgumentError, match="codec must be one of raw, archive; got 'zip'"):
        ds.create(tmp_path / "z.zoo", [0, 1], codec="zip")
    path = archive.path / fmt.STORE_JSON
    path.write_bytes(seal({**unseal(path, "header"), "codec": "fpzip"}))
    with pytest.raises(errors.IncompatibleFormat, match="codec 'fpzip'; this dissensus reads raw, archive"):
        ds.open(archive.path)
