"""Specialisation of two models: planted strengths are found, chance is not taken for one."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import dissensus as ds
import naive
import real_data
from dissensus.errors import ArgumentError, UnknownName
from dissensus_cli.main import cli


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """`nature` is good at classes 0 to 2, `things` at 3 to 5, `twin` is `nature` with other noise."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 6, 1200)
    names, realm = [f"c{i}" for i in range(6)], ["alive"] * 3 + ["made"] * 3
    splits = np.where(np.arange(1200) % 2 == 0, "fit", "report").tolist()
    made = ds.create(
        tmp_path_factory.mktemp("s") / "s.zoo",
        labels,
        classes=names,
        splits=splits,
        class_metadata={"realm": realm},
        dtype="float32",
    )
    truth = np.eye(6)[labels]
    good, bad = np.where(labels < 3, 6.0, 1.0)[:, None], np.where(labels < 3, 1.0, 6.0)[:, None]
    for name, strength in (("nature", good), ("things", bad), ("twin", good)):
        made.add(name, logits=strength * truth + rng.normal(size=truth.shape))
    made.add("hard", predictions=np.where(rng.random(1200) < 0.7, labels, 0))
    return made


def test_planted_strengths_are_found(store):
    found = ds.specialisation(store, "nature", "things")
    assert found.auroc.low > 0.9
    assert found.theta["only a"] > np.pi / 4 > found.theta["only b"]
    rows = {row["class"]: row for row in found.classes.to_pylist()}
    assert all(rows[f"c{i}"]["difference"] > 0.2 for i in range(3))
    assert all(rows[f"c{i}"]["difference"] < -0.2 for i in range(3, 6))
    assert all(row["q_value"] < 1e-6 for row in rows.values())
    assert {row["realm"]: row["difference"] > 0 for row in found.groups.to_pylist()} == {
        "alive": True,
        "made": False,
    }
    for known in (found.knowledge_a, found.knowledge_b):
        assert known.entropy < known.entropy_if_even - 0.8
        assert known.effective_classes < 3.1
        assert known.share_of_classes == pytest.approx(2 / 6)
    twins = ds.specialisation(store, "nature", "twin")
    assert min(row["q_value"] or 1 for row in twins.classes.to_pylist()) > 0.01


def test_groups_go_by_names_where_there_are_any(tmp_path):
    codes, words = ["n01", "n01", "n02"], ["fish", "fish", "bird"]
    for given, told in (({"wnid": codes, "group": words}, "group"), ({"wnid": codes}, "wnid")):
        made = ds.create(tmp_path / f"{told}.zoo", [0, 1, 2], class_metadata=given, classes=["a", "b", "c"])
        made.add("m", predictions=[0, 1, 1])
        made.add("n", predictions=[0, 2, 2])
        assert ds.specialisation(made, "m", "n").groups.column_names[0] == told


def test_numbers_equal_loops(store):
    found = ds.specialisation(store, "nature", "things", part=0.9)
    rows = store.rows("report")
    right_a, right_b = (r.tolist() for r in store.correct(["nature", "things"])[:, rows])
    labels = store.labels[rows].tolist()
    only_a, only_b = ([0] * 6 for _ in "ab")
    for c, a, b in zip(labels, right_a, right_b, strict=True):
        only_a[c] += a and not b
        only_b[c] += b and not a
    assert found.counts["only_a"] == sum(only_a)
    assert found.knowledge_a.entropy == pytest.approx(naive.entropy_bits(only_a))
    p = [naive.mcnemar(a, b) for a, b in zip(only_a, only_b, strict=True)]
    q = naive.benjamini_hochberg(p)
    for row in found.classes.to_pylist():
        c = row["class_id"]
        assert (row["only_a"], row["only_b"]) == (only_a[c], only_b[c])
        assert row["p_value"] == pytest.approx(p[c])
        assert row["q_value"] == pytest.approx(q[c])
    points = found.points.to_pylist()
    angles = {k: [r["theta"] for r in points if r["outcome"] == k] for k in ("only a", "only b")}
    assert found.auroc.value == pytest.approx(naive.auroc(angles["only a"], angles["only b"]))
    turned = ds.specialisation(store, "things", "nature", part=0.9)
    assert turned.auroc.value == pytest.approx(found.auroc.value)
    assert turned.knowledge_b == found.knowledge_a


def test_hard_labels_have_no_theta(store):
    found = ds.specialisation(store, "nature", "hard")
    assert found.auroc is None
    assert found.points is None
    assert found.counts["n"] == store.n_examples
    assert found.to_dict()["auroc"] is None


def test_bad_input_is_one_clear_line(store):
    with pytest.raises(ArgumentError, match="two different models; got 'twin' twice"):
        ds.specialisation(store, "twin", "twin")
    with pytest.raises(ArgumentError, match="part must be above 0 and at most 1; got 0"):
        ds.specialisation(store, "twin", "nature", part=0)
    with pytest.raises(UnknownName, match="unknown model 'natur'; did you mean nature"):
        ds.specialisation(store, "natur", "twin")
    with pytest.raises(UnknownName, match="unknown group column 'realms'; did you mean realm"):
        ds.specialisation(store, "nature", "twin", group="realms")
    with pytest.raises(ArgumentError, match="share 600 examples"):
        ds.specialisation(store, "nature", "twin", report="fit")


def test_command(store, tmp_path):
    run = CliRunner().invoke
    told = run(cli, ["specialisation", str(store.path), "nature", "things"])
    assert told.exit_code == 0, told.output
    assert "AUROC of theta for who is right: " in told.stdout
    assert "By group of classes" in told.stdout
    record = json.loads(
        run(cli, ["specialisation", str(store.path), "nature", "hard", "--format", "json"]).stdout
    )
    assert record["auroc"] is None
    assert len(record["classes"]) == 6
    out = tmp_path / "classes.parquet"
    run(cli, ["specialisation", str(store.path), "nature", "things", "--out", str(out)])
    assert pq.read_table(out).num_rows == 6
    assert "hard labels only" in run(cli, ["specialisation", str(store.path), "nature", "hard"]).stdout


def test_the_four_frameworks(tmp_path):
    """Hard labels of ResNet50 and ViT: flips as counted from the files."""
    ids, predictions, labels = real_data.imagenet()
    store = ds.create(tmp_path / "f.zoo", [labels[i] for i in ids], example_ids=ids)
    for model in ("ResNet50", "ViT"):
        store.add(model, predictions=[predictions[model][i] for i in ids])
    found = ds.specialisation(store, "ResNet50", "ViT")
    assert found.counts["only_a"] + found.counts["only_b"] == 7742
    assert found.knowledge_a.entropy < found.knowledge_a.entropy_if_even < np.log2(1000)
    assert 0.05 < found.knowledge_b.share_of_classes < 0.4
