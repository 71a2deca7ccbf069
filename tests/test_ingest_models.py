"""Model sources: timm checkpoints and names, torch modules, callables, estimators, their fingerprints."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf

from dissensus import errors
from dissensus.ingest import (
    ArrayExamples,
    CallableModel,
    LazyModel,
    ModelSource,
    Predictor,
    TimmModel,
    TorchModel,
    estimator_model,
    python_models,
    timm_models,
)
from dissensus.ingest.zoo.canonical import canonical_text
from dissensus.ingest.zoo.digests import object_digest, state_digest
from dissensus.ingest.zoo.preprocess import TimmPreprocess

CPU = torch.device("cpu")
GREY = {"input_size": (1, 32, 32), "mean": (0.3,), "std": (0.4,), "crop_pct": 1.0}


def vit(n_classes=10, seed=0):
    torch.manual_seed(seed)
    return timm.create_model("test_vit", num_classes=n_classes, img_size=32, in_chans=1).eval()


def save_folder(path, model=None):
    model = model or vit()
    model.pretrained_cfg.update(GREY)
    save_for_hf(model, path, safe_serialization=True, model_args={"img_size": 32, "in_chans": 1})
    return path


def resnet(n_classes=10, seed=0, **arguments):
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=n_classes, **arguments).eval()


def grey(n=3, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size), dtype=np.uint8)


def run(source, images):
    predictor = source.load(CPU)
    assert isinstance(source, ModelSource)
    assert isinstance(predictor, Predictor)
    return predictor, predictor(predictor.prepare(images))


# timm: local checkpoints


def test_local_folder_runs_as_timm_does(tmp_path):
    model = vit()
    source = TimmModel("test_vit", checkpoint=save_folder(tmp_path / "vit-seed0", model))
    predictor, logits = run(source, grey())
    transform = create_transform(**resolve_model_data_config(model, args=GREY))
    batch = torch.stack([transform(Image.fromarray(image)) for image in grey()])
    with torch.inference_mode():
        assert torch.equal(logits, model(batch))
    assert source.model_id == "vit-seed0"
    assert predictor.n_classes == 10
    assert predictor.fingerprint["architecture"] == "test_vit"
    assert predictor.fingerprint["weights"] == state_digest(model.state_dict())
    assert json.loads(predictor.fingerprint["preprocessing"])["input_size"] == [1, 32, 32]


def test_metadata_of_a_timm_model(tmp_path):
    source = TimmModel(
        "test_vit", checkpoint=save_folder(tmp_path / "v"), metadata={"category": "architecture"}
    )
    metadata = source.load(CPU).metadata
    assert metadata["params"] == sum(p.numel() for p in vit().parameters())
    expected = {
        "source": "timm",
        "architecture": "test_vit",
        "family": "vision_transformer",
        "input_size": "1x32x32",
        "precision": "float32",
        "device": "cpu",
        "torch": torch.__version__.split("+")[0],
        "timm": timm.__version__,
        "category": "architecture",
    }
    assert expected.items() <= metadata.items()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_tell_classes_and_channels(tmp_path, suffix, channels):
    from safetensors.torch import save_file

    model = resnet(7, in_chans=channels)
    path = tmp_path / f"test_resnet__run3{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), path)
    (source,) = timm_models("*", checkpoints=tmp_path)
    predictor, logits = run(source, grey(2, 160))
    assert (source.model_id, source.architecture) == ("test_resnet__run3", "test_resnet")
    assert (predictor.n_classes, logits.shape) == (7, (2, 7))
    assert predictor.metadata["input_size"] == f"{channels}x160x160"
    batch = predictor.prepare(grey(2, 160))
    with torch.inference_mode():
        assert torch.equal(logits, model(batch))


def test_training_checkpoints_are_read(tmp_path):
    model = resnet()
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
        tmp_path / "c.pth",
    )
    predictor = TimmModel("test_resnet", checkpoint=tmp_path / "c.pth").load(CPU)
    assert predictor.fingerprint["weights"] == state_digest(model.state_dict())


def test_patterns_select_checkpoints(tmp_path):
    save_folder(tmp_path / "vit-a")
    save_folder(tmp_path / "vit-b")
    torch.save(resnet().state_dict(), tmp_path / "test_resnet.pth")
    (tmp_path / ".hidden").write_text("does not count")

    def ids(patterns):
        return [source.model_id for source in timm_models(patterns, checkpoints=tmp_path)]

    assert ids("*") == ["test_resnet", "vit-a", "vit-b"]
    assert ids("vit-*") == ["vit-a", "vit-b"]
    assert ids(["vit-b", "test_*"]) == ["vit-b", "test_resnet", "vit-a"]  # by id, then by architecture
    assert [source.model_id for source in timm_models(checkpoints=tmp_path / "vit-a")] == ["vit-a"]
    with pytest.raises(errors.UnknownName, match=r"unknown checkpoint 'vit-c'; did you mean vit-b, vit-a"):
        ids("vit-c")


def test_a_checkpoint_that_does_not_fit(tmp_path):
    torch.save(resnet().state_dict(), tmp_path / "test_resnet2.pth")
    state = resnet().state_dict()
    state["conv1.0.weight"] = torch.zeros(5, 3, 3, 3)
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "test_resnet.pth")
    message = (
        r"checkpoint .*test_resnet\.pth does not fit architecture test_resnet: "
        r"1 missing \(layer1\.0\.conv1\.weight\); "
        r"1 of another shape \(conv1\.0\.weight is \(5, 3, 3, 3\), needed \(\d+, 3, 3, 3\)\)"
    )
    with pytest.raises(errors.ModelLoadError, match=message):
        TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth").load(CPU)
    with pytest.raises(
        errors.ModelLoadError, match=r"does not fit architecture test_vit: \d+ missing \(.*unexpected \("
    ):
        TimmModel("test_vit", checkpoint=tmp_path / "test_resnet.pth").load(CPU)
    with pytest.raises(
        errors.UnknownName, match=r"unknown timm model 'test_resnet2'; did you mean test_resnet.*resnet2\.pth"
    ):
        timm_models("test_resnet2", checkpoints=tmp_path)


def test_a_folder_that_does_not_fit(tmp_path):
    folder = save_folder(tmp_path / "v")
    config = json.loads((folder / "config.json").read_text())
    source = TimmModel("test_vit", checkpoint=folder)

    def change(**entries):
        (folder / "config.json").write_text(json.dumps(config | entries))

    change(architecture="test_resnet", model_args={})
    with pytest.raises(
        errors.ModelLoadError, match=r"config\.json names architecture test_resnet, not test_vit"
    ):
        source.load(CPU)
    (lazy,) = timm_models("*", checkpoints=tmp_path)
    with pytest.raises(
        errors.ModelLoadError,
        match=r"v/model\.safetensors does not fit architecture test_resnet: \d+ missing",
    ):
        lazy.load(CPU)
    change(architecture="test_vitt")
    with pytest.raises(errors.UnknownName, match="unknown timm model 'test_vitt'; did you mean test_vit"):
        source.load(CPU)
    change(model_args=config["model_args"] | {"num_classes": 12})
    with pytest.raises(errors.ModelLoadError, match=r"classifier of 10 classes but the arguments ask for 12"):
        source.load(CPU)
    (folder / "config.json").write_text("{")
    with pytest.raises(
        errors.ModelLoadError, match=r"config\.json must be a JSON object that names its architecture"
    ):
        timm_models("*", checkpoints=tmp_path)[0].load(CPU)
    change()
    (folder / "model.safetensors").unlink()
    with pytest.raises(errors.ModelLoadError, match="No suitable checkpoints found in"):
        source.load(CPU)


def test_damaged_weights(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "test_resnet.safetensors"
    save_file(resnet().state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        errors.ModelLoadError, match=r"test_resnet\.safetensors cannot be read as a checkpoint of test_res"
    ):
        TimmModel("test_resnet", checkpoint=path).load(CPU)
    torch.save({"epoch": 3}, tmp_path / "test_resnet.pth")
    with pytest.raises(
        errors.ModelLoadError, match=r"test_resnet\.pth is no state dict of test_resnet: expected named"
    ):
        TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth").load(CPU)


def test_arguments_that_do_not_build(tmp_path):
    torch.save(resnet().state_dict(), tmp_path / "test_resnet.pth")
    source = TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth", model_args={"wings": 2})
    with pytest.raises(errors.ModelLoadError, match=r"test_resnet cannot be built for .*wings"):
        source.load(CPU)


def test_folders_without_checkpoints(tmp_path):
    with pytest.raises(
        errors.ArgumentError, match="no checkpoints in .*expected one sub-folder a model with config.json"
    ):
        timm_models("*", checkpoints=tmp_path)
    with pytest.raises(errors.ArgumentError, match="checkpoints must be a folder, .*nowhere is missing"):
        timm_models("*", checkpoints=tmp_path / "nowhere")
    with pytest.raises(errors.ArgumentError, match="checkpoint of test_vit not found: .*nowhere"):
        TimmModel("test_vit", checkpoint=tmp_path / "nowhere")
    for suffix in (".pth", ".pt"):
        torch.save({}, tmp_path / f"test_resnet{suffix}")
    with pytest.raises(
        errors.ArgumentError, match=r"test_resnet\.pt and .*\.pth both name model 'test_resnet'; rename"
    ):
        timm_models("*", checkpoints=tmp_path)


# timm: names, pretrained weights


def test_random_weights_are_refused(tmp_path):
    for make in (lambda: TimmModel("test_vit"), lambda: timm_models("test_vit")):
        with pytest.raises(
            errors.ArgumentError,
            match=r"checkpoints=FOLDER.* or pretrained=True .*random weights are refused",
        ):
            make()
    with pytest.raises(errors.ArgumentError, match="both are given"):
        TimmModel("test_vit", checkpoint=tmp_path, pretrained=True)
    with pytest.raises(errors.ArgumentError, match="both are given"):
        timm_models("test_vit", checkpoints=tmp_path, pretrained=True)


def test_unknown_names_get_the_nearest():
    with pytest.raises(errors.UnknownName, match="unknown timm model 'resnet5'; did you mean resnet50"):
        timm_models("resnet5", pretrained=True)
    with pytest.raises(
        errors.UnknownName, match=r"unknown tag of timm model resnet50 'a1_in1'; did you mean a1_in1k"
    ):
        TimmModel("resnet50.a1_in1", pretrained=True)
    with pytest.raises(errors.UnknownName, match=r"unknown timm model pattern 'resnot\*'"):
        timm_models("resnot*", pretrained=True)


def test_names_and_patterns_of_pretrained_models():
    def ids(patterns):
        return [source.model_id for source in timm_models(patterns, pretrained=True)]

    assert ids("resnet18") == [f"resnet18.{timm.get_pretrained_cfg('resnet18').tag}"]
    assert set(ids("resnet18.*")) >= {"resnet18.a1_in1k", "resnet18.tv_in1k"}
    pattern = ids("resnet3*")
    assert len(pattern) == len({name.partition(".")[0] for name in pattern}) >= 2
    without = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(
        errors.ArgumentError, match=f"timm has no pretrained weights of '{without}'; pass checkpoints="
    ):
        ids(without)


def test_no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("We couldn't connect to\n'https://huggingface.co'")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    source = TimmModel("test_vit", pretrained=True)
    message = r"weights of test_vit could not be loaded: We couldn't connect to '.*'; check the network .*"
    with pytest.raises(errors.ModelLoadError, match=message) as caught:
        source.load(CPU)
    assert "\n" not in str(caught.value)


# preprocessing


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [False, True])
def test_the_fast_path_equals_timm(crop_mode, channels, colour):
    config = {
        "input_size": (channels, 24, 20),
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406)[:channels],
        "std": (0.229, 0.224, 0.225)[:channels],
        "crop_pct": 1.0,
        "crop_mode": crop_mode,
    }
    preprocess = TimmPreprocess(config)
    images = np.random.default_rng(0).integers(0, 256, (300, 24, 20, 3), dtype=np.uint8)
    images = images if colour else images[..., 0]
    transform = create_transform(**config)
    mode = "L" if channels == 1 else "RGB"
    expected = torch.stack(
        [transform(Image.fromarray(np.ascontiguousarray(i)).convert(mode)) for i in images]
    )
    assert preprocess.only_normalises(images) == (not (colour and channels == 1))
    assert torch.equal(preprocess(images), expected)
    assert preprocess(images).is_contiguous()


@pytest.mark.parametrize(
    ("config", "size"), [({"crop_pct": 0.9}, 24), ({"crop_pct": 1.0}, 28), ({"crop_mode": "border"}, 24)]
)
def test_what_needs_resizing_goes_through_timm(config, size):
    config = {
        "input_size": (3, 24, 24),
        "interpolation": "bilinear",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "crop_pct": 1.0,
        "crop_mode": "center",
    } | config
    preprocess, images = TimmPreprocess(config), grey(4, size)
    assert not preprocess.only_normalises(images)
    transform = create_transform(**config)
    expected = torch.stack([transform(Image.fromarray(image).convert("RGB")) for image in images])
    assert torch.equal(preprocess(images), expected)
    assert torch.equal(preprocess([Image.fromarray(image) for image in images]), expected)


def test_read_only_maps_are_no_trouble(tmp_path):
    np.save(tmp_path / "x.npy", grey(2, 24))
    config = {
        "input_size": (1, 24, 24),
        "mean": (0.5,),
        "std": (0.5,),
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert TimmPreprocess(config | {"interpolation": "bilinear"})(mapped).shape == (2, 1, 24, 24)


def test_timm_takes_pixels_only(tmp_path):
    predictor = TimmModel("test_vit", checkpoint=save_folder(tmp_path / "v")).load(CPU)
    with pytest.raises(
        errors.ArgumentError, match=r"timm models take uint8 images .*got float64 of shape \(3, 32, 32\)"
    ):
        predictor.prepare(np.zeros((3, 32, 32)))


def test_grey_models_of_colour_recipes_use_the_mean(tmp_path):
    torch.save(resnet(in_chans=1).state_dict(), tmp_path / "test_resnet.pth")
    changes = {"input_size": (1, 24, 24), "mean": (0.3, 0.4, 0.8), "std": (0.1, 0.2, 0.3), "crop_pct": 1.0}
    source = TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth", data_config=changes)
    preprocessing = json.loads(source.load(CPU).fingerprint["preprocessing"])
    assert preprocessing["mean"] == [pytest.approx(0.5)]
    assert preprocessing["std"] == [pytest.approx(0.2)]


def test_the_size_a_model_is_built_for_is_the_size_it_gets(tmp_path):
    model = vit()
    torch.save(model.state_dict(), tmp_path / "test_vit.pth")
    source = TimmModel("test_vit", checkpoint=tmp_path / "test_vit.pth", model_args={"img_size": 32})
    predictor, logits = run(source, grey(2, 28))
    assert predictor.metadata["input_size"] == "1x32x32"
    assert logits.shape == (2, 10)


def test_unknown_preprocessing_entries_are_refused(tmp_path):
    with pytest.raises(errors.UnknownName, match="unknown data_config entry 'crop'; did you mean crop_"):
        TimmModel("test_vit", checkpoint=tmp_path, data_config={"crop": 1.0})


# torch modules


def linear(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(1024, 10))


def test_torch_module():
    module = linear().train()
    predictor, logits = run(TorchModel("linear", module, metadata={"category": "mlp"}), grey())
    expected = module(torch.from_numpy(grey()).float()[:, None] / 255)
    assert torch.equal(logits, expected)  # evaluation mode: no dropout
    assert predictor.metadata["category"] == "mlp"
    assert (predictor.metadata["architecture"], predictor.metadata["params"]) == ("Sequential", 10250)


def test_default_preprocessing_of_torch_modules():
    prepare = TorchModel("x", torch.nn.Identity()).load(CPU).prepare
    colour = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    assert torch.equal(prepare(colour), torch.from_numpy(colour).permute(0, 3, 1, 2) / 255)
    assert torch.equal(prepare([Image.fromarray(image) for image in colour]), prepare(colour))
    assert prepare(np.ones((2, 7))).dtype == torch.float32
    with pytest.raises(errors.ArgumentError, match=r"images differ in size or mode .*pass preprocess="):
        prepare([Image.new("L", (3, 3)), Image.new("L", (3, 4))])


def test_own_preprocessing_is_used_and_fingerprinted():
    def half(images):
        return torch.from_numpy(images[:, ::2, ::2].copy()).float()

    plain = TorchModel("x", torch.nn.Flatten()).load(CPU)
    predictor, logits = run(TorchModel("x", torch.nn.Flatten(), preprocess=half), grey())
    assert logits.shape == (3, 256)
    assert predictor.fingerprint["preprocessing"] != plain.fingerprint["preprocessing"]
    assert predictor.fingerprint["weights"] == plain.fingerprint["weights"]


def test_digest_sees_names_shapes_types_and_bytes():
    a, b = torch.arange(6.0), torch.ones(2, dtype=torch.bfloat16)
    states = [
        {"a": a, "b": b},
        {"a": a, "c": b},
        {"a": a.reshape(2, 3), "b": b},
        {"a": a.view(torch.int32), "b": b},
        {"a": a, "b": b + 1},
        {"a": a, "b": b, "n": torch.tensor(3)},
    ]
    assert len({state_digest(state) for state in states}) == len(states)
    assert state_digest({"b": b, "a": a}) == state_digest(states[0])


def test_fingerprint_tells_activations_apart():
    relu = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
    gelu = torch.nn.Sequential(relu[0], torch.nn.GELU())
    first, second = (TorchModel("x", module).load(CPU).fingerprint for module in (relu, gelu))
    assert first != second
    assert TorchModel("x", relu, weights="v1").load(CPU).fingerprint["weights"] == "v1"


def test_no_module():
    with pytest.raises(
        errors.ModelLoadError, match=r"module must be a torch.nn.Module, got function; wrap .*CallableModel"
    ):
        TorchModel("x", test_no_module).load(CPU)


# callables


def test_callable():
    source = CallableModel(
        "sums", lambda images: images.reshape(len(images), -1)[:, :10] * 1.0, metadata={"a": 1}
    )
    predictor, logits = run(source, grey())
    assert np.array_equal(logits, grey().reshape(3, -1)[:, :10])
    assert predictor.kind == "logits"
    assert predictor.metadata == {"source": "callable", "a": 1}
    with pytest.raises(errors.ArgumentError, match="kind must be one of logits, probabilities, got 'scores'"):
        CallableModel("x", len, kind="scores")


def weights_of(function, **options):
    return CallableModel("x", function, **options).load(CPU).fingerprint["weights"]


def test_a_function_is_known_by_code_and_closure():
    def make(scale, shift=0.0):
        def function(images, offset=shift):
            return images * scale + offset

        return function

    assert weights_of(make(2.0)) == weights_of(make(2.0))
    digests = {
        weights_of(make(2.0)),
        weights_of(make(3.0)),
        weights_of(make(2.0, 1.0)),
        weights_of(lambda images: images),
        weights_of(lambda images: images + 1),
        weights_of(make(torch.nn.Linear(2, 2))),
    }
    assert len(digests) == 6
    assert weights_of(make(2.0), fingerprint="v7") == "v7"


def test_what_cannot_be_told_apart_asks_for_a_fingerprint():
    with pytest.raises(
        errors.ArgumentError, match=r"model 'x' cannot be told from another .*pass fingerprint="
    ):
        weights_of((lambda lock: lambda images: lock)(__import__("threading").Lock()))


def test_digests_hold_in_another_process():
    value = "{'b': [1.5, 'x'], 'a': {'p', 'q', 'r'}}"
    code = f"from dissensus.ingest.zoo.digests import object_digest as d; print(d({value}))"
    out = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert {o.stdout.strip() for o in out} == {object_digest({"b": [1.5, "x"], "a": {"p", "q", "r"}})}


# estimators


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    return rng.normal(size=(60, 4)) + 3 * np.eye(3, 4)[labels], labels


def test_estimator_with_probabilities(blobs):
    x, y = blobs
    fitted = LogisticRegression().fit(x, y)
    predictor, probabilities = run(estimator_model("lr", fitted, metadata={"category": "framework"}), x)
    assert np.array_equal(probabilities, fitted.predict_proba(x))
    assert (predictor.kind, predictor.n_classes) == ("probabilities", 3)
    assert {
        "architecture": "LogisticRegression",
        "category": "framework",
    }.items() <= predictor.metadata.items()


def test_estimator_with_a_decision_function(blobs):
    x, y = blobs
    fitted = RidgeClassifier().fit(x, y)
    predictor, scores = run(estimator_model("ridge", fitted), x)
    assert predictor.kind == "logits"
    assert np.array_equal(scores, fitted.decision_function(x))
    two = RidgeClassifier().fit(x, y > 0)
    _, scores = run(estimator_model("two", two, classes=[False, True]), x)
    assert np.array_equal(scores.argmax(1), two.predict(x))
    assert scores.shape == (60, 2)


def test_estimator_with_log_probabilities_only(blobs):
    class LogOnly:
        classes_ = np.array([0, 1, 2])

        def predict_log_proba(self, x):
            return np.log(np.full((len(x), 3), 1 / 3))

    _, probabilities = run(estimator_model("log", LogOnly(), fingerprint="v1"), blobs[0])
    np.testing.assert_allclose(probabilities, 1 / 3)


def test_class_order_follows_the_store(blobs):
    x, y = blobs
    fitted = LogisticRegression().fit(x, np.array(["cat", "ant", "bee"])[y])
    _, probabilities = run(estimator_model("lr", fitted, classes=["cat", "ant", "bee"]), x)
    assert np.array_equal(
        probabilities, fitted.predict_proba(x)[:, [2, 0, 1]]
    )  # classes_ are sorted: ant, bee, cat
    with pytest.raises(
        errors.ArgumentError,
        match=r"classes_ are \['ant', 'bee', 'cat'\], expected \[0, 1, 2\]; pass classes=",
    ):
        estimator_model("lr", fitted)
    gap = LogisticRegression().fit(x, y * 2)
    with pytest.raises(errors.ArgumentError, match=r"classes_ are \[0, 2, 4\], expected \[0, 1, 2\]"):
        estimator_model("gap", gap)


def test_estimators_that_cannot_be_used(blobs):
    x = blobs[0]
    with pytest.raises(errors.ArgumentError, match="the estimator has no classes_; fit it first"):
        estimator_model("x", LogisticRegression())
    with pytest.raises(
        errors.ArgumentError, match=r"has neither predict_proba, .*store\.add\(model_id, predictions="
    ):
        estimator_model("x", HardOnly())
    four = np.arange(60) % 4
    ovo = SVC(decision_function_shape="ovo").fit(x, four)
    with pytest.raises(
        errors.ArgumentError, match=r"gave shape \(60, 6\) for 4 classes; .*decision_function_shape='ovr'"
    ):
        run(estimator_model("ovo", ovo), x)


class HardOnly:
    classes_ = np.array([0, 1])


def test_images_are_flattened(blobs):
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    predictor = estimator_model("x", LogisticRegression().fit(*blobs)).load(CPU)
    assert predictor.prepare(images).dtype == np.float32
    assert predictor.prepare(images).shape == (2, 9)
    assert predictor.prepare([Image.fromarray(i) for i in images]).tolist() == images.reshape(2, 9).tolist()
    with pytest.raises(errors.ArgumentError, match="images differ in size and cannot be flattened"):
        predictor.prepare([Image.new("L", (3, 3)), Image.new("L", (3, 4))])


def test_estimator_fingerprint_survives_saving(blobs, tmp_path):
    import joblib

    fitted = SVC().fit(*blobs)
    joblib.dump(fitted, tmp_path / "svc.joblib")
    fingerprints = [
        estimator_model("x", model).load(CPU).fingerprint
        for model in (fitted, joblib.load(tmp_path / "svc.joblib"), SVC(C=2).fit(*blobs))
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


# lazy models


def test_lazy_models_are_built_when_their_turn_comes():
    built = []

    def loader():
        built.append(1)
        return TorchModel("inner", linear())

    source = LazyModel("outer", loader, {"category": "reinit"})
    assert isinstance(source, ModelSource)
    assert not built
    predictor = source.load(CPU)
    assert built == [1]
    assert predictor.fingerprint == TorchModel("x", linear()).load(CPU).fingerprint


def test_importing_ingest_is_light():
    code = """
