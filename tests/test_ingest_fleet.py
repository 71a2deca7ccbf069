"""One process a device: every model once, whatever becomes of the processes. The devices here are CPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.models import save_for_hf

import dissensus as ds
from dissensus import errors
from dissensus.ingest import ArrayExamples, CallableModel, TimmModel, infer, timm_models

N = 600


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Six models of one architecture for grey images of 32 x 32 in four classes, and one of three classes."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed in range(7):
        torch.manual_seed(seed)
        model = timm.create_model("test_resnet", num_classes=3 if seed == 6 else 4, in_chans=1)
        grey = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,), "crop_pct": 1.0}
        model.pretrained_cfg.update(grey)
        save_for_hf(model, folder / f"m{seed}", safe_serialization=True, model_args={"in_chans": 1})
    return folder


@pytest.fixture
def examples(rng):
    images = rng.integers(0, 256, (N, 32, 32), dtype=np.uint8)
    return ArrayExamples(images, np.arange(N) % 4)


def test_two_processes_make_what_one_makes(tmp_path, checkpoints, examples, capfd):
    store = ds.create_from(tmp_path / "two", examples)
    sources = timm_models("*", checkpoints=checkpoints)
    report = infer(store, sources, examples, device="cpu, cpu", batch_size=100)
    assert [row.model_id for row in report.rows] == [source.model_id for source in sources]
    assert {row.model_id: row.status for row in report.rows} == {
        **{f"m{seed}": "done" for seed in range(6)},
        "m6": "failed",
    }
    assert "model 'm6' has 3 classes, the store has 4" in report.failed[0].error
    one = ds.create_from(tmp_path / "one", examples)
    infer(one, sources, examples, device="cpu", batch_size=100, progress=False)
    for model_id in one.model_ids:
        assert np.array_equal(store.logits(model_id)[:], one.logits(model_id)[:])
    assert store.verify().ok
    again = infer(store, sources[:6], examples, device=["cpu", "cpu"], progress=False)
    assert {row.status for row in again.rows} == {"stored"}


def test_what_cannot_be_sent_is_refused_before_anything_runs(tmp_path, examples):
    store = ds.create_from(tmp_path / "s", examples)
    sources = [CallableModel(name, lambda x: x, fingerprint="v") for name in "ab"]
    with pytest.raises(
        errors.ArgumentError, match="several devices need processes .* sources that load from"
    ):
        infer(store, sources, examples, device="cpu,cpu", progress=False)
    assert store.staged() == []


def test_no_device_is_no_default(tmp_path, checkpoints, examples):
    store = ds.create_from(tmp_path / "s", examples)
    model = TimmModel("test_resnet", checkpoint=checkpoints / "m0")
    with pytest.raises(errors.ArgumentError, match="device must name at least one device, got none"):
        infer(store, model, examples, device=[], progress=False)
    with pytest.raises(errors.ArgumentError, match="device 'abacus' cannot be used here"):
        infer(store, model, examples, device="cpu,abacus", progress=False)


SLOW = """
import os, sys, time
import numpy as np
from dissensus.ingest import CallableModel

def slowly(name):
    def call(images):
        time.sleep(0.05)
        marker = os.path.join(os.environ["MARKERS"], f"{name}-{os.getpid()}")
        open(marker, "a").close()
        return np.eye(4, dtype="f4")[images.reshape(len(images), -1).sum(1) % 4]
    return call

class Slow:
    def __init__(self, name): self.name = name
    def __call__(self, images): return slowly(self.name)(images)

def models():
    return [CallableModel(f"m{i}", Slow(f"m{i}"), fingerprint="v1") for i in range(4)]
"""


def command(tmp_path, *options):
    folder = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    (tmp_path / "markers").mkdir(exist_ok=True)
    (tmp_path / "slow.py").write_text(SLOW)
    program = Path(sys.executable).parent / "dissensus"
    data = ("--data", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--batch-size", "20")
    return subprocess.Popen(
        [program, "ingest", tmp_path / "zoo", "python", "slow:models", *data, *options],
        env={**os.environ, **folder, "MARKERS": str(tmp_path / "markers")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def running(tmp_path, n, within=60.0):
    """Process numbers of at least n processes that have begun a model."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        found = {int(p.name.rpartition("-")[2]) for p in (tmp_path / "markers").iterdir()}
        if len(found) >= n:
            return found
        time.sleep(0.02)
    raise AssertionError("the processes did not begin")


@pytest.fixture
def data(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (N, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "y.npy", np.arange(N) % 4)


@pytest.mark.usefixtures("data")
def test_a_killed_process_loses_no_model(tmp_path):
    run = command(tmp_path, "--devices", "cpu,cpu")
    victim = min(running(tmp_path, 2))
    os.kill(victim, signal.SIGKILL)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    store = ds.open(tmp_path / "zoo")
    assert store.model_ids == ["m0", "m1", "m2", "m3"]
    assert store.verify().ok


@pytest.mark.usefixtures("data")
def test_ctrl_c_ends_all_processes_and_loses_nothing(tmp_path):
    run = command(tmp_path, "--devices", "cpu,cpu")
    pids = running(tmp_path, 2)
    time.sleep(0.3)
    os.kill(run.pid, signal.SIGINT)  # to the command alone: it tells its processes
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    again = command(tmp_path)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert len(ds.open(tmp_path / "zoo").model_ids) == 4


def test_decode_processes_are_for_devices_that_wait(examples, monkeypatch):
    from dissensus.ingest.streaming import job

    monkeypatch.setattr(os, "cpu_count", lambda: 17)
    monkeypatch.setattr(job, "_FEW", N)
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert job.workers_for(examples, [gpu]) == 0  # an array: nothing to decode
    examples.decoding = True
    assert job.workers_for(examples, [cpu]) == 0
    assert job.workers_for(examples, [gpu]) == 12
    assert job.workers_for(examples, [gpu] * 4) == 4
    monkeypatch.setattr(job, "_FEW", N + 1)
    assert job.workers_for(examples, [gpu]) == 0


def test_processes_of_one_device_are_told_apart():
    from dissensus.ingest.streaming.fleet import told_apart

    assert told_apart(["cpu", "cpu"]) == ["cpu #1", "cpu #2"]
    assert told_apart(["cuda:0", "cpu", "cuda:0", "cuda:1"]) == ["cuda:0 #1", "cpu", "cuda:0 #3", "cuda:1"]
