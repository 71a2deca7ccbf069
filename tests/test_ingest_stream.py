"""The streaming loop: what arrives in the store, resuming, and every way in which a model can fail."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
from dissensus import errors
from dissensus.ingest import (
    ArrayExamples,
    CallableModel,
    LazyModel,
    TimmModel,
    TorchModel,
    infer,
    timm_models,
)
from dissensus.ingest.streaming.encode import encode_there, to_rows
from dissensus.ingest.streaming.overlap import Backlog, look_ahead
from dissensus.run import progress as progress_module
from dissensus.store.encoding import encode
from dissensus.store.fingerprint import require_same_fingerprint
from dissensus.store.writer import ModelWriter

OWN = ("commit.json", "model.json", "zarr.json")
N, C = 1300, 1000  # three blocks of 524 rows, so that there is something to resume


class Rows(ArrayExamples):
    """Float rows that remember which were read."""

    def __init__(self, n=N, n_classes=C, seed=0):
        rng = np.random.default_rng(seed)
        labels, names = np.arange(n) % n_classes, [f"c{i}" for i in range(n_classes)]
        super().__init__(rng.normal(size=(n, 8)).astype("f4"), labels, classes=names)
        self.spans = []

    def read(self, start, stop):
        self.spans.append((start, stop))
        return super().read(start, stop)


class Model:
    """x @ W; raises `error` when it meets its n-th batch."""

    def __init__(self, error=None, at=0, n_classes=C, seed=0):
        self.weights = np.random.default_rng(seed).normal(size=(8, n_classes)).astype("f4")
        self.error, self.at, self.calls = error, at, 0

    def __call__(self, batch):
        self.calls += 1
        if self.error is not None and self.calls == self.at:
            raise self.error
        return batch @ self.weights

    def source(self, model_id="m", **options):
        return CallableModel(model_id, self, fingerprint="v1", **options)


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def store(tmp_path, rows):
    return ds.create_from(tmp_path / "zoo", rows)


def stored_bytes(store, model_id="m"):
    """Logits and derived columns: all but the id, the commit's time and the measured speed."""
    folder = store.model(model_id).folder
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {p.relative_to(folder): p.read_bytes() for p in files if p.name not in OWN}


def one(store, source, rows, **options):
    (row,) = infer(store, source, rows, **{"batch_size": 100, "progress": False} | options).rows
    return row


# what arrives


def test_logits_arrive(store, rows):
    row = one(store, Model().source(metadata={"category": "linear"}), rows)
    assert (row.model_id, row.status, row.error) == ("m", "done", None)
    assert row.seconds > 0 < row.examples_per_s
    expected = rows.read(0, N) @ Model().weights
    np.testing.assert_allclose(store.logits("m")[:], expected, atol=0.02)
    assert np.array_equal(store.top1()[0], expected.argmax(1))
    model = store.model("m")
    assert model.fingerprint["content"] == rows.fingerprint
    assert {"category": "linear", "source": "callable", "batch_size": 100}.items() <= model.metadata.items()
    assert store.verify().ok


