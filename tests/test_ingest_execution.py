"""How models are executed and batches reach them: precision, layout, compilation, lanes to a device."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import dissensus as ds
from counted import outcome, run, stored_bytes
from dissensus import errors
from dissensus.ingest import ArrayExamples, CallableModel, ClassMap, MappedModel, TorchModel, timm_models
from dissensus.ingest.streaming import devices, job
from dissensus.ingest.streaming.batches import Reading, read_ahead, spans_of
from dissensus.ingest.zoo.execution import Execution
from sources import colour, network
from test_ingest_stream import checkpoints as real_checkpoints

checkpoints = real_checkpoints
CLASSES = ["ant", "bee", "cat"]
BATCH, N = 16, 50


@pytest.fixture
def images():
    return ArrayExamples(colour(N, 24, 24), np.arange(N) % 3, classes=CLASSES)


@pytest.fixture
def make(tmp_path, images):
    numbers = itertools.count()
    return lambda **options: ds.create_from(tmp_path / f"s{next(numbers)}", images, **options)


def ingest(store, sources, images, **options):
    return outcome(run(store, sources, images, **{"batch_size": BATCH} | options))


def net(seed=0):
    return TorchModel("net", network(seed=seed))


# precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_is_another_model_with_close_logits(make, images, precision):
    full, low = make(dtype="float32"), make(dtype="float32")
    ingest(full, net(), images)
    assert ingest(low, net(), images, precision=precision) == {"net": "done"}
    a, b = full.logits("net")[:], low.logits("net")[:]
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.05 if precision == "bfloat16" else 0.01)
    assert low.model("net").fingerprint["precision"] == precision
    assert low.model("net").metadata["precision"] == precision
    assert "precision" not in full.model("net").fingerprint
    assert full.model("net").metadata["precision"] == "float32"


def test_a_stored_model_of_another_precision_is_refused(make, images):
    store = make()
    ingest(store, net(), images)
    before = stored_bytes(store, "net")
    words = ingest(store, net(), images, precision="bfloat16")["net"]
    assert "model 'net' is stored with another fingerprint (precision: stored" in words
    assert stored_bytes(store, "net") == before
    assert ingest(store, net(), images) == {"net": "stored"}
    assert ingest(store, net(), images, precision="bfloat16", replace=True) == {"net": "done"}
    assert ingest(store, net(), images, precision="bfloat16") == {"net": "stored"}


class Stops(torch.nn.Module):
    """Stops at its second batch, when told to."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.calls, self.stops = torch.nn.Linear(8, 1000), 0, False

    def forward(self, x):
        self.calls += 1
        if self.stops and self.calls > 1:
            raise RuntimeError("stopped")
        return self.linear(x)


def stopping(stops):
    module = Stops()
    module.stops = stops
    return TorchModel("m", module, weights="v")


def test_a_model_resumes_in_its_own_precision_only(tmp_path):
    rows = ArrayExamples(np.random.default_rng(0).normal(size=(1300, 8)).astype("f4"), np.arange(1300) % 1000)
    whole, store = (ds.create_from(tmp_path / name, rows) for name in ("whole", "s"))
    half = {"batch_size": 650, "precision": "bfloat16"}
    ingest(whole, stopping(False), rows, **half)
    assert ingest(store, stopping(True), rows, **half) == {"m": "RuntimeError: stopped"}
    for other in ("float32", "float16"):
        words = ingest(store, stopping(False), rows, batch_size=650, precision=other)["m"]
        assert "precision: staged bfloat16" in words
        assert "restart" in words
    assert ingest(store, stopping(False), rows, **half) == {"m": "done"}
    assert store.model("m").metadata["resumed_at"] == 524
    assert stored_bytes(store, "m") == stored_bytes(whole, "m")


def test_an_unknown_precision_is_refused_before_anything_loads(make, images):
    with pytest.raises(errors.ArgumentError, match="precision must be one of float32, .*; got 'float8'"):
        ingest(make(), net(), images, precision="float8")


# layout and compilation


