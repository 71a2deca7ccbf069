"""Class maps: outputs brought to the store's classes, whatever their number and order."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
from dissensus import errors
from dissensus.ingest import (
    ArrayExamples,
    CallableModel,
    ClassMap,
    MappedModel,
    TimmModel,
    TorchModel,
    infer,
    read_class_map,
)
from dissensus.ingest.streaming.checks import check_classes, wrong_class_count
from dissensus.store.format import FLOOR
from sources import CPU, image_folder, ingest

STORE = ["ant", "bee", "cat"]
OUTPUTS = ["dog", "cat", "ant", "eel"]  # more, fewer and in another order


def model(values, kind="logits", **arguments):
    return CallableModel("m", lambda batch: values, kind=kind, **arguments)


def mapped(values, class_map, kind="logits"):
    predictor = MappedModel(model(values, kind), class_map).load(CPU)
    return np.asarray(predictor(None))


# which column


def test_names_are_matched():
    assert ClassMap.of_names(OUTPUTS, STORE) == ClassMap(tuple(STORE), (2, None, 1), 4)
    assert ClassMap.of_names(STORE, STORE).outputs == (0, 1, 2)
    assert ClassMap.of_names(OUTPUTS, STORE).missing == ["bee"]


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_a_superset_in_another_order_is_a_choice_of_columns(library):
    values = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
    class_map = ClassMap.of_names(OUTPUTS, ["eel", "dog"])
    assert np.array_equal(mapped(library(values), class_map), values[:, [3, 0]])


def test_unknown_classes_get_the_lowest_stored_logit(tmp_path):
    values = np.array([[1.0, 2.0, 3.0, 4.0], [-500.0, -600.0, -700.0, 9.0]], "f4")
    class_map = ClassMap.of_names(OUTPUTS, STORE)
    examples = ArrayExamples(np.zeros((2, 1), "f4"), [0, 2], classes=STORE)
    for dtype in ("float16", "float32"):
        store = ds.create_from(tmp_path / f"{dtype}.zoo", examples, dtype)
        assert not infer(store, MappedModel(model(values), class_map), examples, progress=False).failed
        stored = store.logits("m")[:]
        centred = stored - stored.max(1, keepdims=True)
        assert centred[:, 1].tolist() == [FLOOR, FLOOR]
        assert np.array_equal(centred[:, [0, 2]], [[0, -1], [-100, 0]])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_rows_stay_finite(dtype):
    values = np.array([[6e4, -6e4, 0.0, 1.0]], dtype)
    assert np.isfinite(mapped(values, ClassMap.of_names(OUTPUTS, STORE))).all()


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(5)), st.integers(1, 5), st.sampled_from(["logits", "probabilities"]))
def test_it_is_the_softmax_among_the_classes_of_the_store(order, n_known, kind):
    """The law: p(class | it is one of the store's), 0 for those the model does not know."""
    logits = np.random.default_rng(sum(order)).normal(size=(4, 5)) * 3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    columns = tuple(order[:n_known])
    class_map = ClassMap(tuple("abcdef"), columns + (None,) * (6 - n_known))
    out = mapped(p if kind == "probabilities" else logits, class_map, kind).astype("f8")
    if kind == "logits":
        out = np.exp(out - out.max(1, keepdims=True))
        out /= out.sum(1, keepdims=True)
    wanted = p[:, columns] / p[:, columns].sum(1, keepdims=True)
    assert np.allclose(out[:, :n_known], wanted, atol=1e-6)
    assert not out[:, n_known:].any()


def test_a_row_that_knows_none_of_the_classes_is_uniform():
    p = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.2, 0.0, 0.8]])
    out = mapped(p, ClassMap.of_names(OUTPUTS, ["ant", "cat", "bee"]), "probabilities")
    assert out.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


def test_what_is_no_probability_is_refused_before_it_is_divided():
    message = r"1 of 2 rows of probabilities do not sum to 1; .*--kind logits"
    with pytest.raises(errors.ArgumentError, match=message):
        mapped(
            np.array([[0.5, 0.5, 0, 0], [50.0, 50.0, 0, 0]]),
            ClassMap.of_names(OUTPUTS, STORE),
            "probabilities",
        )


# what is kept of it


