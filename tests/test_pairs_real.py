"""Pair statistics of really trained models, against counts stated with the data or made plainly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

import dissensus as ds
import real_data


@pytest.mark.parametrize(("test_set", "n_examples"), [("original", 10_000), ("v6", 2_000)])
def test_cifar10_thirty_models(tmp_path, test_set, n_examples):
    names, predictions, labels = real_data.cifar10(test_set)
    store = ds.create(tmp_path / "cifar10.zoo", labels)
    for name, row in zip(names, predictions, strict=True):
        store.add(name, predictions=row)
    pairs = ds.pairwise(store, "error_inconsistency")
    assert pairs.model_ids == names
    assert pairs.counts.n == n_examples
    right = predictions == labels
    for i in range(30):
        one_right = (right[i] != right).sum(axis=1)
        np.testing.assert_array_equal(pairs.counts.n10[i] + pairs.counts.n01[i], one_right)
        np.testing.assert_array_equal(pairs["error_inconsistency"][i], one_right / n_examples)
    if test_set == "original":
        accuracy = dict(zip(names, pairs.accuracy, strict=True))
        assert accuracy["alexnet_tf_ben"] == 0.8198
        assert accuracy["shake_shake_26_2x64d_SSI_cutout16"] == 0.9711
    kappa = ds.pairwise(store, "error_consistency")["error_consistency"]
    of_labels = ds.pairwise(store, ["label_kappa", "same_wrong", "label_disagreement"])
    for i, j in zip(*np.triu_indices(30, 1), strict=True):
        a, b = predictions[i], predictions[j]
        assert abs(kappa[i, j] - cohen_kappa_score(right[i], right[j])) < 1e-12
        assert abs(of_labels["label_kappa"][i, j] - cohen_kappa_score(a, b)) < 1e-12
        both_wrong = (a != labels) & (b != labels)
        assert of_labels["same_wrong"][i, j] == (a == b)[both_wrong].mean()
        assert of_labels["label_disagreement"][i, j] == (a != b).mean()


def test_imagenet_four_frameworks(tmp_path):
    """The paper's own question, one data set and four training frameworks; rows joined by file name."""
    ids, predictions, labels = real_data.imagenet()
    classes = [str(c) for c in range(1000)]
    store = ds.create(tmp_path / "i.zoo", [labels[i] for i in ids], classes=classes, example_ids=ids)
    for model, by_file in predictions.items():
        store.add(model, predictions=list(by_file.values()), example_ids=list(by_file))
    pairs = ds.pairwise(store, "error_inconsistency", models=real_data.FRAMEWORKS)
    assert pairs.accuracy.tolist() == [0.76130, 0.68142, 0.76754, 0.78006]
    one_right = [[0, 8680, 6968, 7742], [8680, 0, 8922, 10272], [6968, 8922, 0, 7588], [7742, 10272, 7588, 0]]
    assert (pairs.counts.n10 + pairs.counts.n01).tolist() == one_right
    right = np.array([[predictions[m][i] == labels[i] for i in ids] for m in real_data.FRAMEWORKS])
    kappa = ds.pairwise(store, "error_consistency", models=real_data.FRAMEWORKS)["error_consistency"]
    for i, j in zip(*np.triu_indices(4, 1), strict=True):
        assert abs(kappa[i, j] - cohen_kappa_score(right[i], right[j])) < 1e-12
    most_different = pairs.top(1).to_pylist()[0]
    assert (most_different["model_a"], most_different["model_b"]) == ("SimCLR", "ViT")
    store.add_labels("real", [*real_data.imagenet_real().values()])
    names, sets = real_data.FRAMEWORKS, real_data.imagenet_real()
    found = ds.pairwise(store, "same_wrong", models=names, labels="real")["same_wrong"]
    a, b = (predictions[m] for m in names[:2])
    wrong = [i for i in ids if sets[i] and a[i] not in sets[i] and b[i] not in sets[i]]
    assert found[0, 1] == np.mean([a[i] == b[i] for i in wrong])
