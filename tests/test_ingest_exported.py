"""TorchScript files and programs of torch.export as model sources; preprocessing as the user states it."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

import dissensus as ds
from dissensus import errors
from dissensus.ingest import ExportedModel, StatedPreprocess, TorchModel, open_models, read_preprocess
from dissensus.ingest.zoo.batching import BatchLimits
from dissensus.ingest.zoo.digests import describe_callable
from dissensus.ingest.zoo.stated import FittedPreprocess, fit_preprocess
from sources import CPU, colour, image_folder, ingest, network, run, scaled

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*jit:DeprecationWarning")
B = torch.export.Dim("B", min=2, max=5)


def script(path, module=None, form=torch.jit.trace):
    module = module or network()
    traced = torch.jit.trace(module, torch.zeros(1, 3, 12, 12)) if form is torch.jit.trace else form(module)
    traced.save(path)
    return path


def program(path, module=None, n=4, size=(3, 12, 12), dtype=torch.float32, **arguments):
    batch = torch.zeros(n, *size, dtype=dtype)
    torch.export.save(torch.export.export(module or network(), (batch,), **arguments), path)
    return path


# files


@pytest.mark.parametrize("form", [torch.jit.trace, torch.jit.script])
def test_torchscript_runs_as_its_module_does(tmp_path, form):
    source = ExportedModel(script(tmp_path / "net.pt", form=form), metadata={"category": "x"})
    predictor, logits = run(source, colour(5))
    with torch.inference_mode():
        assert torch.equal(logits, network()(scaled(colour(5))))
    assert source.model_id == "net"
    facts = {"source": "torchscript", "file": "net.pt", "category": "x", "params": 127, "weights_bytes": 508}
    assert facts.items() <= predictor.metadata.items()
    assert predictor.kind == "logits"


@pytest.mark.parametrize("n", [1, 4, 5, 11])
def test_a_program_of_a_fixed_batch_takes_any_number(tmp_path, n):
    predictor, logits = run(ExportedModel(program(tmp_path / "net.pt2")), colour(n))
    with torch.inference_mode():
        assert torch.allclose(logits, network()(scaled(colour(n))), atol=1e-6)
    assert predictor.metadata["fixed_batch"] == 4
    assert predictor.n_classes == 3


@pytest.mark.parametrize("n", [1, 2, 5, 6, 11])
def test_a_program_with_bounds_of_its_batch(tmp_path, n):
    path = program(tmp_path / "net.pt2", dynamic_shapes=({0: B},))
    predictor, logits = run(ExportedModel(path), colour(n))
    with torch.inference_mode():
        assert torch.allclose(logits, network()(scaled(colour(n))), atol=1e-6)
    assert (predictor.metadata["smallest_batch"], predictor.metadata["largest_batch"]) == (2, 5)


def test_a_program_states_its_size_and_its_cost(tmp_path):
    """The work of an example is an example's, also where four are computed at once."""
    predictor, logits = run(ExportedModel(program(tmp_path / "net.pt2")), colour(2, 30, 40))
    wanted = StatedPreprocess((3, 12, 12))(colour(2, 30, 40))
    with torch.inference_mode():
        assert torch.allclose(logits, network()(wanted), atol=1e-6)
    assert predictor.metadata["input_size"] == "3x12x12"
    assert predictor.metadata["gmacs"] == (10 * 10 * 4 * 27 + 4 * 3) / 1e9


def test_the_type_of_a_program_is_kept(tmp_path):
    path = program(tmp_path / "net.pt2", network().double(), dtype=torch.float64)
    predictor, logits = run(ExportedModel(path), colour(4))
    assert (logits.dtype, predictor.metadata["precision"]) == (torch.float64, "float64")


def test_fingerprints_follow_the_file(tmp_path):
    first = ExportedModel(program(tmp_path / "a.pt2"))
    shutil.copy(tmp_path / "a.pt2", tmp_path / "b.pt2")
    other = ExportedModel(program(tmp_path / "c.pt2", network(seed=1)))
    stated = ExportedModel(tmp_path / "a.pt2", preprocess=StatedPreprocess(mean=(0.5,)))
    prints = [s.load(CPU).fingerprint for s in (first, ExportedModel(tmp_path / "b.pt2"), other, stated)]
    assert prints[0] == prints[1]
    assert prints[0]["weights"] != prints[2]["weights"]
    assert prints[0]["preprocessing"] != prints[3]["preprocessing"]


