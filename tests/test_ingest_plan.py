"""The plan of a run: its numbers against a real run, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from timm.models import save_for_hf

import dissensus as ds
from dissensus import errors
from dissensus.ingest import (
    ArrayExamples,
    CallableModel,
    ClassMap,
    LazyModel,
    MappedModel,
    Outline,
    StatedPreprocess,
    TimmModel,
    TorchModel,
    check_room,
    in_order_of_preparation,
    infer,
    plan_ingest,
    timm_models,
)
from dissensus.ingest.streaming import memory as memory_module
from dissensus.ingest.streaming import planning as planning_module
from dissensus.ingest.streaming import room as room_module
from dissensus.ingest.streaming import turns as turns_module
from dissensus.ingest.streaming.plan_text import duration, told
from dissensus.ingest.zoo.activations import activation_bytes
from dissensus.ingest.zoo.outline import outline_of
from dissensus_cli.main import cli
from sources import image_folder, ingest, network

CPU = torch.device("cpu")
RECORDS = ("model.json", "commit.json")  # their length depends on what a run finds out
N, C = 1300, 1000  # three blocks


class Counted(ArrayExamples):
    """Float rows that remember how many were read."""

    def __init__(self, n=N, n_classes=C):
        rng = np.random.default_rng(0)
        names = [f"c{i}" for i in range(n_classes)]
        super().__init__(rng.normal(size=(n, 8)).astype("f4"), np.arange(n) % n_classes, classes=names)
        self.n_read = 0

    def read(self, start, stop):
        self.n_read += stop - start
        return super().read(start, stop)


def double(rows):
    return rows * 2


def linear(model_id, n_classes=C, preprocess=None, seed=0, fails_at=None):
    weights, calls = np.random.default_rng(seed).normal(size=(8, n_classes)).astype("f4"), []

    def run(batch):
        calls.append(len(batch))
        if len(calls) == fails_at:
            raise ValueError("as the test wants it")
        return batch @ weights

    return CallableModel(model_id, run, fingerprint=f"seed {seed}", preprocess=preprocess)


def images(n=40, size=32):
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return ArrayExamples(pixels, np.arange(n) % 10, classes=list("abcdefghij"))


def written(store):
    """Bytes of all models' files but the two records."""
    files = (path for path in (store.path / "models").glob("*/**/*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.name not in RECORDS)


def run(store, models, rows, **options):
    return infer(store, models, rows, **{"batch_size": 100, "progress": False} | options)


def checkpoints(folder):
    """A zoo in both of timm's layouts: other classes, grey, an own size, a training checkpoint."""
    torch.manual_seed(0)
    folder.mkdir()
    vit = timm.create_model("test_vit", num_classes=10, img_size=32, in_chans=1)
    vit.pretrained_cfg.update(input_size=(1, 32, 32), mean=(0.3,), std=(0.4,), crop_pct=1.0)
    save_for_hf(vit, folder / "vit", safe_serialization=True, model_args={"img_size": 32, "in_chans": 1})
    save_for_hf(timm.create_model("test_resnet", num_classes=10), folder / "resnet", safe_serialization=True)
    grey = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    save_file(grey.state_dict(), folder / "test_resnet__grey.safetensors")
    save_file(
        timm.create_model("test_efficientnet", num_classes=10).state_dict(),
        folder / "test_efficientnet.safetensors",
    )
    torch.save({"model": timm.create_model("test_convnext").state_dict()}, folder / "test_convnext.pth")
    return folder


# what a source tells before it is loaded


def test_outlines_of_timm_checkpoints_are_those_of_the_loaded_models(tmp_path):
    sources = timm_models("*", checkpoints=checkpoints(tmp_path / "zoo"))
    assert len(sources) == 5
    for source in sources:
        outline, loaded = source.outline(), source.load(CPU)
        assert outline.preparation == loaded.preparation
        assert outline.input_size == tuple(loaded.preprocess.config["input_size"])
        assert outline.params == loaded.metadata["params"]
        assert outline.weights_bytes == loaded.metadata["weights_bytes"]
        assert outline.gmacs == pytest.approx(loaded.metadata["gmacs"])
        assert outline.activation_bytes == activation_bytes(
            loaded.module, torch.zeros(1, *outline.input_size)
        )
        assert outline.family.startswith("timm ")


def test_uncounted_outlines_build_no_network(tmp_path, monkeypatch):
    sources = timm_models(["vit", "resnet", "test_convnext"], checkpoints=checkpoints(tmp_path / "zoo"))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("a network was built"))
    outlines = [source.outline(counted=False) for source in sources]
    assert [one.input_size for one in outlines] == [(1, 32, 32), (3, 160, 160), (3, 160, 160)]
    assert all(one.weights_bytes > 0 and one.gmacs is None for one in outlines)


def test_models_of_one_recipe_are_counted_once(tmp_path, monkeypatch):
    for name in "abc":
        model = timm.create_model("test_resnet", num_classes=7)
        save_file(model.state_dict(), tmp_path / f"test_resnet__{name}.safetensors")
    sources = timm_models("*", checkpoints=tmp_path)
    before = sources[0].outline()
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("a network was built again"))
    assert [source.outline().params for source in sources] == [before.params] * 3


