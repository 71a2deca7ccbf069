"""Rounds: decoding once, models that must not see each other, every failure that can befall one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import dissensus as ds
from counted import (
    BATCH,
    Counted,
    CountedFolder,
    Model,
    N,
    Scaled,
    Unhashable,
    noted,
    outcome,
    run,
    staged_to,
    stored_bytes,
)
from dissensus import errors
from dissensus.ingest import ArrayExamples, CallableModel, IngestPlan, LazyModel, TorchModel, timm_models
from dissensus.ingest.streaming import resident as resident_module
from dissensus.ingest.streaming import turns
from dissensus.ingest.streaming.batches import own
from dissensus.ingest.streaming.encode import encode_there, to_rows
from dissensus.ingest.streaming.failures import Failure, is_out_of_memory
from dissensus.ingest.streaming.job import Job
from dissensus.ingest.streaming.overlap import Backlog
from dissensus.store.writer import ModelWriter
from faults.full_disk import small_device
from sources import image_folder
from test_ingest_stream import checkpoints as real_checkpoints

BATCHES = range(0, N, BATCH)
checkpoints = real_checkpoints


@pytest.fixture
def rows(tmp_path):
    return Counted(tmp_path / "log")


@pytest.fixture
def make(tmp_path, rows):
    """Makes stores for the same examples."""
    return lambda name: ds.create_from(tmp_path / name, rows)


def zoo(log):
    """Six models, four preprocessings: shared by value, by identity, own ones, and none."""
    return [
        Model(seed=0).source("a", preprocess=Scaled(1.5, log)),
        Model(seed=1).source("b", preprocess=Scaled(1.5, log)),
        Model(seed=2).source("c", preprocess=Scaled(0.5, log)),
        Model(seed=3).source("d"),
        Model(seed=4).source("e"),
        Model(seed=5).source("f", preprocess=Scaled(1.5, log)),
    ]


def alone(store, sources, examples, **options):
    """Stored bytes of models that ran one after the other."""
    report = run(store, sources, examples, resident=1, **options)
    assert {row.status for row in report.rows} == {"done"}, report
    return {source.model_id: stored_bytes(store, source.model_id) for source in sources}


# decode once


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_is_read_once_and_prepared_once_a_preprocessing(make, rows, workers):
    expected = alone(make("alone"), zoo(rows.log), rows)
    assert rows.spans() == dict.fromkeys(BATCHES, 6)
    together = make("together")
    report = run(together, zoo(rows.log), rows, workers=workers)
    assert set(outcome(report).values()) == {"done"}
    counts = noted(rows.log)
    assert {line: k for line, k in counts.items() if line.startswith("prepare")} == {
        "prepare 1.5": len(BATCHES),
        "prepare 0.5": len(BATCHES),
    }
    assert rows.spans() == dict.fromkeys(BATCHES, 1)
    assert {m: stored_bytes(together, m) for m in expected} == expected
    assert together.verify().ok


@pytest.mark.parametrize("workers", [0, 2])
def test_models_resume_together_from_where_each_stopped(make, rows, workers, monkeypatch):
    expected = alone(make("alone"), zoo(rows.log), rows)
    store = make("together")
    for number, source in enumerate(zoo(rows.log)[:4]):
        staged_to(store, rows, source, (6, 11, 12, 1)[number])  # one block, two, two, none
    with monkeypatch.context() as patch:
        patch.setattr(ModelWriter, "commit", lambda self: 1 / 0)
        assert "ZeroDivisionError" in outcome(run(store, zoo(rows.log)[4], rows))["e"]  # it lacks no row
    rows.spans()
    report = run(store, zoo(rows.log), rows, workers=workers)
    assert set(outcome(report).values()) == {"done"}
    assert rows.spans() == dict.fromkeys(BATCHES, 1)
    assert {m: stored_bytes(store, m) for m in expected} == expected
    assert [store.model(m).metadata.get("resumed_at") for m in "abcdef"] == [
        524,
        1048,
        1048,
        None,
        N,
        None,
    ]


def test_a_round_begins_at_the_first_row_that_any_model_lacks(make, rows):
    store, sources = make("s"), zoo(rows.log)[:2]
    for source, batches in zip(sources, (6, 11), strict=True):
        staged_to(store, rows, source, batches)
    rows.spans()
    run(store, sources, rows)
    assert min(rows.spans()) == 500


def test_rounds_read_again_and_a_round_is_as_large_as_allowed(make, rows):
    run(make("s"), zoo(rows.log), rows, resident=4)
    assert rows.spans() == dict.fromkeys(BATCHES, 2)


def test_real_models_decode_every_image_once(tmp_path, checkpoints):
    """Real architectures, real files: three at a time, one at a time, with workers, to the same bytes."""
    folder = image_folder(tmp_path / "data", n=5, classes=list("abcd"))
    examples = CountedFolder(folder, tmp_path / "decoded")
    sources = timm_models("*", checkpoints=checkpoints)
    seen = {}
    for name, options in {"alone": {"resident": 1}, "threads": {}, "workers": {"workers": 2}}.items():
        examples.log.unlink()
        store = ds.create_from(tmp_path / name, examples)
        report = run(store, sources, examples, batch_size=8, **options)
        assert set(outcome(report).values()) == {"done"}, report
        assert set(noted(examples.log).values()) == {3 if name == "alone" else 1}
        assert len(noted(examples.log)) == 20
        seen[name] = {m: stored_bytes(store, m) for m in store.model_ids}
    assert len(seen["alone"]) == 3
    assert seen["threads"] == seen["alone"]
    assert seen["workers"] == seen["alone"]


def test_preprocessing_without_a_hash_harms_nobody(make, rows):
    """It used to end the round for all: TypeError, unhashable type."""
    sources = [
        Model().source("a", preprocess=Unhashable()),
        Model().source("b", preprocess=Unhashable()),
        Model().source("c", preprocess=Scaled(0.5, rows.log)),
    ]
    expected = alone(make("alone"), sources, rows)
    store = make("together")
    assert set(outcome(run(store, sources, rows)).values()) == {"done"}
    assert {m: stored_bytes(store, m) for m in "abc"} == expected


# models must not see each other


class ReLUInPlace(torch.nn.Module):
    """Writes into its input; `how` says through what."""

    def __init__(self, how, late=False):
        super().__init__()
        self.linear = torch.nn.Linear(8, 1000)
        self.how, self.late, self.calls = how, late, 0

    def forward(self, x):
        self.calls += 1
        if not self.late or self.calls > 3:  # not yet when it is looked at for the first time
            {
                "torch": lambda: torch.nn.functional.relu_(x),
                "data": lambda: x.data.clamp_(min=0),
                "numpy": lambda: np.maximum(x.detach().numpy(), 0, out=x.detach().numpy()),
            }[self.how]()
        return self.linear(x)


def seeded(module):
    torch.manual_seed(0)
    return module()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("how", ["torch", "data", "numpy"])
def test_a_module_that_writes_into_its_batch_changes_no_other(make, rows, how, late):
    def sources():
        return [
            TorchModel("before", seeded(lambda: torch.nn.Linear(8, 1000))),
            TorchModel("writes", seeded(lambda: ReLUInPlace(how, late)), weights="v"),
            TorchModel("after", seeded(lambda: torch.nn.Linear(8, 1000))),
        ]

    expected = alone(make("alone"), sources(), rows)
    store = make("together")
    run(store, sources(), rows)
    assert {m: stored_bytes(store, m) for m in expected} == expected


def writes(x):
    x *= 0
    return x @ Model().weights


@dataclass(frozen=True)
class WritesImages:
    """Preprocessing that changes the images it is given."""

    def __call__(self, images):
        images -= 1
        return images


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("writeable", [False, True])
def test_a_function_or_preprocessing_that_writes_changes_no_other(tmp_path, writeable, workers):
    """Also where the source gives its own array away."""
    rows = Counted(tmp_path / "log", writeable=writeable)
    before = rows._images.copy()
    sources = [
        CallableModel("writes", writes, fingerprint="v"),
        Model().source("shifted", preprocess=WritesImages()),
        Model().source("after"),
        Model().source("scaled", preprocess=Scaled(2.0, rows.log)),
    ]
    clean = Counted(tmp_path / "log")
    expected = alone(ds.create_from(tmp_path / "alone", clean), sources, clean)
    store = ds.create_from(tmp_path / "together", rows)
    assert set(outcome(run(store, sources, rows, workers=workers)).values()) == {"done"}
    assert {m: stored_bytes(store, m) for m in expected} == expected
    assert np.array_equal(rows._images, before)


@pytest.mark.parametrize("k", [1, 3])
def test_batches_are_copied_for_all_models_but_the_last(make, rows, k, monkeypatch):
    copied = []
    monkeypatch.setattr(resident_module, "own", lambda batch: copied.append(len(batch)) or own(batch))
    models = [TorchModel(f"m{i}", torch.nn.Linear(8, 1000)) for i in range(k)]
    assert not run(make("s.zoo"), models, rows).failed
    whole = [n for n in copied if n > 1]  # single ones are examples by which costs are counted
    assert len(whole) == (k - 1) * len(BATCHES)


def test_images_are_copied_for_every_preprocessing():
    from PIL import Image

    image = Image.new("RGB", (4, 4), "white")
    copies = own([image, np.ones(2), torch.ones(2), {"x": np.ones(2)}])
    copies[0].thumbnail((2, 2))
    assert image.size == (4, 4)
    turned = np.asfortranarray(np.ones((3, 4)))
    assert own(turned).flags.f_contiguous
    assert own(turned) is not turned
    turned.flags.writeable = False
    assert own(turned) is turned


# failing


class Raises(torch.nn.Module):
    def __init__(self, at):
        super().__init__()
        self.linear, self.at, self.calls = torch.nn.Linear(8, 1000), at, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("broken\nin two lines")
        return self.linear(x)


def spoilt(value, at=11, column=700):
    """A model that gives something not finite, late, in a class that is not the maximum."""
    calls = []

    def model(x):
        calls.append(1)
        z = torch.from_numpy(x @ Model().weights)
        if len(calls) == at:
            assert z[5, column] < z[5].max()
            z[5, column] = value
        return z

    return model


class Wordless(Exception):
    def __str__(self):
        raise ValueError("no words")


def test_exactly_the_failing_models_fail_and_the_others_are_as_alone(make, rows):
    good = [Model(seed=7).source("first"), Model(seed=8).source("last", preprocess=Scaled(0.5, rows.log))]
    expected = alone(make("alone"), good, rows)
    bad = [
        TorchModel("raises", Raises(8)),
        CallableModel("nan", spoilt(float("nan")), fingerprint="v"),
        CallableModel("inf", spoilt(float("inf")), fingerprint="v"),
        CallableModel("minus", spoilt(-float("inf")), fingerprint="v"),
        CallableModel("late", lambda x: Model()(x if len(x) == BATCH else x[1:]), fingerprint="v"),
        CallableModel("wide", lambda x: np.zeros((len(x), 1001)), fingerprint="v"),
        CallableModel("text", lambda x: "logits", fingerprint="v"),
        CallableModel("none", lambda x: None, fingerprint="v"),
        Model().source("unprepared", preprocess=Scaled(3.0, rows.log, fail_at=600)),
        Model().source("unprepared too", preprocess=Scaled(3.0, rows.log, fail_at=600)),
        Model(Wordless(), 3).source("wordless"),
        Model(errors.ArgumentError("two\nlines"), 3).source("lines"),
    ]
    store = make("s")
    said = outcome(run(store, [good[0], *bad, good[1]], rows))
    finite = "for example '1005', class 'c700' (1 of 100 rows of the block); logits must be finite"
    expected_words = {
        "raises": "RuntimeError: broken in two lines",
        "nan": f"model 'nan' gave nan {finite}",
        "inf": f"model 'inf' gave inf {finite}",
        "minus": f"model 'minus' gave -inf {finite}",
        "wide": "model 'wide' has 1001 classes, the store has 1000",
        "text": "model 'text' gave no array for 100 examples",
        "none": "model 'none' gave no array for 100 examples",
        "unprepared": "ValueError: cannot scale by 3.0",
        "unprepared too": "ValueError: cannot scale by 3.0",
        "wordless": "Wordless",
        "lines": "two lines",
    }
    assert {m for m, words in said.items() if words == "done"} == {"first", "last", "late"}
    for model_id, words in expected_words.items():
        assert words in said[model_id]
        assert "\n" not in said[model_id]
    assert {m: stored_bytes(store, m) for m in expected} == expected
    assert store.verify().ok
    rows.spans()
    (again,) = run(store, Model().source("unprepared", preprocess=Scaled(3.0, rows.log)), rows).rows
    assert "staged" in again.error  # another preprocessing is another model


def test_staged_rows_of_failed_models_resume(make, rows):
    expected = alone(make("alone"), [Model().source("m"), Model().source("n")], rows)
    store = make("s")
    failing = Model(ZeroDivisionError("x"), 12).source("m"), Model(ZeroDivisionError("x"), 7).source("n")
    run(store, failing, rows)
    rows.spans()
    assert set(outcome(run(store, [Model().source("m"), Model().source("n")], rows)).values()) == {"done"}
    assert min(rows.spans()) == 500
    assert {m: stored_bytes(store, m) for m in "mn"} == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_reading_ends_the_round_for_all_and_resumes(tmp_path, workers):
    sound = Counted(tmp_path / "log")
    expected = alone(ds.create_from(tmp_path / "alone", sound), zoo(sound.log), sound)
    store = ds.create_from(tmp_path / "s", sound)
    rows = Counted(tmp_path / "log", acts={600: "unreadable"})
    said = outcome(run(store, zoo(rows.log), rows, workers=workers))
    assert set(said.values()) == {"ant/b.png could not be decoded any more"}
    sound.spans()
    assert set(outcome(run(store, zoo(sound.log), sound, workers=workers)).values()) == {"done"}
    assert min(sound.spans()) == 500
    assert {m: stored_bytes(store, m) for m in expected} == expected


def test_failed_models_leave_memory_when_their_round_ends(make, rows):
    held = []

    def broken():
        module = Raises(2)
        held.append(weakref.ref(module))
        return TorchModel("broken", module)

    def after():
        assert [ref() for ref in held] == [None, None]
        return Model().source()

    sources = [LazyModel("a", broken), LazyModel("b", broken), LazyModel("after", after)]
    said = outcome(run(make("s"), sources, rows, resident=2))
    assert list(said.values()) == ["RuntimeError: broken in two lines"] * 2 + ["done"]


def test_ctrl_c_while_models_load_lets_go_of_those_that_are_loaded(make, rows):
    def interrupted():
        raise KeyboardInterrupt

    store, opened = make("s"), []
    with pytest.raises(KeyboardInterrupt) as raised:  # holds the frames, as a notebook does
        run(store, [Model().source("a"), LazyModel("b", interrupted)], rows)
    opened.append(raised)
    assert outcome(run(store, Model().source("a"), rows, wait=False)) == {"a": "done"}


def test_a_second_ctrl_c_does_not_leave_a_writer_behind():
    """Files are closed after the backlog: whoever writes must have ended by then."""
    writing, done = threading.Event(), []

    def consume(item):
        writing.set()
        time.sleep(0.4)
        done.append(item)

    class Impatient(Backlog):
        def __exit__(self, *error):
            first = self._pool.shutdown

            def shutdown(**options):
                self._pool.shutdown = first
                raise KeyboardInterrupt

            self._pool.shutdown = shutdown
            super().__exit__(*error)

    with pytest.raises(KeyboardInterrupt), Impatient(consume, 9) as backlog:
        for item in range(5):
            backlog.put(item)
        writing.wait()
        raise KeyboardInterrupt
    assert done == [0]
    time.sleep(0.5)
    assert done == [0]


def test_of_two_failures_at_once_the_first_is_kept(make, rows):
    """The writer's thread finds the disk full while the model fails: the run must end, not go on."""
    job = Job(make("s"), rows, torch.device("cpu"), BATCH, progress=False)
    source = Model().source()
    predictor = job.load(source)
    for _ in range(200):
        with job.writer(source, predictor) as writer:
            writer.commit = lambda: None
            one = resident_module.Resident(job, source, predictor, writer, None, 0.0)
            barrier = threading.Barrier(2)

            def fail(error, one=one, barrier=barrier):
                barrier.wait()
                one.fail(error)

            given = (errors.StoreFull("full"), ValueError("x"))
            threads = [threading.Thread(target=fail, args=(error,)) for error in given]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert one.is_full == (one.failure.text == "full")