def test_metadata_and_fingerprint_tell_the_map():
    values = np.zeros((1, 4), "f4")
    inner = model(values, metadata={"category": "x"}, n_classes=4)
    source = MappedModel(inner, ClassMap.of_names(OUTPUTS, STORE))
    predictor = source.load(CPU)
    assert (source.model_id, source.metadata) == ("m", {"category": "x"})
    digest = predictor.fingerprint["class_map"]
    facts = {
        "class_map": digest,
        "classes_missing": 1,
        "classes_missing_names": ["bee"],
        "outputs_dropped": 2,
    }
    assert facts.items() <= predictor.metadata.items()
    assert predictor.n_classes == 3
    assert predictor.fingerprint.items() > inner.load(CPU).fingerprint.items()
    by_number = ClassMap.of_pairs({"ant": 2, "cat": 1}, STORE)
    same, other = (MappedModel(inner, m).load(CPU) for m in (by_number, ClassMap(tuple(STORE), (2, 3, 1))))
    assert same.fingerprint == predictor.fingerprint
    assert other.fingerprint["class_map"] != digest


def test_the_module_within_is_reached():
    module = torch.nn.Flatten()
    predictor = MappedModel(TorchModel("m", module), ClassMap.of_names(OUTPUTS, STORE)).load(CPU)
    assert predictor.module is module
    assert callable(predictor.preprocess)
    assert not hasattr(MappedModel(model(None), ClassMap.of_names(OUTPUTS, STORE)).load(CPU), "module")


# files


def read(tmp_path, name, text, classes=STORE):
    (tmp_path / name).write_text(text)
    return read_class_map(tmp_path / name, classes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.txt", "ant\nbee\n cat \ndog\n\n"),
        ("m.json", '{"cat": 2, "ant": 0, "bee": 1}'),
        ("m.csv", "class,output\ncat,2\nant,0\n\nbee,1\n"),
    ],
)
def test_forms_of_files(tmp_path, name, text):
    assert read(tmp_path, name, text).outputs == (0, 1, 2)


def test_outputs_by_the_models_own_names(tmp_path):
    class Named:
        fingerprint, metadata, kind, n_classes = {}, {}, "logits", 4
        class_names = ("dog", "feline", "formica", "eel")

    found = ClassMap.of_pairs({"ant": "formica", "bee": "dog", "cat": "feline"}, STORE)
    assert found.columns(Named.class_names, 4) == [2, 0, 1]
    (tmp_path / "m.csv").write_text("class,output\nant,formica\nbee,dog\ncat,feline\n")
    assert read_class_map(tmp_path / "m.csv", STORE) == found
    with pytest.raises(
        errors.ArgumentError, match=r"names output 'formica', but the model carries no class nam"
    ):
        found.columns(None, 4)
    with pytest.raises(
        errors.UnknownName, match=r"unknown output in the class map 'formica'; did you mean for"
    ):
        found.columns(["dog", "feline", "formicas", "eel"], 4)


def test_missing_classes_are_told(tmp_path):
    with pytest.warns(
        UserWarning, match=r"m\.txt: 1 of 3 classes of the store have no output and are.*: bee$"
    ):
        read(tmp_path, "m.txt", "cat\nant\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path, "m.txt", "cat\nbee\ndog\nant\n")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.txt", "ant\nbee\nant\n", r"class map names 'ant' 2 times; outputs must have distinct names"),
        ("m.txt", "x\ny\n", r"have no class in common: the map has x, y, the store ant, bee, cat"),
        ("m.txt", "ant\n\nbee\n", r"must name one output of the model a line; line 2 is blank"),
        ("m.txt", "\n", r"m\.txt must name one output of the model a line; it is empty"),
        (
            "m.txt",
            "ant\nBee\ncat\n",
            r"class 'bee' of the store is spelled 'Bee' in the class map; write it as",
        ),
        ("m.json", '{"aunt": 0}', r"unknown class in the class map 'aunt'; did you mean ant"),
        ("m.json", '{"ant": 0, "ant": 1}', r"m\.json gives class 'ant' twice"),
        ("m.json", '{"ant": 0, "bee": 0}', r"class map gives output 0 to several classes: ant, bee"),
        ("m.json", '{"ant": -1}', r"columns of a class map must be 0 or more, got -1"),
        ("m.json", '{"ant": 0.5}', r"m\.json gives 'ant' no number and no name but 0\.5"),
        ("m.json", '{"ant": true}', r"m\.json gives 'ant' no number and no name but True"),
        ("m.json", "{}", r"class map gives none of the store's classes \(ant, bee, cat\) an output"),
        ("m.json", "[0, 1]", r'm\.json must be a JSON object \{"class of the store": output, …\}'),
        ("m.json", "{", r"m\.json is not valid JSON: "),
        ("m.csv", "ant,0\nbee,1\n", r"m\.csv must begin with the line class,output, got 'ant,0'"),
        ("m.csv", "", r"m\.csv must begin with the line class,output, got 'nothing'"),
        ("m.csv", "class,output\nant\n", r"row 2 of class map .*m\.csv must have 2 cells, got 1"),
    ],
)
def test_bad_maps_are_told(tmp_path, name, text, message):
    with pytest.raises(errors.DissensusError, match=message):
        read(tmp_path, name, text)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "m.txt").write_bytes(b"\xff\xfe\xff")
    for name in ("m.txt", "gone.txt"):
        with pytest.raises(errors.ArgumentError, match=rf"class map .*{name} cannot be read as text: "):
            read_class_map(tmp_path / name, STORE)


