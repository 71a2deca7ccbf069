"""The null of accuracy and difficulty: exact where it can be listed, uniform for models that follow it."""

from __future__ import annotations

import warnings

import numba
import numpy as np
import pytest
from scipy import stats

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, UnknownName
from dissensus.pairs.counts import Answers
from dissensus.pairs.null import null_counts
from dissensus.pairs.significance import scores

KAPPA = "error_consistency"


def rasch(n_models, n_examples, seed, shared=0.0):
    """Answers of models that differ in skill only; the first two may also share a taste of their own."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(1, 1, (n_models, 1)) - rng.normal(0, 1.5, n_examples)
    logit[:2] += shared * rng.normal(size=n_examples)
    return rng.random((n_models, n_examples)) < 1 / (1 + np.exp(-logit))


def store_of(path, correct):
    store = ds.create(path, np.zeros(correct.shape[1], int), classes=["yes", "no"])
    for i, row in enumerate(correct):
        store.add(f"m{i:02d}", predictions=(~row).astype(int))
    return store


def test_mean_and_deviation_equal_all_matrices_with_the_margins():
    correct = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [0, 1, 1, 0, 0], [1, 0, 0, 1, 1]], bool)
    matrices = np.array(
        naive.matrices_with_margins(tuple(correct.sum(axis=1)), tuple(correct.sum(axis=0))), int
    )
    assert len(matrices) > 20
    both = matrices @ np.swapaxes(matrices, 1, 2)
    found = null_counts(Answers.of(correct), 6000, 4, 0)
    np.testing.assert_allclose(found.mean, both.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(found.deviation, both.std(axis=0), atol=0.05)
    assert found.deviation.diagonal().max() == 0


def test_a_mask_leaves_out_its_examples():
    correct = rasch(5, 200, 0)
    mask = np.arange(200) % 3 > 0
    masked, chosen = (
        null_counts(a, 300, 4, 0) for a in (Answers.of(correct, mask), Answers.of(correct[:, mask]))
    )
    np.testing.assert_allclose(masked.mean, chosen.mean, atol=1.0)
    assert (masked.mean.diagonal() == correct[:, mask].sum(axis=1)).all()


def test_the_answers_are_left_as_they_are_and_seeds_repeat():
    answers = Answers.of(rasch(6, 100, 0))
    before = answers.packed.copy()
    one, again, other = (null_counts(answers, 20, 1, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(answers.packed, before)
    np.testing.assert_array_equal(one.mean, again.mean)
    assert (one.mean != other.mean).any()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="no threads without the compiler")
def test_threads_change_nothing():
    answers, before, found = Answers.of(rasch(21, 300, 0)), numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        found.append(null_counts(answers, 10, 2, 0))
    numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0].mean, found[1].mean)
    np.testing.assert_array_equal(found[0].deviation, found[1].deviation)


def test_p_is_uniform_for_models_that_differ_in_skill_only():
    """Twelve zoos of ten: independent given difficulty, though far from independent."""
    p, plain = [], []
    for seed in range(12):
        answers = Answers.of(rasch(10, 800, seed))
        counts, found = answers.counts(), null_counts(answers, 250, 4, seed)
        above = np.triu_indices(10, 1)
        columns = scores("null", counts.both_right - found.mean, found.deviation)
        p.append(columns["null_p"][above])
        plain.append(stats.pearsonr(*answers_rows(answers, 800)[:2]).pvalue)
    p = np.concatenate(p)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert 0.03 < np.mean(p < 0.05) < 0.07
    assert max(plain) < 0.001  # against independence every one of them is found


def answers_rows(answers, n):
    return np.unpackbits(answers.packed.view(np.uint8), axis=1, bitorder="little")[:, :n].astype(float)


def test_a_pair_that_shares_more_than_difficulty_is_found(tmp_path):
    store = store_of(tmp_path / "s.zoo", rasch(12, 1500, 3, shared=4.0))
    pairs = ds.pairwise(store, [KAPPA, "q_statistic"]).null(draws=200, seed=1)
    first = pairs.top(2, by="null_z").to_pylist()
    assert (first[0]["model_a"], first[0]["model_b"]) == ("m00", "m01")
    assert first[0]["null_z"] > 5 > first[1]["null_z"] + 0.5
    assert first[0]["null_q"] < 0.001
    assert first[0][KAPPA] > first[0]["null_expected"] > 0.1
    assert list(pairs.columns) == ["null_expected", "null_z", "null_p", "null_q"]
    assert pairs.notes["null"] == KAPPA
    assert 0.3 < pairs.notes["null_drift"] < 3
    assert (pairs.notes["null_draws"], pairs.notes["null_seed"]) == (200, 1)
    assert np.isnan(pairs.columns["null_expected"].diagonal()).all()
    other = ds.pairwise(store, [KAPPA, "q_statistic"]).null("q_statistic", draws=200, seed=1)
    np.testing.assert_array_equal(other.columns["null_z"], pairs.columns["null_z"])
    assert (other.columns["null_expected"] != pairs.columns["null_expected"])[0, 1]


def test_expected_kappa_is_the_mean_kappa():
    """Exact for measures linear in the examples both get right, accuracies being given."""
    answers = Answers.of(rasch(4, 60, 1))
    found, counts = null_counts(answers, 50, 1, 0), answers.counts()
    chance = (counts.right[0] * counts.right[1] + (60 - counts.right[0]) * (60 - counts.right[1])) / 3600
    agree = (60 - counts.right[0] - counts.right[1] + 2 * found.mean[0, 1]) / 60
    by_counts = naive.error_consistency(
        found.mean[0, 1],
        counts.right[0] - found.mean[0, 1],
        counts.right[1] - found.mean[0, 1],
        60 - counts.right[0] - counts.right[1] + found.mean[0, 1],
    )
    assert by_counts == pytest.approx((agree - chance) / (1 - chance), rel=1e-12)


def test_what_cannot_vary_has_no_z(tmp_path):
    """Models right everywhere or nowhere leave nothing to trade with anybody."""
    correct = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]], bool)
    pairs = ds.pairwise(store_of(tmp_path / "s.zoo", correct), KAPPA).null(draws=10)
    assert np.isnan(pairs.columns["null_z"]).all()
    assert pairs.to_arrow()["null_p"].to_pylist() == [None] * 3
    assert pairs.notes["null_drift"] == 1.0


def test_a_chain_that_has_not_mixed_says_so():
    """After one round of trades much of the matrix before is left, after four hardly anything."""
    answers = Answers.of(rasch(200, 300, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert null_counts(answers, 60, 4, 0).drift < 1.5
    with pytest.warns(RuntimeWarning, match="the random matrices had not mixed.*raise thin .now 1. or draws"):
        null_counts(answers, 60, 1, 0)


def test_bad_arguments_are_named(small_zoo):
    pairs = ds.pairwise(small_zoo, KAPPA)
    with pytest.raises(ArgumentError, match="draws must be an integer of at least 4; got 3"):
        pairs.null(draws=3)
    with pytest.raises(ArgumentError, match="thin must be at least 1 round of trades; got 0"):
        pairs.null(thin=0)
    with pytest.raises(UnknownName, match="unknown measure 'phi'"):
        pairs.null("phi")
    two = ds.pairwise(small_zoo, KAPPA, models=["model-0", "model-1"])
    with pytest.raises(ArgumentError, match="null needs at least 3 models; these are 2"):
        two.null()


@pytest.mark.parametrize("ascending", [True, False])
def test_pairs_of_one_q_value_are_in_the_order_of_their_z_scores(tmp_path, ascending):
    correct = np.random.default_rng(3).random((9, 300)) < 0.6
    correct[1:4] = correct[0]  # copies: the smallest p there is
    pairs = ds.pairwise(store_of(tmp_path / "s.zoo", correct), KAPPA).null(draws=60, seed=0)
    rows = pairs.top(36, "null_q", ascending=ascending).to_pylist()
    q = [row["null_q"] if ascending else -row["null_q"] for row in rows]
    keys = [
        (one, -abs(r["null_z"]) if ascending else abs(r["null_z"])) for one, r in zip(q, rows, strict=True)
    ]
    assert keys == sorted(keys)
    assert len(set(q)) < len(q)
