"""Image classifiers of transformers as model sources; skipped where transformers is not installed."""

from __future__ import annotations

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dissensus as ds
from dissensus import errors
from dissensus.ingest import HfModel, StatedPreprocess
from dissensus.ingest.streaming.checks import check_classes
from dissensus.ingest.zoo.digests import describe_callable
from sources import CLASSES, CPU, colour, image_folder, ingest, run

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def vit(seed=0, names=None, **arguments):
    torch.manual_seed(seed)
    named = {"num_labels": 3} if names is None else {"id2label": dict(enumerate(names))}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = {"image_size": 16, "patch_size": 8, **sizes, **named, **arguments}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**config)).eval()


def resnet():
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=3, layer_type="basic"
    )
    return transformers.ResNetForImageClassification(config).eval()


def vit_processor():
    return transformers.ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.4] * 3)


def resnet_processor():
    return transformers.ConvNextImageProcessor(size={"shortest_edge": 24}, crop_pct=0.8)


def save(path, model=None, processor=None):
    (model or vit()).save_pretrained(path)
    (processor or vit_processor()).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("model", "processor", "size"), [(vit, vit_processor, 16), (resnet, resnet_processor, 24)]
)
def test_logits_are_those_of_transformers(tmp_path, model, processor, size):
    save(tmp_path / "net", model(), processor())
    images = [Image.fromarray(image) for image in colour(3, 30, 40)]
    predictor, logits = run(HfModel(tmp_path / "net"), images)
    own = transformers.AutoImageProcessor.from_pretrained(tmp_path / "net")
    batch = own(images=images, return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(logits, model()(**batch).logits)
    assert predictor.metadata["input_size"] == f"3x{size}x{size}"
    assert predictor.n_classes == 3


def test_metadata(tmp_path):
    source = HfModel(save(tmp_path / "my-vit"), metadata={"category": "x"})
    metadata = source.load(CPU).metadata
    facts = {
        "source": "hf",
        "architecture": "ViTForImageClassification",
        "family": "vit",
        "params": vit().num_parameters(),
        "weights_bytes": 4 * vit().num_parameters(),
        "transformers": transformers.__version__,
        "category": "x",
    }
    assert facts.items() <= metadata.items()
    patches, tokens, width = 4 * 16 * 3 * 64, 5, 16
    layer = tokens * (4 * width * width + 2 * width * 32) + 2 * tokens * tokens * width
    assert metadata["gmacs"] == (patches + layer + width * 3) / 1e9
    assert source.model_id == "my-vit"


def test_arrays_and_grey_images(tmp_path):
    source = HfModel(save(tmp_path / "net"))
    grey = colour(2)[..., 0]
    _, logits = run(source, grey)
    assert torch.equal(logits, run(source, np.stack([grey] * 3, -1))[1])
    assert torch.equal(logits, run(source, [Image.fromarray(image) for image in grey])[1])
    with pytest.raises(errors.ArgumentError, match=r"take uint8 images, got float32; scale the array"):
        run(source, grey.astype("f4"))


def test_a_model_of_grey_images(tmp_path):
    processor = transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.5], image_std=[0.5]
    )
    source = HfModel(save(tmp_path / "net", vit(num_channels=1), processor))
    predictor = source.load(CPU)
    assert predictor.prepare(colour(2)).shape == (2, 1, 16, 16)
    assert predictor(predictor.prepare(colour(2))).shape == (2, 3)


def test_a_stated_preprocessing_needs_no_processor(tmp_path):
    save(tmp_path / "net")
    (tmp_path / "net/preprocessor_config.json").unlink()
    with pytest.raises(
        errors.ModelLoadError, match=r"net has no image processor that can be loaded: .*--prepro"
    ):
        HfModel(tmp_path / "net").load(CPU)
    stated = StatedPreprocess((3, 16, 16), mean=(0.5,), std=(0.5,))
    predictor, logits = run(HfModel(tmp_path / "net", preprocess=stated), colour(2))
    with torch.inference_mode():
        assert torch.equal(logits, vit()(pixel_values=stated(colour(2))).logits)
    assert predictor.metadata["input_size"] == "3x16x16"