import sys
import dissensus.ingest as i
heavy = {'torch', 'timm', 'numba', 'sklearn'}
assert not heavy & set(sys.modules)
i.ArrayExamples, i.idx_examples, i.ImageFolder, i.open_examples, i.create_from, i.LazyModel, i.CallableModel
i.timm_models, i.TimmModel
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(i.timm_models.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "timm_models"), done.stderr


def test_preprocessing_objects_are_known_by_their_state():
    from functools import partial

    from dissensus.ingest.zoo.digests import describe_callable

    class Unpicklable:
        def __call__(self, images):
            return images

    assert describe_callable(partial(np.add, 1)) == describe_callable(partial(np.add, 1))
    assert describe_callable(partial(np.add, 1)) != describe_callable(partial(np.add, 2))
    assert " at 0x" not in describe_callable(Unpicklable())
    identity, dropout = torch.nn.Identity(), torch.nn.Dropout(0.3)  # no weights: told apart by what they show
    assert len({describe_callable(module) for module in (identity, dropout, torch.nn.Dropout(0.4))}) == 3


# fingerprints: the same after saving, loading and use; another when anything that counts is another


def fitted_estimators():
    from sklearn import ensemble, neighbors, svm, tree

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)), np.arange(200) % 3
    some = {"n_estimators": 3, "random_state": 0}
    estimators = [
        tree.DecisionTreeClassifier(random_state=0),
        ensemble.RandomForestClassifier(**some),
        ensemble.ExtraTreesClassifier(**some),
        ensemble.GradientBoostingClassifier(**some),
        ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=0),
        ensemble.BaggingClassifier(**some),
        ensemble.AdaBoostClassifier(**some),
        *(neighbors.KNeighborsClassifier(algorithm=name) for name in ("kd_tree", "ball_tree", "brute")),
        svm.SVC(),
    ]
    return x, [estimator.fit(x, y) for estimator in estimators]