# out of memory

REMEDY = "use a device with more memory (device=, --device), or end what else takes it"


def cuda_shortage():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def host_shortage():
    text = (
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
    )
    return RuntimeError(f"{text} to allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)")


SHORTAGES = {
    "numpy": lambda: MemoryError("Unable to allocate 3.2 GiB for an array with shape (5,)"),
    "cuda": cuda_shortage,
    "host": host_shortage,
    "cublas": lambda: RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "onnx": lambda: Exception("Failed to allocate memory for requested buffer of size 1234"),
}


@pytest.mark.parametrize("kind", SHORTAGES)
def test_a_shortage_of_memory_is_told_from_other_errors(kind):
    error = SHORTAGES[kind]()
    assert is_out_of_memory(error)
    told = errors.ModelLoadError("cannot be loaded")
    told.__cause__ = error
    assert is_out_of_memory(told)
    assert not is_out_of_memory(RuntimeError("no room for shapes"))
    assert not is_out_of_memory(errors.StoreFull("no room left on the device"))


@pytest.mark.parametrize("kind", SHORTAGES)
@pytest.mark.parametrize("room", [70, 30, 1])
def test_a_model_short_of_memory_goes_on_with_less(make, rows, kind, room):
    store = make("s")
    sources = [
        Model(room=room, shortage=SHORTAGES[kind]()).source("short"),
        Model(seed=1).source("other"),
    ]
    assert set(outcome(run(store, sources, rows)).values()) == {"done"}
    metadata = store.model("short").metadata
    assert metadata["batch_size"] == {70: 50, 30: 25, 1: 1}[room]
    assert store.model("other").metadata["batch_size"] == BATCH
    assert rows.spans() == dict.fromkeys(BATCHES, 1)  # nobody else is affected
    expected = rows.read(0, N) @ Model().weights
    np.testing.assert_allclose(store.logits("short")[:], expected, atol=0.02)
    assert np.array_equal(store.top1(["short"])[0], expected.argmax(1))


