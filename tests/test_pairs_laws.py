"""Laws that hold between pair measures, whatever the models."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from dissensus.pairs.counts import PairCounts
from dissensus.pairs.measures import MEASURES


@st.composite
def zoos(draw):
    """(M, N) correctness: models of any accuracy, constant ones and copies among them."""
    n_models, n_examples = draw(st.integers(2, 7)), draw(st.integers(1, 90))
    rows = draw(arrays(bool, (n_models, n_examples)))
    for row in rows:
        kind = draw(st.sampled_from(["as drawn", "as drawn", "as drawn", "right", "wrong", "copy"]))
        if kind == "copy":
            row[:] = rows[0]
        elif kind != "as drawn":
            row[:] = kind == "right"
    return rows


def law(test):
    """Run a law on many zoos; the first may compile a kernel."""
    return settings(deadline=None)(given(zoos())(test))


def finish(name, correct):
    return MEASURES[name].finish(PairCounts.from_correct(correct))


def all_measures(correct):
    counts = PairCounts.from_correct(correct)
    return {name: one.finish(counts) for name, one in MEASURES.items() if one.needs == "counts"}


def same(one, other):
    """Equal to the last bit, NaN where NaN."""
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def accuracies(correct):
    a = correct.mean(axis=1)
    return a[:, None], a[None, :]


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@law
def test_inconsistency_from_accuracies_and_joint_successes(correct):
    a_i, a_j = accuracies(correct)
    both = (correct[:, None] & correct[None]).mean(axis=2)
    close(finish("error_inconsistency", correct), a_i + a_j - 2 * both)


@law
def test_kappa_is_one_minus_inconsistency_over_that_of_independence(correct):
    a_i, a_j = accuracies(correct)
    independent = a_i * (1 - a_j) + a_j * (1 - a_i)
    defined = independent > 0
    kappa, inconsistency = finish("error_consistency", correct), finish("error_inconsistency", correct)
    np.testing.assert_array_equal(np.isnan(kappa), ~defined)
    close(kappa[defined], 1 - inconsistency[defined] / independent[defined])


@law
def test_inconsistency_lies_between_its_bounds(correct):
    a_i, a_j = accuracies(correct)
    inconsistency = finish("error_inconsistency", correct)
    assert (np.abs(a_i - a_j) <= inconsistency + 1e-12).all()
    assert (inconsistency <= np.minimum(a_i + a_j, 2 - a_i - a_j) + 1e-12).all()


@law
def test_mean_error_is_double_fault_plus_half_the_inconsistency(correct):
    a_i, a_j = accuracies(correct)
    close(
        1 - (a_i + a_j) / 2,
        finish("double_fault", correct) + finish("error_inconsistency", correct) / 2,
    )


@law
def test_flips(correct):
    a_i, a_j = accuracies(correct)
    positive, negative = finish("positive_flip_rate", correct), finish("negative_flip_rate", correct)
    close(positive + negative, finish("error_inconsistency", correct))
    close(a_j - a_i + 0 * positive, positive - negative)
    np.testing.assert_array_equal(positive, negative.T)


@law
def test_oracle_is_the_rest_of_double_fault(correct):
    close(finish("oracle_accuracy", correct), 1 - finish("double_fault", correct))


@law
def test_kappa_lies_between_its_bounds_to_the_last_bit(correct):
    kappa = finish("error_consistency", correct)
    low, high = finish("error_consistency_min", correct), finish("error_consistency_max", correct)
    defined = ~np.isnan(kappa)
    np.testing.assert_array_equal(np.isnan(low), ~defined)
    np.testing.assert_array_equal(np.isnan(high), ~defined)
    assert (low[defined] <= kappa[defined]).all()
    assert (kappa[defined] <= high[defined]).all()


@law
def test_unbiased_kappa_goes_the_way_of_kappa(correct):
    n = correct.shape[1]
    kappa, unbiased = finish("error_consistency", correct), finish("error_consistency_unbiased", correct)
    defined = ~np.isnan(unbiased)
    close(unbiased[defined], n * kappa[defined] / (n - 1 + kappa[defined]))
    assert (np.sign(unbiased[defined]) == np.sign(kappa[defined])).all()


@law
def test_one_hot_capa_of_two_classes_is_kappa(correct):
    """With two classes and one-hot outputs, agreeing is being right or wrong together."""
    truth = np.arange(correct.shape[1]) % 2
    hot = np.eye(2)[np.where(correct, truth, 1 - truth)]
    observed = np.einsum("inc,jnc->ij", hot, hot) / correct.shape[1]
    p_i, p_j = accuracies(correct)
    expected = p_i * p_j + (1 - p_i) * (1 - p_j) / (2 - 1)
    kappa = finish("error_consistency", correct)
    defined = ~np.isnan(kappa)
    close(kappa[defined], (observed[defined] - expected[defined]) / (1 - expected[defined]))


@law
def test_team_diversity_is_in_the_pair_matrix(correct):
    """Kohavi-Wolpert variance and generalised diversity of a team need no more than the pairs' means."""
    size, n = correct.shape
    right, wrong = correct.sum(axis=0), (~correct).sum(axis=0)
    pairs = np.triu_indices(size, 1)
    variance = (right * wrong).sum() / (n * size**2)
    close(variance, (size - 1) / (2 * size) * finish("error_inconsistency", correct)[pairs].mean())
    two_fail, one_fails = (wrong * (wrong - 1)).mean() / (size * (size - 1)), wrong.mean() / size
    if one_fails:
        close(1 - two_fail / one_fails, 1 - finish("double_fault", correct)[pairs].mean() / one_fails)


