"""What is asked of pairs by resampling shared examples: differences, rankings, tests, many at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, UnknownName
from dissensus.pairs.bootstrap import percentiles
from dissensus.pairs.counts import Answers, PairCounts
from dissensus.pairs.differences import differences
from dissensus.pairs.measures import MEASURES
from dissensus.pairs.result import Pairs
from dissensus.pairs.shared import share_in_top, shared_draws, weight_planes
from dissensus.pairs.significance import independence, q_values

EI, KAPPA = "error_inconsistency", "error_consistency"


def cells(*counts):
    return np.array(counts)


def weights_of(n, seed, draw):
    """Weights of one draw as integers, from their bits."""
    planes = weight_planes(-(-n // 64), seed, draw)
    bits = np.unpackbits(planes.view(np.uint8), axis=1, bitorder="little")[:, :n]
    return (bits.T.astype(int) * 2 ** np.arange(len(planes))).sum(axis=1)


def some_zoo(n_models=6, n_examples=300, seed=0):
    rng = np.random.default_rng(seed)
    skill, difficulty = np.linspace(-0.5, 2, n_models)[:, None], rng.normal(0, 1.5, n_examples)
    return rng.random((n_models, n_examples)) < 1 / (1 + np.exp(difficulty - skill))


def test_weights_are_poisson():
    weights = np.concatenate([weights_of(6400, 0, draw) for draw in range(20)])
    expected = len(weights) * stats.poisson(1).pmf(np.arange(7))
    seen = np.bincount(weights, minlength=7)[:7]
    assert (((seen - expected) ** 2 / expected).sum()) < 24.3  # 1 in 1000, 7 degrees of freedom
    assert abs(np.corrcoef(weights_of(6400, 0, 0), weights_of(6400, 0, 1))[0, 1]) < 0.06


@pytest.mark.parametrize("masked", [False, True])
def test_weighted_tables_equal_the_loops(masked):
    correct = some_zoo(5, 150)
    mask = np.random.default_rng(9).random(150) < 0.6 if masked else np.ones(150, bool)
    answers = Answers.of(correct, mask if masked else None)
    i, j = np.array([0, 1, 3, 4, 2]), np.array([1, 3, 0, 2, 2])
    for draw, found in enumerate(shared_draws(answers, (i, j), cells, 4, 7)):
        weights = weights_of(150, 7, draw)[mask].tolist()
        for place, (a, b) in enumerate(zip(i, j, strict=True)):
            expected = naive.weighted_counts(correct[a, mask].tolist(), correct[b, mask].tolist(), weights)
            assert tuple(found[:, place]) == expected


def test_draws_depend_neither_on_threads_nor_on_the_pairs_asked_for():
    answers, formula = Answers.of(some_zoo()), MEASURES[KAPPA].formula
    i, j = np.triu_indices(6, 1)
    one, many = (
        np.array(list(shared_draws(answers, (i, j), formula, 9, 1, threads=threads))) for threads in (1, 5)
    )
    np.testing.assert_array_equal(one, many)
    few = np.array(list(shared_draws(answers, (i[3:5], j[3:5]), formula, 9, 1)))
    np.testing.assert_array_equal(few, one[:, 3:5])
    other = np.array(list(shared_draws(answers, (i, j), formula, 9, 2)))
    assert (other != one).all()


def test_differences_equal_the_loops_in_any_number_of_turns():
    correct, draws = some_zoo(), 40
    answers, counts = Answers.of(correct), PairCounts.from_correct(correct)
    i, j = np.triu_indices(6, 1)
    value = MEASURES[KAPPA].finish(counts)
    apart = value[0, 3] - value[i, j]
    found = [
        differences(answers, (0, 3), (i, j), apart, MEASURES[KAPPA].formula, 0.9, draws, 5, at_once)
        for at_once in (2**23, 3 * draws, 1)
    ]
    for other in found[1:]:
        for name, values in found[0].items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)
    drawn = []
    for draw in range(draws):
        weights = weights_of(300, 5, draw).tolist()
        kappas = [
            naive.error_consistency(*naive.weighted_counts(correct[a].tolist(), correct[b].tolist(), weights))
            for a, b in [(0, 3), *zip(i, j, strict=True)]
        ]
        drawn.append([kappas[0] - k for k in kappas[1:]])
    for place, column in enumerate(zip(*drawn, strict=True)):
        expected = naive.quantile(column, 0.05), naive.quantile(column, 0.95)
        ends = found[0]["difference_low"][place], found[0]["difference_high"][place]
        np.testing.assert_allclose(ends, expected, rtol=1e-9, atol=1e-12)
        spread = np.std(column, ddof=1)
        if spread:
            p = math.erfc(abs(apart[place]) / spread / math.sqrt(2))
            assert found[0]["p_value"][place] == pytest.approx(p, rel=1e-9)
        else:
            assert np.isnan(found[0]["p_value"][place])
    np.testing.assert_allclose(
        found[0]["q_value"], naive.benjamini_hochberg(found[0]["p_value"].tolist()), rtol=1e-12
    )


def test_a_difference_of_pairs_that_share_examples_covers_and_is_narrower_than_apart():
    """200 samples of 400 examples, kappa of (0, 1) minus kappa of (0, 2): 0.95 is known to 0.015."""
    rng = np.random.default_rng(0)

    def sample(n):
        difficulty = rng.normal(0, 2, n)
        skill = np.array([0.8, 1.0, 0.4])[:, None]
        shared = rng.normal(0, 1.5, n) * np.array([1, 1, 0])[:, None]  # the first two fail together
        return rng.random((3, n)) < 1 / (1 + np.exp(difficulty - skill - shared))

    def kappas(correct):
        values = MEASURES[KAPPA].finish(PairCounts.from_correct(correct))
        return values[0, 1], values[0, 2]

    truth = np.subtract(*kappas(sample(2_000_000)))
    assert truth > 0.05
    covered, ratios = [], []
    for seed in range(200):
        correct = sample(400)
        apart = np.array([np.subtract(*kappas(correct))])
        pair = np.array([0]), np.array([2])
        formula = MEASURES[KAPPA].formula
        found = differences(Answers.of(correct), (0, 1), pair, apart, formula, 0.95, 200, seed)
        low, high = found["difference_low"][0], found["difference_high"][0]
        covered.append(low <= truth <= high)
        if seed < 20:
            i, j = np.array([0, 0]), np.array([1, 2])
            drawn = np.array(list(shared_draws(Answers.of(correct), (i, j), formula, 200, seed)))
            alone = percentiles(drawn[:, 0] - np.roll(drawn[:, 1], 1), 0.95)
            ratios.append((high - low) / (alone[1] - alone[0]))
    assert 0.91 <= np.mean(covered) <= 0.985
    assert np.mean(ratios) < 0.97


def test_share_in_top_equals_sorting_each_draw():
    answers, formula = Answers.of(some_zoo()), MEASURES[EI].formula
    pairs = np.triu_indices(6, 1)
    drawn = np.array(list(shared_draws(answers, pairs, formula, 50, 3)))
    for ascending in (True, False):
        found = share_in_top(answers, pairs, formula, 4, ascending, 50, 3)
        expected = np.zeros(15)
        for values in drawn:
            order = sorted(range(15), key=lambda k: (values[k] if ascending else -values[k], k))
            expected[order[:4]] += 1 / 50
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert found.sum() == pytest.approx(4)


# Many tests at once


@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.02, math.nan])), max_size=30))
def test_q_values_equal_the_loops(p):
    found = q_values(np.array(p, float))
    np.testing.assert_allclose(found, naive.benjamini_hochberg(p), rtol=1e-12, atol=1e-300)


def test_q_values_equal_scipy(rng):
    p = rng.random(500) ** 3
    np.testing.assert_allclose(q_values(p), stats.false_discovery_control(p), rtol=1e-12)


def test_false_discoveries_are_as_rare_as_said():
    """90 % of 200 tests are of nothing: of those found at q < 0.1, a tenth of nine tenths on average."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        p = np.concatenate([rng.random(180), rng.random(20) * 1e-4])
        found = q_values(p) < 0.1
        shares.append(found[:180].sum() / max(1, found.sum()))
    assert 0.07 < np.mean(shares) < 0.11