def test_a_model_that_resumes_may_be_short_of_memory(make, rows):
    """Parts of the first batch lie wholly before the rows that are safe."""
    store = make("s")
    staged_to(store, rows, Model().source(), 11)
    assert outcome(run(store, Model(room=15, shortage=cuda_shortage()).source(), rows)) == {"m": "done"}
    np.testing.assert_allclose(store.logits("m")[:], rows.read(0, N) @ Model().weights, atol=0.02)


def test_what_a_model_wrote_into_its_batch_before_memory_was_short_is_not_taken_again(make, rows):
    class Shifts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(8, 1000)

        def forward(self, x):
            x.sub_(1)
            if len(x) > 40:
                raise cuda_shortage()
            return self.linear(x)

    store, module = make("s"), seeded(Shifts)
    assert outcome(run(store, TorchModel("m", module), rows)) == {"m": "done"}
    with torch.inference_mode():
        expected = module.linear(torch.from_numpy(rows.read(0, N).copy()) - 1).numpy()
    np.testing.assert_allclose(store.logits("m")[:], expected, atol=0.02)


def test_a_model_too_large_beside_others_has_a_round_to_itself(make, rows, monkeypatch):
    beside, round_of = [], turns.run_round

    def spy(job, residents, label):
        beside.append([one.source.model_id for one in residents])
        round_of(job, residents, label)

    monkeypatch.setattr(turns, "run_round", spy)

    class Large(Model):
        def __call__(self, batch):
            if len(beside[-1]) > 1:
                raise cuda_shortage()
            return batch @ self.weights

    store = make("s")
    sources = [Model().source("a"), Large().source("large"), Model().source("b"), Large().source("larger")]
    assert set(outcome(run(store, sources, rows)).values()) == {"done"}
    assert beside == [["a", "large", "b", "larger"], ["large"], ["larger"]]
    assert stored_bytes(store, "large") == stored_bytes(store, "a")


