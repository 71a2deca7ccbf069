"""ONNX files as model sources; skipped where onnxruntime or onnx is not installed."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch

import dissensus as ds
from dissensus import errors
from dissensus.ingest import OnnxModel, StatedPreprocess
from dissensus.ingest.zoo.onnx_file import read_weights
from dissensus.ingest.zoo.onnx_models import external_files
from sources import CPU, colour, image_folder, ingest, run, scaled

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
F32, F16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def save(
    path, shape=("n", 3, None, None), dtype=F32, axes=(2, 3), weight=WEIGHT, ends=(), outputs=("scores",)
):
    """A linear layer on the mean of each channel; `ends` are further nodes."""
    helper = onnx.helper
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["scores"]),
        *[helper.make_node(*end) for end in ends],
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(axes), "axes"),
        onnx.numpy_helper.from_array(weight.astype(kind), "weight"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [helper.make_tensor_value_info(name, dtype, ["n", weight.shape[1]]) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def expected(batch):
    return torch.as_tensor(batch).mean((2, 3)) @ torch.from_numpy(WEIGHT)


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), (None, 3, 12, 12), (4, 3, 12, 12), ("n", "c", 12, 12)])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_shapes_fixed_and_open(tmp_path, shape, n):
    predictor, logits = run(OnnxModel(save(tmp_path / "net.onnx", shape)), colour(n))
    assert torch.allclose(logits, expected(scaled(colour(n))), atol=1e-6)
    assert predictor.n_classes == 4
    assert predictor.metadata.get("fixed_batch") == (4 if shape[0] == 4 else None)
    whole = shape[1:] == (3, 12, 12)
    assert predictor.metadata.get("input_size") == ("3x12x12" if whole else None)


def test_metadata(tmp_path):
    import onnxruntime

    source = OnnxModel(save(tmp_path / "net.onnx"), metadata={"category": "x"})
    predictor, _ = run(source, colour(2))
    facts = {
        "source": "onnx",
        "params": 12,
        "file": "net.onnx",
        "weights_bytes": (tmp_path / "net.onnx").stat().st_size,
        "precision": "float32",
        "device": "cpu",
        "onnxruntime": onnxruntime.__version__,
        "category": "x",
    }
    assert predictor.metadata == facts
    assert source.model_id == "net"


def test_images_are_brought_to_a_fixed_size(tmp_path):
    source = OnnxModel(save(tmp_path / "net.onnx", ("n", 3, 8, 8)))
    _, logits = run(source, colour(3, 20, 30))
    assert torch.allclose(logits, expected(StatedPreprocess((3, 8, 8))(colour(3, 20, 30))), atol=1e-6)
    _, logits = run(source, colour(3)[..., 0])  # grey, of another size
    assert torch.allclose(logits, expected(StatedPreprocess((3, 8, 8))(colour(3)[..., 0])), atol=1e-6)


def test_channels_that_come_last(tmp_path):
    path = save(tmp_path / "net.onnx", ("n", 8, 12, 3), axes=(1, 2))
    predictor, logits = run(OnnxModel(path), colour(3, 8, 12))
    assert torch.allclose(logits, expected(scaled(colour(3, 8, 12))), atol=1e-6)
    assert predictor.metadata["input_size"] == "3x8x12"


def test_half_precision(tmp_path):
    predictor, logits = run(OnnxModel(save(tmp_path / "net.onnx", dtype=F16)), colour(3))
    assert (logits.dtype, predictor.metadata["precision"]) == (torch.float16, "float16")
    assert torch.allclose(logits.float(), expected(scaled(colour(3))), atol=1e-2)


def test_float_rows(tmp_path):
    path = save(tmp_path / "net.onnx", ("n", 3, 2), axes=(2,))
    rows = np.random.default_rng(0).normal(size=(5, 3, 2)).astype("f4")
    _, logits = run(OnnxModel(path), rows)
    assert np.allclose(logits, rows.mean(2) @ WEIGHT, atol=1e-6)


def test_one_of_several_outputs(tmp_path):
    path = save(tmp_path / "net.onnx", ends=[("Softmax", ["scores"], ["p"])], outputs=("scores", "p"))
    with pytest.raises(errors.ModelLoadError, match=r"has 2 outputs \(scores, p\); name .*\(--output\)"):
        OnnxModel(path).load(CPU)
    with pytest.raises(errors.UnknownName, match=r"unknown output 'score'; did you mean scores\? \(of .*net"):
        OnnxModel(path, output="score").load(CPU)
    with pytest.raises(errors.ArgumentError, match=r"look like probabilities.*--kind probabilities"):
        run(OnnxModel(path, output="p"), colour(3))
    predictor, logits = run(OnnxModel(path, output="scores"), colour(3))
    other, chances = run(OnnxModel(path, output="p", kind="probabilities"), colour(3))
    assert torch.allclose(chances, logits.softmax(1), atol=1e-6)
    assert (predictor.kind, other.kind) == ("logits", "probabilities")
    assert predictor.fingerprint != other.fingerprint


def test_weights_in_files_beside_it_count(tmp_path):
    """Other weights in the external file are another model, though the .onnx file is the same."""
    name, prints = "w" * 150 + ".bin", []
    for seed in (0, 1, 0):
        folder = tmp_path / str(len(prints))
        folder.mkdir()
        weight = np.random.default_rng(seed).normal(size=(3, 4)).astype("f4")
        model = onnx.load(save(folder / "net.onnx", weight=weight))
        onnx.save(model, folder / "net.onnx", save_as_external_data=True, location=name, size_threshold=60)
        assert external_files(folder / "net.onnx") == [folder / name]
        predictor, _ = run(OnnxModel(folder / "net.onnx"), colour(2))
        sizes = [(folder / file).stat().st_size for file in ("net.onnx", name)]
        assert predictor.metadata["weights_bytes"] == sum(sizes)
        prints.append(predictor.fingerprint)
    assert (tmp_path / "0/net.onnx").read_bytes() == (tmp_path / "1/net.onnx").read_bytes()
    assert prints[0] == prints[2] != prints[1]
    assert external_files(save(tmp_path / "alone.onnx")) == []


def counted(graph):
    """Numbers in the arrays of a graph, as the onnx library reads them."""
    tensors, total = list(graph.initializer), 0
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t] if attribute.HasField("t") else []
            total += sum(counted(inner) for inner in [*([attribute.g] if attribute.HasField("g") else [])])
    for tensor in tensors:
        if len(tensor.dims) and tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
            total += int(np.prod(tensor.dims))
    return total


def test_parameters_are_those_of_initialisers_branches_and_constants(tmp_path):
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    out = helper.make_tensor_value_info("y", F32, ["n", 4])
    branches = {
        name: helper.make_graph(
            [helper.make_node("Gemm", ["mean", "w"], ["y"])], name, [], [out], [array(WEIGHT * sign, "w")]
        )
        for name, sign in (("then_branch", 1), ("else_branch", -1))
    }
    nodes = [
        helper.make_node("Constant", [], ["axes"], value=array(np.array((2, 3)))),
        helper.make_node("Constant", [], ["bias"], value=array(np.zeros((1, 3), "f2"))),
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("If", ["yes"], ["y"], **branches),
    ]
    image = helper.make_tensor_value_info("image", F32, ["n", 3, "h", "w"])
    first = [array(np.array(True), "yes"), array(np.float32(2), "one"), array(np.ones((300, 7), "i1"), "q")]
    graph = helper.make_graph(nodes, "net", [image], [out], first)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "net.onnx")
    found = read_weights(tmp_path / "net.onnx")
    assert found.params == counted(onnx.load(tmp_path / "net.onnx").graph) == 2 * 12 + 3 + 2100
    assert OnnxModel(tmp_path / "net.onnx").outline().params == found.params
    whole = (tmp_path / "net.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="cut off at byte"):
        read_weights(tmp_path / "cut.onnx")


def test_fingerprints_follow_file_and_preprocessing(tmp_path):
    path = save(tmp_path / "net.onnx")
    shutil.copy(path, tmp_path / "other.onnx")
    first, copy = (OnnxModel(p).load(CPU).fingerprint for p in (path, tmp_path / "other.onnx"))
    stated = OnnxModel(path, preprocess=StatedPreprocess((3, 8, 8))).load(CPU).fingerprint
    assert first == copy
    assert {k for k in first if first[k] != stated[k]} == {"preprocessing"}


def test_what_is_no_classifier(tmp_path):
    (tmp_path / "text.onnx").write_text("no protobuf")
    with pytest.raises(errors.ModelLoadError, match=r"text\.onnx cannot be loaded by onnxruntime: "):
        OnnxModel(tmp_path / "text.onnx").load(CPU)
    with pytest.raises(errors.ArgumentError, match=r"no such model file: .*gone\.onnx"):
        OnnxModel(tmp_path / "gone.onnx")
    with pytest.raises(errors.ArgumentError, match=r"kind must be one of logits, probabilities, got 'p'"):
        OnnxModel(save(tmp_path / "net.onnx"), kind="p")


def test_inputs_that_are_no_batch_of_images(tmp_path):
    helper = onnx.helper
    for name, inputs, message in (
        (
            "two",
            [("a", F32), ("b", F32)],
            r"two\.onnx takes 2 inputs \(a, b\), one batch of images is needed",
        ),
        ("whole", [("a", onnx.TensorProto.INT64)], r"input 'a' is tensor\(int64\), needed tensor\(float\)"),
    ):
        given = [helper.make_tensor_value_info(n, kind, ["n", 3]) for n, kind in inputs]
        nodes = [helper.make_node("Sum" if len(given) > 1 else "Identity", [n for n, _ in inputs], ["out"])]
        out = [helper.make_tensor_value_info("out", inputs[0][1], ["n", 3])]
        graph = helper.make_graph(nodes, name, given, out)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, tmp_path / f"{name}.onnx")
        with pytest.raises(errors.ModelLoadError, match=message):
            OnnxModel(tmp_path / f"{name}.onnx").load(CPU)


def test_a_shape_that_does_not_fit_names_both(tmp_path):
    source = OnnxModel(save(tmp_path / "net.onnx", (None, 3, 8, 8)), preprocess=lambda images: scaled(images))
    message = r"takes examples of 3x8x8, preprocessing gives 3x12x12; .*--preprocess '\{\"input_size\""
    with pytest.raises(errors.ArgumentError, match=message):
        run(source, colour(2))
    stated = OnnxModel(tmp_path / "net.onnx", preprocess=StatedPreprocess((1, 8, 8)))
    with pytest.raises(errors.ArgumentError, match=r"takes input of 3x8x8 .* preprocess states 1x8x8"):
        stated.load(CPU)
    free = OnnxModel(save(tmp_path / "free.onnx", ("n", "c", "h", "w")))  # only the product needs 3 channels
    with pytest.raises(errors.ArgumentError, match=r"failed on a batch of shape \(2, 1, 12, 12\): "):
        run(free, colour(2)[..., 0])


def test_devices_that_are_not_there(tmp_path):
    import onnxruntime

    source = OnnxModel(save(tmp_path / "net.onnx"))
    with pytest.raises(errors.MissingDependency, match=r"cannot run on xpu \(it offers .*CPU.*--device cpu"):
        source.load(torch.device("xpu"))
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(errors.MissingDependency, match=r"cannot run on cuda:0 .*onnxruntime-gpu"):
            source.load(torch.device("cuda:0"))


def test_without_onnxruntime_the_remedy_is_told(tmp_path, monkeypatch):
    source = OnnxModel(save(tmp_path / "net.onnx"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(errors.MissingDependency, match=r"pip install 'dissensus\[onnx\]'"):
        source.load(CPU)


def test_the_command_ingests_onnx_files(tmp_path):
    data = image_folder(tmp_path / "val", classes=list("abcd"))
    ends = [("Softmax", ["scores"], ["p"])]
    for name in ("one", "two"):
        save(tmp_path / f"{name}.onnx", (2, 3, 8, 8), ends=ends, outputs=("scores", "p"))
    common = (tmp_path / "zoo", "onnx", tmp_path / "one.onnx", tmp_path / "two.onnx", "--data", data)
    unnamed = json.loads(ingest(*common, "--format", "json", status=1).stdout)
    assert all("name the one with the logits: output= (--output)" in row["error"] for row in unnamed)
    ingest(*common, "--output", "scores")
    p = ("--output", "p", "--kind", "probabilities")
    ingest(tmp_path / "p.zoo", *common[1:], *p)
    store, chances = ds.open(tmp_path / "zoo"), ds.open(tmp_path / "p.zoo")
    assert store.model_ids == chances.model_ids == ["one", "two"]
    one, two = store.logits("one")[:], chances.logits("two")[:]
    assert np.allclose(one - one.max(1, keepdims=True), two - two.max(1, keepdims=True), atol=1e-3)