def test_store_is_made_for_the_examples(tmp_path):
    digits = ArrayExamples(
        np.zeros((4, 2, 2), np.uint8), [0, 1, 1, 0], ids=list("abcd"), classes=["x", "y"], splits=["fit"] * 4
    )
    store = ds.create_from(tmp_path / "s", digits, dtype="float32")
    assert (store.example_ids, store.classes, store.dtype) == (list("abcd"), ["x", "y"], "float32")
    assert store.labels.tolist() == [0, 1, 1, 0]
    assert list(store.splits) == ["fit"] * 4
    assert store.attributes["examples_content"] == digits.fingerprint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Three real timm architectures with weights on disk, for grey images of 32 x 32 in four classes."""
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("checkpoints")
    for name, extra in (("test_vit", {"img_size": 32}), ("test_resnet", {}), ("mobilenetv3_small_050", {})):
        torch.manual_seed(1)
        model = timm.create_model(name, num_classes=4, in_chans=1, **extra)
        grey = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,), "crop_pct": 1.0}
        model.pretrained_cfg.update(grey)
        save_for_hf(model, folder / name, safe_serialization=True, model_args={"in_chans": 1, **extra})
    return folder


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_real_timm_models(tmp_path, checkpoints, rng, dtype):
    images = rng.integers(0, 256, (50, 32, 32), dtype=np.uint8)
    examples = ArrayExamples(images, np.arange(50) % 4)
    store = ds.create_from(tmp_path / "zoo", examples, dtype=dtype)
    report = infer(
        store,
        timm_models("*", checkpoints=checkpoints),
        examples,
        batch_size=16,
        device="cpu",
        progress=False,
    )
    assert [row.status for row in report.rows] == ["done"] * 3, report
    group = zarr.open_group(store.path / "models", mode="r")
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float16" else {"rtol": 0, "atol": 1e-5}
    pixels = torch.from_numpy(images[:, None] / np.float32(255) * 2 - 1)
    for name in ("test_vit", "test_resnet", "mobilenetv3_small_050"):
        model = timm.create_model(f"local-dir:{checkpoints / name}", pretrained=True).eval()
        with torch.inference_mode():
            logits = torch.cat([model(pixels[i : i + 16]) for i in range(0, 50, 16)]).numpy()
        np.testing.assert_allclose(store.logits(name)[:], logits, **close)
        centred = group[name]["logits"][:]
        np.testing.assert_allclose(centred, logits - logits.max(1, keepdims=True), **close)
    families = dict(
        zip(store.models()["model"].to_pylist(), store.models()["family"].to_pylist(), strict=True)
    )
    assert families["test_vit"] == "vision_transformer"


def test_probabilities_become_logits(store, rows):
    def softmax(x):
        z = np.exp(x @ Model().weights)
        z[:, 0] = 0
        return z / z.sum(1, keepdims=True)

    row = one(store, CallableModel("p", softmax, kind="probabilities"), rows)
    assert row.status == "done", row
    assert store.model("p").kind == "probabilities"
    expected = np.log(np.maximum(softmax(rows.read(0, N)), 2.0**-126))
    np.testing.assert_allclose(store.logits("p")[:], expected, atol=0.06)
    tensors = CallableModel("t", lambda x: torch.from_numpy(softmax(x)), kind="probabilities")
    assert one(store, tensors, rows).status == "done"
    assert stored_bytes(store, "p") == stored_bytes(store, "t")


def test_tensors_and_arrays_store_the_same_bytes(store, rows):
    one(store, Model().source("array"), rows)
    one(store, CallableModel("tensor", lambda x: torch.from_numpy(Model()(x))), rows)
    shards = [store.logits(m).centred(0, N).tobytes() for m in ("array", "tensor")]
    assert shards[0] == shards[1]
    for name in ("top1", "rowmax"):
        assert np.array_equal(store.model("array").column(name), store.model("tensor").column(name))


def test_batch_size_does_not_matter(store, rows):
    for size in (1, 77, 100, 524, 5000):
        one(store, Model().source(f"b{size}"), rows, batch_size=size)
    assert len({tuple(store.top1([m])[0]) for m in store.model_ids}) == 1


# the twin of encode


def encoded_there(logits, dtype, *, model_id, example_ids, class_names):
    """What `encode_there` gives, on the host."""
    rows = encode_there(logits, dtype)
    results = [result.cpu().numpy() for result in rows.results]
    return to_rows(results, rows.logits, model_id, example_ids, class_names)


def assert_same(logits, dtype):
    names = {"model_id": "m", "example_ids": range(len(logits)), "class_names": range(logits.shape[1])}
    expected, got = encode(logits, dtype, **names), encoded_there(torch.from_numpy(logits), dtype, **names)
    for column in ("centred", "top1", "rowmax", "top_classes", "top_values"):
        a, b = getattr(expected, column), getattr(got, column)
        if a is None:
            assert b is None
            continue
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
    np.testing.assert_allclose(
        got.lse, expected.lse, rtol=0, atol=1e-12 * np.maximum(1, np.abs(expected.lse)).max()
    )
    assert got.lse.dtype == np.float64


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(2, 70),
    st.sampled_from([1e-6, 1.0, 30.0, 1e5]),
    st.sampled_from(["float16", "float32"]),
    st.booleans(),
)
def test_encode_there_equals_encode(seed, n, c, scale, dtype, ties):
    logits = np.random.default_rng(seed).normal(size=(n, c)) * scale
    logits = np.round(logits / scale) * scale if ties else logits
    assert_same((logits + 0.0).astype("f4"), dtype)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(318, 350),
    st.sampled_from([None, 1, 0, -1]),
    st.sampled_from([0.0, 1e-8, 1e-3]),
)
def test_first_classes_are_those_of_the_store(seed, c, decimals, near):
    """Ties at any rank, and runners-up that rounding makes equal."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(5, c)) * 3
    logits = logits if decimals is None else logits.round(decimals) + 0.0
    logits[:, rng.integers(c)] = logits.max(axis=1) - near
    assert_same(logits.astype("f4"), "float16")


