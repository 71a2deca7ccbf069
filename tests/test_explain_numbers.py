"""Numbers behind a study against loops: theta, AUROC, entropy, trends, ensembles with a seed."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus.explain import theta, trends
from dissensus.explain.specialisation import _confidences
from dissensus.kernels.tails import mcnemar, t_quantile, t_tail
from dissensus.pairs.pair_hits import pair_hits

SCORES = st.lists(st.sampled_from([0.1, 0.25, 0.25, 0.5, 0.75, 0.9]), min_size=0, max_size=9)
COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=8)
NUMBERS = st.lists(st.integers(-4, 4), min_size=3, max_size=9)


def same(found, expected):
    return found == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), st.floats(0.01, 1))
def test_theta_is_an_angle_and_turns_around(first, second):
    found = theta.angles(first, np.full(len(first), second))
    assert same(found.tolist(), [naive.theta(a, second) for a in first])
    turned = theta.angles(np.full(len(first), second), first)
    np.testing.assert_allclose(found + turned, np.pi / 2, rtol=1e-12)
    assert all((t > np.pi / 4) == (a > second) for t, a in zip(found, first, strict=True) if a != second)


@given(SCORES, SCORES)
def test_auroc_equals_a_loop(first, second):
    found = theta.auroc(np.array(first), np.array(second))
    assert same(found.value, naive.auroc(first, second))
    if min(len(first), len(second)) < 2:
        assert math.isnan(found.low)
        return
    reach = 1.959963984540054 * naive.auroc_deviation(first, second)
    assert same(found.low, max(0, found.value - reach))
    assert same(found.high, min(1, found.value + reach))
    assert same(theta.auroc(np.array(second), np.array(first)).value, 1 - found.value)


@given(COUNTS, st.sampled_from([Fraction(1, 2), Fraction(9, 10), Fraction(1)]))
def test_where_knowledge_lies_equals_a_loop(counts, part):
    assert same(theta.entropy_bits(counts), naive.entropy_bits(counts))
    assert same(theta.share_of_classes(counts, float(part)), naive.share_of_classes(counts, part))
    if sum(counts):
        assert 0 <= theta.entropy_bits(counts) <= math.log2(len(counts)) + 1e-12


def test_entropy_of_few_examples_is_low_by_chance():
    few, many = (theta.entropy_if_even(n, [10] * 64) for n in (4, 4_000))
    assert few < 2.0 < 5.9 < many < 6.0
    assert math.isnan(theta.entropy_if_even(0, [1, 1]))
    assert theta.entropy_if_even(50, [0, 7]) == 0  # a class without examples holds none


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 30, 999])
def test_students_quantiles(n):
    """Of 1 and 2 degrees of freedom in closed form; else the density integrated by the trapezium rule."""
    for tail in (0.4, 0.025, 0.001):
        t = t_quantile(tail, n)
        assert t_tail(t, n) == pytest.approx(tail)
        if n == 1:
            assert t == pytest.approx(1 / math.tan(math.pi * tail))
        elif n == 2:
            assert t == pytest.approx((1 - 2 * tail) / math.sqrt(2 * tail * (1 - tail)))
        else:
            x = np.linspace(0, t, 20_001)
            scale = math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)) / math.sqrt(n * math.pi)
            inside = np.trapezoid(scale * (1 + x**2 / n) ** (-(n + 1) / 2), x)
            assert inside == pytest.approx(0.5 - tail, abs=1e-6)


def test_mcnemar_of_many_flips():
    even, uneven = mcnemar(np.array([50_000, 24_000]), np.array([50_000, 25_000]))
    assert even == 1
    assert 0 < uneven < 1e-5


@given(NUMBERS, st.data())
def test_trends_equal_loops(x, data):
    y, beside = (data.draw(st.lists(st.integers(-4, 4), min_size=len(x), max_size=len(x))) for _ in "ab")
    a, b, c = (np.array(v, float) for v in (x, y, beside))
    assert trends.ranks(a).tolist() == naive.mean_ranks(x)
    assert same(trends.rank_correlation(a, b), naive.correlation(naive.mean_ranks(x), naive.mean_ranks(y)))
    at = np.array([-1.0, 0.5, 7.0])
    if len(set(x)) == 1:
        assert np.isnan(trends.line(a, b, at)).all()
        return
    intercept, slope = naive.line(x, y)
    assert same(trends.line(a, b, at).tolist(), [float(intercept + slope * Fraction(v)) for v in at])
    try:
        expected = naive.slope_beside(x, y, beside)
    except ZeroDivisionError:  # nothing is left of x beside the other number
        expected = math.nan
    assert same(trends.slope_beside(a, b, c), expected)


def test_intervals_over_models():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    strong = trends.rank_trend(x, x + 0.1 * rng.normal(size=40))
    none = trends.rank_trend(x, rng.normal(size=40))
    assert 0.9 < strong.low < strong.value < strong.high <= 1
    assert none.low < 0 < none.high
    same_order = trends.rank_trend(x[:5], x[:5])
    assert 0.99 < same_order.low <= same_order.value == same_order.high == 1
    few = trends.rank_trend(x[:4], x[:4])
    assert (few.n, math.isnan(few.value)) == (4, True)
    assert math.isnan(trends.rank_trend(x, np.ones(40)).value)
    low, high = trends.line_band(x, 2 * x, np.array([0.0, 1.0]))
    np.testing.assert_allclose([low, high], [[0, 2], [0, 2]], atol=1e-9)


def test_one_model_is_no_trend():
    """A category of one model, at an end of twenty by luck one time in ten, shows nothing."""
    alone, y = np.arange(20) == 0, np.arange(20.0)
    told = trends.rank_trend(alone.astype(float), y[::-1])
    assert told.low < 0 < told.value
    x, beside = alone.astype(float), np.arange(20.0) % 7
    slope = trends.slope_trend(x, y[::-1], beside)
    assert slope.value > 0
    assert math.isnan(slope.low)


def test_means_of_few_models_have_students_intervals():
    """Of 1, 2, 3: the standard error is 1 / sqrt(3), and Student's quantile of 2 degrees 4.3027."""
    mean = trends.mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (mean.value, mean.n) == (2, 3)
    assert mean.high - 2 == 2 - mean.low == pytest.approx(4.302653 / math.sqrt(3))
    assert math.isnan(trends.mean_interval(np.array([1.0, 2.0])).low)
    assert trends.mean_interval(np.array([])).n == 0
    ones = trends.ratio_trend(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.ones(5))
    alike = trends.mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (ones.value, ones.n) == (alike.value, alike.n)
    assert [ones.low, ones.high] == pytest.approx([alike.low, alike.high])
    assert math.isnan(trends.ratio_trend(np.ones(4), np.ones(4)).value)


