"""Real models under real labels: ImageNet's own, ReaL's sets, and CIFAR-10 by vote, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import dissensus as ds
import real_data


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Store of four models with ImageNet's labels and ReaL's sets; the sets by row."""
    ids, predictions, labels = real_data.imagenet()
    path = tmp_path_factory.mktemp("real") / "imagenet.zoo"
    store = ds.create(path, [labels[i] for i in ids], classes=[str(c) for c in range(1000)], example_ids=ids)
    for model, by_file in predictions.items():
        store.add(model, predictions=list(by_file.values()), example_ids=list(by_file))
    sets = real_data.imagenet_real()
    store.add_labels("real", [sets[i] for i in ids], example_ids=ids)
    return store, [sets[i] for i in ids]


@pytest.mark.parametrize("masked", [False, True])
def test_pairs_of_imagenet_models_under_both_truths(imagenet, masked):
    store, sets = imagenet
    top1, mask = store.top1(), np.arange(50_000) % 3 == 0 if masked else np.ones(50_000, bool)
    for name in ("original", "real"):
        allowed = sets if name == "real" else [[c] for c in store.labels.tolist()]
        right = np.array([[c in s for c, s in zip(row, allowed, strict=True)] for row in top1.tolist()])
        counted = np.array([len(s) > 0 for s in allowed]) & mask
        assert counted.sum() < mask.sum() or name == "original"
        right = right[:, counted].astype(int)
        pairs = ds.pairwise(store, "error_inconsistency", labels=name, mask=mask if masked else None)
        assert pairs.counts.n == counted.sum()
        assert np.array_equal(pairs.counts.n11, right @ right.T)
        assert np.array_equal(pairs.counts.n00, (1 - right) @ (1 - right).T)
        assert np.array_equal(pairs.counts.n10, right @ (1 - right).T)


def test_votes_of_imagenet_models_under_sets(imagenet):
    store, sets = imagenet
    best = ds.greedy(store, 3, combine="votes", replacement=False, labels="real")
    rows = [row for row in store.rows("report") if sets[row]]
    votes = store.top1(best.members)[:, rows].tolist()
    right = [
        max(sorted(set(column)), key=column.count) in sets[row]
        for row, column in zip(rows, zip(*votes, strict=True), strict=True)
    ]
    assert best.splits["report"]["n_examples"] == len(rows)
    assert best.report == {"accuracy": np.mean(right)}


def test_votes_of_thirty_cifar10_models(tmp_path):
    names, predictions, labels = real_data.cifar10()
    store = ds.create(tmp_path / "cifar10.zoo", labels)
    for name, row in zip(names, predictions, strict=True):
        store.add(name, predictions=row)
    best = ds.greedy(store, 7, combine="votes")
    chosen = [names.index(m) for m in best.curve["member"].to_pylist()]
    for split in ("fit", "report"):
        rows = store.rows(split)
        for k in range(1, 8):
            votes = (predictions[chosen[:k]][:, rows, None] == np.arange(10)).sum(axis=0)
            accuracy = (votes.argmax(axis=1) == labels[rows]).mean()
            assert best.curve[f"{split}_accuracy"][k - 1].as_py() == accuracy
    assert best.report["accuracy"] > best.single_report["accuracy"]