def test_independence_equals_the_loops_and_the_permutation_variance():
    correct = some_zoo(6, 200)
    correct[4] = True
    found = independence(PairCounts.from_correct(correct))
    z = [[naive.independence_z(a.tolist(), b.tolist()) for b in correct] for a in correct]
    np.fill_diagonal(expected := np.array(z), np.nan)
    np.testing.assert_allclose(found["test_z"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["test_p"], 2 * stats.norm.sf(np.abs(expected)), rtol=1e-9)
    above = np.triu_indices(6, 1)
    q = naive.benjamini_hochberg(found["test_p"][above].tolist())
    np.testing.assert_allclose(found["test_q"][above], q, rtol=1e-12)
    np.testing.assert_array_equal(found["test_q"], found["test_q"].T)
    rng, (a, b) = np.random.default_rng(0), correct[:2]
    both = np.array([(a & rng.permutation(b)).sum() for _ in range(4000)])
    by_permuting = ((a & b).sum() - both.mean()) / both.std()
    assert found["test_z"][0, 1] == pytest.approx(by_permuting, rel=0.05)


def test_independent_mistakes_give_uniform_p():
    rng = np.random.default_rng(0)
    correct = rng.random((60, 3000)) < rng.uniform(0.3, 0.9, (60, 1))
    found = independence(PairCounts.from_correct(correct))
    p = found["test_p"][np.triu_indices(60, 1)]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert (found["test_q"][np.triu_indices(60, 1)] < 0.05).sum() <= 3


def test_one_hypothesis_for_kappa_and_inconsistency():
    """z is 0 exactly where kappa and phi are, and has their sign."""
    correct = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]], dtype=bool)
    counts = PairCounts.from_correct(correct)
    z = independence(counts)["test_z"]
    above = np.triu_indices(4, 1)
    for name in (KAPPA, "phi"):
        np.testing.assert_array_equal(np.sign(z[above]), np.sign(MEASURES[name].finish(counts)[above]))