def test_channels_last_changes_rounding_only(make, images):
    store, last = make(dtype="float32"), make(dtype="float32")
    ingest(store, net(), images)
    assert ingest(last, net(), images, channels_last=True) == {"net": "done"}
    np.testing.assert_allclose(store.logits("net")[:], last.logits("net")[:], atol=1e-5)
    assert last.model("net").fingerprint == store.model("net").fingerprint
    assert last.model("net").metadata["channels_last"] is True
    assert "channels_last" not in store.model("net").metadata


def test_channels_last_reaches_the_module(make, images):
    seen = []

    class Looks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            weight = self.net[0].weight
            seen.append(
                x.is_contiguous(memory_format=torch.channels_last)
                and weight.is_contiguous(memory_format=torch.channels_last)
            )
            return self.net(x)

    ingest(make(), TorchModel("looks", Looks(), weights="v"), images, channels_last=True)
    assert len(seen) == 6  # and once each for operations and memory
    assert all(seen[:4])


def test_real_models_in_other_layout_and_precision(tmp_path, checkpoints):
    grey = ArrayExamples(
        np.random.default_rng(0).integers(0, 256, (20, 32, 32), dtype=np.uint8), np.arange(20) % 4
    )
    stores = {}
    for name, options in {
        "plain": {},
        "last": {"channels_last": True},
        "half": {"precision": "bfloat16"},
    }.items():
        stores[name] = ds.create_from(tmp_path / name, grey, dtype="float32")
        said = ingest(stores[name], timm_models("*", checkpoints=checkpoints), grey, **options)
        assert set(said.values()) == {"done"}, said
    for model_id in stores["plain"].model_ids:
        plain, last, half = (stores[name].logits(model_id)[:] for name in ("plain", "last", "half"))
        np.testing.assert_allclose(last, plain, atol=1e-4)
        np.testing.assert_allclose(half, plain, atol=0.1 * np.abs(plain).max())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_model_gives_the_same_to_rounding(make, images):
    store, compiled = make(dtype="float32"), make(dtype="float32")
    ingest(store, net(), images)
    said = ingest(compiled, net(), images, compile=True)
    if "done" not in said.values():
        assert "CppCompile" in said["net"] or "compiler" in said["net"].lower(), said
        pytest.skip(said["net"])
    np.testing.assert_allclose(store.logits("net")[:], compiled.logits("net")[:], atol=1e-4)
    assert compiled.model("net").metadata["compiled"] is True


@pytest.mark.parametrize("option", [{"compile": True}, {"channels_last": True}, {"precision": "float16"}])
def test_what_decides_itself_how_it_runs_is_refused(make, images, option):
    store = make()
    function = CallableModel("function", lambda x: x.reshape(len(x), -1)[:, :3].astype("f4"), fingerprint="v")
    mapped = MappedModel(
        CallableModel("mapped", function.function, fingerprint="v"), ClassMap.of_names(CLASSES, CLASSES)
    )
    said = ingest(store, [function, mapped], images, **option)
    for model_id in ("function", "mapped"):
        assert said[model_id] == (
            f"model {model_id!r} is no torch module and decides itself how it is executed; leave precision, "
            "channels_last and compile out for it"
        )
    assert store.staged() == []
    assert set(ingest(store, [function, mapped], images).values()) == {"done"}


# a class map passes on how its model runs


def test_a_mapped_model_is_executed_as_its_model_is(make, images):
    store = make(dtype="float32")
    reverse = ClassMap.of_names(CLASSES[::-1], CLASSES)
    mapped = MappedModel(TorchModel("mapped", network()), reverse)
    settings = {"precision": "bfloat16", "channels_last": True}
    assert set(ingest(store, [net(), mapped], images, **settings).values()) == {"done"}
    np.testing.assert_array_equal(store.logits("mapped")[:], store.logits("net")[:, ::-1])
    assert store.model("mapped").fingerprint["precision"] == "bfloat16"
    assert store.model("mapped").metadata["channels_last"] is True


def test_a_mapped_model_shares_its_models_batches():
    plain = net().load(torch.device("cpu"))
    mapped = MappedModel(net(), ClassMap.of_names(CLASSES, CLASSES)).load(torch.device("cpu"))
    assert mapped.preparation == plain.preparation
    half = mapped.executed(Execution("bfloat16"))
    assert half.preparation == plain.preparation
    assert half.class_names == CLASSES
    function = MappedModel(CallableModel("f", len, fingerprint="v"), ClassMap.of_names(CLASSES, CLASSES))
    assert not hasattr(function.load(torch.device("cpu")), "executed")