def test_encode_there_at_the_edges():
    edge = np.array(
        [
            [3e38, -3e38, 0],
            [1, np.nextafter(np.float32(1), np.float32(0)), 0],
            [65504, 0, -1],
            [7, 7, 7],
            [1e-40, 0, 1e-45],
            [-1e5, -1e5, -2e5],
        ],
        "f4",
    )
    for dtype in ("float16", "float32"):
        assert_same(edge, dtype)
    names = {"model_id": "m", "example_ids": list("ab"), "class_names": list("xyz")}
    for bad in (np.nan, np.inf, -np.inf):
        z = torch.zeros(2, 3)
        z[1, 2] = bad
        with pytest.raises(errors.NonFiniteLogits, match=r"model 'm' gave .* for example 'b', class 'z'"):
            encoded_there(z, "float16", **names)
    half = torch.randn(2, 3, generator=torch.manual_seed(0)).to(torch.bfloat16)
    assert np.array_equal(encoded_there(half, "float32", **names).rowmax, half.float().amax(1).numpy())


# resuming


@pytest.mark.parametrize("batch_size", [100, 256, 524, 1000])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, store, rows, batch_size):
    whole = ds.create_from(tmp_path / "whole", rows)
    one(whole, Model().source(), rows, batch_size=batch_size)
    last = -(-N // batch_size)
    row = one(store, Model(RuntimeError("out of order"), last).source(), rows, batch_size=batch_size)
    assert (row.status, row.error) == ("failed", "RuntimeError: out of order")
    assert store.model_ids == []
    with store.writer("m", fingerprint=whole_fingerprint(rows)) as writer:
        position = writer.position
        writer.commit = lambda: None  # only looked at
    assert position % 524 == 0
    rows.spans.clear()
    assert one(store, Model().source(), rows, batch_size=batch_size).status == "done"
    assert rows.spans[0][0] == position // batch_size * batch_size
    assert stored_bytes(store) == stored_bytes(whole)


def whole_fingerprint(rows):
    predictor = Model().source().load(torch.device("cpu"))
    return {**predictor.fingerprint, "content": rows.fingerprint}


def test_something_is_really_resumed(store, rows):
    one(store, Model(RuntimeError("x"), 12).source(), rows)
    rows.spans.clear()
    one(store, Model().source(), rows)
    assert rows.spans[0] == (1000, 1100)  # 1048 rows are safe, the batch that holds row 1048 begins at 1000
    one(store, Model(RuntimeError("x"), 12).source("again"), rows)
    rows.spans.clear()
    one(store, Model().source("again"), rows, restart=True)
    assert rows.spans[0] == (0, 100)


def test_a_resumed_run_tells_which_rows_its_settings_made(store, rows):
    one(store, Model(RuntimeError("x"), 12).source(), rows)
    one(store, Model().source(), rows, batch_size=50)
    assert {"batch_size": 50, "resumed_at": 1048}.items() <= store.model("m").metadata.items()
    one(store, Model().source("whole"), rows)
    assert "resumed_at" not in store.model("whole").metadata


def test_changed_weights_do_not_resume(store, rows):
    one(store, Model(RuntimeError("x"), 12).source(), rows)
    other = CallableModel("m", Model(), fingerprint="v2")
    row = one(store, other, rows)
    assert row.status == "failed"
    assert "weights: staged v1, given v2" in row.error
    assert "restart" in row.error
    assert one(store, other, rows, restart=True).status == "done"


def test_a_second_run_does_only_what_is_missing(store, rows):
    first, second = Model(), Model()
    infer(store, [first.source("a")], rows, progress=False)
    report = infer(store, [second.source("a"), Model().source("b")], rows, progress=False)
    assert [(row.model_id, row.status) for row in report.rows] == [("a", "stored"), ("b", "done")]
    assert second.calls == 0
    assert (len(report.stored), len(report.done), report.failed) == (1, 1, [])


def test_other_weights_under_a_stored_id(store, rows):
    one(store, Model().source(), rows)
    before = stored_bytes(store)
    row = one(store, CallableModel("m", Model(seed=1), fingerprint="v2"), rows)
    assert row.status == "failed"
    assert "model 'm' is stored with another fingerprint (weights: stored v1, given v2)" in row.error
    assert stored_bytes(store) == before


def test_long_fingerprints_are_told_where_they_differ():
    there, given = ({"preprocessing": f"dissensus.ingest.zoo.stated.StatedPreprocess {n}"} for n in "79")
    with pytest.raises(errors.FingerprintMismatch, match=r"stored …reprocess 7, given …reprocess 9\)"):
        require_same_fingerprint("m", there, given, "stored", "remove it")
    whole, cut = {"weights": "v" * 30}, {"weights": "v" * 50}
    with pytest.raises(errors.FingerprintMismatch, match=r"stored …v{10}, given …v{30}\)"):
        require_same_fingerprint("m", whole, cut, "stored", "remove it")


def test_other_weights_replace_a_stored_model_when_asked(store, rows):
    """The old model stays until the new one is whole; the same one again is not run again."""
    one(store, Model().source(), rows)
    before = stored_bytes(store)
    failing = CallableModel("m", Model(RuntimeError("out of order"), at=3, seed=1), fingerprint="v2")
    assert one(store, failing, rows, replace=True).status == "failed"
    assert stored_bytes(store) == before
    new = Model(seed=1)
    assert one(store, CallableModel("m", new, fingerprint="v2"), rows, replace=True).status == "done"
    np.testing.assert_allclose(store.logits("m")[:5], rows.read(0, 5) @ new.weights, atol=0.02)
    calls = new.calls
    again = one(store, CallableModel("m", new, fingerprint="v2"), rows, replace=True)
    assert (again.status, new.calls) == ("stored", calls)
    assert store.verify().ok


def test_a_store_can_be_made_packed(tmp_path, rows):
    raw, packed = (ds.create_from(tmp_path / codec, rows, codec=codec) for codec in ("raw", "archive"))
    for made in (raw, packed):
        one(made, Model().source(), rows)
    assert packed.codec == "archive"
    assert packed.logits("m")[:].tobytes() == raw.logits("m")[:].tobytes()


# stopping


def test_ctrl_c_stops_at_once_and_can_be_resumed(store, rows):
    late = Model()
    with pytest.raises(KeyboardInterrupt):
        infer(
            store,
            [Model(KeyboardInterrupt(), 12).source(), late.source("late")],
            rows,
            batch_size=100,
            resident=1,
            progress=False,
        )
    assert late.calls == 0
    assert store.model_ids == []
    assert len(store.staged()) == 1
    rows.spans.clear()
    assert one(store, Model().source(), rows).status == "done"
    assert rows.spans[0][0] in (500, 1000)  # batches that waited for the writer are dropped


@pytest.mark.parametrize("where", ["reading", "computing", "writing"])
def test_a_real_signal_is_heard_wherever_the_loop_waits(store, rows, monkeypatch, where):
    slow = {"reading": rows, "computing": None, "writing": ModelWriter}[where]
    model = Model()
    calls = []

    def slowly(original):
        def call(*arguments, **options):
            calls.append(None)
            time.sleep(0.3)
            return original(*arguments, **options)

        return call

    source = CallableModel("m", slowly(model), fingerprint="v1") if where == "computing" else model.source()
    if where != "computing":
        name = "read" if where == "reading" else "append"
        monkeypatch.setattr(slow, name, slowly(getattr(slow, name)))
    timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            infer(store, source, rows, batch_size=100, progress=False)
    finally:
        timer.cancel()
    assert len(calls) < 13  # batches there are: it did not go on to the end
    monkeypatch.undo()
    assert not [t for t in threading.enumerate() if t.name.startswith("dissensus-")]
    assert one(store, source, rows, batch_size=1300).status == "done"


# failing


def test_one_failure_does_not_stop_the_others(store, rows, tmp_path, checkpoints):
    torch.save({"fc.weight": torch.zeros(C, 3)}, tmp_path / "test_resnet.pth")

    def no_loader():
        raise FileNotFoundError("weights are gone")

    nan = Model()
    nan.weights[3, 7] = np.nan
    sources = [
        Model().source("first"),
        TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth"),
        TimmModel("test_vit", checkpoint=checkpoints / "test_vit"),
        nan.source("nan"),
        Model(n_classes=12).source("narrow"),
        Model(ZeroDivisionError("division by\nzero"), 3).source("raises"),
        LazyModel("lazy", no_loader),
        CallableModel("flat", lambda x: x[:, 0]),
        CallableModel("short", lambda x: Model()(x[1:])),
        CallableModel("named", lambda x: {"logits": x}),
        CallableModel("negative", lambda x: Model()(x), kind="probabilities"),
        Model().source("last"),
    ]
    report = infer(store, sources, rows, progress=False)
    assert [row.model_id for row in report.rows] == [source.model_id for source in sources]
    assert store.model_ids == ["first", "last"]
    errors_by_id = {row.model_id: row.error for row in report.failed}
    expected = {
        "test_resnet": "does not fit architecture test_resnet: ",
        "test_vit": "model 'test_vit' has 4 classes, the store has 1000",
        "nan": "model 'nan' gave nan for example '0000', class 'c7'",
        "narrow": "model 'narrow' has 12 classes, the store has 1000",
        "raises": "ZeroDivisionError: division by zero",
        "lazy": "FileNotFoundError: weights are gone",
        "flat": "model 'flat' gave shape (256,) for 256 examples, expected (256, 1000)",
        "short": "model 'short' gave shape (255, 1000) for 256 examples",
        "named": "model 'named' gave no array for 256 examples",
        "negative": "probabilities of model 'negative' must be >= 0 and sum to 1",
    }
    assert errors_by_id.keys() == expected.keys()
    for model_id, text in expected.items():
        assert text in errors_by_id[model_id]
        assert "\n" not in errors_by_id[model_id]


def test_a_known_class_count_is_checked_before_anything_is_staged(store, rows, checkpoints):
    one(store, TimmModel("test_vit", checkpoint=checkpoints / "test_vit"), rows)
    assert store.staged() == []


def test_infinity_late_in_the_run_is_named(store, rows):
    def late(x):
        z = Model()(x)
        if np.array_equal(x, rows._images[1200:1300]):
            z[5, 2] = np.inf
        return torch.from_numpy(z)

    row = one(store, CallableModel("m", late, fingerprint="v"), rows)
    assert "model 'm' gave inf for example '1205', class 'c2'" in row.error


def test_reader_errors_end_the_model(store, rows, monkeypatch):
    whole = rows.read

    def read(start, stop):
        if start >= 600:
            raise errors.UnreadableImage("ant/b.png could not be decoded")
        return whole(start, stop)

    monkeypatch.setattr(rows, "read", read)
    model = Model()
    row = one(store, model.source(), rows)
    assert (row.status, row.error) == ("failed", "ant/b.png could not be decoded")
    assert model.calls == 6
    monkeypatch.undo()
    assert one(store, Model().source(), rows).status == "done"


def test_a_full_disk_ends_the_run_and_can_be_resumed(tmp_path, store, rows, monkeypatch):
    append, calls = ModelWriter.append, []

    def full(self, block, **options):
        calls.append(len(block))
        if len(calls) == 4:
            raise errors.StoreFull("no room left on the device")
        append(self, block, **options)

    monkeypatch.setattr(ModelWriter, "append", full)
    later = Model()
    report = infer(
        store, [Model().source(), later.source("later")], rows, batch_size=100, resident=1, progress=False
    )
    assert [row.error for row in report.rows] == [
        "no room left on the device",
        "not started: no room left on the device",
    ]
    assert later.calls == 0
    assert len(calls) == 4  # what followed the lost block was not written in its place
    monkeypatch.undo()
    assert one(store, Model().source(), rows).status == "done"
    whole = ds.create_from(tmp_path / "whole", rows)
    one(whole, Model().source(), rows)
    assert stored_bytes(store) == stored_bytes(whole)


def test_an_error_in_the_last_write_is_not_lost(store, rows, monkeypatch):
    append = ModelWriter.append

    def last(self, block, **options):
        if self.position + self._pending == 1200:
            raise OSError("input/output error")
        append(self, block, **options)

    monkeypatch.setattr(ModelWriter, "append", last)
    assert one(store, Model().source(), rows).error == "OSError: input/output error"
    assert store.model_ids == []


def test_a_failed_model_leaves_memory(store, rows):
    modules = []

    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    def loader():
        module = Broken()
        modules.append(weakref.ref(module))
        return TorchModel("broken", module)

    def good():
        gc.collect()
        assert modules[0]() is None, "the failed model is still held when the next one loads"
        return Model().source()

    report = infer(
        store, [LazyModel("broken", loader), LazyModel("good", good)], rows, resident=1, progress=False
    )
    assert [row.error for row in report.rows] == ["RuntimeError: broken", None]


def test_two_processes_do_not_write_one_model(store, rows):
    with store.writer("m", fingerprint={"a": "b"}) as writer:
        row = one(store, Model().source(), rows, wait=False)
        assert "another process is writing model 'm'" in row.error
        writer.commit = lambda: None


# before the run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, "models must name at least one model, got none"),
        ({"models": ["resnet50"]}, r"models must be model sources \(TimmModel, .*got str"),
        (
            {"models": [Model().source(), Model().source()]},
            "distinct ids, 'm' comes more than once; rename its file or pass",
        ),
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of 1 or more, got 2.5"),
        ({"device": "abacus"}, r"device 'abacus' cannot be used here \(.*try device='cpu'"),
    ],
)
def test_arguments_are_checked_first(store, rows, change, message):
    with pytest.raises(errors.ArgumentError, match=message):
        infer(**{"store": store, "models": Model().source(), "examples": rows, "progress": False} | change)
    assert store.staged() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda(store, rows):
    with pytest.raises(errors.ArgumentError, match="device 'cuda' cannot be used here"):
        infer(store, Model().source(), rows, device="cuda")