# What a user sees


def test_compare_two_pairs_and_all(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, KAPPA])
    one = pairs.compare(("model-0", "model-1"), ("model-3", "model-4"), by=KAPPA, draws=200)
    assert one.num_rows == 1
    (row,) = one.to_pylist()
    assert (row["model_a"], row["model_b"], row[KAPPA]) == ("model-3", "model-4", pairs[KAPPA][3, 4])
    assert row["difference"] == pairs[KAPPA][0, 1] - pairs[KAPPA][3, 4]
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["q_value"] == row["p_value"]
    everything = pairs.compare(("model-1", "model-0"), by=KAPPA, draws=200)
    assert everything.num_rows == 9
    records = {(r["model_a"], r["model_b"]): r for r in everything.to_pylist()}
    assert ("model-0", "model-1") not in records
    again = records["model-3", "model-4"]
    assert {k: again[k] for k in again if k != "q_value"} == {k: row[k] for k in row if k != "q_value"}
    listed = pairs.compare(("model-0", "model-1"), [("model-2", "model-1"), ("model-3", "model-4")], draws=50)
    assert listed["model_a"].to_pylist() == ["model-2", "model-3"]
    assert listed.column_names[2] == EI


def test_compare_pairs_in_order(small_zoo):
    """(a, b) and (b, a) are two pairs where a measure has an order: their difference is that of the flips."""
    pairs = ds.pairwise(small_zoo, "negative_flip_rate")
    table = pairs.compare(("model-0", "model-4"), draws=50)
    assert table.num_rows == 19
    row = next(r for r in table.to_pylist() if (r["model_a"], r["model_b"]) == ("model-4", "model-0"))
    assert row["difference"] == pytest.approx(pairs.accuracy[0] - pairs.accuracy[4])


def test_a_pair_without_a_value_has_no_difference(tmp_path):
    store = ds.create(tmp_path / "s.zoo", np.zeros(6, int), classes=["yes", "no"])
    for name, right in {
        "ones": [1] * 6,
        "too": [1] * 6,
        "a": [1, 0, 1, 0, 1, 0],
        "b": [1, 1, 0, 0, 1, 0],
    }.items():
        store.add(name, predictions=1 - np.array(right))
    row = ds.pairwise(store, "phi").compare(("a", "b"), ("ones", "too"), draws=20).to_pylist()[0]
    assert {k: v for k, v in row.items() if not k.startswith("model")} == dict.fromkeys(
        ["phi", "difference", "difference_low", "difference_high", "p_value", "q_value"]
    )