def test_estimators_keep_their_fingerprints_through_saving_and_use(tmp_path):
    import joblib

    x, estimators = fitted_estimators()
    digests = []
    for estimator in estimators:
        before = estimator_model("x", estimator).load(CPU).fingerprint
        estimator.predict(x)
        joblib.dump(estimator, tmp_path / "saved")
        again = joblib.load(tmp_path / "saved")
        again.predict(x)
        for same in (estimator, again):
            assert estimator_model("x", same).load(CPU).fingerprint == before, type(estimator).__name__
        digests.append(before["weights"])
    assert len(set(digests)) == len(estimators)


def test_padding_between_fields_does_not_count():
    kind = np.dtype([("flag", "u1"), ("value", "f8")], align=True)
    first, second = (np.frombuffer(bytes([fill]) * 32, np.uint8).copy().view(kind) for fill in (0, 255))
    for name in kind.names:
        second[name] = first[name]
    assert first.tobytes() != second.tobytes()
    assert object_digest(first) == object_digest(second)
    second["value"][1] = 1
    assert object_digest(first) != object_digest(second)


class Restless:
    """Comes back from a file as something else."""

    def __init__(self):
        self.noise = np.random.default_rng().normal()

    def __setstate__(self, state):
        self.noise = state["noise"] + 1