def test_a_model_too_large_for_one_example_alone_says_what_to_do(make, rows):
    store = make("s")
    sources = [Model().source("a"), Model(room=0, shortage=cuda_shortage()).source("huge")]
    said = outcome(run(store, sources, rows))
    assert said["a"] == "done"
    assert said["huge"] == (
        "memory does not suffice to run one example through model 'huge' (OutOfMemoryError: CUDA out of "
        f"memory. Tried to allocate 20.00 MiB); {REMEDY}"
    )


@pytest.mark.parametrize("times", [1, 3])
def test_memory_that_does_not_suffice_to_store_rows_is_tried_alone_then_told(make, rows, monkeypatch, times):
    append, calls = ModelWriter.append, []

    def short(self, block, **options):
        if self.model_id == "short" and len(calls) < times:
            calls.append(len(block))
            raise MemoryError
        append(self, block, **options)

    monkeypatch.setattr(ModelWriter, "append", short)
    store = make("s")
    said = outcome(run(store, [Model().source("a"), Model().source("short")], rows))
    told = f"memory does not suffice to store rows of model 'short' (MemoryError: MemoryError); {REMEDY}"
    assert said == {"a": "done", "short": "done" if times == 1 else told}


def test_a_model_that_cannot_be_loaded_beside_others_begins_the_next_round(make, rows):
    loaded = []

    def large():
        loaded.append(1)
        if len(loaded) == 1:
            raise cuda_shortage()
        return Model().source()

    store = make("s")
    said = outcome(run(store, [Model().source("a"), LazyModel("large", large), Model().source("b")], rows))
    assert set(said.values()) == {"done"}
    assert rows.spans() == dict.fromkeys(BATCHES, 2)