def test_in_top(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, KAPPA])
    table = pairs.in_top(3, by=KAPPA, draws=300)
    assert table.column_names == ["model_a", "model_b", KAPPA, "probability"]
    assert sum(table["probability"].to_pylist()) == pytest.approx(3)
    np.testing.assert_array_equal(table[KAPPA], np.sort(table[KAPPA]))
    assert table["probability"][0].as_py() > 0.5
    everything = pairs.in_top(10, draws=5)
    assert everything["probability"].to_pylist() == [1.0] * 10
    assert everything[EI].to_pylist() == pairs.top(10)[EI].to_pylist()


def test_tests_add_columns_and_leave_the_pairs_alone(small_zoo):
    pairs = ds.pairwise(small_zoo, KAPPA, ci="delta")
    tested = pairs.test()
    assert list(tested.columns) == [f"{KAPPA}_low", f"{KAPPA}_high", "test_z", "test_p", "test_q"]
    assert list(pairs.columns) == [f"{KAPPA}_low", f"{KAPPA}_high"]
    assert tested.notes == {"ci": "delta", "level": 0.95, "test": "independence"}
    np.testing.assert_array_equal(tested.low[KAPPA], pairs.low[KAPPA])
    assert tested.to_arrow().column_names[-3:] == ["test_z", "test_p", "test_q"]
    for by, ascending in (("test_z", False), ("test_p", True), ("test_q", True)):
        found = tested.top(10, by=by)[by].to_numpy()
        np.testing.assert_array_equal(found, np.sort(found) if ascending else np.sort(found)[::-1])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda p: p.test("indpendence"), "unknown test 'indpendence'; did you mean independence"),
        (lambda p: p.compare(("model-0", "model-9")), "unknown model 'model-9'; did you mean"),
        (lambda p: p.compare(("model-0", "model-1"), by="phi"), "unknown measure 'phi'.*only measures asked"),
        (lambda p: p.in_top(3, by="kappa"), "unknown measure 'kappa'"),
        (lambda p: p.top(by="test_z"), "unknown measure 'test_z'"),
    ],
)
def test_unknown_names_are_named(small_zoo, question, message):
    with pytest.raises(UnknownName, match=message):
        question(ds.pairwise(small_zoo, EI))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda p: p.compare("model-0"), "a pair must be two different model ids; got 'model-0'"),
        (lambda p: p.compare(("model-0", "model-0")), "a pair must be two different model ids; got"),
        (lambda p: p.compare(("model-0", "model-1"), []), "b must name at least one pair; got none"),
        (lambda p: p.compare(("model-0", "model-1"), level=1), "level must lie between 0 and 1.*; got 1"),
        (
            lambda p: p.compare(("model-0", "model-1"), draws=1),
            "draws must be an integer of at least 2; got 1",
        ),
        (
            lambda p: p.compare(("model-0", "model-1"), seed=-3),
            "seed must be an integer of at least 0; got -3",
        ),
        (lambda p: p.in_top(0), "n must be at least 1 pair; got 0"),
        (lambda p: p.in_top(3, draws=0), "draws must be an integer of at least 1; got 0"),
    ],
)
def test_bad_questions_are_named(small_zoo, question, message):
    with pytest.raises(ArgumentError, match=message):
        question(ds.pairwise(small_zoo, EI))


def test_two_models_have_no_other_pair(small_zoo):
    pairs = ds.pairwise(small_zoo, EI, models=["model-0", "model-1"])
    with pytest.raises(
        ArgumentError, match="compare needs another pair than a; there is none among 2 models"
    ):
        pairs.compare(("model-0", "model-1"))
    assert pairs.in_top(1, draws=3)["probability"].to_pylist() == [1.0]


def test_counts_alone_cannot_be_resampled(small_zoo):
    made = ds.pairwise(small_zoo, EI)
    alone = Pairs(made.model_ids, made.counts, {EI: made[EI]})
    assert alone.test().columns["test_z"].shape == (5, 5)
    with pytest.raises(
        ArgumentError, match="compare needs the answers, not counts alone; get the pairs from"
    ):
        alone.compare(("model-0", "model-1"))
