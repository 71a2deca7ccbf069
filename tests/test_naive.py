"""The oracle itself, against cases worked by hand and against NumPy."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import naive

TABLE = (5, 2, 1, 2)  # accuracies 0.7 and 0.6 on ten examples


def test_it_imports_nothing_but_the_standard_library():
    tree = ast.parse(Path(naive.__file__).read_text())
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    assert names
    assert set(names) <= sys.stdlib_module_names


def test_pair_counts():
    right_i, right_j = [1, 1, 0, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0, 0]
    assert naive.pair_counts(right_i, right_j) == (2, 2, 1, 2)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("error_inconsistency", 0.3),
        ("error_consistency", (0.7 - 0.54) / 0.46),
        ("error_consistency_unbiased", 10 * (16 / 46) / (9 + 16 / 46)),
        ("error_consistency_max", (0.9 - 0.54) / 0.46),
        ("error_consistency_min", (0.3 - 0.54) / 0.46),
        ("phi", 8 / math.sqrt(7 * 3 * 6 * 4)),
        ("q_statistic", 8 / 12),
        ("double_fault", 0.2),
        ("error_iou", 0.4),
        ("oracle_accuracy", 0.8),
        ("positive_flip_rate", 0.1),
        ("negative_flip_rate", 0.2),
        ("relative_nfr", 0.2 / (0.7 * 0.4)),
    ],
)
def test_measures_by_hand(name, by_hand):
    assert getattr(naive, name)(*TABLE) == pytest.approx(by_hand, rel=1e-12)


def test_undefined_measures():
    for name in ("error_consistency", "phi", "q_statistic", "error_iou", "error_consistency_max"):
        assert math.isnan(getattr(naive, name)(4, 0, 0, 0)), name
    assert math.isnan(naive.relative_nfr(0, 0, 2, 2))
    assert naive.error_consistency(3, 1, 0, 0) == 0


def test_measures_of_labels_by_hand():
    one, other, labels = [0, 1, 2, 2, 1], [0, 1, 1, 2, 0], [0, 0, 0, [1, 2], 2]
    assert naive.label_disagreement(one, other) == 0.4
    assert naive.label_kappa(one, other) == pytest.approx((0.6 - 8 / 25) / (1 - 8 / 25))
    assert naive.same_wrong(one, other, labels) == 1 / 3
    assert math.isnan(naive.label_kappa([1, 1], [1, 1]))
    assert naive.label_kappa([1, 1], [1, 0]) == 0
    assert math.isnan(naive.same_wrong([0], [1], [0]))


def test_measures_of_probabilities_by_hand():
    one, other = [[math.log(3), 0.0]], [[0.0, 0.0]]  # 3/4, 1/4 and 1/2, 1/2
    assert naive.expected_agreement(one, other, [0]) == pytest.approx(0.5)
    assert naive.capa(one, other, [0]) == pytest.approx(0)
    assert naive.capa(one, one, [0]) == pytest.approx((0.625 - 0.625) / 0.375)
    assert naive.brier_pair(one, other, [0]) == pytest.approx(2 * 0.25 * 0.5)
    roots = math.sqrt(3 / 8) + math.sqrt(1 / 8)
    assert naive.hellinger(one, other, [0]) == pytest.approx(math.sqrt(1 - roots))
    assert naive.kl(one, other, [0]) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert naive.logit_correlation(
        [[2.0, 0.0], [0.0, 4.0]], [[5.0, 3.0], [0.0, 0.0]], [0, 0]
    ) == pytest.approx(2 / math.sqrt(10 * 2))
    assert math.isnan(naive.logit_correlation(other, one, [0]))


def test_argmax_takes_the_lowest_of_ties():
    assert naive.argmax([1, 3, 3, 2]) == 1


def test_softmax_and_nll():
    z, labels = np.random.default_rng(0).normal(size=(20, 5)), np.arange(20) % 5
    for temperature in (0.5, 1.0, 3.0):
        expected = np.exp(z / temperature)
        expected /= expected.sum(axis=1, keepdims=True)
        rows = [naive.softmax([v - max(row) for v in row], temperature) for row in z.tolist()]
        np.testing.assert_allclose(rows, expected, rtol=1e-13)
        mean = -np.log(expected[np.arange(20), labels]).mean()
        assert naive.nll(z.tolist(), labels.tolist(), temperature) == pytest.approx(mean, rel=1e-12)


def test_softmax_by_hand():
    assert naive.softmax([0.0, -math.log(3)]) == pytest.approx([0.75, 0.25], rel=1e-15)
    assert naive.log_sum_exp([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2))


def test_accuracy():
    assert naive.accuracy([[0.0, 1.0], [2.0, 1.0], [1.0, 1.0]], [1, 1, 0]) == pytest.approx(2 / 3)


def test_crc32c_of_the_published_vectors():
    """RFC 3720, B.4, and the check value of the CRC catalogue."""
    assert naive.crc32c(b"123456789") == 0xE3069283
    assert naive.crc32c(bytes(32)) == 0x8A9136AA
    assert naive.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert naive.crc32c(bytes(range(32))) == 0x46DD794E


def test_centring_equals_numpy():
    z = (np.random.default_rng(0).normal(size=(50, 7)) * 10.0 ** np.arange(-3, 4)).astype("f4")
    z[0] = [0, 1e9, -1e9, 3, 3.4e38, -3.4e38, 0]
    with np.errstate(over="ignore"):
        expected = np.maximum(z - z.max(axis=1, keepdims=True), -65504).astype("f2")
    rows = naive.centred_float16(z.astype(float).tolist())
    np.testing.assert_array_equal(np.array(rows), expected.astype(float))


# Greedy selection. Logits here are natural logarithms of the probabilities meant.


def scores(*models):
    """Centred logits of models given as probabilities [model][example][class]."""
    return [[[math.log(p / max(row)) for p in row] for row in model] for model in models]


def chosen(steps):
    return [step.model for step in steps]


def test_greedy_takes_the_complementary_weak_model():
    good = [[0.6, 0.4], [0.6, 0.4], [0.45, 0.55]]
    weak = [[0.45, 0.55], [0.45, 0.55], [0.7, 0.3]]
    steps = naive.greedy(scores(good, weak), [0, 0, 0], [1, 1], 2)
    assert chosen(steps) == [0, 1]
    assert [step.hits for step in steps] == [2, 3]


def test_greedy_ties_go_to_members_then_nll_then_index():
    sure, unsure = [[0.9, 0.1]], [[0.6, 0.4]]
    assert chosen(naive.greedy(scores(unsure, sure), [0], [1, 1], 2)) == [1, 1]  # NLL first, then a member
    assert chosen(naive.greedy(scores(unsure, sure), [0], [1, 1], 2, start=[0])) == [
        0,
        0,
    ]  # in spite of NLL
    assert chosen(naive.greedy(scores(sure, sure), [0], [1, 1], 2)) == [0, 0]
    assert chosen(naive.greedy(scores(sure, sure), [0], [1, 1], 3, replacement=False)) == [0, 1]


def test_greedy_nll_ties_go_to_members_then_index():
    sure, unsure = [[0.9, 0.1]], [[0.6, 0.4]]
    assert chosen(naive.greedy(scores(unsure, sure, sure), [0], [1] * 3, 2, "nll")) == [1, 1]
    assert chosen(naive.greedy(scores(unsure, sure, sure), [0], [1] * 3, 2, "nll", start=[2])) == [2, 2]


def test_greedy_prediction_ties_go_to_the_lowest_class():
    one, other = [[0.75, 0.25]], [[0.25, 0.75]]
    tie = naive.greedy(scores(one, other), [1], [1, 1], 2, start=[0, 1])
    assert [step.hits for step in tie] == [0, 0]
    assert naive.greedy(scores(one, other), [0], [1, 1], 2, start=[0, 1])[1].hits == 1


def test_greedy_nll_is_fixed_point():
    step = naive.greedy(scores([[0.5, 0.5], [0.75, 0.25]]), [0, 1], [1], 1)[0]
    assert step.nll == round(math.log(2) * 2**32) + round(math.log(4) * 2**32)
    impossible = naive.greedy([[[0.0, -65504.0]]], [1], [1], 1)[0]
    assert impossible.nll == round(1022 * math.log(2) * 2**32)


def test_greedy_temperature_moves_nll_not_hits():
    z, labels = scores([[0.9, 0.1], [0.2, 0.8]]), [0, 0]
    cold, hot = (naive.greedy(z, labels, [t], 1)[0] for t in (1.0, 4.0))
    assert cold.hits == hot.hits == 1
    assert hot.nll < cold.nll


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_greedy_equals_numpy(metric):
    """The same selection written with arrays, on coarse logits so that ties happen."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        z = -rng.integers(0, 3, size=(5, 12, 3)).astype(float)
        z -= z.max(axis=2, keepdims=True)
        labels, temperatures = rng.integers(0, 3, 12), np.array([0.5, 1, 1, 2, 1.5])
        steps = naive.greedy(z.tolist(), labels.tolist(), temperatures.tolist(), 6, metric)
        assert [tuple(step) for step in steps] == greedy_numpy(z, labels, temperatures, 6, metric)


def greedy_numpy(z, labels, temperatures, size, metric):
    powers = np.vectorize(math.exp)(z / temperatures[:, None, None])
    p = powers / np.cumsum(powers, axis=2)[:, :, -1:]
    q, truth = np.rint(p * 2**31).astype(np.int64), p[:, np.arange(len(labels)), labels]
    members, steps = [], []
    total, running = np.zeros(z.shape[1:], np.int64), np.zeros(len(labels))
    for k in range(1, size + 1):
        hits = ((total + q).argmax(axis=2) == labels).sum(axis=1)
        losses = math.log(k) - np.vectorize(math.log)(np.maximum(running + truth, 2.0**-1022))
        nll = np.rint(losses * 2**32).astype(np.int64).sum(axis=1)
        new, index = ~np.isin(np.arange(len(z)), members), np.arange(len(z))
        keys = (index, nll, new, -hits) if metric == "accuracy" else (index, new, nll)
        best = int(np.lexsort(keys)[0])
        steps.append((best, int(hits[best]), int(nll[best])))
        members.append(best)
        total, running = total + q[best], running + truth[best]
    return steps