class Two(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x.amax((2, 3))


class Named(torch.nn.Module):
    def forward(self, x):
        return {"logits": x.mean((2, 3)), "features": x.amax((2, 3))}


class TwoInputs(torch.nn.Module):
    def forward(self, x, y):
        return x.mean((2, 3)) + y


def test_outputs_called_logits_are_found(tmp_path):
    _, logits = run(ExportedModel(program(tmp_path / "net.pt2", Named())), colour(3))
    assert torch.allclose(logits, scaled(colour(3)).mean((2, 3)))
    source = ExportedModel(program(tmp_path / "two.pt2", Two()))
    with pytest.raises(errors.ArgumentError, match=r"returns 2 outputs; wrap it in a function"):
        run(source, colour(3))


def test_softmax_must_be_said(tmp_path):
    path = program(tmp_path / "net.pt2", torch.nn.Sequential(network(), torch.nn.Softmax(1)))
    with pytest.raises(errors.ArgumentError, match=r"look like probabilities.*--kind probabilities"):
        run(ExportedModel(path), colour(3))
    for kind in ("probabilities", "logits"):
        predictor, output = run(ExportedModel(path, kind=kind), colour(3))
        assert predictor.kind == kind
        assert torch.allclose(output.sum(1), torch.ones(3))
    with pytest.raises(errors.ArgumentError, match=r"kind must be one of logits, probabilities, got 'p'"):
        ExportedModel(path, kind="p")


def test_files_that_are_no_models(tmp_path):
    torch.save(network().state_dict(), tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("not an archive")
    with zipfile.ZipFile(tmp_path / "damaged.pt", "w") as archive:
        archive.writestr("net/constants.pkl", b"junk")
    cases = {
        "state.pt": r"state\.pt holds neither .* but what torch\.save wrote.*--checkpoints",
        "text.pt": r"text\.pt cannot be read as TorchScript or a program of torch\.export: .*jit\.save",
        "damaged.pt": r"damaged\.pt cannot be loaded as torchscript: ",
    }
    for name, message in cases.items():
        with pytest.raises(errors.ModelLoadError, match=message):
            ExportedModel(tmp_path / name).load(CPU)
    with pytest.raises(errors.ArgumentError, match=r"no such model file: .*gone\.pt"):
        ExportedModel(tmp_path / "gone.pt")


def test_programs_that_are_no_classifiers(tmp_path):
    batch = torch.zeros(4, 3, 12, 12)
    torch.export.save(torch.export.export(TwoInputs(), (batch, torch.zeros(3))), tmp_path / "two.pt2")
    with pytest.raises(errors.ModelLoadError, match=r"two\.pt2 takes 2 inputs \(x, y\), one is needed"):
        ExportedModel(tmp_path / "two.pt2").load(CPU)
    for layer, name in ((torch.nn.Dropout(0.5), "dropout"), (torch.nn.BatchNorm2d(3), "batch_norm")):
        path = program(tmp_path / f"{name}.pt2", torch.nn.Sequential(layer, network()).train())
        with pytest.raises(errors.ModelLoadError, match=rf"in training mode \(aten\.{name}.*model\.eval\(\)"):
            ExportedModel(path).load(CPU)


def test_a_batch_the_module_does_not_take_names_both(tmp_path):
    message = r"of shape \(2, 1, 12, 12\).*to have 3 channels, but got 1 chan.*--preprocess '\{\"input_size\""
    for source in (ExportedModel(script(tmp_path / "net.pt")), TorchModel("m", network())):
        with pytest.raises(errors.ArgumentError, match=message):
            run(source, colour(2)[..., 0])
    with pytest.raises(errors.ArgumentError, match=r"its first convolution takes 3 channels"):
        run(TorchModel("m", network()), colour(2)[..., 0])


# batches


@pytest.mark.parametrize(
    "limits", [BatchLimits(), BatchLimits(3, 3), BatchLimits(1, 2), BatchLimits(4, None)]
)
@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_limits_never_change_the_rows(limits, kind):
    sizes = []

    def model(batch):
        sizes.append(len(batch))
        return batch * 2

    for n in range(1, 8):
        batch = kind(np.arange(2 * n).reshape(n, 2))
        assert np.array_equal(limits.run(model, batch), batch * 2)
    assert min(sizes) >= limits.low
    assert max(sizes) <= (limits.high or 7)


# preprocessing


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("channels", [1, 3])
def test_stated_preprocessing_is_timms_own(crop_mode, channels):
    config = {
        "input_size": [channels, 16, 16],
        "mean": [0.4] * channels,
        "std": [0.3] * channels,
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": crop_mode,
    }
    images = [Image.fromarray(image) for image in colour(2, 20, 33)]
    ours = read_preprocess(json.dumps(config))(images)
    transform = create_transform(**config)
    theirs = torch.stack([transform(i.convert("L" if channels == 1 else "RGB")) for i in images])
    assert torch.equal(ours, theirs)


def test_preprocessing_travels_and_is_known_by_its_settings(tmp_path):
    stated = read_preprocess({"input_size": [3, 8, 8], "mean": [0.5], "std": 0.25})
    (tmp_path / "p.json").write_text('{"input_size": [3, 8, 8], "mean": [0.5], "std": [0.25]}')
    assert read_preprocess(tmp_path / "p.json") == stated
    for function in (stated, FittedPreprocess((3, 8, 8))):
        before, images = describe_callable(function), colour(2)
        expected = function(images)
        again = pickle.loads(pickle.dumps(function))
        assert torch.equal(again(images), expected)
        assert {before} == {describe_callable(f) for f in (function, again)}
    assert describe_callable(stated) != describe_callable(StatedPreprocess((3, 8, 8)))


def test_default_preprocessing_brings_images_to_what_the_model_states():
    grey, images = colour(2)[..., 0], colour(2)
    assert torch.equal(FittedPreprocess((3, None, None))(grey), scaled(np.stack([grey] * 3, -1)))
    assert torch.equal(FittedPreprocess((3, None, None))(images), scaled(images))
    assert FittedPreprocess((1, None, None))(images).shape == (2, 1, 12, 12)
    assert FittedPreprocess((3, 6, 8))([Image.fromarray(image) for image in images]).shape == (2, 3, 6, 8)
    floats = np.zeros((2, 5), np.float32)
    assert torch.equal(FittedPreprocess((3, 6, 8))(floats), torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"inputsize": [3, 8, 8]}', r"unknown entry of preprocess 'inputsize'; did you mean input_size"),
        ('{"input_size": [8, 8]}', r"input_size must be \[channels, height, width\].*got \[8, 8\]"),
        ('{"input_size": [4, 8, 8]}', r"with 1 or 3 channels, got \[4, 8, 8\]"),
        ('{"input_size": [3, 8, true]}', r"input_size must be"),
        ('{"input_size": [3, 8, 8], "mean": [1, 2]}', r"mean must be one number, or one for each of 3 chan"),
        ('{"std": "x"}', r"std must be one number.*got 'x'"),
        ('{"std": [0]}', r"std must be above 0, got \[0\.0\]"),
        ('{"crop_pct": 87.5}', r"crop_pct must be above 0 and at most 1, got 87\.5"),
        ('{"crop_mode": "centre"}', r"unknown crop_mode of preprocess 'centre'; did you mean center"),
        ('{"interpolation": "cubic"}', r"unknown interpolation of preprocess 'cubic'; did you mean bicubic"),
        ('{"mean": ', r"preprocess \{\"mean\":  is not valid JSON .*expected \{\"input_size\""),
        ("gone.json", r"preprocess must be a JSON file or JSON such as .*gone\.json: No such file"),
    ],
)
def test_bad_preprocessing_is_told(given, message):
    with pytest.raises(errors.DissensusError, match=message):
        read_preprocess(given)