@law
def test_kappa_equals_sklearn_where_both_are_defined(correct):
    kappa = finish("error_consistency", correct)
    for i, j in zip(*np.nonzero(~np.isnan(kappa)), strict=True):
        assert abs(kappa[i, j] - cohen_kappa_score(correct[i], correct[j])) < 1e-12


@law
def test_phi_equals_corrcoef_of_models_that_vary(correct):
    varied = correct[(correct.mean(axis=1) > 0) & (correct.mean(axis=1) < 1)]
    if len(varied) > 1:
        close(finish("phi", varied), np.corrcoef(varied))


@settings(deadline=None)
@given(zoos(), st.randoms(use_true_random=False))
def test_permuting_models_permutes_the_matrix(correct, random):
    order = random.sample(range(len(correct)), len(correct))
    permuted = {name: values[np.ix_(order, order)] for name, values in all_measures(correct).items()}
    same(all_measures(correct[order]), permuted)


@settings(deadline=None)
@given(zoos(), st.randoms(use_true_random=False))
def test_order_of_examples_changes_nothing(correct, random):
    order = random.sample(range(correct.shape[1]), correct.shape[1])
    same(all_measures(correct[:, order]), all_measures(correct))


@settings(deadline=None)
@given(zoos(), st.data())
def test_blocks_of_examples_add_up(correct, data):
    n = correct.shape[1]
    edges = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=5))})
    blocks = [PairCounts.from_correct(correct[:, a:b]) for a, b in pairwise(edges)]
    total, whole = sum(blocks[1:], blocks[0]), PairCounts.from_correct(correct)
    assert total.n == whole.n
    for name in ("n11", "n10", "n01", "n00", "right"):
        np.testing.assert_array_equal(getattr(total, name), getattr(whole, name))


@settings(deadline=None)
@given(zoos(), st.data())
def test_a_mask_counts_its_examples_only(correct, data):
    mask = data.draw(arrays(bool, correct.shape[1]))
    masked, chosen = PairCounts.from_correct(correct, mask), PairCounts.from_correct(correct[:, mask])
    assert masked.n == chosen.n
    np.testing.assert_array_equal(masked.both_right, chosen.both_right)


@law
def test_other_models_change_no_pair(correct):
    n = correct.shape[1]
    more = np.vstack([correct, np.ones((1, n), bool), np.zeros((1, n), bool)])
    same({k: v[:-2, :-2] for k, v in all_measures(more).items()}, all_measures(correct))


@law
def test_against_a_perfect_model(correct):
    """A perfect model's disagreements are the other's errors, and kappa with it is 0 where defined."""
    found = all_measures(np.vstack([correct, np.ones((1, correct.shape[1]), bool)]))
    close(found["error_inconsistency"][-1, :-1], 1 - correct.mean(axis=1))
    assert (found["double_fault"][-1] == 0).all()
    imperfect = ~correct.all(axis=1)
    assert (found["error_consistency"][-1, :-1][imperfect] == 0).all()
    assert np.isnan(found["error_consistency"][-1, :-1][~imperfect]).all()
    assert np.isnan(found["phi"][-1]).all()


@law
def test_a_copy_is_the_model_itself(correct):
    found = all_measures(np.vstack([correct, correct[:1]]))
    varies = 0 < correct[0].mean() < 1
    assert found["error_inconsistency"][0, -1] == 0
    for name in ("error_consistency", "phi", "q_statistic"):
        assert found[name][0, -1] == 1 if varies else np.isnan(found[name][0, -1]), name