def variant(**changes):
    rows = Rows()
    for name, value in changes.items():
        setattr(rows, name, value)
    return rows


def test_examples_must_be_the_stores(store, rows):
    ids = [*rows.ids[:700], "stranger", *rows.ids[701:]]
    labels = rows.labels.copy()
    labels[[5, 9]] = 3
    cases = [
        (
            variant(ids=ids),
            r"example 700 is 'stranger' in the data but '0700' in the store; the data has 1300",
        ),
        (variant(ids=rows.ids[:-1]), "the first without a partner is '1299'"),
        (variant(ids=[*rows.ids, "1300"]), "the first without a partner is '1300'"),
        (
            variant(labels=labels),
            "2 labels differ from the store's, first of example '0005': 3 in the data, 5",
        ),
        (variant(classes=["z", *rows.classes[1:]]), r"class names differ: \['z', 'c1'"),
        (Rows(seed=1), r"the store's ids but other content \(sha256 .*make a new store"),
    ]
    model = Model()
    for examples, message in cases:
        with pytest.raises(errors.ExamplesMismatch, match=message):
            infer(store, model.source(), examples, progress=False)
    assert model.calls == 0


def test_a_store_that_cannot_be_written_is_refused_before_anything_loads(rows):
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    user = os.geteuid()
    try:
        store = ds.create_from(root / "zoo", rows)
        staging = store.path / "staging"
        staging.chmod(0o555)
        loaded = []
        source = LazyModel("m", lambda: loaded.append(1))
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        with pytest.raises(errors.NotWritable, match="cannot write .*staging: Permission denied"):
            infer(store, source, rows, progress=False)
        assert not loaded
    finally:
        os.seteuid(user)
        shutil.rmtree(root)