def test_a_list_is_no_preprocessing(tmp_path):
    (tmp_path / "p.json").write_text("[1]")
    with pytest.raises(errors.ArgumentError, match=r"must be a JSON object such as .*got \[1\]"):
        read_preprocess(tmp_path / "p.json")


def test_stated_and_own_size_must_agree(tmp_path):
    source = ExportedModel(program(tmp_path / "net.pt2"), preprocess=StatedPreprocess((3, 16, 16)))
    message = (
        r"takes input of 3x12x12 \(channels x height x width\), preprocess states 3x16x16; correct input_size"
    )
    with pytest.raises(errors.ArgumentError, match=message):
        source.load(CPU)
    assert fit_preprocess(StatedPreprocess(), (3, 12, 12)) == StatedPreprocess((3, 12, 12))
    with pytest.raises(errors.ArgumentError, match=r"does not tell its input size: preprocess must state"):
        TorchModel("m", network(), preprocess=StatedPreprocess()).load(CPU)


# the command


def test_options_that_do_not_go_with_the_source():
    with pytest.raises(errors.ArgumentError, match=r"pretrained \(--pretrained\) is for models of timm"):
        open_models("torch", "x.pt", pretrained=True)
    with pytest.raises(
        errors.ArgumentError, match=r"preprocess .* is for models of torch, onnx, hf, python; "
    ):
        open_models("timm", "resnet18", pretrained=True, preprocess={})
    with pytest.raises(errors.UnknownName, match=r"unknown model source 'onx'; did you mean onnx"):
        open_models("onx", "x.onnx")


def test_the_command_and_the_library_know_the_same_sources():
    from dissensus.ingest.zoo import named_models
    from dissensus_cli import model_options

    assert tuple(named_models.SOURCES) == model_options.SOURCES


def test_the_command_ingests_files(tmp_path):
    data = image_folder(tmp_path / "val")
    files = (script(tmp_path / "net.pt"), program(tmp_path / "fixed.pt2", size=(3, 16, 16)))
    stated = ("--preprocess", '{"input_size": [3, 16, 16]}')
    common = (tmp_path / "zoo", "torch", *files, "--data", data, "--format", "json")
    failed = json.loads(ingest(*common, status=1).stdout)  # images of several sizes make no batch
    assert [row["status"] for row in failed] == ["failed", "done"]
    assert "images differ in size or mode" in failed[0]["error"]
    bad = ingest(*common, "--preprocess", '{"size": 3}', status=1)
    assert bad.stderr.startswith("Error: unknown entry of preprocess 'size'")
    ingest(*common, *stated, "--replace")
    store = ds.open(tmp_path / "zoo")
    assert store.model_ids == ["fixed", "net"]
    assert np.array_equal(store.logits("net")[:].argmax(1), store.logits("fixed")[:].argmax(1))
    assert store.verify().ok