def test_what_changes_when_saved_asks_for_a_fingerprint():
    with pytest.raises(errors.ArgumentError, match=r"digest of Restless changes when .*pass fingerprint="):
        object_digest(Restless())


def test_digests_do_not_need_joblib(monkeypatch):
    value = {"b": [1.5, "x"], "a": np.arange(3)}
    before = object_digest(value)
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert object_digest(value) == before


def test_digests_of_cycles_and_of_order():
    loop, other = [1], [2]
    loop.append(loop)
    other.append(other)
    assert object_digest(loop) != object_digest(other)
    assert object_digest({"a": 1, "b": 2}) == object_digest({"b": 2, "a": 1})
    assert len({object_digest(v) for v in ([1, 2], [2, 1], (1, 2), {1, 2}, frozenset((1, 2)), [1, "2"])}) == 6


def test_sets_in_code_do_not_depend_on_the_hash_seed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dissensus.ingest.zoo.digests import object_digest\n"
        "def f(x):\n"
        "    return x in {'alpha', 'beta', 'gamma', 'delta', 'epsilon'}\n"
        "print(object_digest(f))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, script],
            capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in "1234"
    }  # fmt: skip
    assert len(printed) == 1


class Scaled(torch.nn.Module):
    def __init__(self, scale=1.0, mean=0.0):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean), persistent=False)


