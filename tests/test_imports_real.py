"""Real predictions through the real command line: ImageNet by name, CIFAR-10 by position, ReaL as truth."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest

import dissensus as ds
import real_data
from test_cli import run

# Counted from the files and given in their README.
ACCURACY = {"ResNet50": 0.76130, "SimCLR": 0.68142, "DINO": 0.76754, "ViT": 0.78006}
ONE_RIGHT = {
    ("ResNet50", "SimCLR"): 8680, ("DINO", "ResNet50"): 6968, ("ResNet50", "ViT"): 7742,
    ("DINO", "SimCLR"): 8922, ("SimCLR", "ViT"): 10272, ("DINO", "ViT"): 7588,
}  # fmt: skip
REAL_COUNTED = 46_837
LABEL_SETS = ((), ("--labels", "real"))
MOST_SECONDS = 20  # of a processor, from a cold start; takes about two


def spent():
    """Processor time of the commands that have run: what others do meanwhile does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Store of the four models, and the report of importing them."""
    data = real_data.folder("imagenet-val-four-frameworks")
    path = tmp_path_factory.mktemp("real") / "imagenet.zoo"
    start = spent()
    run("create", path, "--labels", data / "labels.csv", "--classes", data / "metaclasses.csv")
    files = [data / f"{name}.csv" for name in real_data.FRAMEWORKS]
    done = run("import", path, *files, "--metadata", "category=framework", "--format", "json")
    run("annotate", path, "--labels", f"real={data / 'real-labels.jsonl'}", "--rows", "sorted")
    seconds = spent() - start
    print(f"ImageNet: 4 models x 50,000 with ReaL in {seconds:.1f} s")
    assert seconds < MOST_SECONDS
    said = [line for line in done.stderr.splitlines() if line.startswith(("Note", "Warning"))]
    assert said == ["Note: 4 models: columns not used: 'predicted_probability'"]  # nothing is suspicious
    return ds.open(path), json.loads(done.stdout)


def test_imagenet_joined_by_file_name(imagenet):
    store, rows = imagenet
    assert {row["model"]: row["accuracy"] for row in rows} == pytest.approx(ACCURACY, abs=1e-12)
    assert all(row["notes"] == ["columns not used: 'predicted_probability'"] for row in rows)
    assert store.example_ids != sorted(store.example_ids)
    counts = ds.pairwise(store, ["error_inconsistency"]).to_arrow().to_pylist()
    found = {(row["model_a"], row["model_b"]): round(row["error_inconsistency"] * 50_000) for row in counts}
    assert found == ONE_RIGHT
    groups = store.class_table()
    assert groups.column_names == ["class_id", "name", "wnid", "name_in_file", "metaclass"]
    assert (len(groups), len(set(groups["metaclass"].to_pylist()))) == (1000, 100)


def test_imagenet_equals_a_join_by_plain_loops(imagenet):
    store, _ = imagenet
    _, predictions, labels = real_data.imagenet()
    assert store.labels.tolist() == [labels[name] for name in store.example_ids]
    for model in real_data.FRAMEWORKS:
        expected = [predictions[model][name] for name in store.example_ids]
        assert store.top1([model])[0].tolist() == expected


def test_real_labels_as_a_second_truth(imagenet):
    store, _ = imagenet
    real = ds.open(store.path, labels="real")
    assert int(real.truth.counted.sum()) == REAL_COUNTED
    file = real_data.folder("imagenet-val-four-frameworks") / "real-labels.jsonl"
    sets = dict(zip(sorted(store.example_ids), json.loads(file.read_text()), strict=True))
    expected = {
        model: np.mean([p in sets[n] for n, p in zip(store.example_ids, row, strict=True) if sets[n]])
        for model, row in zip(store.model_ids, store.top1().tolist(), strict=True)
    }
    models = {row["model"]: row["accuracy"] for row in real.models().to_pylist()}
    assert models == pytest.approx(expected, abs=1e-12)
    assert min(models[name] - ACCURACY[name] for name in ACCURACY) > 0.05  # ReaL forgives label noise
    pairs = ds.pairwise(real, ["error_inconsistency"])
    assert pairs.counts.n == REAL_COUNTED
    assert (pairs.counts.right / REAL_COUNTED).tolist() == pytest.approx(list(expected.values()), abs=1e-12)


@pytest.mark.parametrize(
    "query",
    [("models",), ("pairs", "--all"), ("matrix",), ("ensemble", "--size", 2, "--combine", "votes")],
    ids=lambda query: query[0],
)
def test_every_query_answers_under_real(imagenet, query):
    store, _ = imagenet
    name, *options = query
    answers = [run(name, store.path, *options, *labels, "--format", "json").stdout for labels in LABEL_SETS]
    assert answers[0] != answers[1]


def test_wrong_orders_of_real_predictions_are_noticed(imagenet, tmp_path):
    store, _ = imagenet
    top1 = store.top1(["ViT"])[0]
    as_text = np.array(sorted(range(1000), key=str))
    np.save(tmp_path / "text.npy", np.argsort(as_text)[top1])
    np.save(tmp_path / "shuffled.npy", np.random.default_rng(0).permutation(top1))
    np.save(tmp_path / "mixed.npy", np.random.default_rng(0).permutation(1000)[top1])
    report = ds.import_predictions(store, sorted(tmp_path.glob("*.npy")), progress=False)
    mixed, shuffled, text = (row.suspicions for row in report.rows)
    for row in report.rows:
        store.remove(row.model)
    assert "but 0.7801 if its classes are sorted as text (0, 1, 10, …)" in text[-1]
    assert "if its classes are matched one to one" in mixed[-1]
    assert "its rows in another order?" in shuffled[-1]


@pytest.mark.parametrize(("test_set", "n"), [("original", 10_000), ("v6", 2_000)])
def test_cifar10(tmp_path, test_set, n):
    data = real_data.folder("cifar10-thirty-models")
    names, predictions, labels = real_data.cifar10(test_set)
    start = spent()
    run("create", tmp_path / "c.zoo", "--labels", data / f"{test_set}-labels.npy")
    files = sorted((data / test_set).glob("*.json"))
    done = run("import", tmp_path / "c.zoo", *files, "--rows", "store", "--format", "json")
    seconds = spent() - start
    print(f"CIFAR-10 {test_set}: 30 models x {n:,} in {seconds:.1f} s")
    assert seconds < MOST_SECONDS
    assert not [line for line in done.stderr.splitlines() if line.startswith(("Note", "Warning"))]
    rows = json.loads(done.stdout)
    assert [row["model"] for row in rows] == names
    assert [row["accuracy"] for row in rows] == (predictions == labels).mean(axis=1).tolist()
    store = ds.open(tmp_path / "c.zoo")
    assert np.array_equal(store.top1(names), predictions)
    if test_set == "original":
        accuracy = dict(zip(names, [row["accuracy"] for row in rows], strict=True))
        assert min(accuracy.values()) == next(a for m, a in accuracy.items() if "alexnet" in m) == 0.8198
        assert max(accuracy.values()) == accuracy["shake_shake_26_2x64d_SSI_cutout16"] == 0.9711