def test_a_model_that_cannot_be_loaded_at_all_says_what_to_do(make, rows):
    def large():
        raise MemoryError

    said = outcome(run(make("s"), [LazyModel("large", large), Model().source("b")], rows))
    assert said == {
        "large": f"memory does not suffice to load model 'large' (MemoryError: MemoryError); {REMEDY}",
        "b": "done",
    }


# a full disk


def test_a_full_disk_is_told_by_every_model_of_the_round_and_all_resume(make, rows, monkeypatch):
    expected = alone(make("alone"), zoo(rows.log), rows)
    append, calls = ModelWriter.append, []

    def full(self, block, **options):
        calls.append(len(block))
        if len(calls) == 40:
            raise errors.StoreFull("no room left on the device")
        append(self, block, **options)

    monkeypatch.setattr(ModelWriter, "append", full)
    store = make("s")
    said = outcome(run(store, zoo(rows.log), rows, resident=4))
    assert sorted(said.values()) == [
        "no room left on the device",
        *["not finished: no room left on the device"] * 3,
        *["not started: no room left on the device"] * 2,
    ]
    assert store.model_ids == []
    assert len(store.staged()) == 4
    monkeypatch.undo()
    rows.spans()
    assert set(outcome(run(store, zoo(rows.log), rows)).values()) == {"done"}
    assert {m: stored_bytes(store, m) for m in expected} == expected