# models that do not fit


def test_a_map_for_another_number_of_outputs():
    class_map, message = ClassMap.of_names(OUTPUTS, STORE), r"the class map is for 4 outputs, the model has 5"
    with pytest.raises(errors.WrongClassCount, match=message):
        MappedModel(model(None, n_classes=5), class_map).load(CPU)
    with pytest.raises(errors.WrongClassCount, match=message):
        mapped(np.zeros((2, 5), "f4"), class_map)
    with pytest.raises(errors.ArgumentError, match=r"must be 0 … 1 for 2 outputs, got 2"):
        mapped(np.zeros((2, 2), "f4"), ClassMap.of_pairs({"ant": 2}, STORE))
    with pytest.raises(errors.ArgumentError, match=r"must be 0 … 1 for 2 outputs, got 2"):
        MappedModel(model(None, n_classes=2), ClassMap.of_pairs({"ant": 2}, STORE)).load(CPU)
    with pytest.raises(
        errors.ArgumentError, match=r"gave shape \(2, 4, 1\), a class map needs \(B, outputs\)"
    ):
        mapped(np.zeros((2, 4, 1), "f4"), class_map)
    with pytest.raises(errors.ArgumentError, match=r"an output for each of 3 classes, got 2"):
        ClassMap(tuple(STORE), (0, 1))


def test_timm_folders_tell_their_classes(tmp_path):
    import timm
    from timm.models import save_for_hf

    names = ["cat", "ant", "bee"]
    network = timm.create_model("test_resnet", num_classes=3).eval()
    save_for_hf(network, tmp_path / "net", {"label_names": names}, safe_serialization=True)
    source = TimmModel("test_resnet", checkpoint=tmp_path / "net")
    store = ds.create(tmp_path / "store.zoo", [0, 1, 2], classes=STORE)
    with pytest.raises(
        errors.ArgumentError, match=r"in another order: output 0 is 'cat', the store has 'ant'"
    ):
        check_classes("net", source.load(CPU), store)
    own = MappedModel(source, ClassMap.of_pairs({name: name for name in STORE}, STORE)).load(CPU)
    check_classes("net", own, store)
    assert own.columns == (1, 2, 0)


def test_the_class_count_error_names_the_remedy():
    assert "--class-map FILE" in str(wrong_class_count("m", 3, 4))
    assert "--classes" not in str(wrong_class_count("m", 3, 4))  # a larger store would not help
    assert "--classes), or say which output" in str(wrong_class_count("m", 5, 4))


def test_the_command_maps_models(tmp_path):
    data = image_folder(tmp_path / "val", classes=STORE)
    (tmp_path / "zoo.py").write_text(
        "import torch\n"
        "from torch.nn import AdaptiveAvgPool2d, Flatten, Linear, Sequential\n"
        "def mean():\n"
        "    torch.manual_seed(0)\n"
        "    return Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(3, 4))\n"
    )
    (tmp_path / "names.txt").write_text("\n".join(OUTPUTS))
    stated = ("--preprocess", '{"input_size": [3, 8, 8]}', "--format", "json")
    common = ("store.zoo", "python", "zoo:mean", "--data", data, *stated)
    (row,) = json.loads(ingest(*common, status=1, cwd=tmp_path).stdout)
    assert row["error"].startswith("model 'mean' has 4 classes, the store has 3; if the data only lacks some")
    done = ingest(*common, "--class-map", "names.txt", cwd=tmp_path)
    assert "1 of 3 classes of the store have no output and are never predicted: bee" in done.stderr
    model = ds.open(tmp_path / "store.zoo").model("mean").describe()
    assert model["metadata"]["outputs_dropped"] == 2
    assert 1 not in ds.open(tmp_path / "store.zoo").top1()
    bad = ingest(*common, "--class-map", "gone.txt", status=1, cwd=tmp_path)
    assert "class map gone.txt cannot be read as text" in bad.stderr