def test_buffers_and_attributes_outside_the_state_dict_count():
    state = Scaled().state_dict()
    digests = []
    for arguments in ({}, {"scale": 2.0}, {"mean": 2.0}, {}):
        module = Scaled(**arguments)
        module.load_state_dict(state)
        digests.append(TorchModel("x", torch.nn.Sequential(module)).load(CPU).fingerprint["weights"])
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]


class Compose:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, images):
        for step in self.steps:
            images = step(images)
        return images

    def run(self, images):
        return self(images)


def test_preprocessing_that_cannot_be_pickled_is_taken_apart():
    from functools import partial

    from dissensus.ingest.zoo.digests import describe_callable

    def nested(scale):
        return Compose(lambda images: images, [partial(lambda images, by: images * by, by=scale)][0])

    def shapes(make):
        return {describe_callable(make(nested(scale))) for scale in (1.0, 2.0, 2.0)}

    for make in (lambda c: c, lambda c: c.run, lambda c: partial(c.run), lambda c: lambda images: c(images)):
        assert len(shapes(make)) == 2
    opaque = Compose(threading.Lock())
    with pytest.raises(errors.ArgumentError, match=r"preprocessing .*Compose cannot be told .*weights="):
        TorchModel("x", torch.nn.Flatten(), preprocess=opaque).load(CPU)
    given = TorchModel("x", torch.nn.Flatten(), preprocess=opaque, weights="v1").load(CPU).fingerprint
    assert given["preprocessing"].endswith(".Compose")
    given = CallableModel("x", len, preprocess=opaque, fingerprint="v1").load(CPU).fingerprint
    assert given["preprocessing"].endswith(".Compose")