def test_a_disk_full_at_the_last_batch_or_in_committing_harms_only_whom_it_hits(make, rows, monkeypatch):
    commit = ModelWriter.commit

    def full(self):
        if self.model_id == "b":
            raise errors.StoreFull("no room left on the device")
        commit(self)

    monkeypatch.setattr(ModelWriter, "commit", full)
    store = make("s")
    said = outcome(run(store, [Model().source(m) for m in "abcd"], rows, resident=3))
    assert said == {
        "a": "done",
        "b": "no room left on the device",
        "c": "done",
        "d": "not started: no room left on the device",
    }
    monkeypatch.undo()
    assert set(outcome(run(store, [Model().source(m) for m in "abcd"], rows)).values()) == {"done", "stored"}


def test_a_device_that_is_really_full(tmp_path, rows, make, monkeypatch):
    monkeypatch.setattr(IngestPlan, "require_room", lambda plan: None)  # others may fill it later
    expected = alone(make("alone"), zoo(rows.log), rows)
    with small_device(tmp_path / "device", megabytes=8) as device:
        if device is None:
            pytest.skip("this user may not mount")
        store = ds.create_from(device / "zoo", rows)
        said = outcome(run(store, zoo(rows.log), rows, resident=4))  # six models of 2.7 MB
        assert all(
            "no space left" in words.lower() or "no room" in words.lower() for words in said.values()
        ), said
        assert store.model_ids == []
        shutil.copytree(store.path, tmp_path / "moved")  # where there is room
    moved = ds.open(tmp_path / "moved")
    assert len(moved.staged()) == 4
    assert set(outcome(run(moved, zoo(rows.log), rows)).values()) == {"done"}
    assert {m: stored_bytes(moved, m) for m in expected} == expected
    assert moved.verify().ok


def test_a_disk_found_full_in_opening_a_model_is_told_by_those_that_follow(make, rows, monkeypatch):
    """Nothing was loaded then, which must not be taken for the end of the list."""
    writer = Job.writer

    def full(self, source, *more):
        if source.model_id == "b":
            raise errors.StoreFull("no room left on the device")
        return writer(self, source, *more)

    monkeypatch.setattr(Job, "writer", full)
    said = outcome(run(make("s"), [Model().source(m) for m in "abcd"], rows, resident=1))
    assert said == {
        "a": "done",
        "b": "no room left on the device",
        **dict.fromkeys("cd", "not started: no room left on the device"),
    }


# rows on their way to the store


def test_rows_hold_nothing_of_autograd():
    """A function that forgets no_grad would otherwise keep its activations until the writer has its rows."""
    weights = torch.ones(8, 4, requires_grad=True)
    made = encode_there(torch.ones(3, 8) @ weights, "float16")
    assert not made.logits.requires_grad