def test_equal_preprocessings_have_equal_texts_and_others_not():
    stated = StatedPreprocess((3, 32, 32))
    texts = [
        outline_of(TorchModel("m", network(), preprocess=preprocess)).preparation_text
        for preprocess in (stated, StatedPreprocess((3, 32, 32)), StatedPreprocess((3, 16, 16)), double, None)
    ]
    assert texts[0] == texts[1]
    assert len({*texts}) == 4
    models = [linear(name, preprocess=lambda rows: rows) for name in "ab"]
    assert len({model.outline().preparation_text for model in models}) == 2  # nor does a run share them


def test_torch_modules_are_counted_where_the_size_is_stated():
    outline = TorchModel("m", network(10), preprocess=StatedPreprocess((3, 32, 32))).outline()
    assert (outline.params, outline.weights_bytes) == (3 * 4 * 9 + 4 + 50, 4 * (3 * 4 * 9 + 4 + 50))
    assert outline.gmacs == pytest.approx((30 * 30 * 4 * 27 + 40) / 1e9)
    assert outline.activation_bytes >= 2 * 4 * 4 * 30 * 30  # a convolution's output, and it rectified
    assert TorchModel("m", network(10)).outline().gmacs is None


def test_what_is_not_known_is_none():
    lazy = LazyModel("late", lambda: pytest.fail("the loader was called"))
    assert outline_of(lazy) == Outline("late")
    mapped = MappedModel(linear("m", preprocess=double), ClassMap.of_names(["a", "b"], ["b", "a"]))
    assert outline_of(mapped) == outline_of(mapped.source)
    broken = TimmModel("test_resnet", checkpoint=__file__, model_id="broken")
    assert outline_of(broken).gmacs is not None  # the architecture is known, the file is looked at on loading


def test_order_of_preparation_is_stable():
    models = [linear(name) for name in "abcdef"]
    texts = dict(zip("abcdef", ["x", "y", None, "x", "z", "y"], strict=True))
    outlines = {name: Outline(name, preparation_text=text) for name, text in texts.items()}
    ordered = in_order_of_preparation(models, outlines)
    assert [model.model_id for model in ordered] == ["a", "d", "b", "f", "e", "c"]
    assert in_order_of_preparation(models, {}) == models


# numbers against a real run


@pytest.mark.parametrize("resident", [1, 2, 16])
def test_numbers_are_those_of_the_run(tmp_path, resident):
    rows = Counted()
    models = [linear(name, preprocess=double if name in "bd" else None) for name in "abcde"]
    options = {"batch_size": 100, "resident": resident}
    plan = plan_ingest(tmp_path / "zoo", models, rows, **options, probe=False)
    assert not (tmp_path / "zoo").exists()
    assert [group.model_ids for group in plan.groups] == [["a", "c", "e"], ["b", "d"]]
    assert [len(one) for one in plan.rounds] == {1: [1] * 5, 2: [2, 2, 1], 16: [5]}[resident]
    store = ds.create_from(tmp_path / "zoo", rows)
    rows.n_read = 0
    assert not run(store, models, rows, resident=resident).failed
    assert rows.n_read == plan.decodes == N * len(plan.rounds)
    assert plan.decodes_alone == 5 * N
    assert written(store) == plan.disk.write_bytes
    assert plan.disk.is_exact