def test_a_changed_config_is_another_model(tmp_path):
    folder = save_folder(tmp_path / "v")
    config = json.loads((folder / "config.json").read_text())
    source = TimmModel("test_vit", checkpoint=folder)

    def fingerprint(**arguments):
        changed = config | {"model_args": config["model_args"] | arguments}
        (folder / "config.json").write_text(json.dumps(changed))
        return source.load(CPU).fingerprint

    first, again, pooled = fingerprint(), fingerprint(), fingerprint(global_pool="avg", fc_norm=False)
    assert first == again
    assert first["weights"] == pooled["weights"]
    assert first["model_args"] != pooled["model_args"]


# checkpoints as they lie about


def test_a_folder_model_of_another_size_gets_that_size(tmp_path):
    model = vit()
    save_for_hf(model, tmp_path / "v", safe_serialization=True, model_args={"img_size": 32, "in_chans": 1})
    config = json.loads((tmp_path / "v/config.json").read_text())
    config["pretrained_cfg"].update(input_size=[1, 160, 160], fixed_input_size=False)
    (tmp_path / "v/config.json").write_text(json.dumps(config))
    source = TimmModel("test_vit", checkpoint=tmp_path / "v")
    predictor, logits = run(source, grey(2, 40))
    assert predictor.metadata["input_size"] == "1x32x32"
    assert logits.shape == (2, 10)