class OneBuffer(torch.nn.Module):
    """Writes every batch into the same memory, as some compiled programs do."""

    def __init__(self):
        super().__init__()
        self.out = torch.zeros(64, 10)

    def forward(self, x):
        out = self.out[: len(x)]
        return out.copy_(x.flatten(1)[:, :10])


def test_a_model_may_write_every_batch_into_the_same_memory(tmp_path):
    """The writer encodes a batch while the next one is computed."""
    n = 640
    pixels = np.random.default_rng(0).integers(0, 256, (n, 8, 8), np.uint8)
    rows = ArrayExamples(pixels, np.arange(n) % 10, classes=list("abcdefghij"))
    store = ds.create_from(tmp_path / "zoo", rows)
    models = [TorchModel("torch", OneBuffer()), CallableModel("array", InPlace())]
    report = ds.infer(store, models, rows, batch_size=64, device="cpu", progress=False)
    assert not report.failed
    expected = pixels.reshape(n, -1)[:, :10].argmax(1)
    assert all(np.array_equal(row, expected) for row in store.top1())


class InPlace:
    """The same of arrays."""

    def __init__(self):
        self.out = np.zeros((64, 10), np.float32)

    def __call__(self, images):
        self.out[:] = images.reshape(64, -1)[:, :10]
        return self.out


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("column", [0, 2])
def test_what_is_not_finite_is_seen_wherever_it_stands(value, column):
    logits = torch.zeros(2, 3)
    logits[1] = torch.tensor([1.0, 5.0, 1.0])
    logits[1, column] = value
    rows = encode_there(logits, "float16")
    results = [result.numpy() for result in rows.results]
    with pytest.raises(errors.NonFiniteLogits, match=r"for example 'b', class '\w' \(1 of 2 rows"):
        to_rows(results, rows.logits, "m", list("ab"), list("xyz"))
    logits.zero_()  # as a model does that writes into one buffer again and again
    with pytest.raises(errors.NonFiniteLogits, match="model 'm' gave NaN or infinity, examples 'a' to 'b'"):
        to_rows(results, rows.logits, "m", list("ab"), list("xyz"))


def test_an_error_that_cannot_be_told_is_named():
    assert Failure.of(Wordless()) == Failure("Wordless")
    assert Failure.of(ValueError("a\n  b")) == Failure("ValueError: a b")


# rivals

RIVAL = """
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import time
import dissensus as ds
from counted import *

class Slow(Model):
    def __call__(self, batch):
        time.sleep(0.01)
        return super().__call__(batch)

rows = Counted(Path({log!r}))
models = [Slow(seed=i).source(f"m{{i}}") for i in range(12)]
report = run(ds.open({store!r}), models, rows, resident={resident}, wait={wait})
for row in report.rows:
    print(row.model_id, row.error or row.status)
"""