@pytest.mark.parametrize(("dtype", "n_classes"), [("float16", 10), ("float32", 10), ("float32", C)])
def test_bytes_of_other_stores(tmp_path, dtype, n_classes):
    rows = Counted(n_classes=n_classes)
    plan = plan_ingest(tmp_path / "zoo", linear("Model/7", n_classes), rows, dtype=dtype, probe=False)
    store = ds.create_from(tmp_path / "zoo", rows, dtype)
    run(store, linear("Model/7", n_classes), rows)
    assert written(store) == plan.disk.write_bytes


def test_archives_take_no_more_than_planned(tmp_path):
    rows = Counted()
    plan = plan_ingest(tmp_path / "zoo", linear("m"), rows, codec="archive", probe=False)
    store = ds.create_from(tmp_path / "zoo", rows, codec="archive")
    run(store, linear("m"), rows)
    assert 0.5 * plan.disk.write_bytes < written(store) <= plan.disk.write_bytes
    assert not plan.disk.is_exact
    assert "at most" in "\n".join(plan.lines())


def test_what_is_stored_and_staged_is_not_planned_again(tmp_path):
    rows = Counted()
    store = ds.create_from(tmp_path / "zoo", rows)
    run(store, [linear("a"), linear("b", fails_at=8)], rows)  # b has 700 rows, of which a block is staged
    before = written(store)
    models = [linear(name) for name in "abc"]
    plan = plan_ingest(store, models, rows, batch_size=100, resident=1, probe=False)
    assert plan.stored == ["a"]
    assert plan.staged == {"b": 524}
    assert [*plan.outlines] == ["b", "c"]
    anew = plan_ingest(store, models, rows, batch_size=100, resident=1, restart=True, probe=False)
    assert (anew.staged, anew.decodes) == ({}, 2 * N)
    assert anew.disk.write_bytes == plan.disk.write_bytes  # what is dropped makes room
    rows.n_read, staged = 0, (store.path / "staging" / "b" / "logits" / "c.0.0").stat().st_size
    assert not run(store, models, rows, resident=1).failed
    assert rows.n_read == plan.decodes == N - 500 + N
    assert written(store) - before == plan.disk.write_bytes + staged
    again = plan_ingest(store, models, rows)
    assert (again.stored, again.decodes, again.disk.write_bytes) == (["a", "b", "c"], 0, 0)
    assert "3 in the store already" in again.lines()[0]
    assert again.short() == ["all 3 models are in the store; their origin is checked"]
    again.require_room()


def test_rounds_end_where_memory_is_half_taken():
    sizes = [30, 30, 30, 90, 10]
    outlines = [Outline(str(i), weights_bytes=size) for i, size in enumerate(sizes)]
    rounds = room_module.rounds_of(outlines, 16, 100)
    assert [[one.model_id for one in models] for models in rounds] == [["0", "1"], ["2", "3"], ["4"]]
    assert room_module.rounds_of([], 16, 100) == []


def test_memory_counts_weights_batches_and_activations(tmp_path):
    models = [
        TorchModel(name, network(10, seed=i), preprocess=StatedPreprocess((3, 32, 32)))
        for i, name in enumerate("ab")
    ]
    plan = plan_ingest(tmp_path / "zoo", models, images(), batch_size=16)
    outline = plan.outlines["a"]
    memory, parts = plan.memory, plan.memory.parts
    assert parts.weights == 2 * outline.weights_bytes
    assert parts.activations >= 16 * outline.activation_bytes
    assert plan.probe.prepared_bytes == {outline.preparation_text: 4 * 3 * 32 * 32}
    assert plan.probe.image_bytes == 3 * 32 * 32
    assert parts.batches > 16 * (4 * 4 * 3 * 32 * 32 + 3 * 32 * 32)
    assert (parts.pinned, parts.workers) == (0, 0)
    assert memory.host_bytes == parts.total > memory.host_least_bytes > 0
    assert memory.devices == []
    several = plan_ingest(tmp_path / "zoo", models, images(), batch_size=16, workers=3).memory
    assert several.parts.workers >= 3 * memory_module.PROCESS_BYTES