# overlap


def test_look_ahead_is_bounded_and_in_order():
    taken, made = [], []

    def make(i):
        made.append(i)
        return i * i

    with look_ahead(make, range(20), 3) as results:
        for i, square in results:
            time.sleep(0.002)
            taken.append(i)
            assert square == i * i
            assert len(made) - len(taken) <= 3
    assert taken == list(range(20))


def test_look_ahead_raises_where_the_result_is_taken():
    def make(i):
        if i == 4:
            raise ValueError("four")
        return i

    seen = []
    with pytest.raises(ValueError, match="four"), look_ahead(make, range(20), 3) as results:
        for i, _ in results:
            seen.append(i)
    assert seen == [0, 1, 2, 3]


def test_backlog_is_bounded_and_drops_what_follows_a_failure():
    done, put = [], []

    def consume(i):
        time.sleep(0.005)
        assert len(put) - len(done) <= 3
        if i == 6:
            raise ValueError("six")
        done.append(i)

    with pytest.raises(ValueError, match="six"), Backlog(consume, 2) as backlog:
        for i in range(20):
            put.append(i)
            backlog.put(i)
    assert done == list(range(6))
    assert len(put) < 12


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_backlog_keeps_what_it_was_given_unless_interrupted(error):
    done = []

    def consume(i):
        time.sleep(0.05)
        done.append(i)

    def fill():
        with Backlog(consume, 3) as backlog:
            for i in range(4):
                backlog.put(i)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            fill()
    else:
        fill()
    assert done == ([0, 1] if error is KeyboardInterrupt else [0, 1, 2, 3])