def test_errors_of_slopes_equal_loops():
    """HC3 by leaving out each model in turn."""
    rng = np.random.default_rng(3)
    x, y, beside = (rng.integers(-9, 9, 12) for _ in "xyb")
    told = trends.slope_trend(*(v.astype(float) for v in (x, y, beside)))
    error = naive.slope_error(*(v.tolist() for v in (x, y, beside)))
    assert told.value == pytest.approx(naive.slope_beside(x.tolist(), y.tolist(), beside.tolist()))
    assert told.high - told.value == pytest.approx(t_quantile(0.025, 9) * error)
    assert math.isnan(trends.slope_trend(*np.ones((3, 6))).value)


@pytest.mark.parametrize("n", [6, 12])
def test_intervals_miss_as_often_as_they_say(n):
    """Numbers that have nothing to do with each other: 5 % are told as trends, give or take the draws."""
    rng = np.random.default_rng(n)
    groups = (np.arange(n) % 3).astype(float)
    found = [trends.rank_trend(groups, rng.normal(size=n)) for _ in range(300)]
    found += [trends.mean_interval(rng.normal(size=n)) for _ in range(300)]
    if n > 6:
        found += [trends.slope_trend(*rng.normal(size=(3, n))) for _ in range(300)]
    missed = sum(not one.low <= 0 <= one.high for one in found) / len(found)
    assert 0.01 < missed < 0.09


TIES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0 + 2**-10, -3.0, 40.0])


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from(["float16", "float32"]))
def test_ensembles_with_a_seed_equal_loops(tmp_path_factory, data, dtype):
    """Right answers, conversions and confidences, with ties everywhere and sets of right classes."""
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((2, 3), (1, 7), (2, 4)))
    z = data.draw(st.lists(st.lists(TIES, min_size=n * c, max_size=n * c), min_size=m, max_size=m))
    right = data.draw(st.lists(st.sets(st.integers(0, c - 1), min_size=1), min_size=n, max_size=n))
    names = [str(k) for k in range(c)]
    folder = tmp_path_factory.mktemp("a")
    store = ds.create(folder / "z.zoo", [min(r) for r in right], classes=names, dtype=dtype)
    store.add_labels("sets", [sorted(r) for r in right])
    store = store.under("sets")
    for i, rows in enumerate(z):
        store.add(f"m{i}", logits=np.array(rows).reshape(n, c))
    t = {f"m{i}": data.draw(st.sampled_from([0.5, 1.0, 3.0])) for i in range(m)}
    anchors, rows = data.draw(st.integers(1, m)), np.arange(n)
    models, confidence = [store.model(one) for one in t], np.empty((m, n), np.float32)
    asked = {"anchors": anchors, "confidence": confidence}
    found, work = pair_hits(store, models, rows, t, store.correct(), **asked)
    assert found["pair_right"].shape == (anchors, m)
    assert work.margins + work.views + work.rows == n * sum(m - a for a in range(anchors))
    assert np.array_equal(_confidences(store, [*t], rows, t), confidence)
    centred = [
        [[v - max(row) for v in row] for row in store.logits(k)[0:n].astype(float).tolist()] for k in t
    ]
    correct = store.correct()
    for i, model in enumerate(t):
        top = [max(naive.fixed_point(naive.softmax(row, t[model]))) / 2**31 for row in centred[i]]
        assert confidence[i].tolist() == np.float32(top).tolist()
        for a in range(anchors):
            told = naive.pair_of_models(centred[a], centred[i], right, (t[f"m{a}"], t[model]))
            one = [x != y for x, y in zip(correct[a].tolist(), correct[i].tolist(), strict=True)]
            assert found["pair_right"][a, i] == sum(told)
            assert found["converted"][a, i] == sum(x and y for x, y in zip(told, one, strict=True))