def test_devices_have_a_line_each(tmp_path):
    """Two processes on one processor: models shared out, memory of both and of their Pythons."""
    stated = StatedPreprocess((3, 32, 32))
    models = [TorchModel(name, network(10, seed=i), preprocess=stated) for i, name in enumerate("abcde")]
    options = {"batch_size": 16, "resident": 2}
    one = plan_ingest(tmp_path / "zoo", models, images(), device="cpu", **options)
    two = plan_ingest(tmp_path / "zoo", models, images(), device="cpu,cpu", **options)
    assert (two.device, [place.device for place in two.devices]) == ("cpu,cpu", ["cpu", "cpu"])
    assert sorted(len(place.rounds) for place in two.devices) == [1, 2]
    assert two.rounds == [names for place in two.devices for names in place.rounds]
    assert sorted(name for names in two.rounds for name in names) == list("abcde")
    assert two.decodes == one.decodes == 3 * 40
    assert two.time.total_s == max(place.time.total_s for place in two.devices)
    assert {*two.time.example_s} == {*"abcde"}
    assert two.memory.host_bytes > one.memory.host_bytes + 2 * memory_module.PROCESS_BYTES
    lines = [line for line in two.lines(100) if line.startswith("cpu #")]
    assert [line[:12] for line in lines] == ["cpu #1      ", "cpu #2      "]
    assert all((" models in " in line and ", about " in line) or "under 1 s" in line for line in lines)
    assert not any(line.startswith("cpu ") for line in one.lines())
    many = plan_ingest(tmp_path / "zoo", models[:1], images(), device=["cpu"] * 3, probe=False)
    assert len(many.devices) == 1  # no more processes than models
    assert many.to_dict()["devices"][0]["time"] is None


def test_a_device_with_memory_of_its_own_is_told_apart(tmp_path, monkeypatch):
    class Apart(planning_module.Host):
        def free_bytes(self):
            return 10**9

    monkeypatch.setattr(planning_module, "lane_of", lambda _: Apart(torch.device("meta")))
    model = TorchModel("m", network(10), preprocess=StatedPreprocess((3, 32, 32)))
    plan = plan_ingest(tmp_path / "zoo", model, images(), batch_size=16, probe=False)
    (place,) = plan.memory.devices
    assert (place.device, place.free_bytes) == ("meta", 10**9)
    assert plan.memory.parts.weights == plan.memory.parts.activations == 0
    assert place.needed_bytes >= plan.outlines["m"].weights_bytes + 16 * 3 * 3 * 32 * 32 * 4
    assert any(line.startswith("meta        1 model in 1 round, at least ") for line in plan.lines())


def test_rounds_go_to_the_device_that_is_ready_first():
    outlines = [Outline(str(i)) for i in range(6)]
    shares = room_module.shared(outlines, 1, [100, 100], lambda place, _: 3 if place else 1)
    assert [len(one) for one in shares] == [4, 2]
    assert room_module.shared([], 1, [100, 100], lambda *_: 1) == [[], []]