# progress


def test_progress_tells_rate_and_model_on_stderr(store, rows, monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "_LINE_EVERY_S", 0.0)
    infer(store, [Model().source("a"), Model().source("b")], rows, batch_size=500, resident=1)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("model 1 of 2: a: 500 of 1,300 (")
    assert "/s, " in lines[0]
    assert lines[0].endswith("s left)")
    assert any(line.startswith("model 2 of 2: b: 1,300 of 1,300 (") for line in lines)


def test_no_progress_when_not_wanted(store, rows, monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "_LINE_EVERY_S", 0.0)
    infer(store, Model().source(), rows, progress=False)
    assert capsys.readouterr().err == ""


def test_lines_become_rarer_in_a_long_run(monkeypatch, capsys):
    """Every five seconds at first, in a log of hours once a minute."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with progress_module.Progress(14_400, "files") as bar:
        for second in range(1, 7_201):
            now[0] = float(second)
            bar.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert 120 < len(lines) < 180
    assert lines[0] == "files: 10 of 14,400 (2/s, 1 h 59 min left)"
    assert lines[-1] == "files: 14,400 of 14,400 (2/s)"


def test_progress_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress_module.Progress(4, "files") as bar:
        bar.advance(3, status="1 unreadable")
    assert "files" in capsys.readouterr().err


def test_square_brackets_in_a_model_id_are_no_markup(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress_module.Progress(4, "model 1: a[/b]c[bold]") as bar:
        bar.advance(3, status="[/unknown]")
    shown = capsys.readouterr().err
    assert "a[/b]c[bold]" in shown
    assert "[/unknown]" in shown


# the command


def ingest(*arguments, status=0):
    command = [Path(sys.executable).parent / "dissensus", "ingest", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def grey_data(tmp_path, rng):
    """Grey images of 32 x 32 whose labels lack the last two of the checkpoints' four classes."""
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (6, 32, 32), dtype=np.uint8))
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1, 0, 1]))
    (tmp_path / "names.txt").write_text("ant\nbee\n\ncat\ndog\n")
    return ("--data", tmp_path / "x.npy", "--labels", tmp_path / "y.npy")