# lanes


class Recorder(devices.Host):
    """The host as a device, which writes down its calls; short of memory for uploads beyond `room`."""

    def __init__(self, room=None):
        super().__init__(torch.device("cpu"))
        self.calls, self.room, self.error = [], room, None

    def upload(self, batch):
        self.calls.append(f"upload {len(batch)}")
        if self.error is not None:
            raise self.error
        if self.room is not None and len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().upload(batch)

    def download(self, tensors):
        self.calls.append(f"download {len(tensors[0])}")
        return super().download(tensors)

    def encodes(self, output):
        return True

    def start(self):
        clock, calls = super().start(), self.calls
        calls.append("start")

        class Stopped:
            def stop(self):
                calls.append("stop")
                clock.stop()

            def seconds(self):
                return clock.seconds()

        return Stopped()

    def release(self):
        self.calls.append("release")


@pytest.fixture
def lane(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(job, "lane_of", lambda device: recorder)
    return recorder


def linear(model_id, seed=0):
    torch.manual_seed(seed)
    return TorchModel(model_id, torch.nn.Linear(8, 3))


@pytest.fixture
def vectors():
    return ArrayExamples(
        np.random.default_rng(0).normal(size=(40, 8)).astype("f4"), np.arange(40) % 3, classes=CLASSES
    )


def test_a_batch_goes_up_once_a_preparation_and_rows_come_down_once_a_part(tmp_path, vectors, lane):
    store = ds.create_from(tmp_path / "s", vectors)
    assert set(ingest(store, [linear("a"), linear("b", 1)], vectors).values()) == {"done"}
    expected = []
    for size in (16, 16, 8):
        expected += [f"upload {size}", *["start", f"download {size}", "stop"] * 2]
    assert lane.calls == expected


def test_a_batch_that_was_short_of_memory_is_uploaded_once_more_and_its_parts_are_not(
    tmp_path, vectors, lane
):
    """The last model is given the batch itself, and may have changed it before memory was short."""
    store = ds.create_from(tmp_path / "s", vectors)
    weights = torch.ones(8, 3)

    class Short(torch.nn.Module):
        def forward(self, x):
            if len(x) > 8:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x @ weights

    assert ingest(store, TorchModel("m", Short(), weights="v"), vectors, batch_size=20) == {"m": "done"}
    part = ["start", "download 5", "stop"]
    first = ["upload 20", "start", "release", "upload 20", "start", "release", *part * 4]
    assert lane.calls == [*first, "upload 20", *part * 4]


def test_a_batch_that_does_not_fit_on_the_device_goes_there_in_parts(tmp_path, vectors, lane):
    """It used to end the round for all."""
    whole, store = (ds.create_from(tmp_path / name, vectors) for name in ("whole", "s"))
    ingest(whole, [linear("a"), linear("b", 1)], vectors)
    lane.room = 4
    assert set(ingest(store, [linear("a"), linear("b", 1)], vectors).values()) == {"done"}
    assert stored_bytes(store, "a") == stored_bytes(whole, "a")
    assert "release" in lane.calls


def test_a_batch_that_cannot_go_up_fails_the_models_that_take_it(tmp_path, vectors, lane):
    lane.error = TypeError("no batch")
    said = ingest(ds.create_from(tmp_path / "s", vectors), [linear("a"), linear("b", 1)], vectors)
    assert set(said.values()) == {"TypeError: no batch"}


class Pinned:
    """A batch that says whether it was put in page-locked memory."""

    def __init__(self, refuses=False):
        self.refuses, self.pinned = refuses, False

    def pin_memory(self):
        if self.refuses:
            raise RuntimeError("CUDA error: out of memory")
        self.pinned = True
        return self


@pytest.mark.parametrize("refuses", [False, True])
def test_batches_are_page_locked_where_that_is_possible(vectors, refuses):
    reading = Reading(vectors, [lambda images: Pinned(refuses), lambda images: images])
    with read_ahead(reading, spans_of(0, 40, 20), pinned=True) as batches:
        for _, (batch, images) in batches:
            assert batch.pinned is not refuses
            assert len(images) == 20


# the lane of CUDA, by a twin that knows about streams only


class Twin:
    """torch.cuda as far as `Cuda` uses it: writes down the order of what is done on which stream."""

    def __init__(self):
        self.log, self.now = [], "computing"
        twin = self

        class Stream:
            def __init__(self, device=None, name=None):
                self.name = name or ("up", "down")[sum(line.startswith("new") for line in twin.log)]
                twin.log.append(f"new {self.name}")

            def wait_stream(self, other):
                twin.log.append(f"{self.name} waits for {other.name}")

        class Event:
            def __init__(self, enable_timing=False):
                self.timing = enable_timing

            def record(self, stream):
                twin.log.append(f"event on {stream.name}")

            def synchronize(self):
                twin.log.append("synchronize")

            def elapsed_time(self, other):
                assert self.timing
                assert other.timing
                return 1500.0

        class On:
            def __init__(self, stream):
                self.stream = stream

            def __enter__(self):
                self.before, twin.now = twin.now, self.stream.name

            def __exit__(self, *error):
                twin.now = self.before

        self.Stream, self.Event, self.stream = Stream, Event, On
        self._computing = None

    def current_stream(self, device):
        if self._computing is None:
            self._computing = self.Stream(name="computing")
        return self._computing


class FakeTensor:
    """A tensor of which it matters only where it is copied and who uses it."""

    def __init__(self, twin, values):
        self.twin, self.values = twin, values
        self.shape, self.dtype = values.shape, values.dtype

    def pin_memory(self):
        return self

    def to(self, device, non_blocking=False):
        assert non_blocking
        self.twin.log.append(f"copy up on {self.twin.now}")
        return self

    def record_stream(self, stream):
        self.twin.log.append(f"used by {stream.name}")


@pytest.fixture
def twin(monkeypatch):
    made = Twin()
    empty = torch.empty

    class Here:
        def __init__(self, shape, dtype):
            self.own = empty(shape, dtype=dtype)

        def copy_(self, there, non_blocking):
            assert non_blocking
            made.log.append(f"copy down on {made.now}")
            self.own.copy_(there.values)

        def numpy(self):
            return self.own.numpy()

    def pinned(shape, *, dtype, pin_memory):
        assert pin_memory
        return Here(shape, dtype)

    monkeypatch.setattr(torch, "cuda", made)
    monkeypatch.setattr(torch, "empty", pinned)
    return made


def test_cuda_orders_its_streams(twin):
    lane = devices.Cuda(torch.device("cpu"))
    assert twin.log == ["new up", "new down"]
    twin.log.clear()
    batch = lane.upload(FakeTensor(twin, torch.ones(3)))
    assert twin.log == ["new computing", "copy up on up", "computing waits for up", "used by computing"]
    twin.log.clear()
    clock = lane.start()
    wait = lane.download([batch, FakeTensor(twin, torch.zeros(2))])
    clock.stop()
    assert twin.log == [
        "event on computing",
        "down waits for computing",
        *["copy down on down", "used by down"] * 2,
        "event on down",
        "event on computing",
    ]
    twin.log.clear()
    a, b = wait()
    assert (a.tolist(), b.tolist()) == ([1, 1, 1], [0, 0])
    assert clock.seconds() == 1.5
    assert twin.log == ["synchronize", "synchronize"]


def test_cuda_leaves_what_is_no_tensor_on_the_host(twin):
    lane = devices.Cuda(torch.device("cpu"))
    rows = np.ones(3)
    assert lane.upload(rows) is rows
    assert lane.pins


def test_rows_of_a_lane_do_not_depend_on_it(tmp_path, vectors):
    """A model's rows are those of numpy, whatever moved them."""
    store = ds.create_from(tmp_path / "s", vectors, dtype="float32")
    source = linear("m")
    ingest(store, source, vectors)
    with torch.inference_mode():
        expected = source.module(torch.from_numpy(vectors.read(0, 40).copy())).numpy()
    np.testing.assert_allclose(store.logits("m")[:], expected, atol=1e-6)