PEAK = """
import json, sys, tempfile
sys.path[:0] = [{tests!r}, {benchmarks!r}]
from pathlib import Path
import numpy as np, torch
import dissensus as ds
from dissensus.ingest import ArrayExamples, StatedPreprocess, TorchModel, infer, plan_ingest
from ingest_memory import status

images = np.broadcast_to(np.arange(256, dtype="u1")[:96, None, None], (500, 96, 96, 3))
rows = ArrayExamples(images, np.arange(500) % 10, classes=list("abcdefghij"))
stated = StatedPreprocess((3, 64, 64))
layers = [torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 16, 3), torch.nn.Flatten()]
models = [TorchModel(name, torch.nn.Sequential(*layers, torch.nn.Linear(57600, 10)), preprocess=stated)
          for name in "ab"]
options = dict(batch_size=100, device="cpu")
with tempfile.TemporaryDirectory() as folder:
    store = ds.create_from(Path(folder) / "zoo", rows)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    report = infer(store, models, rows, progress=False, **options)
    took = status("VmHWM") - before
    assert not report.failed, report
    plan = plan_ingest(Path(folder) / "new", models, rows, **options)
print(json.dumps([took, plan.memory.host_bytes, plan.memory.host_least_bytes]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_a_run_takes_no_more_memory_than_planned():
    here = Path(__file__).parent
    body = PEAK.format(tests=str(here), benchmarks=str(here.parent / "benchmarks"))
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took, planned, least = json.loads(done.stdout)
    assert least < took < planned < 4 * took, (least, took, planned)


# the probe


@pytest.mark.slow
def test_time_is_right_within_a_factor_of_five(tmp_path):
    zoo = timm_models("test_*", checkpoints=checkpoints(tmp_path / "zoo"))
    models = [one for one in zoo if one.model_id != "test_convnext"]
    examples = images(300, 64)
    for attempt in range(3):  # others may take the machine during one of the two
        path = tmp_path / f"store-{attempt}"
        plan = plan_ingest(path, models, examples, batch_size=64)
        store = ds.create_from(path, examples)
        begun = time.perf_counter()
        assert not run(store, models, examples, batch_size=64).failed
        took = time.perf_counter() - begun
        assert {"vit", "test_efficientnet"} < set(plan.time.measured)
        if took / 5 < plan.time.total_s < 5 * took:
            return
    pytest.fail(f"planned {plan.time.total_s:.2f} s, took {took:.2f} s")


def test_speed_of_models_that_are_not_run_goes_by_their_cost(tmp_path):
    stated = StatedPreprocess((3, 32, 32))
    small, large = (
        TorchModel(
            f"of-{size}",
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, size), torch.nn.Linear(size, 10)),
            preprocess=stated,
        )
        for size in (16, 64)
    )
    first, late = LazyModel("first", lambda: small), LazyModel("late", lambda: [].pop())
    assert small.module.training
    plan = plan_ingest(tmp_path / "zoo", [large, small, first, late], images())
    assert small.module.training is False  # it was loaded for the probe
    assert large.module.training  # and this one only counted
    time_of = plan.time.example_s
    assert time_of["of-64"] == pytest.approx(time_of["of-16"] * 4, rel=0.01)
    assert set(plan.time.measured) == {"first", "of-16"}
    assert time_of["late"] is None
    assert plan.outlines["first"].weights_bytes == small.outline().weights_bytes  # known since it was loaded
    text = "\n".join(plan.lines())
    assert "of unknown speed, and not counted in time: late" in text
    assert "time        at least " in text


def test_a_model_that_fails_is_told_and_the_next_is_tried(tmp_path):
    models = [linear("bad", fails_at=1), linear("good")]
    plan = plan_ingest(tmp_path / "zoo", models, Counted(), batch_size=100)
    assert plan.failing == {"bad": "ValueError: as the test wants it"}
    assert "bad is going to fail: ValueError: as the test wants it" in "\n".join(plan.lines())
    assert plan.time.measured == ["good"]


def wide(model_id, n_classes):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, n_classes))
    return TorchModel(model_id, module, preprocess=StatedPreprocess((3, 32, 32)))


def test_a_module_of_other_classes_is_told_though_another_of_its_kind_was_run(tmp_path):
    store, models = ds.create_from(tmp_path / "zoo", images()), [wide("right", 10), wide("wide", 11)]
    plan = plan_ingest(store, models, images())
    assert plan.time.measured == ["right"]
    assert plan.failing["wide"].startswith("model 'wide' has 11 classes, the store has 10; ")
    mapped = MappedModel(models[1], ClassMap.of_names([*images().classes, "other"], images().classes))
    assert mapped.outline().n_outputs is None


def test_a_module_of_other_classes_fails_before_its_round(tmp_path, monkeypatch):
    rounds, run_round = [], turns_module.run_round
    monkeypatch.setattr(
        turns_module,
        "run_round",
        lambda *a: rounds.append([r.source.model_id for r in a[1]]) or run_round(*a),
    )
    store = ds.create_from(tmp_path / "zoo", images())
    report = infer(store, [wide("wide", 11), wide("right", 10)], images(), progress=False)
    assert [(row.model_id, row.status) for row in report.rows] == [("wide", "failed"), ("right", "done")]
    assert rounds == [["right"]]


def test_what_is_not_finite_is_told(tmp_path):
    model = wide("lost", 10)
    torch.nn.init.constant_(model.module[1].bias, float("nan"))
    plan = plan_ingest(tmp_path / "zoo", model, images())
    assert plan.failing["lost"].startswith("model 'lost' gave nan for example")


def test_loading_libraries_counts_for_no_example(tmp_path):
    """The first call of a preprocessing may take seconds: it says nothing of those that follow."""
    calls = []

    def slow_at_first(pixels):
        calls.append(len(pixels))
        time.sleep(0 if calls[1:] else 1)
        return torch.from_numpy(pixels.copy())

    model = TorchModel("m", torch.nn.Linear(8, C), preprocess=slow_at_first)
    plan = plan_ingest(tmp_path / "zoo", model, Counted(), batch_size=100)
    assert max(plan.probe.prepare_s.values()) < 1 / 100


def test_a_model_of_other_classes_is_told(tmp_path):
    zoo = timm_models("test_convnext", checkpoints=checkpoints(tmp_path / "zoo"))
    plan = plan_ingest(tmp_path / "store", zoo, images())
    (reason,) = plan.failing.values()
    assert reason.startswith("model 'test_convnext' has 1000 classes, the store has 10; ")
    assert plan.time.total_s < 5  # of reading only
    assert "at least " in next(line for line in plan.lines() if line.startswith("time"))


def test_without_a_probe_nothing_is_read_or_loaded(tmp_path):
    rows = Counted()
    lazy = LazyModel("late", lambda: pytest.fail("the loader was called"))
    plan = plan_ingest(tmp_path / "zoo", [lazy, linear("m", fails_at=1)], rows, probe=False)
    assert rows.n_read == 0
    assert (plan.time, plan.probe) == (None, None)
    assert len(plan.short()) == 2


# what is refused


def test_a_disk_that_is_short_is_refused_with_both_numbers(tmp_path, monkeypatch):
    rows = Counted()
    store = ds.create_from(tmp_path / "zoo", rows)
    models = [linear(name) for name in "abc"]
    need = plan_ingest(store, models, rows, probe=False).disk.most_bytes
    for free in (need, need - 1):
        monkeypatch.setattr(room_module, "free_bytes", lambda _, free=free: free)
        if free == need:
            check_room(store, models, rows)
            continue
        with pytest.raises(
            errors.StoreFull, match=r"3 models need 9\.9 MB of disk at .*zoo, 9\.9 MB are free; .*archive"
        ):
            check_room(store, models, rows)
    monkeypatch.setattr(room_module, "free_bytes", lambda _: need - 1)
    run(store, models[:2], rows)
    check_room(store, models, rows)  # what is stored already takes nothing more
    assert store.staged() == []


def test_an_archive_that_may_not_fit_is_told_and_not_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(room_module, "free_bytes", lambda _: 10)
    plan = check_room(tmp_path / "zoo", linear("m"), Counted(), codec="archive")
    assert "may not suffice" in "\n".join(plan.lines())


def test_memory_that_is_short_is_refused_with_both_numbers(tmp_path, monkeypatch):
    models = [TorchModel("m", network(10), preprocess=StatedPreprocess((3, 32, 32)))]
    monkeypatch.setattr(memory_module, "available_bytes", lambda: 100_000)
    least = plan_ingest(tmp_path / "zoo", models, images(400), probe=False).memory.host_least_bytes
    assert least > 2 * 256 * 4 * 3 * 32 * 32  # two batches
    with pytest.raises(
        errors.ArgumentError,
        match=rf"at least {told(least)} of memory, 100\.0 kB are free; .*batch-size, now 256",
    ):
        check_room(tmp_path / "zoo", models, images(400))
    check_room(tmp_path / "zoo", models, images(400), batch_size=1)


def test_a_device_that_holds_no_model_is_refused(tmp_path, monkeypatch):
    class Small(planning_module.Host):
        def free_bytes(self):
            return 500

    monkeypatch.setattr(planning_module, "lane_of", lambda _: Small(torch.device("meta")))
    sized = [
        TorchModel(name, network(n), preprocess=StatedPreprocess((3, 8, 8)))
        for name, n in (("s", 2), ("l", 90))
    ]
    plan = plan_ingest(tmp_path / "zoo", sized, images(), probe=False)
    assert plan.too_large == ["l"]
    plan.require_room()  # one model that is too large does not stop the others
    assert "larger than the memory there is: l" in "\n".join(plan.lines())
    with pytest.raises(
        errors.ArgumentError, match=r"smallest model needs 2\.\d kB of memory on meta, 500 bytes are"
    ):
        plan_ingest(tmp_path / "zoo", sized[1:], images(), probe=False).require_room()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more"),
        ({"resident": 0}, "resident must be a whole number of 1 or more"),
        ({"workers": -1}, "workers must be a whole number of 0 or more"),
        ({"precision": "int8"}, "precision must be one of float32"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        plan_ingest(tmp_path / "zoo", linear("m"), Counted(), **options)


def test_examples_of_another_store(tmp_path):
    store = ds.create_from(tmp_path / "zoo", Counted())
    with pytest.raises(errors.ExamplesMismatch, match="the data has 1299 examples"):
        plan_ingest(store, linear("m"), Counted(N - 1), probe=False)


def test_a_plan_given_to_a_run_is_not_made_again(tmp_path, monkeypatch):
    rows = Counted()
    store = ds.create_from(tmp_path / "zoo", rows)
    plan = check_room(store, linear("m"), rows)
    with pytest.raises(errors.ArgumentError, match="plan was made for other models"):
        infer(store, linear("other"), rows, plan=plan)
    monkeypatch.setattr("dissensus.ingest.streaming.stream.check_room", lambda *_, **__: pytest.fail("again"))
    assert not infer(store, linear("m"), rows, progress=False, plan=plan).failed


# what people see


def test_lines_fit_the_screen(tmp_path):
    names = [f"a-model-with-quite-a-long-name-{i}" for i in range(30)]
    models = [linear(name, preprocess=double if i % 2 else None) for i, name in enumerate(names)]
    models.append(LazyModel("late", lambda: linear("late")))
    plan = plan_ingest(tmp_path / "zoo", models, Counted(), batch_size=100)
    for width in (80, 100):
        lines = plan.lines(width)
        assert max(map(len, lines)) <= width
    assert lines[0] == "models      31 to run"
    assert "decodes     2,600 images; 40,300 with one model at a time" in lines


def test_numbers_for_people():
    assert [told(n) for n in (12, 1200, 3_456_000, 7.25e9, 2e12)] == [
        "12 bytes",
        "1.2 kB",
        "3.5 MB",
        "7.2 GB",
        "2.0 TB",
    ]
    assert [duration(s) for s in (0.2, 60, 600, 36000)] == ["under 1 s", "60 s", "10 min", "10.0 h"]


# the command


def test_plan_of_the_command_leaves_nothing(tmp_path):
    data, zoo = image_folder(tmp_path / "val"), tmp_path / "ckpt"
    save_for_hf(timm.create_model("test_resnet", num_classes=3), zoo / "r", safe_serialization=True)
    command = ["s.zoo", "timm", "*", "--data", data, "--checkpoints", zoo, "--batch-size", "4"]
    done = ingest(*command, "--plan", cwd=tmp_path)
    assert done.stdout.startswith("plan for s.zoo\n\nmodels      1 to run\n")
    assert "preprocessing" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt", "val"]
    record = json.loads(ingest(*command, "--plan", "--format", "json", cwd=tmp_path).stdout)
    assert record["decodes"] == 9
    assert record["models"][0]["gmacs"] > 0
    assert record["disk"]["is_exact"] is True
    ran = ingest(*command, cwd=tmp_path)
    assert "models: 1 to run; 1 round, 9 images to decode\n" in ran.stderr
    assert written(ds.open(tmp_path / "s.zoo")) == record["disk"]["write_bytes"]
    assert "1 in the store already" in ingest(*command, "--plan", cwd=tmp_path).stdout


@pytest.mark.parametrize("more", [[], ["--plan"]])
def test_the_command_refuses_before_it_makes_a_store(tmp_path, monkeypatch, more):
    monkeypatch.setattr(room_module, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(memory_module, "available_bytes", lambda: 1 << 40)
    save_for_hf(timm.create_model("test_resnet", num_classes=3), tmp_path / "r", safe_serialization=True)
    data = image_folder(tmp_path / "val")
    command = [
        "ingest",
        tmp_path / "s.zoo",
        "timm",
        "*",
        "--data",
        data,
        "--checkpoints",
        tmp_path / "r",
        *more,
    ]
    done = CliRunner().invoke(cli, list(map(str, command)))
    assert isinstance(done.exception, errors.StoreFull)
    assert "1 model needs" in str(done.exception)
    assert "1.0 kB are free" in str(done.exception)
    assert ("plan for" in done.output) == bool(more)
    assert not (tmp_path / "s.zoo").exists()


def test_a_guessed_time_reads_as_a_sentence():
    from dissensus.ingest.streaming.plan_text import about

    assert [about(s) for s in (0.2, 5, 600)] == ["under 1 s", "about 5 s", "about 10 min"]


def test_a_limited_address_space_is_no_free_memory(monkeypatch):
    from dissensus.run import memory

    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (memory._resident("VmSize") + 10**6, 0))
    assert memory.available_bytes() <= 10**6
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (1, 0))
    assert memory.available_bytes() == 0