def test_a_stray_file_fails_alone(tmp_path):
    save_folder(tmp_path / "vit")
    torch.save({}, tmp_path / "optimizer.pth")
    (tmp_path / "notes.txt").write_text("kept beside the weights")
    (tmp_path / "logs").mkdir()
    with pytest.warns(UserWarning, match=r"no checkpoints, skipped in .*: logs, notes\.txt$"):
        stray, good = timm_models("*", checkpoints=tmp_path)
    assert good.load(CPU).n_classes == 10
    assert stray.model_id == "optimizer"
    with pytest.raises(errors.UnknownName, match=r"unknown timm model 'optimizer'.*optimizer\.pth"):
        stray.load(CPU)


@pytest.mark.parametrize("suffix", [".pth.tar", ".PTH", ".SafeTensors"])
@pytest.mark.parametrize("key", [None, "model_state_dict", "net"])
def test_weight_files_of_other_names_and_keys(tmp_path, suffix, key):
    from safetensors.torch import save_file

    model = resnet()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path / f"test_resnet__a.b{suffix}"
    if suffix == ".SafeTensors":
        save_file(state, path)
    else:
        torch.save(state if key is None else {"epoch": 1, key: state}, path)
    (source,) = timm_models("*", checkpoints=tmp_path)
    assert source.model_id == "test_resnet__a.b"
    assert TimmModel("test_resnet", checkpoint=path).model_id == "test_resnet__a.b"
    assert source.load(CPU).fingerprint["weights"] == state_digest(model.state_dict())