def test_fingerprints(tmp_path):
    save(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    save(tmp_path / "weights", vit(seed=1))
    save(tmp_path / "config", vit(hidden_act="relu"))
    save(tmp_path / "processor", None, transformers.ViTImageProcessor(size={"height": 16, "width": 16}))
    prints = {
        p: HfModel(tmp_path / p).load(CPU).fingerprint for p in ("a", "b", "weights", "config", "processor")
    }
    assert prints["a"] == prints["b"]
    differ = {p: {k for k in prints["a"] if prints["a"][k] != found[k]} for p, found in prints.items()}
    assert differ["weights"] == {"weights"}
    assert differ["config"] == {"config"}
    assert differ["processor"] == {"preprocessing"}


def test_preprocessing_travels(tmp_path):
    preprocess = HfModel(save(tmp_path / "net")).load(CPU).preprocess
    before = describe_callable(preprocess)
    again = pickle.loads(pickle.dumps(preprocess))
    assert torch.equal(again(colour(2)), preprocess(colour(2)))
    assert describe_callable(again) == describe_callable(preprocess) == before


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(errors.ArgumentError, match=r"no such model folder: .*gone"):
        HfModel(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        errors.ModelLoadError, match=r"empty cannot be loaded as an image classifier of transf"
    ):
        HfModel(tmp_path / "empty").load(CPU)
    with pytest.raises(
        errors.ModelLoadError, match=r"nobody/nothing cannot be loaded as an image classifier"
    ):
        HfModel("nobody/nothing").load(CPU)


def test_a_model_without_its_classifier_is_refused(tmp_path, capfd):
    """transformers would make one at random and say so on the screen."""
    vit().vit.save_pretrained(tmp_path / "net")
    vit_processor().save_pretrained(tmp_path / "net")
    capfd.readouterr()
    with pytest.raises(
        errors.ModelLoadError, match=r"no weights for classifier\.bias, classifier\.weight: they"
    ):
        HfModel(tmp_path / "net").load(CPU)
    assert capfd.readouterr() == ("", "")


def test_without_transformers_the_remedy_is_told(tmp_path, monkeypatch):
    source = HfModel(save(tmp_path / "net"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(errors.MissingDependency, match=r"pip install 'dissensus\[hf\]'"):
        source.load(CPU)


def test_class_names_are_known(tmp_path):
    store = ds.create(tmp_path / "zoo", [0, 1, 2], classes=CLASSES)
    nameless = HfModel(save(tmp_path / "nameless")).load(CPU)
    assert nameless.class_names is None
    check_classes("m", nameless, store)
    named = HfModel(save(tmp_path / "named", vit(names=CLASSES))).load(CPU)
    assert named.class_names == CLASSES
    check_classes("m", named, store)
    other = HfModel(save(tmp_path / "other", vit(names=CLASSES[::-1]))).load(CPU)
    message = r"classes in another order: output 0 is 'cat', the store has 'ant' there; pass a class map"
    with pytest.raises(errors.ArgumentError, match=message):
        check_classes("m", other, store)
    more = HfModel(save(tmp_path / "more", vit(names=["dog", *CLASSES]))).load(CPU)
    message = r"'m' has 4 classes \(it calls them dog, ant, bee, …\), the store has 3; .*--class-map FILE"
    with pytest.raises(errors.WrongClassCount, match=message):
        check_classes("m", more, store)


def test_the_command_ingests_folders(tmp_path):
    data = image_folder(tmp_path / "val")
    save(tmp_path / "a", vit(names=["dog", *CLASSES[::-1]]))
    save(tmp_path / "b", vit(seed=1))
    common = (tmp_path / "zoo", "hf", tmp_path / "a", tmp_path / "b", "--data", data, "--format", "json")
    rows = json.loads(ingest(*common, status=1).stdout)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert "--class-map FILE" in rows[0]["error"]
    (tmp_path / "map.json").write_text('{"ant": "ant", "bee": "bee", "cat": "cat"}')
    ingest(tmp_path / "zoo", "hf", tmp_path / "a", "--data", data, "--class-map", tmp_path / "map.json")
    store = ds.open(tmp_path / "zoo")
    images = [Image.open(data / name) for name in store.example_ids]
    _, logits = run(HfModel(tmp_path / "a"), images)
    wanted, stored = logits[:, [3, 2, 1]].numpy(), store.logits("a")[:]
    assert np.allclose(
        stored - stored.max(1, keepdims=True), wanted - wanted.max(1, keepdims=True), atol=1e-3
    )