def rival(tmp_path, store, resident=2, wait=True):
    body = RIVAL.format(
        tests=str(Path(__file__).parent),
        log=str(tmp_path / "log"),
        store=str(store.path),
        resident=resident,
        wait=wait,
    )
    return subprocess.Popen(
        [sys.executable, "-c", body],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def by_one_process(tmp_path, store):
    """Stored bytes of the rivals' models, made by one of them without the others."""
    made = ended(rival(tmp_path, store, resident=1))
    assert set(made.values()) == {"done"}
    return {model_id: stored_bytes(store, model_id) for model_id in made}


def ended(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return dict(line.split(" ", 1) for line in out.splitlines())


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


@pytest.mark.slow
def test_three_processes_share_a_list_of_models(tmp_path, make, rows):
    store = make("shared")
    reports = [ended(p) for p in [rival(tmp_path, store) for _ in range(3)]]
    models = [f"m{i}" for i in range(12)]
    for model_id in models:
        assert sorted(r[model_id] for r in reports) == ["done", "stored", "stored"]
    assert sorted(store.model_ids) == sorted(models)
    assert store.staged() == []
    assert store.verify().ok
    assert {m: stored_bytes(store, m) for m in models} == by_one_process(tmp_path, make("alone"))


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_taken_over(tmp_path, make, rows):
    store = make("shared")
    victim = rival(tmp_path, store, resident=12)
    wait_for(lambda: len(store.staged()) == 12)
    others = [rival(tmp_path, store, resident=3) for _ in range(2)]
    time.sleep(1)
    victim.kill()
    victim.communicate()
    assert victim.returncode == -9
    reports = [ended(p) for p in others]
    for i in range(12):
        assert sorted(r[f"m{i}"] for r in reports)[0] == "done"
    assert store.verify().ok
    expected = by_one_process(tmp_path, make("alone"))
    assert {m: stored_bytes(store, m) for m in expected} == expected


def test_without_waiting_busy_models_are_told(make, rows):
    store = make("s")
    with store.writer("b", fingerprint={"a": "b"}) as writer:
        said = outcome(run(store, [Model().source(m) for m in "abc"], rows, wait=False))
        writer.commit = lambda: None
    assert (said["a"], said["c"]) == ("done", "done")
    assert "another process is writing model 'b'" in said["b"]


def test_with_waiting_a_busy_model_comes_last(make, rows, monkeypatch):
    store = make("s")
    writer = store.writer("b", fingerprint={"a": "b"})
    threading.Timer(1.2, writer.close).start()
    monkeypatch.setattr(turns, "LOOK_AGAIN_S", 0.1)
    report = run(store, [Model().source(m) for m in "abc"], rows)
    assert set(outcome(report).values()) == {"done"}
    assert rows.spans() == dict.fromkeys(BATCHES, 2)


def test_a_busy_model_is_not_loaded(make, rows, monkeypatch):
    store, loads = make("s"), []

    def load():
        loads.append(store.path.joinpath("staging/b.lock").exists())
        return Model().source("b")

    writer = store.writer("b", fingerprint={"a": "b"})
    assert "another process is writing" in outcome(run(store, LazyModel("b", load), rows, wait=False))["b"]
    assert loads == []
    writer.close()
    assert outcome(run(store, LazyModel("b", load), rows)) == {"b": "done"}
    assert loads == [True]  # under its lock
    assert list(store.path.glob("staging/*.lock")) == []

    def fails():
        raise ValueError("as the test wants it")

    assert run(store, LazyModel("c", fails), rows).failed
    assert list(store.path.glob("staging/*.lock")) == []


class Watched(torch.nn.Linear):
    """Remembers where it was sent; its twin device is the processor under another name."""

    def __init__(self, fails=False):
        super().__init__(8, 1000)
        self.sent, self.fails = [], fails

    def to(self, device, *more, **options):
        self.sent.append(str(device))
        if self.fails and str(device) == "cpu:0":
            raise RuntimeError("CUDA out of memory")
        return super().to("cpu")


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_that_the_caller_keeps_leaves_the_device_after_its_round(make, rows, fails):
    module = Watched(fails)
    report = run(make("s"), [TorchModel("a", module), TorchModel("b", module)], rows, device="cpu:0")
    if fails:
        assert module.sent == ["cpu:0", "cpu"] * 2
        assert all("memory does not suffice to load" in row.error for row in report.failed)
        return
    assert set(outcome(report).values()) == {"done"}
    assert module.sent == ["cpu:0", "cpu:0", "cpu", "cpu"]  # one round of both
    module.sent.clear()
    assert set(outcome(run(make("s2"), TorchModel("a", module), rows, device="cpu:0")).values()) == {"done"}
    assert module.sent == ["cpu:0", "cpu"]


# memory

PEAK = """
import gc, json, resource, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import numpy as np, torch
import dissensus as ds
from dissensus.ingest import ArrayExamples, TorchModel
from counted import run

class Made(ArrayExamples):
    def __init__(self, n):
        names = [str(i) for i in range(100)]
        super().__init__(np.broadcast_to(np.float32(1), (n, 3000)), np.arange(n) % 100, classes=names)
        self.fingerprint = "made"
    def read(self, start, stop):
        return np.random.default_rng(start).normal(size=(stop - start, 3000)).astype("f4")

n, k, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rows = Made(n)
store = ds.create_from(out, rows)
torch.manual_seed(0)
models = [TorchModel(f"m{{i}}", torch.nn.Linear(3000, 100)) for i in range(k)]
report = run(store, models, rows, batch_size=200)
assert not report.failed, report
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 4])
def test_peak_memory_does_not_grow_with_the_examples(tmp_path, k):
    peaks = []
    for n in (4_000, 16_000):  # 48 MB of rows, and 192 MB
        command = [sys.executable, "-c", PEAK.format(tests=str(Path(__file__).parent))]
        done = subprocess.run(
            [*command, str(n), str(k), str(tmp_path / f"{n}-{k}")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 30e6, peaks