def test_a_checkpoint_without_tensors_names_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "teacher": {}}, tmp_path / "test_resnet.pth")
    with pytest.raises(errors.ModelLoadError, match=r"model_state_dict, net.*; it holds epoch, teacher$"):
        TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth").load(CPU)


# arrays belong to their owner


def test_models_that_work_in_place_do_not_reach_the_array():
    values = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
    before = values.copy()
    examples = ArrayExamples(values, np.arange(6) % 4)

    def in_place(batch):
        batch *= -1
        return batch

    module = torch.nn.Sequential(torch.nn.ReLU(inplace=True))
    for source in (
        CallableModel("a", in_place),
        CallableModel("b", lambda x: x, preprocess=in_place),
        TorchModel("c", module, preprocess=lambda images: images),
        TorchModel("d", module),
        TorchModel("e", module, preprocess=lambda images: torch.from_numpy(images)),
    ):
        images = examples.read(0, 6)
        assert not images.flags.writeable
        predictor = source.load(CPU)
        assert not np.array_equal(predictor(predictor.prepare(images)), before)
        assert np.array_equal(values, before)
        assert np.array_equal(examples.read(0, 6), before)


def test_sixteen_bit_images_are_scaled_for_every_model():
    eight = grey(1)[0]
    deep = Image.fromarray(eight.astype(np.uint16) * 257)
    assert deep.mode.startswith("I")
    for source in (TorchModel("t", torch.nn.Flatten()), estimator_like()):
        prepare = source.load(CPU).prepare
        assert np.array_equal(prepare([deep]), prepare([Image.fromarray(eight)]))
    config = {**GREY, "crop_mode": "center", "interpolation": "bilinear"}
    preprocess = TimmPreprocess(config)
    assert torch.equal(preprocess([deep]), preprocess([Image.fromarray(eight)]))


def estimator_like():
    rng = np.random.default_rng(0)
    return estimator_model("e", LogisticRegression().fit(rng.normal(size=(30, 4)), np.arange(30) % 3))


def test_digests_see_masks_and_ignore_the_order_of_any_set():
    from dissensus.ingest.zoo.canonical import canonical_digest

    masked = [np.ma.masked_array([1, 2, 3], mask) for mask in ([0, 0, 0], [0, 1, 0])]
    assert canonical_digest(masked[0]) != canonical_digest(masked[1])
    assert canonical_digest(masked[1]) == canonical_digest(masked[1].copy())


def test_canonical_text_depends_on_no_order_and_no_address():
    """Sets and objects among a model's arguments gave another fingerprint in every process, or order."""
    body = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from dissensus.ingest.zoo.canonical import canonical_text as text\n"
        "pairs = [('a', {'x', 'y', 'zebra'}), ('b', partial(int, base=2)), ('c', len)]\n"
        "pairs = pairs[::-1] if sys.argv[1] == '1' else pairs\n"
        "print(text({'n': dict(pairs), 'p': Path('w'), 's': (1, 2.5, None)}))\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", body, order],
            env={**os.environ, "PYTHONHASHSEED": order},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for order in "01"
    ]
    assert said[0] == said[1]
    assert canonical_text({"d": torch.float16}) == '{"d": "torch.float16"}'
    assert canonical_text({"b": [1, (2,)], "a": {"y": None, "x": True}}) == (
        '{"a": {"x": true, "y": null}, "b": [1, [2]]}'  # as stored fingerprints have it
    )
    assert canonical_text({1, 2}) != canonical_text({1, 3}) != canonical_text([1, 3])


def test_models_that_fail_can_be_sent_to_a_process(tmp_path):
    """One checkpoint of an unknown architecture, or one bad function, ended a run on several devices."""
    (tmp_path / "resnet1800.safetensors").write_bytes(b"x")
    (odd,) = timm_models("*", checkpoints=tmp_path)
    (bad,) = python_models("gc:collect")  # returns a number
    for source, reason in ((odd, "unknown timm model 'resnet1800'"), (bad, "gc:collect must return a model")):
        with pytest.raises(errors.DissensusError, match=reason):
            pickle.loads(pickle.dumps(source)).load(CPU)


def test_only_what_can_be_called_is_named_as_a_function():
    with pytest.raises(errors.UnknownName) as raised:
        python_models("dissensus.ingest.zoo.functions:annotation")
    assert "annotations" not in str(raised.value)