def test_the_command_takes_class_names_and_keeps_the_dtype(tmp_path, checkpoints, grey_data):
    zoo, common = tmp_path / "zoo", ("timm", "test_resnet", "--checkpoints", checkpoints, *grey_data)
    lacking = ingest(tmp_path / "two.zoo", *common, status=1)
    assert "has 4 classes, the store has 2; if the data only lacks some" in lacking.stdout + lacking.stderr
    named = (*common, "--classes", tmp_path / "names.txt")
    ingest(zoo, *named, "--dtype", "float32")
    assert (ds.open(zoo).classes, ds.open(zoo).dtype) == (["ant", "bee", "cat", "dog"], "float32")
    refused = ingest(zoo, *named, "--dtype", "float16", status=1)
    assert "dtype float16 was asked for, but" in refused.stderr
    other = ingest(zoo, *named, "--codec", "archive", status=1)
    assert "codec archive was asked for, but" in other.stderr
    assert "1 there before" in ingest(zoo, *named).stdout
    missing = ingest(zoo, *common, "--classes", tmp_path / "nowhere", status=1)
    assert "classes must be a text file, one name a line" in missing.stderr


def test_no_store_is_left_by_a_command_that_cannot_run(tmp_path, checkpoints, grey_data):
    zoo = tmp_path / "zoo"
    common = (zoo, "timm", "*", "--checkpoints", checkpoints, *grey_data)
    wrong = {("--device", "cuda:77"): 1, ("--batch-size", "0"): 2, ("--classes", tmp_path / "nowhere"): 1}
    for arguments, status in wrong.items():
        ingest(*common, *arguments, status=status)
        assert not zoo.exists()


def test_a_store_made_meanwhile_is_opened(tmp_path, rows, monkeypatch):
    from dissensus_cli.ingest import _store

    made = ds.create_from(tmp_path / "zoo", rows)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as it was when this command looked
    assert _store(tmp_path / "zoo", rows, None, None).examples_hash == made.examples_hash


# the benchmark runs, so that it cannot rot


def test_the_memory_benchmark_runs_small(tmp_path):
    script = Path(__file__).parent.parent / "benchmarks" / "ingest_memory.py"
    sizes = ["--examples", "300", "600", "--resident", "1", "2"]
    command = [sys.executable, script, *sizes, "--threads", "1", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (report,) = (json.loads(path.read_text()) for path in tmp_path.glob("*-ingest-memory.json"))
    sizes = [(run["resident"], run["examples"]) for run in report["runs"]]
    assert sizes == [(1, 300), (1, 600), (2, 300), (2, 600)]
    one, _, two, _ = (run["stored_bytes"] for run in report["runs"])
    assert two > 1.9 * one
    assert all(run["peak_bytes"] >= run["before_bytes"] > 0 for run in report["runs"])
